"""A page is the same part of the list wherever it is begun to be counted off."""

import random
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from events.customer import CustomerDeleted, CustomerRestored
from events.envelope import CustomerId
from events.keys import Keyring
from events.log import PostgresLog
from query_side.list_query import NEWEST_FIRST, Filters, ListQuery
from runtime.settings import Settings
from tests.support.builders import ACME, GLOBEX, JANE, Writer
from tests.support.projecting import projecting
from tests.support.seeding import set_stretch_size

MISCOUNTED = """
SELECT count(*) FROM (
    SELECT s.*, coalesce(lead(s.created_at) OVER w, 'infinity') AS next_created_at,
           coalesce(lead(s.customer_id) OVER w, s.customer_id) AS next_customer_id
      FROM edition_1.stretches s
    WINDOW w AS (PARTITION BY s.workspace_id ORDER BY s.created_at, s.customer_id)) s
 WHERE s.customers <> (
    SELECT count(*) FROM edition_1.customers c
     WHERE c.workspace_id = s.workspace_id
       AND (c.created_at, c.customer_id) >= (s.created_at, s.customer_id)
       AND (c.created_at, c.customer_id) < (s.next_created_at, s.next_customer_id))
"""

PAGE = """
SELECT total, documents, next_place FROM edition_1.list_customers(%s, 1, %s::int8, %s::int4,
    %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s, %s, %s, %s, %s, %s, %s)
"""


class Histories:
    """Customers of two workspaces that are made at once or one by one, deleted and restored."""

    def __init__(self, log: PostgresLog, keyring: Keyring, seed: int) -> None:
        self._log = log
        self.chance = random.Random(seed)  # noqa: S311 - a history to repeat, not a secret
        self._writers = [Writer(keyring, ACME), Writer(keyring, GLOBEX)]
        self.live: dict[CustomerId, tuple[Writer, int]] = {}
        self._deleted: dict[CustomerId, tuple[Writer, int]] = {}

    async def go_on(self, steps: int) -> None:
        """Let so many commands happen."""
        for _ in range(steps):
            await self.chance.choice([self._make, self._make, self._delete, self._restore])()

    async def _make(self) -> None:
        writer = self.chance.choice(self._writers)
        made = [writer.a_customer() for _ in range(self.chance.choice([1, 1, 2, 9]))]
        await self._log.append([writer.group(*(writer.event(one) for one in made))])
        self.live |= dict.fromkeys(made, (writer, 1))

    async def _delete(self) -> None:
        if self.live:
            customer_id = self.chance.choice(list(self.live))
            writer, version = self.live.pop(customer_id)
            gone = writer.event(customer_id, version + 1, CustomerDeleted(customer=JANE))
            await self._log.append([writer.group(gone)])
            self._deleted[customer_id] = (writer, version + 1)

    async def _restore(self) -> None:
        if self._deleted:
            customer_id = self.chance.choice(list(self._deleted))
            writer, version = self._deleted.pop(customer_id)
            back = writer.event(customer_id, version + 1, CustomerRestored(customer=JANE))
            await self._log.append([writer.group(back)])
            self.live[customer_id] = (writer, version + 1)


def pages(owner: Connection[TupleRow], workspace: str, limit: int) -> list[bytes]:
    """All pages of a list but the empty one behind them."""
    found: list[bytes] = []
    while True:
        query = ListQuery(
            filters=Filters(), sort=NEWEST_FIRST, offset=len(found) * limit, limit=limit
        )
        row = owner.execute(PAGE, [workspace, *query.parameters()]).fetchone()
        assert row is not None
        total, documents, next_place = row
        assert (next_place is None) == (total <= query.offset + limit)
        if documents is None:
            return found
        found.append(documents)


def in_order(owner: Connection[TupleRow], workspace: str) -> list[tuple[UUID, bytes]]:
    """All customers of a workspace, the newest first, without any index or counter."""
    query = (
        "SELECT customer_id, document FROM edition_1.customers WHERE workspace_id = %s"
        " ORDER BY created_at DESC, customer_id DESC"
    )
    return owner.execute(query, [workspace]).fetchall()


def miscounted(owner: Connection[TupleRow]) -> int:
    """Stretches that do not hold as many customers as they say."""
    row = owner.execute(MISCOUNTED).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("seed", range(3))
async def test_every_page_is_its_part_of_the_list_whatever_happened_before(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    owner: Connection[TupleRow],
    seed: int,
) -> None:
    set_stretch_size(owner, 3)
    histories = Histories(postgres_log, keyring, seed)
    async with projecting(settings, keyring) as model:
        for _ in range(4):
            await histories.go_on(25)
            while events := await model.read(histories.chance.randrange(1, 30)):
                assert await model.projector.apply(events) == "applied"
            assert miscounted(owner) == 0

    for workspace in (ACME, GLOBEX):
        rows = in_order(owner, workspace)
        live = [
            one for one, (writer, _) in histories.live.items() if writer.workspace_id == workspace
        ]
        assert {customer_id for customer_id, _ in rows} == set(live)
        for limit in (1, 4):
            expected = [
                b",".join(document for _, document in rows[start : start + limit])
                for start in range(0, len(rows), limit)
            ]
            assert pages(owner, workspace, limit) == expected
    row = owner.execute("SELECT count(*) FROM edition_1.stretches").fetchone()
    assert row is not None
    assert row[0] > 10


async def test_customers_counted_anew_stand_in_full_stretches(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog, owner: Connection[TupleRow]
) -> None:
    set_stretch_size(owner, 3)
    histories = Histories(postgres_log, keyring, 7)
    await histories.go_on(60)
    async with projecting(settings, keyring) as model:
        await model.catch_up()
        before = pages(owner, ACME, 2)
        owner.execute("TRUNCATE edition_1.stretches; SELECT edition_1.count_stretches()")
        assert miscounted(owner) == 0
        sizes = owner.execute(
            "SELECT customers FROM edition_1.stretches WHERE workspace_id = 'acme'"
            " ORDER BY created_at, customer_id"
        ).fetchall()
        assert {size for (size,) in sizes[:-1]} == {3}
        assert pages(owner, ACME, 2) == before
        # What comes behind them is counted on.
        await histories.go_on(20)
        await model.catch_up()
        assert miscounted(owner) == 0
