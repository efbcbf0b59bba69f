"""Master keys are changed by wrapping again: every data key and secret, by the current one.

The payloads stay as they are, so this takes minutes and not days; whoever reads a key meanwhile
finds it wrapped by the old master key or by the new one.
"""

from collections.abc import Callable
from typing import Final, LiteralString
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import CustomerId
from events.errors import KeyUnavailable
from events.keys import Keyring, WrappedKey, WrappedSecret

BATCH: Final = 1000
"""Keys that are wrapped in one transaction."""

# The next keys that another master key wraps, along the primary key; the last id and its fellows
# say where to go on.
_NEXT: Final[LiteralString] = """
SELECT data_key_id, stream_id, master_key_id, wrapped FROM keyring.data_keys
 WHERE data_key_id > %b::uuid AND master_key_id <> %b
 ORDER BY data_key_id LIMIT %b::int4
"""

# Each only while it is as we have read it: one that is destroyed meanwhile stays destroyed.
_REWRAP: Final[LiteralString] = (
    "SELECT keyring.rewrap_data_keys(%b::uuid[], %b::bytea[], %b, %b::bytea[])"
)

_SECRETS: Final[LiteralString] = """
SELECT log_id, name, master_key_id, wrapped FROM keyring.secrets WHERE master_key_id <> %b
"""
_REWRAP_ONE: Final[LiteralString] = "SELECT keyring.rewrap_secret(%b::int4, %b, %b, %b, %b)"

_COUNTS: Final[LiteralString] = "SELECT master_key_id, keys FROM keyring.master_keys ORDER BY 1"


class Rewrapped(Struct, frozen=True, kw_only=True):
    """What one run did; `closed` counts the keys it could not open, by their master key's id."""

    keys: int
    secrets: int
    closed: dict[str, int]


async def count_keys(connection: AsyncConnection[TupleRow]) -> dict[str, int]:
    """How many data keys and secrets each master key wraps; needs the owner's rights."""
    cursor = await connection.execute(_COUNTS)
    return {str(name): int(keys) for name, keys in await cursor.fetchall()}


async def rewrap(
    connection: AsyncConnection[TupleRow],
    keyring: Keyring,
    *,
    batch: int = BATCH,
    report: Callable[[int], None],
) -> Rewrapped:
    """Wrap everything by the current master key; `report` hears how many keys are through.

    What is done stays done when it is cut off: the next run goes on with the rest. Keys that
    cannot be opened are left as they are. Needs an autocommit connection with the owner's rights.
    """
    closed: dict[str, int] = {}
    secrets = await _rewrap_secrets(connection, keyring, closed)
    keys, last = 0, UUID(int=0)
    while True:
        cursor = await connection.execute(_NEXT, [last, keyring.current, batch], binary=True)
        rows = await cursor.fetchall()
        if not rows:
            return Rewrapped(keys=keys, secrets=secrets, closed=closed)
        last = rows[-1][0]
        stored = [_stored(row) for row in rows]
        fresh = [_opened(keyring, key, closed) for key in stored]
        pairs = [(old, new) for old, new in zip(stored, fresh, strict=True) if new is not None]
        keys += await _put(connection, keyring.current, pairs)
        report(len(rows))


def _stored(row: TupleRow) -> WrappedKey:
    data_key_id, stream_id, master_key_id, wrapped = row
    return WrappedKey(
        data_key_id=data_key_id,
        stream_id=CustomerId(stream_id),
        master_key_id=master_key_id,
        wrapped=bytes(wrapped),
    )


def _opened(keyring: Keyring, key: WrappedKey, closed: dict[str, int]) -> WrappedKey | None:
    try:
        return keyring.rewrap(key)
    except KeyUnavailable:
        closed[key.master_key_id] = closed.get(key.master_key_id, 0) + 1
        return None


async def _put(
    connection: AsyncConnection[TupleRow],
    master_key_id: str,
    pairs: list[tuple[WrappedKey, WrappedKey]],
) -> int:
    if not pairs:
        return 0
    ids = [new.data_key_id for _, new in pairs]
    was = [old.wrapped for old, _ in pairs]
    wrapped = [new.wrapped for _, new in pairs]
    cursor = await connection.execute(_REWRAP, [ids, was, master_key_id, wrapped])
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def _rewrap_secrets(
    connection: AsyncConnection[TupleRow], keyring: Keyring, closed: dict[str, int]
) -> int:
    cursor = await connection.execute(_SECRETS, [keyring.current])
    rewrapped = 0
    for log_id, name, master_key_id, wrapped in await cursor.fetchall():
        old = WrappedSecret(name=name, master_key_id=master_key_id, wrapped=bytes(wrapped))
        try:
            new = keyring.rewrap_secret(log_id, old)
        except KeyUnavailable:
            closed[master_key_id] = closed.get(master_key_id, 0) + 1
            continue
        parameters = [log_id, name, old.wrapped, new.master_key_id, new.wrapped]
        await connection.execute(_REWRAP_ONE, parameters)
        rewrapped += 1
    return rewrapped
