"""Databases for tests: each a copy of a migrated one, made while the test before runs."""

import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.schema import migrate
from runtime.settings import Settings

TEMPLATE: Final = "customers_template"
"""A migrated database that nobody connects to."""
# The files of the template are copied: quicker than through the log, where nothing is flushed.
_CREATE: Final = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
_DROP: Final = sql.SQL("DROP DATABASE {} WITH (FORCE)")


class Databases:
    """The databases of one server; a thread of its own makes and drops them."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._connection = psycopg.connect(server_url, autocommit=True)
        self._connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        migrate(Settings(database_url=self._url(TEMPLATE)))
        self._names = itertools.count(1)
        self._hand = ThreadPoolExecutor(1, "databases")
        self._next = self._hand.submit(self._make)
        self._drops: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hand.shutdown()
        self._connection.close()
        for drop in self._drops:
            drop.result()

    def take(self) -> str:
        """The address of a database that nobody has used."""
        name = self._next.result()
        self._next = self._hand.submit(self._make)
        return self._url(name)

    def drop(self, url: str) -> None:
        """Remove one that is no longer used, and cut off who is still there."""
        name = str(conninfo_to_dict(url)["dbname"])
        self._drops.append(self._hand.submit(self._remove, name))

    def _make(self) -> str:
        name = f"test_{next(self._names)}"
        names = sql.Identifier(name), sql.Identifier(TEMPLATE)
        self._connection.execute(_CREATE.format(*names))
        return name

    def _remove(self, name: str) -> None:
        self._connection.execute(_DROP.format(sql.Identifier(name)))

    def _url(self, name: str) -> str:
        return make_conninfo(self._server_url, dbname=name)
