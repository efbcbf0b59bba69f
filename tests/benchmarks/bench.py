"""One run of all measures: the servers, the databases that are filled once, and what was found."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

import psycopg
from msgspec import Struct
from psycopg import sql

from runtime.embedded import EmbeddedPostgres
from runtime.settings import Settings
from tests.benchmarks import contenders, peer_data
from tests.benchmarks.contenders import Service
from tests.benchmarks.data import CUSTOMERS, customer
from tests.benchmarks.deployment import (
    a_database,
    a_folder,
    a_nats,
    a_postgres,
    a_process,
    a_service,
)
from tests.benchmarks.figures import Distribution, Memory, Report, Row, Who
from tests.benchmarks.load import Timings, distribution, run
from tests.benchmarks.wrk import WrkRun

Place: TypeAlias = Literal["small", "fresh", "large"]
"""A database: `small` is written to by most measures, `fresh` and `large` by one alone."""


class Sizes(Struct, frozen=True, kw_only=True):
    """How much is measured, and for how long."""

    customers: int = CUSTOMERS
    """In the `large` database; in the others there are `small`."""
    small: int = 10_000
    load_seconds: float = 30
    """Of the creates over many connections; each list has `list_seconds`, all else `seconds`."""
    seconds: float = 10
    list_seconds: float = 5
    warm_seconds: float = 2
    """Of load that is not counted, before one that is."""
    soak_minutes: float = 0


QUICK: Final = Sizes(
    customers=2_000, small=200, load_seconds=1, seconds=0.5, list_seconds=0.2, warm_seconds=0.1
)


class Unfilled(Exception):
    """A database is not there that a measure needs."""


class PeerDatabase(Struct, frozen=True):
    """A filled database of the peer, and a key to it."""

    database_url: str
    key: str


class Bench:
    """Starts one contender at a time, on one Postgres; everything is gone with the block."""

    def __init__(self, sizes: Sizes, out: Path, report: Report, tell: Callable[[str], None]):
        self.sizes = sizes
        self.out = out
        self.report = report
        self.tell = tell
        self.rebuild_seconds = 0.0
        # Customers with these numbers are in no database at the beginning.
        self.new_numbers = count(10_000_000)
        self._logs = out / "logs"
        self._stack = ExitStack()
        self._ours: dict[Place, Settings | Exception] = {}
        self._peers: dict[Place, PeerDatabase] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def folder(self) -> Path:
        """Where the servers have their data."""
        return self._stack.enter_context(a_folder())

    @cached_property
    def postgres(self) -> EmbeddedPostgres:
        """The server that all share."""
        return self._stack.enter_context(a_postgres(self.folder))

    def customers_of(self, place: Place) -> int:
        """How many customers are there before anything is measured."""
        return self.sizes.customers if place == "large" else self.sizes.small

    @contextmanager
    def ours(self, place: Place) -> Generator[Service]:
        """Our processes, on this database."""
        settings = self.settings(place)
        self.tell(f"ours, with {self.customers_of(place):,} customers")
        contenders.quiet(settings.database_url)
        with contenders.ours(settings, self._logs) as service:
            yield service

    @contextmanager
    def peer(self, place: Place) -> Generator[Service]:
        """The peer, on a database with the same customers."""
        database = self._peer_database(place)
        self.tell(f"the peer, with {self.customers_of(place):,} customers")
        contenders.quiet(database.database_url)
        with contenders.the_peer(database.database_url, database.key, self._logs) as service:
            yield service

    def contender(self, who: Who, place: Place) -> AbstractContextManager[Service]:
        """One of the two services."""
        return self.ours(place) if who == "ours" else self.peer(place)

    @contextmanager
    def bare(self) -> Generator[Service]:
        """The bare framework."""
        self.tell("the bare framework")
        with contenders.the_bare(self._logs) as service:
            yield service

    def settings(self, place: Place) -> Settings:
        """Of our service on this database, which is filled the first time."""
        if place not in self._ours:
            try:
                self._ours[place] = self._filled(place)
            except Exception as error:
                # Whoever else needs it is told so at once, and not after as long again.
                self._ours[place] = error
                raise
        found = self._ours[place]
        if not isinstance(found, Settings):
            raise Unfilled(f"the {place} database could not be filled") from found
        return found

    def _filled(self, place: Place) -> Settings:
        customers = self.customers_of(place)
        self.tell(f"making our log of {customers:,} customers")
        nats = self._stack.enter_context(a_nats(self.folder / f"nats-{place}"))
        settings = a_service(self.postgres, nats, f"ours_{place}")
        run(contenders.seed(settings, customers))
        contenders.tidy(settings.database_url)
        if place == "large":
            contenders.quiet(settings.database_url)
            self.tell(f"rebuilding our read model from {customers:,} events")
            began = time.perf_counter()
            self._command(settings, "rebuild")
            self.rebuild_seconds = time.perf_counter() - began
            self._command(settings, "rebuild", "drop")
            contenders.tidy(settings.database_url)
        return settings

    def _command(self, settings: Settings, *words: str) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        with (
            (self._logs / "commands.log").open("ab") as log,
            a_process(settings, *words, log=log) as process,
        ):
            process.communicate()
            if process.returncode != 0:
                raise RuntimeError(
                    f"customers {' '.join(words)} failed; logs/commands.log says why"
                )

    def _peer_database(self, place: Place) -> PeerDatabase:
        if place not in self._peers:
            customers = self.customers_of(place)
            self.tell(f"making the peer's table of {customers:,} customers")
            url = a_database(self.postgres, f"peer_{place}")
            key = peer_data.prepare(url)
            peer_data.seed(url, map(customer, range(customers)))
            contenders.tidy(url)
            self._peers[place] = PeerDatabase(url, key)
        return self._peers[place]

    def empty_database(self, name: str) -> str:
        """The address of a database with nothing in it."""
        return a_database(self.postgres, name)

    def drop_database(self, name: str) -> None:
        """Remove one again."""
        with psycopg.connect(self.postgres.url, autocommit=True) as owner:
            owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def row(self, row: Row) -> None:
        """Note a figure."""
        self.report.rows.append(row)

    def note(self, stage: str, what: str, who: Who, ran: WrkRun | Timings) -> None:
        """Note how long the answers took."""
        is_wrk = isinstance(ran, WrkRun)
        self.report.distributions.append(
            Distribution(
                stage=stage,
                what=what,
                who=who,
                answers=ran.answers if is_wrk else len(ran.taken),
                seconds=ran.microseconds / 1e6 if is_wrk else ran.seconds,
                milliseconds=ran.distribution
                if is_wrk
                else distribution([1000 * one for one in ran.taken]),
            )
        )

    def remember(self, memory: Memory) -> None:
        """Note what a process held."""
        self.report.memory.append(memory)
