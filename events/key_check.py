"""Opens every data key of a log: one that was forged, or exchanged for another, does not open."""

from collections import Counter
from typing import Final, LiteralString
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, args_row

from events.chain_walk import Fault
from events.envelope import CustomerId
from events.errors import KeyUnavailable
from events.keys import Keyring, WrappedKey

_PAGE: Final = 5000

_KEYS: Final[LiteralString] = """
SELECT data_key_id, stream_id, master_key_id, wrapped FROM keyring.data_keys
 WHERE data_key_id > %b::uuid ORDER BY data_key_id LIMIT %b::int4
"""
# The first event that needs one of these keys.
_FIRST: Final[LiteralString] = """
SELECT position, data_key_id FROM log.events
 WHERE stream_id = ANY (%b::uuid[]) AND data_key_id = ANY (%b::uuid[])
   AND log_id = %b::int4 AND position BETWEEN %b::int8 AND %b::int8
 ORDER BY position LIMIT 1
"""


class Opened(Struct, frozen=True, kw_only=True):
    """What came of it: the first event whose key does not open, if any."""

    faults: list[Fault]
    notes: list[str]


class KeyCheck:
    """Tries the data keys with the master keys at hand."""

    def __init__(
        self, connection: AsyncConnection[TupleRow], log_id: int, keyring: Keyring
    ) -> None:
        self._connection = connection
        self._log_id = log_id
        self._keyring = keyring

    async def run(self, first: int, end: int) -> Opened:
        """Open all keys; of those that do not, the first that an event of these needs."""
        faults: list[Fault] = []
        closed: Counter[str] = Counter()
        last = UUID(int=0)
        while True:
            cursor = self._connection.cursor(binary=True, row_factory=args_row(_wrapped))
            keys = await (await cursor.execute(_KEYS, [last, _PAGE])).fetchall()
            bad = [key for key in keys if not self._opens(key, closed)]
            faults += await self._first_need(bad, first, end)
            if len(keys) < _PAGE:
                break
            last = keys[-1].data_key_id
        notes = [
            f"{count} data keys were not opened: {master_key!r} is not among CUSTOMERS_MASTER_KEYS"
            for master_key, count in closed.items()
        ]
        return Opened(faults=sorted(faults)[:1], notes=notes)

    def _opens(self, key: WrappedKey, closed: Counter[str]) -> bool:
        """Whether a key opens, or cannot be tried."""
        if not self._keyring.has(key.master_key_id):
            closed[key.master_key_id] += 1
            return True
        try:
            self._keyring.unwrap(key)
        except KeyUnavailable:
            return False
        return True

    async def _first_need(self, keys: list[WrappedKey], first: int, end: int) -> list[Fault]:
        if not keys:
            return []
        streams, ids = [key.stream_id for key in keys], [key.data_key_id for key in keys]
        asked = [streams, ids, self._log_id, first, end]
        rows = await (await self._connection.execute(_FIRST, asked)).fetchall()
        return [
            Fault(position=position, what=f"its data key {key} does not open: it was changed")
            for position, key in rows
        ]


def _wrapped(
    data_key_id: UUID, stream_id: CustomerId, master_key_id: str, wrapped: bytes
) -> WrappedKey:
    return WrappedKey(
        data_key_id=data_key_id,
        stream_id=stream_id,
        master_key_id=master_key_id,
        wrapped=wrapped,
    )
