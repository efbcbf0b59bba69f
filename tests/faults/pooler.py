"""PgBouncer in transaction mode between every process and Postgres."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.embedded import binaries, children
from runtime.embedded.ports import free_port, is_free
from runtime.postgres import Role, connect_as_owner
from tests.faults.faults import Fault, register
from tests.faults.parts import Process
from tests.faults.system import System

_PROGRAM: Final = "pgbouncer"
_PASSWORD: Final = "secret"
_URL: Final = "CUSTOMERS_DATABASE_URL"
_PREPARED: Final = "CUSTOMERS_PREPARED_STATEMENTS"


def config(target: dict[str, str], port: int, folder: Path) -> str:
    """As the README has it: in transaction mode, and `options` ignored."""
    return f"""
[databases]
{target["dbname"]} = host={target["host"]} port={target["port"]}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder / "users.txt"}
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
ignore_startup_parameters = extra_float_digits,options
"""


def lacking() -> str:
    """Why this machine cannot run PgBouncer."""
    return "" if find_program() else f"there is no program {_PROGRAM} here"


def find_program() -> str | None:
    """PgBouncer; Debian keeps it where only administrators look."""
    return shutil.which(_PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def make_logins(system: System) -> None:
    """A login for each kind of process, which brings along what a pooler does not pass on."""
    settings = ("role = {role}", "synchronous_commit = on", "timezone = 'UTC'")
    with connect_as_owner(system.settings, "faults pooler") as owner:
        for role in Role:
            login = sql.Identifier(login_of(role))
            known = {"login": login, "role": sql.Identifier(role.value)}
            known |= {"database": sql.Identifier(str(owner.info.dbname))}
            row = owner.execute("SELECT FROM pg_roles WHERE rolname = %s", [login_of(role)])
            if row.fetchone() is None:
                made = f"CREATE ROLE {{login}} LOGIN NOINHERIT PASSWORD '{_PASSWORD}'"
                owner.execute(sql.SQL(made).format(**known))  # pyright: ignore[reportArgumentType] - of literals above
            owner.execute(sql.SQL("GRANT {role} TO {login}").format(**known))
            for setting in settings:
                text = f"ALTER ROLE {{login}} IN DATABASE {{database}} SET {setting}"
                owner.execute(sql.SQL(text).format(**known))  # pyright: ignore[reportArgumentType] - of literals above


def login_of(role: Role) -> str:
    """The login of a kind of process."""
    return f"pooled_{role.value}"


@asynccontextmanager
async def a_pooler(system: System) -> AsyncGenerator[int]:
    """PgBouncer in front of the system's Postgres, until the block ends; its port."""
    folder = system.folder / "pooler"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    target = {
        name: str(text) for name, text in conninfo_to_dict(system.settings.database_url).items()
    }
    users = "".join(f'"{login_of(role)}" "{_PASSWORD}"\n' for role in Role)
    (folder / "users.txt").write_text(users, encoding="utf-8")
    port = free_port()
    (folder / "pgbouncer.ini").write_text(config(target, port, folder), encoding="utf-8")
    program = find_program()
    assert program is not None
    with (system.folder / "logs" / "pgbouncer.log").open("ab") as log:
        process = children.spawn(
            [program, folder / "pgbouncer.ini"],
            env={},
            user=binaries.unprivileged_user(),
            death_signal=signal.SIGTERM,
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
    try:
        await asyncio.to_thread(children.wait_until, lambda: not is_free("127.0.0.1", port), 10.0)
        yield port
    finally:
        await asyncio.to_thread(
            children.stop, process, (signal.SIGINT, 10.0), (signal.SIGKILL, 1.0)
        )


async def _lead(system: System, process: Process, url: str, port: int, prepared: str) -> None:
    system.line(process.name, "postgres").lead_to("127.0.0.1", port)
    process.environ |= {_URL: url, _PREPARED: prepared}
    await process.restart()


@asynccontextmanager
async def _pooled(system: System) -> AsyncGenerator[None]:
    """Each process goes over the pooler, and behind it straight to the server again."""
    make_logins(system)
    processes = [part for part in system.parts.values() if isinstance(part, Process)]
    before = {process.name: process.environ[_URL] for process in processes}
    server = int(str(conninfo_to_dict(system.settings.database_url)["port"]))
    async with a_pooler(system) as port:
        for process in processes:
            role = Role(f"customers_{process.name.partition('-')[0]}")
            login = {"user": login_of(role), "password": _PASSWORD}
            url = make_conninfo(before[process.name], **login)
            await _lead(system, process, url, port, "false")
        try:
            yield
        finally:
            for process in processes:
                await _lead(system, process, before[process.name], server, "true")


register(
    Fault(
        name="pooler",
        about="PgBouncer in transaction mode stands between every process and Postgres",
        inject=_pooled,
        owns=("postgres",),
        shortest=5.0,
        longest=15.0,
        lacking=lacking,
    )
)
