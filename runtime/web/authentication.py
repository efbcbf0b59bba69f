"""Who calls: the X-Api-Key header says it, and nothing else.

Every route is closed unless it says `opt={"public": True}`; every other names the scope it takes,
`opt={"scope": "customers:write"}`. One that names neither answers 500 to everybody.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from litestar.types import ASGIApp, Receive, Scope, Send

from runtime.api_keys import Principal, hash_key
from runtime.key_rules import REMEMBERED_SECONDS
from runtime.web.headers import header
from runtime.web.problems import ApiKeyRefused
from runtime.web.wrong_keys import WrongKeys, address_of

KEY_HEADER: Final = "X-Api-Key"
_KEY_HEADER: Final = KEY_HEADER.lower().encode("ascii")
MOST_REMEMBERED = 10_000
"""So many keys at most that were asked for, and so many that were right."""

T = TypeVar("T")


class Authentication:
    """Looks keys up by their hash and remembers the outcome, good or bad, for a second at most.

    However many requests come with a key nobody remembers, it is looked up once for all of them.
    """

    def __init__(
        self,
        lookup: Callable[[bytes], Awaitable[Principal | None]],
        *,
        clock: Callable[[], float] = time.monotonic,
        wrong_keys: WrongKeys | None = None,
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._wrong_keys = wrong_keys
        # By their hashes: those that were right when they were last looked up.
        self._right: dict[bytes, None] = {}
        self._known: dict[bytes, tuple[float, Principal | None]] = {}
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}

    async def find(self, key: bytes | None, address: str = "") -> Principal | None:
        """Who has this key; None when nobody may use it now. Raises what the lookup raises.

        A wrong one is held against the address it comes from.
        """
        if key is None:
            return None
        key_hash = hash_key(key.decode("latin-1"))
        principal = None if key_hash is None else await self._find(key_hash, address)
        if principal is None and self._wrong_keys is not None:
            self._wrong_keys.note(address)
        return principal

    async def check_again(self, scope: Scope) -> None:
        """Raise 401 or 403 when the key of a request under way may not be used any more."""
        await _identify(self, scope)
        _check_scope(scope)

    def invalidate(self) -> None:
        """Forget everything: keys changed. What is being looked up now is not remembered either."""
        self._known.clear()
        self._asking.clear()

    async def _find(self, key_hash: bytes, address: str) -> Principal | None:
        until, principal = self._known.get(key_hash, (0.0, None))
        if until > self._clock():
            return principal
        if self._wrong_keys is not None and key_hash not in self._right:
            await self._wrong_keys.slow_down(address)
        asking = self._asking.get(key_hash)
        if asking is None:
            asking = asyncio.create_task(self._ask(key_hash))
            self._asking[key_hash] = asking
            asking.add_done_callback(partial(self._remember, key_hash))
        # One client that hangs up must not take the answer away from the others.
        return await asyncio.shield(asking)

    async def _ask(self, key_hash: bytes) -> Principal | None:
        return await self._lookup(key_hash)

    def _remember(self, key_hash: bytes, asked: asyncio.Task[Principal | None]) -> None:
        is_current = self._asking.get(key_hash) is asked
        if is_current:
            del self._asking[key_hash]
        if asked.cancelled() or asked.exception() is not None or not is_current:
            return
        principal = asked.result()
        seconds = REMEMBERED_SECONDS
        if principal is not None and principal.expires_at is not None:
            left = (principal.expires_at - datetime.now(UTC)).total_seconds()
            seconds = min(seconds, left)
        _put_last(self._known, key_hash, (self._clock() + seconds, principal))
        if principal is None:
            self._right.pop(key_hash, None)
        else:
            _put_last(self._right, key_hash, None)


def key_of(scope: Scope) -> bytes | None:
    """The key that a request was sent with."""
    return header(scope, _KEY_HEADER)


def principal_of(scope: Scope) -> Principal:
    """Who makes this request; only after `require_key`."""
    principal = scope["auth"]
    if not isinstance(principal, Principal):
        raise TypeError("principal_of on a public route")
    return principal


def invalid_key() -> ApiKeyRefused:
    """401, in the published words."""
    headers = {"WWW-Authenticate": f'ApiKey header="{KEY_HEADER}"'}
    return ApiKeyRefused(401, "Invalid or expired API key", headers=headers)


def missing_scope(scope: str) -> ApiKeyRefused:
    """403, in the published words."""
    return ApiKeyRefused(403, f"API key lacks required scope: {scope}")


def require_key(authentication: Authentication) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware: 401 without a valid key, the same for missing, unknown, revoked and expired."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            if not is_open(scope):
                await _identify(authentication, scope)
            await app(scope, receive, send)

        return check

    return wrap


def require_scope(app: ASGIApp) -> ASGIApp:
    """Middleware after `require_key`: 403 when the key lacks the scope that the route names."""

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        if not is_open(scope):
            _check_scope(scope)
        await app(scope, receive, send)

    return check


def is_open(scope: Scope) -> bool:
    """Whether the route is for everybody."""
    return bool(scope["route_handler"].opt.get("public"))


async def _identify(authentication: Authentication, scope: Scope) -> None:
    # Set first, so that tell_rate does not look the key up again.
    scope["auth"] = None
    principal = await authentication.find(key_of(scope), address_of(scope))
    if principal is None:
        raise invalid_key()
    scope["auth"] = principal


def _check_scope(scope: Scope) -> None:
    wanted = str(scope["route_handler"].opt["scope"])
    if not principal_of(scope).may(wanted):
        raise missing_scope(wanted)


def _put_last(kept: dict[bytes, T], key_hash: bytes, value: T) -> None:
    """Keep a value as the newest; the oldest goes when there are too many."""
    kept.pop(key_hash, None)
    if len(kept) >= MOST_REMEMBERED:
        del kept[next(iter(kept))]
    kept[key_hash] = value
