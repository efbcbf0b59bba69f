"""Walking a list by cursor: nobody is left out and nobody comes twice while customers change."""

import base64
import random
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import msgspec
import pytest

from events.customer import CustomerData
from events.envelope import CustomerId
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from runtime.text import fold
from tests.support.api import make_key
from tests.support.customers import Customers, a_customer, a_list, ids, meta
from tests.support.seeding import seed_customers

FOLDED: Final = ("last_name", "company_name", "email")
SORTS: Final = (
    "-created_at",
    "created_at",
    "-updated_at",
    "last_name",
    "-last_name",
    "company_name",
    "-company_name",
    "email",
    "-email",
    "last_name,-created_at",
    "-company_name,email",
    "company_name,-last_name,created_at",
    "-last_name,company_name,-email",
)
FILTERS: Final = ("", "tags=a", "tags=a&tags=b,c", "tags_none=c", "search=doe", "search=d&tags=a")


class Crowd:
    """Random customers with few different names, so that ties and absences abound."""

    def __init__(self, customers: Customers, seed: int) -> None:
        self._customers = customers
        self._random = random.Random(seed)  # noqa: S311 - a test that can be repeated
        self.data: dict[CustomerId, CustomerData] = {}
        self.moved: set[CustomerId] = set()
        """Who was changed, deleted or made since the walk began."""

    def someone(self) -> CustomerData:
        """A random customer."""
        choose = self._random.choice
        return a_customer(
            self._random.randrange(8),
            email=choose([None, "a@example.com", "B@example.com", "é@example.com", "d@doe.test"]),
            phone="+15550001234",
            first_name=choose(["Doe", "Jo", None]),
            last_name=choose([None, "Doe", "doe", "DÖE", "Ähr", "zz", " "]),
            company_name=choose([None, None, "Doe & Co", "acme"]),
            tags=tuple(self._random.sample(["a", "b", "c"], self._random.randrange(4))),
        )

    async def grow(self, number: int) -> None:
        """Some customers of the same moment, and some after one another."""
        together = [self.someone() for _ in range(number)]
        self.data |= dict(zip(await self._customers.add_at_once(*together), together, strict=True))
        alone = [self.someone() for _ in range(number // 3)]
        self.data |= dict(zip(await self._customers.add(*alone), alone, strict=True))

    async def move(self) -> None:
        """Make one, delete one, and change of another what no order and no filter looks at."""
        data = self.someone()
        (made,) = await self._customers.add(data)
        gone, changed = self._random.sample(sorted(set(self.data) - self.moved), 2)
        await self._customers.delete(gone, self.data[gone])
        flags = {"sms": self._random.random() < 0.5}
        new = msgspec.structs.replace(self.data[changed], communication_preferences=flags)
        await self._customers.update(changed, new)
        self.moved |= {made, gone}
        self.data |= {made: data, changed: new}


async def walk(
    reader: httpx.AsyncClient,
    query: str,
    between: Callable[[], Awaitable[None]] | None = None,
    cursor: str = "",
) -> list[CustomerId]:
    """Everybody on the way from the first page, or a cursor, to where none is given any more."""
    seen: list[CustomerId] = []
    while True:
        answer = await a_list(reader, f"?{query}{cursor}")
        seen += ids(answer)
        told = meta(answer)
        assert told["has_next"] == (told["next_cursor"] is not None)
        if told["next_cursor"] is None:
            return seen
        cursor = f"&cursor={told['next_cursor']}"
        if between is not None:
            await between()


def in_order(rows: dict[CustomerId, dict[str, object]], sort: str) -> list[CustomerId]:
    """The rows as the contract orders them: by the last key first, for sorting is stable."""
    keys = sort.split(",")
    found = sorted(rows, reverse=keys[-1].startswith("-"))
    for key in reversed(keys):
        values = {row: _value(rows[row], key.removeprefix("-")) for row in found}
        present = [row for row in found if values[row]]
        present.sort(key=values.__getitem__, reverse=key.startswith("-"))
        found = present + [row for row in found if not values[row]]
    return found


def _value(row: dict[str, object], name: str) -> str:
    text = str(row[name] or "")
    return fold(text) if name in FOLDED else text


async def everybody(reader: httpx.AsyncClient, query: str) -> dict[CustomerId, dict[str, object]]:
    """All rows of a list that fits one page."""
    answer = await a_list(reader, f"?per_page=100&{query}")
    assert meta(answer)["total_pages"] == 1
    rows = msgspec.convert(answer["data"], list[dict[str, object]])
    return dict(zip(ids(answer), rows, strict=True))


@pytest.mark.parametrize("sort", SORTS)
async def test_who_is_not_touched_is_seen_exactly_once_and_in_order(
    customers: Customers, reader: httpx.AsyncClient, sort: str
) -> None:
    seed = SORTS.index(sort)
    crowd = Crowd(customers, seed)
    await crowd.grow(30)
    for filters in random.Random(seed).sample(FILTERS, 3):  # noqa: S311 - a test that can be repeated
        query = f"{filters}&sort={sort}"
        before = await everybody(reader, query)
        crowd.moved.clear()

        seen = await walk(reader, f"{query}&per_page={3 + seed % 4}", crowd.move)

        after = await everybody(reader, query)
        has_moved = {
            row
            for row in before
            if row not in after
            or ("updated_at" in sort and after[row]["version"] != before[row]["version"])
        }
        stayed = {row: before[row] for row in before if row not in has_moved}
        assert [row for row in seen if row in stayed] == in_order(stayed, sort), query
        assert len(seen) == len(set(seen)) or "updated_at" in sort


async def test_a_walk_through_a_search_goes_from_best_to_oldest_match(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    crowd = Crowd(customers, 7)
    await crowd.grow(30)
    ranked = ids(await a_list(reader, "?search=do&per_page=100"))
    versions = await everybody(reader, "search=do")

    seen = await walk(reader, "search=do&per_page=4", crowd.move)

    left = await everybody(reader, "search=do")
    assert len(versions) > 12
    assert [row for row in seen if row in left and row in versions] == [
        row for row in ranked if row in left
    ]
    assert len(seen) == len(set(seen))


async def test_a_walk_through_a_search_goes_on_behind_the_ten_thousand_that_are_ranked(
    reader: httpx.AsyncClient, settings: Settings
) -> None:
    with connect_as_owner(settings, "test seed") as owner:
        seed_customers(owner, "acme", 10_250)
        last = await a_list(reader, "?search=jane&per_page=100&page=100")
        assert meta(last)["has_next"] is True
        # Newer matches take nobody's place.
        owner.execute(
            "UPDATE edition_1.customers SET created_at = created_at + interval '1 day'"
            " WHERE external_id IN ('cust-1', 'cust-5000')"
        )

        behind = await walk(
            reader, "search=jane&per_page=90", cursor=f"&cursor={meta(last)['next_cursor']}"
        )

        rows = owner.execute(
            "SELECT customer_id FROM edition_1.customers WHERE position BETWEEN 2 AND 250"
            " ORDER BY created_at DESC"
        ).fetchall()
    assert behind == [row for (row,) in rows]


async def test_the_cursor_of_a_page_goes_on_behind_it(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    made = (await customers.add(*(a_customer(number) for number in range(7))))[::-1]
    second = await a_list(reader, "?per_page=2&page=2")

    answer = await a_list(reader, f"?per_page=3&cursor={meta(second)['next_cursor']}")

    assert (ids(second), ids(answer)) == (made[2:4], made[4:7])
    assert list(meta(answer).items())[:7] == [
        ("page", None),
        ("per_page", 3),
        ("total", 7),
        ("total_pages", 3),
        ("has_next", False),
        ("has_prev", True),
        ("next_cursor", None),
    ]


async def cursor_of(reader: httpx.AsyncClient, query: str) -> str:
    """The cursor behind the first customer of a list."""
    return str(meta(await a_list(reader, f"?per_page=1&{query}"))["next_cursor"])


def codes(answer: httpx.Response) -> list[tuple[str, str]]:
    """What was wrong with which parameter."""
    assert answer.status_code == 400, answer.text
    return [(error["field"], error["code"]) for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    "other",
    [
        "",
        "sort=email",
        "sort=-created_at",
        "tags=b",
        "tags=a&search=c",
        "tags=a&email=c1@example.com",
    ],
)
async def test_a_cursor_of_another_list_is_refused(
    customers: Customers, reader: httpx.AsyncClient, other: str
) -> None:
    await customers.add(*(a_customer(number, tags=("a", "b")) for number in range(3)))
    cursor = await cursor_of(reader, "tags=a&sort=created_at")
    answer = await reader.get(f"/customers?{other}&cursor={cursor}")
    assert codes(answer) == [("cursor", "other_query")]


async def test_what_is_no_cursor_of_the_workspace_is_refused(
    customers: Customers, reader: httpx.AsyncClient, settings: Settings
) -> None:
    for workspace in ("acme", "globex", "acme_test"):
        await customers.add(a_customer(1), a_customer(2), workspace=workspace)
    cursor = await cursor_of(reader, "")
    foreign = {"X-Api-Key": make_key(settings, "globex")}
    sandbox = {"X-Api-Key": make_key(settings, "acme", test=True)}

    tampered = ("A" if cursor[20] != "A" else "B").join((cursor[:20], cursor[21:]))
    for text in ("", "1", "x" * 5000, "é", "%20", "A" * 40, cursor[:-2], f"{cursor}A", tampered):
        answer = await reader.get(f"/customers?cursor={text}")
        assert codes(answer) == [("cursor", "invalid_cursor")], text
    for headers in (foreign, sandbox):
        answer = await reader.get(f"/customers?cursor={cursor}", headers=headers)
        assert codes(answer) == [("cursor", "invalid_cursor")]


async def test_a_cursor_and_a_page_exclude_each_other(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    await customers.add(a_customer(1), a_customer(2))
    answer = await reader.get(f"/customers?page=1&cursor={await cursor_of(reader, '')}")
    assert codes(answer) == [("page", "excluded")]


async def test_a_cursor_shows_nothing_of_what_it_holds(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    await customers.add(a_customer(1, last_name="Zamenhof"), a_customer(2))
    cursors = [await cursor_of(reader, "sort=last_name") for _ in range(2)]
    for cursor in cursors:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        assert b"zamenhof" not in content.lower()
    assert cursors[0] != cursors[1]
