"""The past costs the same however long it is: a walk along an index, or halving along one."""

from collections.abc import Generator
from typing import Final

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.support.plans import Explained, Plan, assert_no_scan, indexes, kinds, rows_read
from tests.support.seeding import seed_events
from tests.support.servers import Servers

OWN: Final = 5_000
LONG: Final = "00000000-0000-7000-8000-000000000001"
LONG_VERSIONS: Final = 2_000
CREATIONS: Final = "events_creations"
OF_STREAM: Final = "events_stream_id_stream_version_key"
OF_WORKSPACE: Final = "events_workspace_id_log_id_workspace_sequence_key"

# One customer with many events behind those of all others, half a second between two, up to now.
_SEED_LONG: Final = """
INSERT INTO log.events
SELECT 1, %(total)s + n, 'acme', %(own)s + n, %(stream)s, n, gen_random_uuid(), gen_random_uuid(),
       CASE n WHEN 1 THEN 'CustomerCreated' ELSE 'CustomerUpdated' END, 1, gen_random_uuid(),
       convert_to(repeat('x', 600), 'UTF8'), '{}', made + n * interval '0.5 seconds',
       sha256(int8send(n)), sha256(int8send(-n))
  FROM generate_series(1, %(versions)s) AS n,
       (SELECT recorded_at AS made FROM log.events WHERE position = %(total)s) AS before
"""


@pytest.fixture(scope="module", params=["with statistics", "planned while the log was empty"])
def explained(
    servers: Servers, template: str, request: pytest.FixtureRequest
) -> Generator[Explained]:
    """A log of two workspaces that wrote in turns, and then a customer that changes for hours."""
    name = "test_history_plans"
    identifier = sql.Identifier(name)
    with psycopg.connect(servers.database_url, autocommit=True) as owner:
        owner.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(identifier, sql.Identifier(template))
        )
    url = make_conninfo(servers.database_url, dbname=name)
    with psycopg.connect(url, autocommit=True) as connection:
        found = Explained(connection)
        for _ in range(10):
            history(found, 0, 100)
            list_at(found, OWN, OWN)
        seed_events(connection, OWN, workspaces=("acme", "b"))
        connection.execute(
            _SEED_LONG,
            {"total": 2 * OWN, "own": OWN, "stream": LONG, "versions": LONG_VERSIONS},
        )
        if request.param == "with statistics":
            connection.execute("VACUUM ANALYZE")
        yield found
    with psycopg.connect(servers.database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def history(explained: Explained, after: int, limit: int) -> tuple[int, list[Plan]]:
    """How many events a page has, and the nodes of its plans."""
    query = "SELECT * FROM log.read_history('acme', 1, %s, %s, %s, 4000000)"
    rows, nodes = explained.ask(query, [LONG, after, limit])
    return len(rows), nodes


def list_at(explained: Explained, sequence: int, before: int) -> tuple[int, list[Plan]]:
    """How many rows a page of a list as it was has, and the nodes of its plans."""
    query = "SELECT * FROM log.list_as_of('acme', 1, %s, %s, 100, 500)"
    rows, nodes = explained.ask(query, [sequence, before])
    return len(rows), nodes


@pytest.mark.parametrize("after", [0, 1, LONG_VERSIONS // 2, LONG_VERSIONS - 1])
def test_a_page_of_a_history_is_a_walk_along_the_customers_own_index(
    explained: Explained, after: int
) -> None:
    for limit in (1, 100, 500):
        rows, nodes = history(explained, after, limit)
        assert rows == min(limit, LONG_VERSIONS - after)
        assert indexes(nodes) >= {OF_STREAM}
        assert rows_read(nodes) <= limit
        assert not kinds(nodes) & {"Hash Join", "Merge Join"}
        assert_no_scan(nodes)


def test_a_strangers_question_looks_at_one_event_however_many_there_are(
    explained: Explained,
) -> None:
    for workspace in ("b", "nobody"):
        rows, nodes = explained.ask(
            "SELECT * FROM log.read_history(%s, 1, %s, 0, 500, 4000000)", [workspace, LONG]
        )
        assert rows == []
        assert sum(node.rows + node.filtered for node in nodes if node.index is not None) <= 1


def test_a_moment_and_a_version_are_found_by_halving(explained: Explained) -> None:
    halvings = 16
    # Half a second between two: 500 of the customer's events in the first 250 seconds.
    for seconds, expected in ((-9999, 0), (0, OWN), (250, OWN + 500), (1000, OWN + LONG_VERSIONS)):
        rows, nodes = explained.ask(
            "SELECT f.workspace_sequence FROM log.events e, log.find_moment('acme', 1,"
            " e.recorded_at + make_interval(secs => %s)) f WHERE e.log_id = 1 AND e.position = %s",
            [seconds, 2 * OWN],
        )
        assert rows == [(expected,)]
        looked = [node for node in nodes if node.index == OF_WORKSPACE]
        assert sum(node.rows for node in looked) <= halvings
        assert_no_scan(nodes)
    for sequence, version in ((OWN, None), (OWN + 1, 1), (OWN + 777, 777), (9**9, LONG_VERSIONS)):
        rows, nodes = explained.ask(
            "SELECT stream_version FROM log.read_as_of('acme', 1, %s, NULL, %s)", [LONG, sequence]
        )
        assert rows == [(version,)]
        looked = [node for node in nodes if node.index == OF_STREAM]
        assert sum(node.rows for node in looked) <= halvings
        assert_no_scan(nodes)


@pytest.mark.parametrize("before", [1, OWN // 2, OWN + 2])
def test_a_page_of_the_list_as_it_was_looks_at_no_more_customers_than_it_answers(
    explained: Explained, before: int
) -> None:
    sequence = OWN + LONG_VERSIONS // 2
    rows, nodes = list_at(explained, sequence, before)
    assert rows == (0 if before == 1 else 101), "and where it goes on"
    assert CREATIONS in indexes(nodes)
    looked = [node for node in nodes if node.index is not None]
    assert sum(node.rows * node.loops for node in looked) <= 100 * 6 + 20
    assert_no_scan(nodes)
