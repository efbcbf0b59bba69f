"""How much one API key may ask of one process: a bucket that fills evenly (GCRA)."""

import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct

from runtime.api_keys import Principal
from runtime.web.authentication import Authentication, is_open, key_of, principal_of
from runtime.web.envelope import BASE_PATH
from runtime.web.problems import ApiError
from runtime.web.wrong_keys import address_of

_MINUTE: Final = 60 * 10**9
_SECOND: Final = 10**9
_FORGOTTEN_AT_ONCE: Final = 2


class Left(Struct, frozen=True, kw_only=True):
    """What a key has left now."""

    requests: int
    """How many would be taken at this moment."""
    seconds: int
    """How long until it has all of them again, if it makes none."""


class RateLimit:
    """Lets each key make `per_minute` requests at once, and as many more in every minute.

    A key that has all of them is forgotten: only the keys of the last minute are kept.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.per_minute = per_minute
        self._clock = clock
        # When each key has everything again, in nanoseconds times `per_minute`: a request then
        # costs exactly a minute, and nothing is ever rounded.
        self._full_at: dict[UUID, int] = {}

    @property
    def policy(self) -> str:
        """The value of RateLimit-Policy."""
        return f'"default";q={self.per_minute};w=60'

    def take(self, key_id: UUID) -> int | None:
        """Count a request; when it is one too many, the seconds after which it is taken."""
        now = self._clock() * self.per_minute
        self._forget(now)
        spent = self._spent(key_id, now) + _MINUTE
        over = spent - _MINUTE * self.per_minute
        if over > 0:
            return self._seconds(over)
        # Put last: the first is always the one that asked longest ago.
        self._full_at.pop(key_id, None)
        self._full_at[key_id] = now + spent
        return None

    def left(self, key_id: UUID) -> Left:
        """What the key has left, without counting anything."""
        spent = self._spent(key_id, self._clock() * self.per_minute)
        return Left(requests=self.per_minute - -(-spent // _MINUTE), seconds=self._seconds(spent))

    def _spent(self, key_id: UUID, now: int) -> int:
        return max(0, self._full_at.get(key_id, 0) - now)

    def _seconds(self, spent: int) -> int:
        return -(-spent // (_SECOND * self.per_minute))

    def _forget(self, now: int) -> None:
        # Two for each that may come: within a minute of its last request every key is forgotten.
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._full_at), None)
            if oldest is None or self._full_at[oldest] > now:
                return
            del self._full_at[oldest]


def too_many_requests(per_minute: int, seconds: int) -> ApiError:
    """429: the request would be taken so many seconds later."""
    return ApiError(
        429,
        f"This API key may make {per_minute} requests a minute. "
        f"Wait {seconds} s and send the request again.",
        headers={"Retry-After": str(seconds)},
    )


def limit_rate(limit: RateLimit) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware after `require_key`: 429 when the key asks too often."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            if not is_open(scope):
                seconds = limit.take(principal_of(scope).key_id)
                if seconds is not None:
                    raise too_many_requests(limit.per_minute, seconds)
            await app(scope, receive, send)

        return check

    return wrap


def tell_rate(
    limit: RateLimit, authentication: Authentication
) -> Callable[[Message, Scope], Awaitable[None]]:
    """Hook before sending: every answer below the base path says the policy and what is left."""

    async def add(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start" or not is_below_base_path(scope):
            return
        headers = [*message["headers"], (b"ratelimit-policy", limit.policy.encode("ascii"))]
        principal = await _caller(scope, authentication)
        if principal is not None:
            left = limit.left(principal.key_id)
            value = f'"default";r={left.requests};t={left.seconds}'
            headers.append((b"ratelimit", value.encode("ascii")))
        message["headers"] = headers

    return add


def is_below_base_path(scope: Scope) -> bool:
    """Whether the request is one that a key is asked for, and counted by."""
    return f"{scope['path']}/".startswith(f"{BASE_PATH}/")


async def _caller(scope: Scope, authentication: Authentication) -> Principal | None:
    if "auth" in scope:
        return scope["auth"]
    # No middleware saw this request: its path or method is unknown, or it was OPTIONS.
    try:
        return await authentication.find(key_of(scope), address_of(scope))
    except Exception:  # noqa: BLE001 - the answer stands, whoever asked
        return None
