"""Applies the numbered .sql files, each once, each in a transaction of its own.

Files are never edited after release: the checksum of an applied file must still match.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct
from psycopg import Connection, sql
from psycopg.rows import TupleRow

# Any constant of ours: two `customers migrate` at once take turns.
_LOCK = 7_305_410_118

_TABLE = """
CREATE TABLE IF NOT EXISTS public.customers_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database cannot be brought to this version; the message says why and what to do."""


class Migration(Struct, frozen=True, kw_only=True):
    """One .sql file, named `<package>/<file stem>`."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def find_migrations(folders: Iterable[Path]) -> list[Migration]:
    """The migrations of the given `migrations` folders: folder by folder, numbered within each."""
    return [
        Migration(name=f"{folder.parent.name}/{file.stem}", text=file.read_text(encoding="utf-8"))
        for folder in folders
        for file in sorted(folder.glob("[0-9]*.sql"))
    ]


def pending_migrations(
    connection: Connection[TupleRow], migrations: Iterable[Migration]
) -> list[Migration]:
    """Those not applied yet; raises MigrationError when an applied file was edited since."""
    connection.execute(_TABLE)
    rows = connection.execute("SELECT name, checksum FROM public.customers_migrations").fetchall()
    applied: dict[str, str] = {str(name): str(checksum) for name, checksum in rows}
    pending: list[Migration] = []
    for migration in migrations:
        checksum = applied.get(migration.name)
        if checksum is None:
            pending.append(migration)
        elif checksum != migration.checksum:
            raise MigrationError(
                f"The migration {migration.name} was edited after it was applied here. "
                "Restore the released file and put the change into a new, higher-numbered one."
            )
    return pending


def apply_migrations(
    connection: Connection[TupleRow], migrations: Iterable[Migration]
) -> list[str]:
    """Apply what is pending, in order; the names of what was applied."""
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        applied: list[str] = []
        for migration in pending_migrations(connection, migrations):
            with connection.transaction():
                connection.execute(sql.SQL(migration.text))  # pyright: ignore[reportArgumentType] - a file of ours, not user input
                connection.execute(
                    "INSERT INTO public.customers_migrations (name, checksum) VALUES (%s, %s)",
                    [migration.name, migration.checksum],
                )
            applied.append(migration.name)
        return applied
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
