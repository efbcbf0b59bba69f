"""Slows down who guesses keys, without locking out who has the right one behind the same address.

A key cannot be guessed, being 256 random bits. What this keeps away is the load and the noise of
those who try, and of a client that goes on with a key that was revoked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

import structlog
from litestar.types import Scope

from runtime.places import aside

MINUTE: Final = 60 * 10**9
PAUSE_SECONDS: Final = 1.0
MOST_ADDRESSES: Final = 10_000

log = structlog.get_logger()


class WrongKeys:
    """Counts wrong keys by address: `per_minute` at once, and as many more in every minute.

    With one more an address is under suspicion until it has sent none for a minute. Meanwhile a
    key that was not right lately waits before it is looked up: each guess takes a second, and a
    right key a second once. The addresses of a proxy are all one.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counted = 0
        """How many there were in all."""
        self._cost = MINUTE // per_minute
        self._clock = clock
        self._pause = pause
        # When nothing more is held against each address, in nanoseconds; the one that sent a wrong
        # key longest ago is the first.
        self._quiet_at: dict[str, int] = {}

    def note(self, address: str) -> None:
        """Count a wrong key from this address."""
        self.counted += 1
        address, now = _network(address), self._clock()
        held = max(self._quiet_at.pop(address, 0) - now, 0)
        is_new = held <= MINUTE
        held = held + self._cost if is_new else 2 * MINUTE
        if is_new and held > MINUTE:
            held = 2 * MINUTE
            log.warning("keys.many_wrong", address=address)
        if len(self._quiet_at) >= MOST_ADDRESSES:
            del self._quiet_at[next(iter(self._quiet_at))]
        self._quiet_at[address] = now + held

    def is_suspect(self, address: str) -> bool:
        """Whether the address is under suspicion."""
        return self._quiet_at.get(_network(address), 0) - self._clock() > MINUTE

    async def slow_down(self, address: str) -> None:
        """Wait, when the address is under suspicion."""
        if self._quiet_at and self.is_suspect(address):
            # Who waits for nothing but time is in nobody's way.
            async with aside():
                await self._pause(PAUSE_SECONDS)


def address_of(scope: Scope) -> str:
    """Where a request comes from, as the connection says it and no header."""
    client = scope["client"]
    return client[0] if client else ""


def _network(address: str) -> str:
    """The address, or the network that a household or a server gets: whoever has it has it all."""
    if ":" not in address:
        return address
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return f"{IPv6Address(int(found) >> 64 << 64)}/64"
    return str(found.ipv4_mapped) if isinstance(found, IPv6Address) else address
