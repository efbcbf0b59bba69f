"""Compares the live edition with one that was just built, as both were at one position.

What differs is counted, and the first few are named by workspace, customer id and position:
nothing of what a customer holds is told.
"""

import asyncio
from typing import Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from projections.checkpoint import open_checkpoint, schema_of
from projections.switching import follow
from runtime.failure import Failure

_NAMED: Final = 5
_POLL_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 60.0

# The first query of the transaction takes the snapshot in which all others read.
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SNAPSHOT: Final = sql.SQL("SET LOCAL work_mem = '128MB'; SELECT FROM {live}.checkpoints")

_CUSTOMERS: Final = sql.SQL("""
WITH differing AS MATERIALIZED (
    SELECT coalesce(b.workspace_id, l.workspace_id) AS workspace_id, customer_id,
           coalesce(b.position, l.position) AS position,
           CASE WHEN l.workspace_id IS NULL THEN ARRAY['missing']
                WHEN b.workspace_id IS NULL THEN ARRAY['extra']
                ELSE array_remove(ARRAY[
                    CASE WHEN l.document <> b.document THEN 'document' END,
                    CASE WHEN l.search_text <> b.search_text THEN 'search text' END,
                    CASE WHEN (l.tag_keys, l.tag_spellings) <> (b.tag_keys, b.tag_spellings)
                         THEN 'tags' END,
                    CASE WHEN (l.workspace_id, l.version, l.position, l.born, l.created_at,
                               l.updated_at, l.external_id, l.email_key, l.phone, l.email_sort_key,
                               l.last_name_key, l.company_name_key)
                              IS DISTINCT FROM
                              (b.workspace_id, b.version, b.position, b.born, b.created_at,
                               b.updated_at, b.external_id, b.email_key, b.phone, b.email_sort_key,
                               b.last_name_key, b.company_name_key)
                         THEN 'keys and times' END], NULL) END AS kinds
      FROM {live}.customers l FULL JOIN {built}.customers b USING (customer_id)
     WHERE ROW(l.*) IS DISTINCT FROM ROW(b.*)
       AND coalesce(l.customer_id, b.customer_id) NOT IN (
            SELECT p.customer_id FROM {live}.parked p
             UNION ALL SELECT p.customer_id FROM {built}.parked p)
)
SELECT kind, d.workspace_id, d.customer_id, d.position
  FROM differing d, unnest(d.kinds) AS kind
""")

_UNBUILT: Final = sql.SQL("""
SELECT 'unreadable by now', b.workspace_id, b.customer_id, b.position FROM {built}.parked b
 WHERE NOT EXISTS (SELECT FROM {live}.parked p WHERE p.customer_id = b.customer_id)
""")

_PARKED: Final = sql.SQL("""
SELECT 'parked', p.workspace_id, p.customer_id, p.position FROM {live}.parked p
""")

_COUNTERS: Final = sql.SQL("""
SELECT 'counter', workspace_id, NULL::uuid, NULL::bigint
  FROM (SELECT c.workspace_id, '' AS tag_key, '' AS spelling, count(*) AS customers
          FROM {live}.customers c GROUP BY 1
         UNION ALL
        SELECT c.workspace_id, t.tag_key, t.spelling, count(*)
          FROM {live}.customers c, unnest(c.tag_keys, c.tag_spellings) AS t (tag_key, spelling)
         GROUP BY 1, 2, 3) r
  FULL JOIN {live}.counts k USING (workspace_id, tag_key, spelling)
 WHERE r.customers IS DISTINCT FROM k.customers
UNION ALL
SELECT 'counter', workspace_id, NULL, NULL
  FROM (SELECT s.*, coalesce(lead(s.created_at) OVER places, 'infinity') AS next_created_at,
               coalesce(lead(s.customer_id) OVER places, s.customer_id) AS next_customer_id
          FROM {live}.stretches s
        WINDOW places AS (PARTITION BY s.workspace_id ORDER BY s.created_at, s.customer_id)) s
 WHERE s.customers <> (SELECT count(*) FROM {live}.customers c
         WHERE c.workspace_id = s.workspace_id
           AND (c.created_at, c.customer_id) >= (s.created_at, s.customer_id)
           AND (c.created_at, c.customer_id) < (s.next_created_at, s.next_customer_id))
""")

_SUM_UP: Final = sql.SQL("""
SELECT kind, count(*), (array_agg(ARRAY[workspace_id, customer_id::text, position::text]
                                  ORDER BY position, customer_id))[1:{named}]
  FROM ({found}) AS found (kind, workspace_id, customer_id, position)
 GROUP BY kind ORDER BY kind
""")


class Named(Struct, frozen=True, kw_only=True):
    """A customer that differs; of a counter only the workspace is told."""

    workspace_id: str
    customer_id: UUID | None
    position: int | None


class Difference(Struct, frozen=True, kw_only=True):
    """One way in which two editions differ: how often, and the first few."""

    kind: str
    count: int
    first: list[Named]


class Comparison(Struct, frozen=True, kw_only=True):
    """What is wrong with the live edition at a position; nothing, when `differences` is empty."""

    edition: int
    position: int
    customers: int
    differences: list[Difference]
    parked: int
    """Customers that the live edition shows as they were, and says so: not compared."""


async def compare(
    connection: AsyncConnection[TupleRow],
    follower: AsyncConnection[TupleRow],
    keyring: Keyring,
    live: int,
    built: int,
    log_id: int,
) -> Comparison:
    """Compare two editions at the same position; `follower` is a second connection.

    Raises ForeignReadModel, and Failure when nobody projects the live edition.
    """
    names = {"live": schema_of(live), "built": schema_of(built)}
    position = await _meet(connection, follower, keyring, live, built, log_id)
    try:
        query = sql.SQL("SELECT count(*) FROM {live}.customers").format(**names)
        cursor = await follower.execute(query)
        row = await cursor.fetchone()
        found = [
            difference
            for query in (_CUSTOMERS, _UNBUILT, _COUNTERS)
            for difference in await _sum_up(follower, query.format(**names))
        ]
        parked = await _sum_up(follower, _PARKED.format(**names))
    finally:
        await follower.rollback()
    return Comparison(
        edition=live,
        position=position,
        customers=0 if row is None else row[0],
        differences=found,
        parked=sum(one.count for one in parked),
    )


async def _meet(
    connection: AsyncConnection[TupleRow],
    follower: AsyncConnection[TupleRow],
    keyring: Keyring,
    live: int,
    built: int,
    log_id: int,
) -> Position:
    """Begin a transaction of `follower` that sees both at one position, which is answered."""
    now = asyncio.get_running_loop().time
    deadline = now() + _PATIENCE_SECONDS
    while now() < deadline:
        async with connection.transaction():
            # The live one stands still as long as this lasts, which is milliseconds.
            reached = (await open_checkpoint(connection, live, log_id)).position
            if await follow(follower, keyring, built, log_id, until=reached) == reached:
                await follower.execute(_BEGIN)
                await follower.execute(_SNAPSHOT.format(live=schema_of(live)), prepare=False)
                return reached
        # The new one is ahead by what came while it was built.
        await asyncio.sleep(_POLL_SECONDS)
    raise Failure(
        f"Edition {live} stands still behind the log, so there is nothing to compare with.",
        "customers status",
    )


async def _sum_up(connection: AsyncConnection[TupleRow], found: sql.Composed) -> list[Difference]:
    query = _SUM_UP.format(found=found, named=sql.Literal(_NAMED))
    cursor = await connection.execute(query)
    return [
        Difference(
            kind=kind,
            count=count,
            first=[
                Named(
                    workspace_id=workspace_id,
                    customer_id=None if customer_id is None else UUID(customer_id),
                    position=None if position is None else int(position),
                )
                for workspace_id, customer_id, position in first
            ],
        )
        for kind, count, first in await cursor.fetchall()
    ]
