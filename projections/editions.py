"""Editions, the builds of the read model: each a schema `edition_<n>` made from one template."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from runtime.migrate import MigrationError

_FOLDER: Final = Path(__file__).parent
_TABLES: Final = (_FOLDER / "edition.sql",)
_FUNCTIONS: Final = (
    _FOLDER / "edition_functions.sql",
    _FOLDER / "edition_reads.sql",
    _FOLDER / "edition_list.sql",
)
_PLACEHOLDER: Final = "edition_0"

_OTHER_TABLES: Final = """\
Edition {edition} of the read model has the tables of another version. It comes back from the log:
drop the schema edition_{edition}, delete its row in projections.editions, `customers migrate`."""

# Any constant of ours: two `customers migrate` at once take turns.
_LOCK: Final = 7_305_410_119

_DROP_FUNCTIONS: Final = """
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'edition_0'::regnamespace LOOP
        EXECUTE 'DROP FUNCTION ' || f;
    END LOOP;
END $$
"""


def prepare_editions(connection: Connection[TupleRow]) -> list[str]:
    """Make edition 1 when there is none, bring the functions of all up to date; what was done.

    Tables are never changed; raises MigrationError for an edition with those of another version.
    Belongs behind every run of the migrations.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        rows = connection.execute(
            "SELECT edition, tables_checksum, functions_checksum FROM projections.editions"
        ).fetchall()
        for edition, tables, _ in rows:
            if tables != _checksum(_TABLES):
                raise MigrationError(_OTHER_TABLES.format(edition=edition))
        known = {int(edition): str(checksum) for edition, _, checksum in rows}
        if not known:
            create_edition(connection, 1)
            connection.execute("UPDATE projections.editions SET live = true WHERE edition = 1")
            return ["projections/edition_1"]
        outdated = [edition for edition in sorted(known) if known[edition] != _checksum(_FUNCTIONS)]
        for edition in outdated:
            _replace_functions(connection, edition)
        return [f"projections/edition_{edition} functions" for edition in outdated]


def create_edition(connection: Connection[TupleRow], edition: int) -> None:
    """Make an empty edition that is not live; needs the owner's rights."""
    _run(connection, _read(_TABLES), edition)
    _run(connection, _read(_FUNCTIONS), edition)
    connection.execute(
        """
        INSERT INTO projections.editions (edition, tables_checksum, functions_checksum)
        VALUES (%s, %s, %s)
        """,
        [edition, _checksum(_TABLES), _checksum(_FUNCTIONS)],
    )


def _replace_functions(connection: Connection[TupleRow], edition: int) -> None:
    _run(connection, _DROP_FUNCTIONS, edition)
    _run(connection, _read(_FUNCTIONS), edition)
    connection.execute(
        "UPDATE projections.editions SET functions_checksum = %s WHERE edition = %s",
        [_checksum(_FUNCTIONS), edition],
    )


def _run(connection: Connection[TupleRow], template: str, edition: int) -> None:
    text = template.replace(_PLACEHOLDER, f"edition_{edition:d}")
    connection.execute(sql.SQL(text))  # pyright: ignore[reportArgumentType] - files of ours and a number


def _read(files: Sequence[Path]) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _checksum(files: Sequence[Path]) -> str:
    return hashlib.sha256(_read(files).encode()).hexdigest()
