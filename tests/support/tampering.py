"""A small log of a module's own, and what somebody with all rights could do to it."""

import base64
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from events.chain import GENESIS, event_digest, next_chain
from events.customer import CustomerErased
from events.envelope import StoredEvent, WorkspaceId
from events.keys import Keyring
from runtime.settings import Settings, read_master_keys
from tests.support.builders import GLOBEX, Writer
from tests.support.command import Command, Ran
from tests.support.servers import Servers
from tests.support.writing import write

SIGNING_KEYS = f"test-key:{base64.b64encode(bytes(range(32))).decode()}"
EVENTS = 12
ERASED = (7, 9)
"""Positions of the customer whose key is gone: its creation, and its CustomerErased."""

_KEPT = ("log.events", "keyring.data_keys", "log.heads", "log.generations", "log.subtrees")
_SELECT = SQL("SELECT {} FROM log.events ORDER BY position").format(
    SQL(", ").join(map(Identifier, StoredEvent.__struct_fields__))
)


class TamperedLog:
    """The log, and a connection that may do everything."""

    def __init__(self, settings: Settings, owner: Connection[TupleRow]) -> None:
        self.settings = settings
        self.owner = owner
        self._command = Command(settings=settings)

    def run(self, *arguments: str, **environ: str) -> Ran:
        """Run a command that has the signing key."""
        given = {"CUSTOMERS_SIGNING_KEYS": SIGNING_KEYS} | environ
        return self._command.run(*arguments, **given)

    def verify(self, *arguments: str) -> Any:
        """What `customers verify --json` says; its exit status says the same."""
        ran = self.run("verify", "--json", *arguments)
        said = json.loads(ran.out)
        assert said["ok"] == (ran.code == 0), ran.err
        return said

    def first_bad(self, *arguments: str) -> tuple[int | None, str]:
        """The first bad position, and what is wrong there."""
        said = self.verify(*arguments)
        words = [fault["what"] for fault in said["verified"]["faults"]]
        return said["first_bad_position"], words[0] if words else ""

    def change(self, columns: str) -> None:
        """Change events: what to, and where."""
        self.owner.execute(b"UPDATE log.events SET " + columns.encode())

    def rechain(self) -> None:
        """Make digests and chain fit whatever the columns say now."""
        chain = GENESIS
        for row in self.owner.execute(_SELECT).fetchall():
            event = StoredEvent(**dict(zip(StoredEvent.__struct_fields__, row, strict=True)))
            digest = event_digest(event)
            chain = next_chain(chain, digest)
            self.owner.execute(
                "UPDATE log.events SET digest = %s, chain = %s WHERE event_id = %s",
                [digest, chain, event.event_id],
            )

    def restore(self) -> None:
        """As it was in the beginning."""
        for table in reversed(_KEPT):
            self.owner.execute(SQL("TRUNCATE {}").format(Identifier(*table.split("."))))
        for table in _KEPT:
            name, copy = Identifier(*table.split(".")), Identifier("kept", table)
            self.owner.execute(SQL("INSERT INTO {} SELECT * FROM {}").format(name, copy))


@contextmanager
def a_log_to_tamper_with(servers: Servers, template: str, name: str) -> Generator[TamperedLog]:
    """Twelve events of two workspaces, in a database where nothing refuses any change."""
    master_keys = f"test:{base64.b64encode(bytes(32)).decode()}"
    settings = Settings(
        database_url=make_conninfo(servers.database_url, dbname=name), master_keys=master_keys
    )
    database = Identifier(name)
    with psycopg.connect(servers.database_url, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(database, Identifier(template)))
        write_history(settings)
        with psycopg.connect(settings.database_url, autocommit=True) as owner:
            _open(owner)
            yield TamperedLog(settings, owner)
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def write_history(settings: Settings) -> None:
    """Two customers with five versions between them, one that was erased, and others."""
    keyring = Keyring(read_master_keys(settings))
    acme, globex = Writer(keyring), Writer(keyring, WorkspaceId(GLOBEX))
    jane, joe, kim = acme.a_customer(), globex.a_customer(), acme.a_customer()
    groups = [
        acme.group(acme.event(jane)),
        globex.group(globex.event(joe)),
        acme.group(acme.event(jane, 2)),
        globex.group(globex.event(joe, 2)),
        acme.group(acme.event(jane, 3)),
        globex.creation(),
        acme.group(acme.event(kim)),
        acme.creation(),
        acme.group(acme.event(kim, 2, CustomerErased(positions=(7,)))),
        *(acme.creation() for _ in range(3)),
    ]
    for group in groups:
        write(settings, group)
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [kim])


def _open(owner: Connection[TupleRow]) -> None:
    """Take away whatever refuses a change, and keep copies."""
    for table in _KEPT:
        name = Identifier(*table.split("."))
        owner.execute(SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(name))
        found = owner.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass"
            " ORDER BY contype = 'n'",
            [table],
        ).fetchall()
        for (constraint,) in found:
            drop = SQL("ALTER TABLE {} DROP CONSTRAINT {}")
            owner.execute(drop.format(name, Identifier(constraint)))
    owner.execute("CREATE SCHEMA kept")
    for table in _KEPT:
        copy = SQL("CREATE TABLE {} AS SELECT * FROM {}")
        owner.execute(copy.format(Identifier("kept", table), Identifier(*table.split("."))))
