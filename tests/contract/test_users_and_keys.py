"""Users and pre-auth keys, with the refusals that ACS meets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from placement.errors import ClusterRefused
from placement.headscale.admin import Admin, PreAuthKey, User
from tests.servers import Machine, Server


def refused(status: int, words: str = "") -> pytest.RaisesExc[ClusterRefused]:
    return pytest.raises(ClusterRefused, match=words, check=lambda refusal: refusal.status == status)


def test_a_user_is_found_by_its_name_and_among_all(admin: Admin, user: User) -> None:
    assert admin.users(user.name) == [user]
    assert user in admin.users()
    assert admin.users("nobody-of-that-name") == []
    assert (user.display_name, user.email, user.provider) == ("", "", "")
    assert abs(datetime.now(UTC) - user.created_at) < timedelta(minutes=1)


def test_users_come_in_the_order_of_their_ids(admin: Admin, user: User) -> None:
    ids = [found.id for found in admin.users()]
    assert ids == sorted(ids)


def test_a_second_user_of_that_name_is_refused(admin: Admin, user: User) -> None:
    with refused(500, "creating user"):
        admin.make_user(user.name)
    assert admin.users(user.name) == [user]


def test_a_deleted_user_is_gone_with_its_keys(admin: Admin, user: User, new_key: Callable[..., PreAuthKey]) -> None:
    key = new_key()
    admin.delete_user(user.id)
    assert admin.users(user.name) == []
    assert key.id not in [found.id for found in admin.keys()]
    with refused(500, "user not found"):
        admin.delete_user(user.id)


def test_a_key_is_shown_once(admin: Admin, user: User) -> None:
    expiration = datetime.now(UTC) + timedelta(hours=1)
    made = admin.make_key(user.id, expiration, True)
    assert made.secret is not None
    assert made.secret.startswith(f"hskey-auth-{made.prefix}-")
    assert len(made.secret) == len("hskey-auth-") + 12 + 1 + 64
    assert (made.user_id, made.user_name, made.ephemeral, made.reusable, made.used, made.tags) == (
        user.id,
        user.name,
        True,
        False,
        False,
        (),
    )
    listed = next(key for key in admin.keys() if key.id == made.id)
    assert listed.secret is None
    assert listed.prefix == made.prefix


def test_the_microsecond_of_its_expiration_identifies_a_key(admin: Admin, user: User) -> None:
    expiration = datetime(2031, 5, 6, 7, 8, 9, 123457, tzinfo=UTC)
    made = admin.make_key(user.id, expiration)
    assert made.expiration == expiration
    assert [key.id for key in admin.keys() if key.expiration == expiration and key.user_id == user.id] == [made.id]


def test_a_key_for_an_unknown_user_is_refused(admin: Admin) -> None:
    with refused(500, "user not found"):
        admin.make_key(987654, datetime.now(UTC) + timedelta(hours=1))


def test_a_key_made_without_an_expiration_is_born_expired(server: Server, admin: Admin, user: User) -> None:
    answer = httpx2.post(
        f"{server.url}/api/v1/preauthkey", headers={"Authorization": f"Bearer {server.api_key}"}, json={"user": str(user.id)}
    )
    assert answer.json()["preAuthKey"]["expiration"] == "0001-01-01T00:00:00Z"
    made = next(key for key in admin.keys() if key.id == int(answer.json()["preAuthKey"]["id"]))
    assert made.expiration is not None
    assert made.expiration.year == 1


def test_a_key_without_user_and_tags_and_one_with_a_malformed_tag_are_refused(server: Server, user: User) -> None:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    neither = httpx2.post(f"{server.url}/api/v1/preauthkey", headers=headers, json={})
    assert (neither.status_code, neither.json()["message"]) == (500, "auth-key must be either tagged or owned by user")
    malformed = httpx2.post(f"{server.url}/api/v1/preauthkey", headers=headers, json={"user": str(user.id), "aclTags": ["x"]})
    assert (malformed.status_code, malformed.json()["message"]) == (400, "tag must start with the string 'tag:'")


def test_a_device_that_comes_with_a_tagged_key_belongs_to_the_tag_whether_the_policy_knows_it_or_not(
    admin: Admin, user: User, new_key: Callable[..., PreAuthKey], new_machine: Callable[[], Machine]
) -> None:
    tag = f"tag:{user.name}--web"
    key = new_key(tags=[tag])
    assert (key.tags, key.user_id) == ((tag,), user.id)
    new_machine().join(key.secret or "", "tagged")
    node = next(node for node in admin.nodes() if node.key_id == key.id)
    assert (node.tags, node.user_id) == ((tag,), None)


def test_ids_are_strings_and_times_end_with_z(server: Server, user: User, new_key: Callable[..., PreAuthKey]) -> None:
    new_key()
    answer = httpx2.get(f"{server.url}/api/v1/preauthkey", headers={"Authorization": f"Bearer {server.api_key}"}).json()["preAuthKeys"][-1]
    assert isinstance(answer["id"], str)
    assert answer["user"]["id"] == str(user.id)
    assert answer["createdAt"].endswith("Z")
    assert set(answer) == {"user", "id", "key", "reusable", "ephemeral", "used", "expiration", "createdAt", "aclTags"}
    assert set(answer["user"]) == {"id", "name", "createdAt", "displayName", "email", "providerId", "provider", "profilePicUrl"}


def test_a_key_is_expired_and_deleted(admin: Admin, new_key: Callable[..., PreAuthKey]) -> None:
    key = new_key()
    admin.expire_key(key.id)
    expiration = next(found.expiration for found in admin.keys() if found.id == key.id)
    assert expiration is not None
    assert expiration <= datetime.now(UTC)
    admin.delete_key(key.id)
    assert key.id not in [found.id for found in admin.keys()]


def test_expiring_and_deleting_an_unknown_key_says_yes(admin: Admin) -> None:
    admin.expire_key(987654)
    admin.delete_key(987654)


def test_rows_of_users_and_keys_have_the_same_form(server: Server, user: User, new_key: Callable[..., PreAuthKey]) -> None:
    key = new_key()
    assert server.rows(f"select name, display_name, email, provider_identifier, provider, deleted_at from users where id = {user.id}") == [
        (user.name, "", "", None, "", None)
    ]
    ((hashed, *rest),) = server.rows(f"select hash, key, prefix, user_id, tags from pre_auth_keys where id = {key.id}")
    assert bytes(hashed).startswith(b"$2")
    assert rest == ["", key.prefix, user.id, "[]"]
