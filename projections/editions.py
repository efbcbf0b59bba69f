"""Editions, the builds of the read model: each a schema `edition_<n>` made from one template."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from psycopg import Connection, sql
from psycopg.rows import TupleRow

_FOLDER: Final = Path(__file__).parent
_TABLES: Final = (_FOLDER / "edition.sql",)
_FUNCTIONS: Final = (
    _FOLDER / "edition_functions.sql",
    _FOLDER / "edition_reads.sql",
    _FOLDER / "edition_pages.sql",
    _FOLDER / "edition_list.sql",
)
_PLACEHOLDER: Final = "edition_0"

_OTHER_TABLES: Final = """\
projections/edition_{edition} has the tables of another version and keeps its functions: \
`customers rebuild` builds one of this version and switches to it"""

LOCK: Final = "SELECT pg_advisory_xact_lock(7305410119)"
"""Who makes editions or their functions takes turns; held to the end of the transaction."""

REGISTER: Final = """
INSERT INTO projections.editions (edition, tables_checksum, functions_checksum)
VALUES (%s, %s, %s)
"""
"""From now on the edition is projected and erased like the live one."""

_DROP_FUNCTIONS: Final = """
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'edition_0'::regnamespace LOOP
        EXECUTE 'DROP FUNCTION ' || f;
    END LOOP;
END $$;
"""


def prepare_editions(connection: Connection[TupleRow]) -> list[str]:
    """Make edition 1 when there is none, bring the functions of all up to date; what was done.

    An edition with the tables of another version keeps the functions that were made for them, and
    serves on until a rebuilt one is live. Belongs behind every run of the migrations.
    """
    with connection.transaction():
        connection.execute(LOCK)
        rows = connection.execute(
            "SELECT edition, tables_checksum, functions_checksum FROM projections.editions"
            " ORDER BY edition"
        ).fetchall()
        if not rows:
            create_edition(connection, 1)
            connection.execute("UPDATE projections.editions SET live = true WHERE edition = 1")
            return ["projections/edition_1"]
        done: list[str] = []
        for edition, tables, functions in rows:
            if tables != tables_checksum():
                done.append(_OTHER_TABLES.format(edition=edition))
            elif functions != functions_checksum():
                _replace_functions(connection, edition)
                done.append(f"projections/edition_{edition} functions")
        return done


def create_edition(connection: Connection[TupleRow], edition: int) -> None:
    """Make an empty edition that is not live; needs the owner's rights."""
    connection.execute(tables_of(edition))
    connection.execute(functions_of(edition))
    connection.execute(REGISTER, [edition, tables_checksum(), functions_checksum()])


def tables_of(edition: int) -> sql.SQL:
    """What makes the schema and the tables of an edition."""
    return _text(_read(_TABLES), edition)


def functions_of(edition: int) -> sql.SQL:
    """What makes the functions of an edition, in place of those it may have."""
    return _text(_DROP_FUNCTIONS + _read(_FUNCTIONS), edition)


def tables_checksum() -> str:
    """Tells the tables of this version from those of another."""
    return _checksum(_TABLES)


def functions_checksum() -> str:
    """Tells the functions of this version from those of another."""
    return _checksum(_FUNCTIONS)


def _replace_functions(connection: Connection[TupleRow], edition: int) -> None:
    connection.execute(functions_of(edition))
    connection.execute(
        "UPDATE projections.editions SET functions_checksum = %s WHERE edition = %s",
        [functions_checksum(), edition],
    )


def _text(template: str, edition: int) -> sql.SQL:
    text = template.replace(_PLACEHOLDER, f"edition_{edition:d}")
    return sql.SQL(text)  # pyright: ignore[reportArgumentType] - files of ours and a number


def _read(files: Sequence[Path]) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _checksum(files: Sequence[Path]) -> str:
    return hashlib.sha256(_read(files).encode()).hexdigest()
