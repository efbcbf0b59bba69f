"""A search finds the same however frequent its words are, and wherever their customers stand."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from query_side.list_query import Filters, ListQuery
from runtime.text import search_patterns, search_text
from tests.support.seeding import set_stretch_size

CUSTOMERS = 600
RANKED = 100
"""Instead of ten thousand."""

INSERT = """
INSERT INTO edition_1.customers (
    workspace_id, customer_id, version, position, born, created_at, updated_at, document,
    search_text, tag_keys, tag_spellings)
VALUES ('acme', %(id)s, 1, %(born)s, %(born)s, %(created_at)s, %(created_at)s, %(document)s,
        %(text)s, '{}', '{}')
"""
COUNT = """
INSERT INTO edition_1.counts VALUES ('acme', '', '', %s);
"""
LIST = """
SELECT total, total_is_bound, documents, next_place FROM edition_1.list_customers('acme', 1,
    %s::int8, %s::int4, %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s, %s, %s, %s,
    %s, %s, %s)
"""


def seed(owner: Connection[TupleRow], name_of: Callable[[int], str]) -> list[tuple[str, bytes]]:
    """Customers with these first names, seven in a moment; name and document, the newest first."""
    chance = random.Random(5)  # noqa: S311 - customers to repeat, not a secret
    made: list[tuple[tuple[datetime, UUID], str, bytes]] = []
    set_stretch_size(owner, 10)
    for number in range(CUSTOMERS):
        customer_id = UUID(int=chance.getrandbits(128))
        created_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 7)
        name, document = name_of(number), b"%d" % number
        text = search_text(
            phone=None,
            first_name=name,
            last_name=None,
            company_name=None,
            email=None,
            external_id=None,
        )
        values = {
            "id": customer_id,
            "born": 1 + number * 3000,
            "created_at": created_at,
            "document": document,
            "text": text,
        }
        owner.execute(INSERT, values)
        made.append(((created_at, customer_id), name, document))
    owner.execute(COUNT, [CUSTOMERS])
    owner.execute("SELECT edition_1.count_stretches()")
    return [(name, document) for _, name, document in sorted(made, reverse=True)]


def expected(customers: list[tuple[str, bytes]]) -> list[bytes]:
    """The documents of those that match `maria`: the newest by their rank, then all others."""
    matches = [(name, document) for name, document in customers if "maria" in name]
    ranked = sorted(matches[:RANKED], key=lambda match: _RANKS[match[0]])
    return [document for _, document in ranked + matches[RANKED:]]


_RANKS = {"maria": 1, "mariana": 2, "ann maria": 3, "amaria": 4}


def every(number: int) -> Callable[[int], str]:
    """One in so many matches, in one of the ways in which one can."""

    def name_of(customer: int) -> str:
        ways = [*_RANKS]
        return ways[customer % 4] if customer % number == 0 else "jane"

    return name_of


def between(first: int, last: int) -> Callable[[int], str]:
    """Those made in some span of time match."""
    return lambda customer: [*_RANKS][customer % 4] if first <= customer < last else "jane"


def both_ends(customer: int) -> str:
    """The newest promise more than there are between them and the oldest."""
    return "maria" if customer >= 590 or customer < 200 else "jane"


NAMES = {
    "all": every(1),
    "every third": every(3),
    "every fifth": every(5),
    "every fiftieth": every(50),
    "the oldest": between(0, 200),
    "the newest, too few": between(540, 600),
    "the newest, just enough": between(499, 600),
    "the newest and the oldest": both_ends,
}


def ask(
    owner: Connection[TupleRow], offset: int = 0, after: tuple[str | None, ...] | None = None
) -> TupleRow:
    filters = Filters(search=search_patterns("maria"))
    query = ListQuery(filters=filters, sort=(), offset=offset, limit=20, after=after)
    parameters = [*query.parameters()[:-1], RANKED]
    row = owner.execute(LIST, parameters).fetchone()
    assert row is not None
    return row


def split(documents: bytes | None) -> list[bytes]:
    return [] if documents is None else documents.split(b",")


@pytest.mark.parametrize("which", NAMES)
def test_pages_and_cursors_show_the_newest_matches_by_rank_and_then_the_others(
    owner: Connection[TupleRow], which: str
) -> None:
    documents = expected(seed(owner, NAMES[which]))
    for offset in range(0, RANKED, 20):
        row = ask(owner, offset)
        assert row[:2] == (min(len(documents), RANKED), len(documents) > RANKED)
        assert split(row[2]) == documents[:RANKED][offset : offset + 20]

    walked: list[bytes] = []
    place: tuple[str | None, ...] | None = None
    while True:
        row = ask(owner, after=place)
        walked += split(row[2])
        if row[3] is None:
            break
        place = tuple(row[3])
    assert walked == documents
