"""What the database knows of editions that are being built: how far, and what for."""

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, args_row

from events.envelope import Position
from projections.checkpoint import schema_of
from projections.editions import LOCK, functions_of, tables_checksum, tables_of
from projections.filling import Range

Purpose = Literal["switch", "verify", "drop"]
Stage = Literal["reading", "indexing", "catching up", "switching"]

_FIND: Final = """
SELECT r.edition, r.log_id, r.purpose, r.stage, r.until_position, r.indexes, r.is_cancelled,
       r.begun_at,
       -- Whether this version of ours can go on with it: same tables, and the log is as it was.
       r.tables_checksum = %s AND r.until_chain IS NOT DISTINCT FROM (
            SELECT e.chain FROM log.events e
             WHERE e.log_id = r.log_id AND e.position = r.until_position),
       (SELECT coalesce(sum(x.last_position - x.first_position + 1), 0)::int8
          FROM projections.rebuild_ranges x WHERE x.edition = r.edition)
  FROM projections.rebuilds r ORDER BY r.edition
"""

_EDITIONS: Final = """
SELECT e.edition, e.live, e.made_at, e.tables_checksum = %(checksum)s,
       (SELECT k.position FROM projections.checkpoints k
         WHERE k.edition = e.edition AND k.log_id = %(log)s),
       (SELECT k.parked FROM projections.checkpoints k
         WHERE k.edition = e.edition AND k.log_id = %(log)s),
       (SELECT sum(pg_total_relation_size(c.oid))::int8 FROM pg_class c
         WHERE c.relnamespace = e.schema_name::regnamespace AND c.relkind = 'r')
  FROM projections.editions e ORDER BY e.edition
"""
_NEW_NUMBER: Final = """
SELECT greatest(nextval('projections.edition_numbers'), (SELECT max(edition) + 1
                                                           FROM projections.editions))::int4
"""

# Empty and unread, the table of customers loses its indexes, and keeps the words that make them.
_TAKE_INDEXES: Final = """
SELECT array_agg(pg_get_indexdef(i.indexrelid) ORDER BY a.amname = 'gin' DESC, i.indisprimary,
                 i.indexrelid DESC)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
 WHERE i.indrelid = %s::regclass
"""
_DROP_INDEXES: Final = """
DO $$
DECLARE
    i record;
BEGIN
    ALTER TABLE edition_0.customers DROP CONSTRAINT customers_pkey;
    FOR i IN SELECT indexrelid::regclass AS name FROM pg_index
              WHERE indrelid = 'edition_0.customers'::regclass LOOP
        EXECUTE 'DROP INDEX ' || i.name;
    END LOOP;
END $$
"""

_INSERT: Final = """
INSERT INTO projections.rebuilds
       (edition, log_id, purpose, until_position, until_chain, tables_checksum, indexes)
SELECT %(edition)s, %(log)s, %(purpose)s, coalesce(e.position, 0), e.chain, %(checksum)s,
       %(indexes)s
  FROM (VALUES (1)) AS one (row)
  LEFT JOIN LATERAL (SELECT position, chain FROM log.events WHERE log_id = %(log)s
                      ORDER BY position DESC LIMIT 1) e ON true
"""

_GAPS: Final = """
SELECT x.first_position, x.last_position FROM projections.rebuild_ranges x
 WHERE x.edition = %s ORDER BY 1
"""


class Edition(Struct, frozen=True):
    """A complete edition, and how far it has come."""

    edition: int
    live: bool
    made_at: datetime
    is_current: bool
    """Whether it has the tables of this version."""
    position: int | None
    parked: int | None
    bytes: int


class Rebuild(Struct, frozen=True):
    """An edition that is not complete."""

    edition: int
    log_id: int
    purpose: Purpose
    stage: Stage
    until_position: Position
    indexes: list[str]
    is_cancelled: bool
    begun_at: datetime
    can_go_on: bool
    """Whether it has the tables of this version and is made of this history."""
    read: int
    """How many of the positions up to `until_position` are filled in."""


async def list_editions(connection: AsyncConnection[TupleRow], log_id: int) -> list[Edition]:
    """The complete editions, the oldest first."""
    async with connection.cursor(row_factory=args_row(Edition)) as cursor:
        await cursor.execute(_EDITIONS, {"checksum": tables_checksum(), "log": log_id})
        return await cursor.fetchall()


async def find_rebuilds(connection: AsyncConnection[TupleRow]) -> list[Rebuild]:
    """All editions that are being built, wait to be built on, or wait to be dropped."""
    async with connection.cursor(row_factory=args_row(Rebuild)) as cursor:
        await cursor.execute(_FIND, [tables_checksum()])
        return await cursor.fetchall()


async def begin_rebuild(
    connection: AsyncConnection[TupleRow], log_id: int, purpose: Purpose
) -> Rebuild:
    """Make the tables of a new edition, to be filled with the log as far as it is now."""
    async with connection.transaction():
        await connection.execute(LOCK)
        (edition,) = await _one(connection, _NEW_NUMBER)
        await connection.execute(tables_of(edition), prepare=False)
        (indexes,) = await _one(connection, _TAKE_INDEXES, f"edition_{edition}.customers")
        await connection.execute(
            sql.SQL(_DROP_INDEXES.replace("edition_0", f"edition_{edition:d}"))  # pyright: ignore[reportArgumentType] - a text of ours and a number
        )
        # From the first row on it can forget who is erased.
        await connection.execute(functions_of(edition), prepare=False)
        values = {
            "edition": edition,
            "log": log_id,
            "purpose": purpose,
            "checksum": tables_checksum(),
            "indexes": indexes,
        }
        await connection.execute(_INSERT, values)
    return next(one for one in await find_rebuilds(connection) if one.edition == edition)


async def note_stage(connection: AsyncConnection[TupleRow], edition: int, stage: Stage) -> None:
    """From here a rebuild goes on when it was interrupted."""
    query = "UPDATE projections.rebuilds SET stage = %s WHERE edition = %s"
    await connection.execute(query, [stage, edition])


async def missing_ranges(
    connection: AsyncConnection[TupleRow], rebuild: Rebuild, events: int
) -> list[Range]:
    """What is still to be filled in, in ranges of so many events."""
    cursor = await connection.execute(_GAPS, [rebuild.edition])
    done = [*await cursor.fetchall(), (rebuild.until_position + 1, rebuild.until_position)]
    behind = [1, *(last + 1 for _, last in done)]
    return [
        Range(
            edition=rebuild.edition,
            log_id=rebuild.log_id,
            first=Position(start),
            last=Position(min(start + events, first) - 1),
            until=rebuild.until_position,
        )
        for gap, (first, _) in zip(behind, done, strict=False)
        for start in range(gap, first, events)
    ]


_LOCK_REBUILD: Final = "SELECT FROM projections.rebuilds WHERE edition = %s FOR NO KEY UPDATE"
# Those of an interrupted rebuild, if any.
_FORGET_COUNTS: Final = sql.SQL("TRUNCATE {edition}.counts, {edition}.stretches")
_COUNT: Final = sql.SQL("""
INSERT INTO {edition}.counts (workspace_id, tag_key, spelling, customers)
SELECT c.workspace_id, '', '', count(*) FROM {edition}.customers c GROUP BY 1
UNION ALL
SELECT c.workspace_id, t.tag_key, t.spelling, count(*)
  FROM {edition}.customers c, unnest(c.tag_keys, c.tag_spellings) AS t (tag_key, spelling)
 GROUP BY 1, 2, 3
""")
_COUNT_STRETCHES: Final = sql.SQL("SELECT {edition}.count_stretches()")
_PRIMARY_KEY: Final = sql.SQL("""
ALTER TABLE {edition}.customers
  ADD CONSTRAINT customers_pkey PRIMARY KEY USING INDEX customers_pkey
""")
_BEGIN_CHECKPOINT: Final = sql.SQL("""
INSERT INTO {edition}.checkpoints (log_id, generation, position, chain)
SELECT e.log_id, log.current_generation(e.log_id), e.position, substring(e.chain FOR 8)
  FROM log.events e WHERE e.log_id = %s AND e.position = %s
""")


async def count_customers(connection: AsyncConnection[TupleRow], rebuild: Rebuild) -> None:
    """Count the customers that were filled in."""
    edition = schema_of(rebuild.edition)
    async with connection.transaction():
        # While this row is locked, nobody who is erased is taken out of what we count.
        await connection.execute(_LOCK_REBUILD, [rebuild.edition])
        await connection.execute(_FORGET_COUNTS.format(edition=edition))
        await connection.execute(_COUNT.format(edition=edition))
        await connection.execute(_COUNT_STRETCHES.format(edition=edition))


async def mark_as_built(connection: AsyncConnection[TupleRow], rebuild: Rebuild) -> None:
    """Say how far the edition has come with the customers that were filled in and counted."""
    edition = schema_of(rebuild.edition)
    async with connection.transaction():
        await note_stage(connection, rebuild.edition, "catching up")
        await connection.execute(_PRIMARY_KEY.format(edition=edition))
        values = [rebuild.log_id, rebuild.until_position]
        await connection.execute(_BEGIN_CHECKPOINT.format(edition=edition), values)


async def _one(connection: AsyncConnection[TupleRow], query: str, *parameters: object) -> TupleRow:
    cursor = await connection.execute(query.encode(), parameters)
    row = await cursor.fetchone()
    assert row is not None, "a query that always has a row"  # noqa: S101 - a type guard
    return row
