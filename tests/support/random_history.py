"""A log with everything that can happen to customers, in an order that a seed decides."""

import random

from psycopg import Connection
from psycopg.rows import TupleRow

from events.customer import (
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from events.envelope import CustomerId
from events.keys import Keyring
from events.log import PostgresLog
from tests.support.builders import ACME, GLOBEX, Writer, created

_TAGS = ("vip", "VIP", "Gold", "gold", "Été")


class RandomHistory:
    """Customers of two workspaces that are made, changed, deleted, restored, erased, damaged."""

    def __init__(
        self, log: PostgresLog, keyring: Keyring, owner: Connection[TupleRow], seed: int
    ) -> None:
        self._log = log
        self._owner = owner
        self._chance = random.Random(seed)  # noqa: S311 - a history to repeat, not a secret
        self._writers = [Writer(keyring, ACME), Writer(keyring, GLOBEX)]
        self._newest: dict[CustomerId, tuple[Writer, int, CustomerEvent]] = {}
        self.damaged: set[CustomerId] = set()
        """Customers whose data key is lost though nobody erased them."""

    async def go_on(self, events: int) -> None:
        """Let so much more happen."""
        groups = [self._happen() for _ in range(events)]
        for writer, customer_id, version, event in groups:
            await self._log.append([writer.group(writer.event(customer_id, version, event))])
        erased = [customer_id for _, customer_id, _, event in groups if _is_erasure(event)]
        self._lose_keys(erased)

    def damage(self, customers: int) -> None:
        """Lose the keys of some customers that are not gone."""
        those = [
            customer_id
            for customer_id, (_, _, event) in self._newest.items()
            if not isinstance(event, CustomerDeleted | CustomerErased)
        ]
        lost = self._chance.sample(those, customers)
        self.damaged |= set(lost)
        self._lose_keys(lost)

    def _lose_keys(self, customers: list[CustomerId]) -> None:
        self._owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = ANY (%s)", [customers])

    def _happen(self) -> tuple[Writer, CustomerId, int, CustomerEvent]:
        chance = self._chance
        going_on = [
            customer_id
            for customer_id, (_, _, event) in self._newest.items()
            if not _is_erasure(event) and customer_id not in self.damaged
        ]
        if not going_on or chance.random() < 0.3:
            writer = chance.choice(self._writers)
            customer_id, version, event = writer.a_customer(), 1, created(self._data())
        else:
            customer_id = chance.choice(going_on)
            writer, before, newest = self._newest[customer_id]
            version, event = before + 1, self._next(newest)
        self._newest[customer_id] = (writer, version, event)
        return writer, customer_id, version, event

    def _next(self, newest: CustomerEvent) -> CustomerEvent:
        data, number = self._data(), self._chance.random()
        if number < 0.1:
            return CustomerErased(positions=())
        if isinstance(newest, CustomerDeleted):
            return CustomerRestored(customer=data)
        if number < 0.3:
            return CustomerDeleted(customer=data)
        return CustomerUpdated(customer=data, changed_fields=("tags",), previous=PreviousData())

    def _data(self) -> CustomerData:
        chance = self._chance
        return CustomerData(
            email=f"c{chance.randrange(99)}@example.com",
            last_name=chance.choice(["Doe", "Müller", None]),
            phone=chance.choice(["+15550001234", None]),
            external_id=chance.choice([f"cust-{chance.randrange(99)}", None]),
            tags=tuple(chance.sample(_TAGS, chance.randrange(4))),
        )


def _is_erasure(event: CustomerEvent) -> bool:
    return isinstance(event, CustomerErased)
