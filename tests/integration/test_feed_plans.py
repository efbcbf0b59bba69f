"""A page of the feed costs the same wherever it begins, however many events there are."""

from collections.abc import Generator
from typing import Final

import psycopg
import pytest

from tests.support.databases import Databases
from tests.support.plans import Explained, Plan, assert_no_scan, indexes, kinds, rows_read
from tests.support.seeding import seed_events

OWN: Final = 20_000
INDEX: Final = "events_workspace_id_log_id_workspace_sequence_key"
PLACES: Final = [0, 1, OWN // 2, OWN - 100, OWN - 1]


@pytest.fixture(scope="module", params=["with statistics", "planned while the log was empty"])
def explained(databases: Databases, request: pytest.FixtureRequest) -> Generator[Explained]:
    """A log of four workspaces that wrote in turns."""
    url = databases.take()
    with psycopg.connect(url, autocommit=True) as connection:
        found = Explained(connection)
        for _ in range(10):
            read(found, 0)
        seed_events(connection, OWN, workspaces=("acme", "b", "c", "d"))
        if request.param == "with statistics":
            connection.execute("VACUUM ANALYZE")
        yield found
    databases.drop(url)


def read(explained: Explained, after: int, limit: int = 100) -> tuple[int, list[Plan]]:
    """How many rows a page has, and the nodes of its plans."""
    query = "SELECT * FROM log.read_feed('acme', 1, %s, %s, 4000000)"
    rows, nodes = explained.ask(query, [after, limit])
    return len(rows), nodes


@pytest.mark.parametrize("after", PLACES)
@pytest.mark.parametrize("limit", [1, 100, 500])
def test_a_page_is_a_walk_along_the_workspaces_own_index(
    explained: Explained, after: int, limit: int
) -> None:
    rows, nodes = read(explained, after, limit)
    own = 1 if after else 0
    assert rows == own + min(limit, OWN - after)
    assert INDEX in indexes(nodes)
    assert rows_read(nodes) <= limit + 2
    assert not kinds(nodes) & {"Sort", "Incremental Sort", "Hash Join", "Merge Join"}
    assert_no_scan(nodes)


def test_where_workspaces_end_is_one_look_into_the_index_for_each(explained: Explained) -> None:
    query = "SELECT * FROM log.read_ends(%s::text[], 1)"
    names = ["acme", "b", "nobody", "d"]
    rows, nodes = explained.ask(query, [names])
    assert [(row[0], row[2]) for row in rows] == [
        (name, None if name == "nobody" else OWN) for name in names
    ]
    assert INDEX in indexes(nodes)
    assert rows_read(nodes) <= len(names)
    assert_no_scan(nodes)
