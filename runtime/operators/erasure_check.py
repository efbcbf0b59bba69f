"""Whether a value is still anywhere: the places of this service, looked through one by one."""

import asyncio
import os
import struct
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import nats.errors
import psycopg
from msgspec import Struct
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from runtime.discovery import RUN_FILE, find_running
from runtime.embedded.binaries import find_postgres
from runtime.failure import Failure
from runtime.leftovers.files import (
    find_program,
    search_data_directory,
    search_dump,
    search_jetstream_directory,
    search_output,
)
from runtime.leftovers.needles import Finder, Needle, make_needles
from runtime.leftovers.report import Report, Searched, Unsearched, in_bytes
from runtime.leftovers.tables import search_tables
from runtime.nats_access import words_of
from runtime.operators.copies import search_log, search_messages
from runtime.postgres import connect_as_owner
from runtime.scrub.record import ScrubState, read_scrub_state
from runtime.scrub.wal import wal_rights
from runtime.settings import Settings, SettingsError
from runtime.words import one_line

PlaceName: TypeAlias = Literal["tables", "log", "messages", "dump", "data-dir", "jetstream-dir"]
PLACES: Final[tuple[PlaceName, ...]] = get_args(PlaceName)

_NAME: Final = "customers erase --check"
# The files of what is in this database now, as they are called below its data directory.
_RELATIONS: Final = """
SELECT pg_relation_filepath(c.oid), n.nspname || '.' || c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE pg_relation_filepath(c.oid) IS NOT NULL
"""
_SYSTEM: Final = "SELECT system_identifier FROM pg_control_system()"

Tell: TypeAlias = Callable[[str], None]


class Wanted(Struct, frozen=True, kw_only=True):
    """What to look for, and where; what is not named is found as far as it can be."""

    values: tuple[str, ...]
    places: tuple[PlaceName, ...]
    dumps: tuple[Path, ...] = ()
    data_dir: Path | None = None
    jetstream_dir: Path | None = None


def check_erasure(settings: Settings, wanted: Wanted, tell: Tell) -> Report:
    """Look through every wanted place; `tell` hears what is looked through now."""
    return _Check(settings, wanted, tell).run()


class _Check:
    def __init__(self, settings: Settings, wanted: Wanted, tell: Tell) -> None:
        self._settings = settings
        self._wanted = wanted
        self._tell = tell
        self._needles: list[Needle] = make_needles(wanted.values)
        self._report = Report()

    def run(self) -> Report:
        with self._connected() as connection:
            by_scrub = "with the next scrub"
            if connection is not None:
                by_scrub = _by_scrub(read_scrub_state(connection, self._settings.scrub_days))
            for place in self._wanted.places:
                match place:
                    case "tables":
                        self._tables(self._database(connection), by_scrub)
                    case "log":
                        self._database(connection)
                        self._log()
                    case "messages":
                        self._messages()
                    case "dump":
                        self._dumps()
                    case "data-dir":
                        self._data_directory(connection, by_scrub)
                    case "jetstream-dir":
                        self._jetstream_directory()
        return self._report

    @contextmanager
    def _connected(self) -> Generator[Connection[TupleRow] | None]:
        """The database; files can be looked through where none is known."""
        if not self._settings.database_url:
            yield None
            return
        with connect_as_owner(self._settings, _NAME) as connection:
            yield connection

    def _database(self, connection: Connection[TupleRow] | None) -> Connection[TupleRow]:
        if connection is None:
            raise SettingsError(
                "No database is known: CUSTOMERS_DATABASE_URL is not set. Without one, name files: "
                "--in dump --dump FILE, --in data-dir --data-dir DIR."
            )
        return connection

    def _tables(self, connection: Connection[TupleRow], by_scrub: str) -> None:
        live = connection.execute("SELECT schema_name FROM projections.editions WHERE live")
        (live_schema,) = live.fetchone() or ("",)

        def gone(schema: str) -> str:
            if schema == "pg_catalog":
                return by_scrub
            if schema.startswith("edition_") and schema != live_schema:
                return f"when its edition is dropped, or {by_scrub}"
            return (
                "only with its row: the customer is not erased, or another one has the same value"
            )

        search_tables(connection, self._report, self._needles, gone, self._counted("tables"))

    def _log(self) -> None:
        try:
            search_log(self._settings, self._report, self._needles, self._counted("log"))
        except SettingsError as error:
            self._skip("log", one_line(error), "CUSTOMERS_MASTER_KEYS")

    def _messages(self) -> None:
        if not self._settings.nats_url:
            self._skip("JetStream messages", "no NATS is known", "CUSTOMERS_NATS_URL")
            return
        try:
            asyncio.run(
                search_messages(
                    self._settings, self._report, self._needles, self._counted("messages")
                )
            )
        except (OSError, TimeoutError, ValueError, SettingsError, nats.errors.Error) as error:
            self._skip(
                "JetStream messages",
                f"NATS does not let them be read: {words_of(error, self._settings)}",
                "CUSTOMERS_NATS_URL with the relay's user: it may read the stream",
            )

    def _dumps(self) -> None:
        folder = _postgres_programs(self._settings)
        gone = f"when you delete the dump; backups go after {_days(self._settings)}"
        for path in self._wanted.dumps:
            restore = find_program(folder, "pg_restore")
            advance = self._counted(path.name)
            search_dump(self._report, self._needles, path, restore, gone, advance)
        if not self._wanted.dumps:
            self._fresh_dump(find_program(folder, "pg_dump"))

    def _fresh_dump(self, pg_dump: Path | None) -> None:
        place = "a dump made now"
        if not self._settings.database_url:
            self._database(None)
        if pg_dump is None:
            self._skip(place, "pg_dump is not here", "install it, or --dump FILE")
            return
        server = conninfo_to_dict(self._settings.database_url)
        password = str(server.pop("password", ""))
        environ = {**os.environ, "PGPASSWORD": password} if password else dict(os.environ)
        finder = Finder(self._needles)
        where = make_conninfo(**{name: str(value) for name, value in server.items()})
        command: list[Path | str] = [pg_dump, "--dbname", where]
        try:
            size = search_output(finder, command, environ, self._counted("dump"))
        except OSError as error:
            self._skip(place, one_line(error), "pg_dump of the server's version, or --dump FILE")
            return
        self._report.add(self._needles, finder, place, "as soon as the tables are without it")
        self._report.searched.append(Searched(place=place, extent=in_bytes(size)))

    def _data_directory(self, connection: Connection[TupleRow] | None, by_scrub: str) -> None:
        folder, advance = self._wanted.data_dir, self._counted("data-dir")
        if connection is None:
            if folder is None:
                self._database(connection)
                return
            search_data_directory(self._report, self._needles, folder, {}, by_scrub, advance)
            return
        if folder is None:
            try:
                row = connection.execute("SHOW data_directory").fetchone()
                folder = None if row is None else Path(row[0])
            except psycopg.errors.InsufficientPrivilege:
                folder = None
        if folder is None or not _is_of(folder, connection):
            self._skip(
                "data directory of the server",
                f"{folder} is not the folder of this server, or cannot be read from here"
                if folder
                else "the server does not tell this user where it is",
                "on the machine of the server: customers erase --check … --data-dir DIR",
            )
            return
        limits = _written_down(connection)
        relations = dict(connection.execute(_RELATIONS).fetchall())
        search_data_directory(self._report, self._needles, folder, relations, by_scrub, advance)
        self._report.searched[-1].limits.extend(limits)

    def _jetstream_directory(self) -> None:
        folder = self._wanted.jetstream_dir
        if folder is None and self._is_dev():
            folder = RUN_FILE.parent / "nats"
        if folder is None:
            self._skip(
                "JetStream files",
                "NATS does not say where they are",
                "on its machine: customers erase --check … --jetstream-dir DIR",
            )
            return
        search_jetstream_directory(
            self._report,
            self._needles,
            folder,
            "when the relay has deleted the messages and NATS has written over them",
            self._counted("jetstream-dir"),
        )

    def _is_dev(self) -> bool:
        running = find_running()
        ours = None if running is None else urlsplit(running.nats_url)
        return ours is not None and ours == urlsplit(self._settings.nats_url)

    def _skip(self, place: str, reason: str, try_next: str) -> None:
        self._report.unsearched.append(Unsearched(place=place, reason=reason, try_next=try_next))

    def _counted(self, place: str) -> Callable[[int], None]:
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            self._tell(f"{place}: {in_bytes(done)}")

        self._tell(place)
        return advance


def read_values(values: Iterable[str], file_text: str) -> tuple[str, ...]:
    """The values of the command line and of a file, one a line."""
    lines = [line.strip() for line in file_text.splitlines()]
    found = tuple(filter(None, [*values, *lines]))
    if not found:
        raise Failure("There is no value to look for.", "customers erase --check VALUE, or a file")
    return found


def _by_scrub(state: ScrubState) -> str:
    if state.is_due:
        return "with the scrub that is overdue, unless a row is live: customers scrub"
    return f"with the next scrub, due {state.due_at:%Y-%m-%d %H:%M} UTC, unless a row is live"


def _days(settings: Settings) -> str:
    return f"{settings.backup_days} days (CUSTOMERS_BACKUP_DAYS)"


def _postgres_programs(settings: Settings) -> Path | None:
    try:
        return find_postgres(settings.pg_bin)
    except Failure:
        return None


def _is_of(folder: Path, connection: Connection[TupleRow]) -> bool:
    """Whether it is the data directory of the server that is connected: every one has a number."""
    try:
        with (folder / "global" / "pg_control").open("rb") as file:
            (number,) = struct.unpack("=Q", file.read(8))
    except (OSError, struct.error):
        return False
    row = connection.execute(_SYSTEM).fetchone()
    return row is not None and int(row[0]) % 2**64 == number


def _written_down(connection: Connection[TupleRow]) -> list[str]:
    """Have the server write down what it has only in memory; what may hide from us all the same."""
    limits: list[str] = []
    if wal_rights(connection).checkpoint:
        connection.execute("CHECKPOINT")
    else:
        limits.append(
            "what is only in the memory of the server is not seen: this user may not CHECKPOINT"
        )
    row = connection.execute("SHOW wal_compression").fetchone()
    if row is not None and row[0] != "off":
        limits.append("wal_compression is on: page images in the write-ahead log are not seen")
    return limits
