"""Who calls: the X-Api-Key header, and nothing else, says it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from litestar.connection import ASGIConnection
from litestar.types import ASGIApp, Receive, Scope, Send

from runtime.api_keys import Principal, hash_key
from runtime.web.headers import header
from runtime.web.problems import KeyRefused

REMEMBERED_SECONDS = 1.0
_MOST_REMEMBERED = 10_000
