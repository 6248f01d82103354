"""Members of a tenant: let in, given roles, taken out; the last owner stays, and nobody becomes a member by another's address."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from tenants import lifecycle, members, people, quota
from tenants.errors import MalformedRequest, MembersExceeded, NotEntitled, TenantSuspended, WrongState
from tenants.models import AuditEvent, Membership
from tests import factories
from tests.conftest import manage
from tests.live import race_here

pytestmark = pytest.mark.django_db


def told():
    return {"now": timezone.now(), "actor": "system:tests"}


def test_a_person_is_let_in_changes_role_and_leaves_and_the_audit_tells_it():
    tenant, ann, bob = factories.tenant(), factories.person(), factories.person()
    members.add(tenant, ann, "owner", **told())
    held = members.add(tenant, bob, "member", **told())
    assert members.change_role(held, "auditor", **told()).role == "auditor"
    members.remove(held, **told())
    assert [row.user for row in Membership.objects.of(tenant)] == [ann]
    verbs = AuditEvent.objects.of(tenant).filter(verb__startswith="member.").order_by("id").values_list("verb", "target")
    assert list(verbs) == [
        ("member.add", f"person:{ann.pk}"),
        ("member.add", f"person:{bob.pk}"),
        ("member.change_role", f"person:{bob.pk}"),
        ("member.remove", f"person:{bob.pk}"),
    ]
    with pytest.raises(WrongState, match="not a member any more"):
        members.remove(held, **told())


def test_twice_a_member_or_with_an_unknown_role_or_in_a_closed_tenant_is_refused():
    tenant, ann = factories.tenant(), factories.person()
    members.add(tenant, ann, "member", **told())
    with pytest.raises(MalformedRequest, match="a member already"):
        members.add(tenant, ann, "owner", **told())
    with pytest.raises(MalformedRequest, match="one of owner"):
        members.add(tenant, factories.person(), "king", **told())
    lifecycle.close(tenant, **told())
    with pytest.raises(WrongState, match="closed"):
        members.add(tenant, factories.person(), "member", **told())


def test_the_last_owner_neither_leaves_nor_steps_down():
    tenant = factories.tenant()
    first = members.add(tenant, factories.person(), "owner", **told())
    for act in (lambda: members.remove(first, **told()), lambda: members.change_role(first, "admin", **told())):
        with pytest.raises(WrongState, match="last owner"):
            act()
    second = members.add(tenant, factories.person(), "owner", **told())
    members.remove(first, **told())
    with pytest.raises(WrongState, match="last owner"):
        members.remove(second, **told())


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_remove_each_other_at_once_leave_one():
    for _ in range(5):
        tenant = factories.tenant()
        owners = [members.add(tenant, factories.person(), "owner", **told()) for _ in range(2)]

        def leave(number, held=owners):
            try:
                members.remove(held[number], **told())
            except WrongState:
                return "stays"
            return "left"

        assert sorted(race_here(2, leave)) == ["left", "stays"]
        assert Membership.objects.of(tenant).count() == 1


def test_who_may_add_devices():
    tenant = factories.tenant()
    for role, may in (("owner", True), ("admin", True), ("member", True), ("billing", False), ("auditor", False)):
        person = factories.person(of=tenant, role=role)
        assert members.who_add_devices(person).exists() == may
        if may:
            members.hold_entitled(tenant, person)
        else:
            with pytest.raises(NotEntitled):
                members.hold_entitled(tenant, person)
    User.objects.filter(pk=person.pk).update(is_active=False)
    with pytest.raises(NotEntitled):
        members.hold_entitled(tenant, factories.person())
    owner = User.objects.get(memberships__tenant=tenant, memberships__role="owner")
    lifecycle.suspend(tenant, **told())
    with pytest.raises(TenantSuspended):
        members.hold_entitled(tenant, owner)


def test_nobody_is_found_by_an_address_that_is_not_known_to_be_theirs():
    made = people.make(" Ann@People.example ", **told())
    assert people.find("ann@people.example") == made
    impostor = User.objects.create_user("impostor", "chief@people.example")
    EmailAddress.objects.create(user=impostor, email="chief@people.example", primary=True, verified=False)
    assert people.find("chief@people.example") is None
    chief = User.objects.create_user("chief", "Chief@people.example")
    assert people.find("chief@people.example") == chief, "operators made this one"
    assert people.find("") is None
    for bad in ("ann@people.example", "no address", ""):
        with pytest.raises(MalformedRequest):
            people.make(bad, **told())


@pytest.mark.django_db(transaction=True)
def test_the_command():
    factories.tenant("acme-inc")
    assert manage("member", "add", "acme-inc", "ann@people.example", check=False).returncode == 1
    made = manage("member", "add", "acme-inc", "ann@people.example", "--new", "--role", "owner", role="web")
    assert made.stdout.startswith("http://testserver/accounts/password/reset/key/")
    factories.person("bob@people.example")
    manage("member", "add", "acme-inc", "bob@people.example", role="web")
    manage("member", "role", "acme-inc", "bob@people.example", "billing", role="web")
    listed = manage("member", "list", "acme-inc", role="web").stdout.splitlines()
    assert [line.split("  ")[:2] for line in listed] == [["ann@people.example", "owner"], ["bob@people.example", "billing"]]
    assert "last owner" in manage("member", "remove", "acme-inc", "ann@people.example", role="web", check=False).stderr
    manage("member", "remove", "acme-inc", "bob@people.example", role="web")
    assert Membership.objects.across_tenants().count() == 1
    refused = manage("member", "add", "acme-inc", "ann@people.example", "--new", role="web", check=False)
    assert "taken" in refused.stderr


def test_no_more_members_are_let_in_than_was_agreed_and_nobody_is_put_out():
    tenant = factories.tenant()
    quota.set_members(tenant.pk, 2)
    for _ in range(2):
        members.add(tenant, factories.person(), "member", **told())
    with pytest.raises(MembersExceeded, match="2"):
        members.add(tenant, factories.person(), "owner", **told())
    quota.set_members(tenant.pk, 1)
    assert Membership.objects.of(tenant).count() == 2
    held = Membership.objects.of(tenant).first()
    assert members.change_role(held, "owner", **told()).role == "owner", "who is there may become something else"
    quota.set_members(tenant.pk, None)
    members.add(tenant, factories.person(), "member", **told())
    assert Membership.objects.of(tenant).count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_exactly_as_many_are_let_in_as_there_is_room():
    tenant, people_ = factories.tenant(), [factories.person() for _ in range(12)]
    quota.set_members(tenant.pk, 5)

    def enter(number):
        try:
            members.add(tenant, people_[number], "member", **told())
        except MembersExceeded:
            return False
        return True

    assert race_here(12, enter).count(True) == 5
    assert Membership.objects.of(tenant).count() == 5


def test_the_command_says_why_and_makes_nobody():
    tenant = factories.tenant()
    quota.set_members(tenant.pk, 0)
    with pytest.raises(CommandError, match="as many members"):
        call_command("member", "add", tenant.account, "ann@people.example", "--new")
    assert not User.objects.filter(email="ann@people.example").exists()
