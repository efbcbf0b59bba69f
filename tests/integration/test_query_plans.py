"""The hot queries use their indexes, and look at no more rows than they must."""

from collections.abc import Generator
from datetime import datetime
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from query_side.list_query import MATCHES_MAX, NEWEST_FIRST, Filters, ListQuery
from runtime.text import search_patterns
from tests.support.databases import Databases
from tests.support.plans import Explained, Plan, assert_no_scan, indexes, kinds, rows_read
from tests.support.seeding import seed_customers

ACME_CUSTOMERS = 30_000
SAMPLE = 400
"""So many of the newest are looked at to tell how frequent the matches of a search are."""


class Seeded:
    """A big workspace, many small ones, and the plans of what is asked there."""

    def __init__(self, connection: Connection[TupleRow]) -> None:
        self._connection = connection
        self._explained = Explained(connection)

    def customer(self, workspace: str) -> list[Plan]:
        """The nodes of getting some customer."""
        row = self._connection.execute(
            "SELECT customer_id FROM edition_1.customers WHERE workspace_id = %s LIMIT 1",
            [workspace],
        ).fetchone()
        assert row is not None
        return self._ask(
            "SELECT * FROM edition_1.get_customers(%s, ARRAY[%s]::uuid[], 1)", [workspace, *row]
        )

    def strange(self, workspace: str, owner: str | None) -> list[Plan]:
        """The nodes of getting a customer of another workspace, or of none."""
        row = self._connection.execute(
            "SELECT coalesce((SELECT customer_id FROM edition_1.customers"
            " WHERE workspace_id = %s LIMIT 1), gen_random_uuid())",
            [owner],
        ).fetchone()
        assert row is not None
        return self._ask(
            "SELECT * FROM edition_1.get_customers(%s, ARRAY[%s]::uuid[], 1)", [workspace, *row]
        )

    def external(self, workspace: str, external_id: str) -> list[Plan]:
        """The nodes of getting a customer by its external_id."""
        return self._ask(
            "SELECT * FROM edition_1.get_by_external_id(%s, %s, 1)", [workspace, external_id]
        )

    def tags(self, workspace: str) -> list[Plan]:
        """The nodes of listing tags."""
        return self._ask("SELECT * FROM edition_1.list_tags(%s, 1, 0, 20)", [workspace])

    def page(self, workspace: str, query: ListQuery, *ranked: int) -> list[Plan]:
        """The nodes of listing customers, with so many matches ranked instead of ten thousand."""
        return self._list(workspace, query, *ranked)[1]

    def place(self, workspace: str, query: ListQuery) -> tuple[str | None, ...]:
        """Where the page ends."""
        [row], _ = self._list(workspace, query)
        return tuple(row[-1])

    def _list(
        self, workspace: str, query: ListQuery, ranked: int = MATCHES_MAX
    ) -> tuple[list[TupleRow], list[Plan]]:
        text = """
            SELECT * FROM edition_1.list_customers(%s, 1, %s::int8, %s::int4, %s::text[],
                %s::text[], %s::text[], %s::text[], %s::text[], %s, %s, %s, %s, %s, %s, %s)
            """
        return self._explained.ask(text, [workspace, *query.parameters()[:-1], ranked])

    def _ask(self, query: LiteralString, parameters: list[object]) -> list[Plan]:
        return self._explained.ask(query, parameters)[1]


@pytest.fixture(scope="module")
def seeded(databases: Databases) -> Generator[Seeded]:
    """30,000 customers of acme and 100 each of sixty others, in a database of this module's own."""
    url = databases.take()
    with psycopg.connect(url, autocommit=True) as connection:
        seed_customers(connection, "acme", ACME_CUSTOMERS)
        for number in range(60):
            seed_customers(connection, f"small-{number}", 100)
        connection.execute("VACUUM ANALYZE")
        yield Seeded(connection)
    databases.drop(url)


def a_query(
    search: str = "",
    tags: tuple[tuple[str, ...], ...] = (),
    offset: int = 0,
    sort: tuple[str, ...] | None = None,
    **filters: Any,
) -> ListQuery:
    patterns = search_patterns(search)
    by_default = NEWEST_FIRST if patterns is None else ()
    return ListQuery(
        offset=offset,
        limit=20,
        sort=by_default if sort is None else sort,
        filters=Filters(tags_any=tags, search=patterns, **filters),
    )


@pytest.mark.parametrize("workspace", ["acme", "small-7"])
def test_one_customer_is_one_look_into_the_primary_key(seeded: Seeded, workspace: str) -> None:
    nodes = seeded.customer(workspace)
    assert "customers_pkey" in indexes(nodes)
    assert "events_workspace_id_log_id_workspace_sequence_key" in {node.index for node in nodes}
    assert rows_read(nodes) == 1
    assert_no_scan(nodes)


def test_somebody_elses_customer_costs_the_same_looks_as_nobodys(seeded: Seeded) -> None:
    foreign, absent = seeded.strange("acme", "small-7"), seeded.strange("acme", None)
    assert [(node.node, node.index, node.loops) for node in foreign] == [
        (node.node, node.index, node.loops) for node in absent
    ]
    assert "events_stream_id_stream_version_key" in indexes(absent)


@pytest.mark.parametrize("workspace", ["acme", "small-7"])
def test_the_first_page_reads_no_more_than_itself(seeded: Seeded, workspace: str) -> None:
    nodes = seeded.page(workspace, a_query())
    assert indexes(nodes) >= {"customers_newest", "customers_pkey", "counts_pkey"}
    assert rows_read(nodes) <= 20
    assert_no_scan(nodes)


SORT_INDEXES = {
    "created_at": "customers_newest",
    "updated_at": "customers_updated",
    "last_name": "customers_last_name",
    "company_name": "customers_company_name",
    "email": "customers_email",
}


@pytest.mark.parametrize("direction", ["", "-"])
@pytest.mark.parametrize("key", SORT_INDEXES)
def test_a_page_and_the_one_behind_its_cursor_are_read_in_the_order_of_an_index(
    seeded: Seeded, key: str, direction: str
) -> None:
    query = a_query(sort=(direction + key,))
    behind = msgspec.structs.replace(query, after=seeded.place("acme", query))
    for asked in (query, behind):
        nodes = seeded.page("acme", asked)
        assert SORT_INDEXES[key] in indexes(nodes)
        assert rows_read(nodes) <= 25
        assert "Sort" not in kinds(nodes)
        assert_no_scan(nodes)


@pytest.mark.parametrize("sort", ["last_name", "-last_name"])
def test_those_without_a_key_are_read_in_the_order_of_the_index_too(
    seeded: Seeded, sort: str
) -> None:
    query = a_query(sort=(sort,), offset=ACME_CUSTOMERS * 9 // 10 + 50)
    behind = msgspec.structs.replace(query, after=seeded.place("acme", query), offset=0)
    nodes = seeded.page("acme", behind)
    assert behind.after is not None
    assert behind.after[0] is None
    assert "customers_last_name" in indexes(nodes)
    assert rows_read(nodes) <= 25
    assert_no_scan(nodes)


def test_of_several_keys_only_those_alike_in_the_first_are_sorted(seeded: Seeded) -> None:
    nodes = seeded.page("acme", a_query(sort=("-last_name", "email")))
    assert "Incremental Sort" in kinds(nodes)
    assert rows_read(nodes) <= 200
    assert_no_scan(nodes)


@pytest.mark.parametrize(
    ("name", "value", "index"),
    [
        ("email", "C12345@example.com", "customers_email"),
        ("phone", "+155512345", "customers_phone"),
        ("external_id", "cust-12345", "customers_external_id"),
    ],
)
@pytest.mark.parametrize("sort", [NEWEST_FIRST, ("last_name",)])
def test_an_exact_filter_is_one_look_into_its_index(
    seeded: Seeded, name: str, value: str, index: str, sort: tuple[str, ...]
) -> None:
    query = a_query(sort=sort, tags=(("acme/common",),))
    exact = msgspec.structs.replace(query.filters, **{name: value})
    nodes = seeded.page("acme", msgspec.structs.replace(query, filters=exact))
    assert index in indexes(nodes)
    assert rows_read(nodes) == 1
    assert_no_scan(nodes)


@pytest.mark.parametrize("sort", ["last_name", "-last_name", "-email", "updated_at"])
def test_few_are_found_first_and_then_sorted_wherever_in_the_order_they_stand(
    seeded: Seeded, sort: str
) -> None:
    # Nobody with this tag has a last name: along that index all others come first.
    for groups in ((("acme/rare",),), (("acme/rare", "acme/absent"),)):
        nodes = seeded.page("acme", a_query(sort=(sort,), tags=groups))
        assert "customers_tags" in indexes(nodes)
        assert rows_read(nodes) <= 30
        assert_no_scan(nodes)


def test_what_changed_lately_is_found_by_its_index(seeded: Seeded) -> None:
    newest = seeded.place("acme", a_query(sort=("-updated_at",), offset=99))[0]
    since = datetime.fromisoformat(f"{newest}00".replace(" ", "T"))
    nodes = seeded.page("acme", a_query(sort=("updated_at",), updated_after=since))
    assert "customers_updated" in indexes(nodes)
    assert rows_read(nodes) <= 150
    assert_no_scan(nodes)


@pytest.mark.parametrize("workspace", ["acme", "small-7"])
def test_an_external_id_is_one_look_into_its_index(seeded: Seeded, workspace: str) -> None:
    nodes = seeded.external(workspace, "cust-77")
    assert indexes(nodes) >= {"customers_external_id", "customers_pkey"}
    assert rows_read(nodes) == 1
    assert_no_scan(nodes)


def test_an_external_id_that_nobody_holds_is_one_look_as_well(seeded: Seeded) -> None:
    nodes = seeded.external("acme", "absent")
    assert rows_read(nodes) <= 1
    assert_no_scan(nodes)


def test_tags_are_counted_already(seeded: Seeded) -> None:
    nodes = seeded.tags("acme")
    assert "counts_pkey" in indexes(nodes)
    assert rows_read(nodes) <= 3
    assert_no_scan(nodes)


def test_a_deep_page_is_counted_off_in_the_index_alone(seeded: Seeded) -> None:
    nodes = seeded.page("acme", a_query(offset=20_000))
    assert "Index Only Scan" in {node.node for node in nodes if node.index == "customers_newest"}
    # As many as a stretch holds, wherever the page is.
    assert rows_read(nodes) <= 2_020
    assert_no_scan(nodes)


def test_a_rare_tag_is_found_by_its_index(seeded: Seeded) -> None:
    nodes = seeded.page("acme", a_query(tags=(("acme/rare",),)))
    assert "customers_tags" in indexes(nodes)
    assert rows_read(nodes) <= 30
    assert_no_scan(nodes)


def test_a_common_tag_is_found_among_the_newest(seeded: Seeded) -> None:
    nodes = seeded.page("acme", a_query(tags=(("acme/common",),)))
    assert "customers_newest" in indexes(nodes)
    assert rows_read(nodes) <= 25
    assert_no_scan(nodes)


@pytest.mark.parametrize(
    "search", ["jane12345", "JANE12345 doe", "ane12345", "c12345@example", "+1555-12345"]
)
def test_a_search_for_few_is_found_by_trigrams(seeded: Seeded, search: str) -> None:
    nodes = seeded.page("acme", a_query(search))
    assert "customers_search" in indexes(nodes)
    assert rows_read(nodes) <= SAMPLE
    assert_no_scan(nodes)


@pytest.mark.parametrize("search", ["zz", "zz doe", "z"])
def test_a_word_of_one_or_two_characters_is_found_by_trigrams(seeded: Seeded, search: str) -> None:
    nodes = seeded.page("acme", a_query(search))
    assert "customers_search" in indexes(nodes)
    assert rows_read(nodes) <= SAMPLE
    assert_no_scan(nodes)


def test_a_search_for_many_stops_behind_ten_thousand(seeded: Seeded) -> None:
    nodes = seeded.page("acme", a_query("jane"))
    assert rows_read(nodes) <= 10_001
    assert_no_scan(nodes)


def test_of_a_frequent_word_only_the_newest_are_found_by_trigrams(seeded: Seeded) -> None:
    # One in ten matches, and of those five hundred are ranked.
    nodes = seeded.page("acme", a_query("tenth"), 500)
    assert "customers_search" in indexes(nodes)
    assert 500 < rows_read(nodes) < ACME_CUSTOMERS / 20
    assert_no_scan(nodes)


@pytest.mark.parametrize("search", ["jane", "example.com", "jane77", "absent"])
def test_a_search_never_looks_at_the_customers_of_other_workspaces(
    seeded: Seeded, search: str
) -> None:
    nodes = seeded.page("small-7", a_query(search))
    assert rows_read(nodes) <= 100
    assert_no_scan(nodes)
