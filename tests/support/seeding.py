"""Many customers at once, put straight into the read model."""

from typing import Final

from psycopg import Connection, sql
from psycopg.rows import TupleRow

_STRETCH_SIZE: Final = """
CREATE OR REPLACE FUNCTION edition_1.stretch_size() RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$SELECT {}::bigint$$
"""

_SEED = r"""
INSERT INTO edition_1.customers (
    workspace_id, customer_id, version, position, born, created_at, updated_at, document,
    search_text, tag_keys, tag_spellings, external_id, email_key, phone, email_sort_key,
    last_name_key, company_name_key)
SELECT workspace, id, 1, n, n, moment, moment, convert_to(format('{"id":"%%s"}', id), 'UTF8'),
       format(E'\n 1555%%1$s\t\n jane%%1$s\n doe\n jane%%1$s doe\n c%%1$s@example.com\n', n)
       || CASE WHEN n %% 10 = 0 THEN E' tenth\n' ELSE '' END,
       ARRAY[workspace || '/' || tag], ARRAY[tag], 'cust-' || n, format('c%%s@example.com', n),
       '+1555' || n, format('c%%s@example.com', n),
       CASE WHEN n %% 10 > 0 THEN format('doe %%s', n %% 1000 * 919 %% 1000) END,
       CASE WHEN n %% 2 > 0 THEN 'acme corp' END
  FROM (SELECT %(workspace)s AS workspace, n, gen_random_uuid() AS id,
               now() + n * interval '1 second' AS moment,
               CASE WHEN n %% 1000 = 0 THEN 'rare' ELSE 'common' END AS tag
          FROM generate_series(1, %(customers)s) AS n) AS made
"""

_COUNT = """
INSERT INTO edition_1.counts
SELECT workspace_id, '', '', count(*) FROM edition_1.customers
 WHERE workspace_id = %(workspace)s GROUP BY 1
UNION ALL
SELECT workspace_id, tag_keys[1], tag_spellings[1], count(*) FROM edition_1.customers
 WHERE workspace_id = %(workspace)s GROUP BY 1, 2, 3
"""


def set_stretch_size(owner: Connection[TupleRow], customers: int) -> None:
    """Let so many customers fill a stretch, so that a few stand in several."""
    owner.execute(sql.SQL(_STRETCH_SIZE).format(customers))


def seed_customers(owner: Connection[TupleRow], workspace: str, customers: int) -> None:
    """Customers `jane1 doe`, `jane2 doe`, … of a workspace without any, the last one newest.

    One in ten is found by `tenth` too. One in a thousand has the tag `rare`, the others have
    `common`. There are a thousand last names to sort by; one in ten has none, and one in two no
    company.
    """
    values = {"workspace": workspace, "customers": customers}
    owner.execute(_SEED, values)
    owner.execute(_COUNT, values)
    owner.execute("TRUNCATE edition_1.stretches; SELECT edition_1.count_stretches()")


_SEED_EVENTS = """
INSERT INTO log.events
SELECT 1, n, (%(workspaces)s::text[])[1 + (n - 1) %% %(count)s], 1 + (n - 1) / %(count)s,
       gen_random_uuid(), 1, gen_random_uuid(), gen_random_uuid(), 'CustomerCreated', 1,
       gen_random_uuid(), convert_to(repeat('x', 600), 'UTF8'), '{}', now(),
       sha256(int8send(n)), sha256(int8send(-n))
  FROM generate_series(%(first)s::int8, %(last)s::int8) AS n
"""
_SEED_STEP = 1_000_000


def seed_events(
    owner: Connection[TupleRow], each: int, *, workspaces: tuple[str, ...] = ("acme",)
) -> None:
    """So many events of each of these workspaces, in turns, that nobody can open."""
    total = each * len(workspaces)
    for first in range(1, total + 1, _SEED_STEP):
        values = {
            "workspaces": list(workspaces),
            "count": len(workspaces),
            "first": first,
            "last": min(first + _SEED_STEP - 1, total),
        }
        owner.execute(_SEED_EVENTS, values)
