"""What an API process does before it serves: nobody whom the ledger names may be readable.

A database that was restored from a backup may hold who was erased since. Where the ledger cannot be
read at all, because NATS is away and no file is named, the process serves all the same, says so in
`/health/ready`, and compares as soon as NATS is there: an outage of NATS refuses no write.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import nats.errors
import psycopg
import structlog
from nats.js.errors import APIError

from events.ledger import Ledger
from runtime.postgres import Pool, ask
from runtime.tasks import end
from runtime.words import one_line

START_SECONDS: Final = 2.0
"""How long a start waits for NATS, or for the database, while neither has refused."""
_LOOK_SECONDS: Final = 0.02
# Of an old backup many have to be erased again, one after another, and nobody is served meanwhile.
_COMPARE_SECONDS: Final = 86_400.0
_RETRY_SECONDS: Final = 1.0
_AWAY: Final = (nats.errors.Error, APIError, TimeoutError, OSError)

log = structlog.get_logger()


class LedgerGuard:
    """Compares the ledger with the database when a process starts."""

    def __init__(self, pool: Pool, ledger: Ledger, *, is_away: Callable[[], bool]) -> None:
        """`is_away` says whether NATS was tried and does not answer."""
        self._pool = pool
        self._is_away = is_away
        self._ledger = ledger
        self._is_file_compared = ledger.file is None
        self.trouble = "it was not read yet"
        """Why it is not known that nobody erased can be read; empty when it is."""

    def state(self) -> dict[str, str]:
        """What the process says of it while it is not compared."""
        if not self.trouble:
            return {}
        return {
            "condition": "erasures wait",
            "words": f"The ledger of erasures is not compared yet: {self.trouble}",
        }

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Compare before the block, or while it runs if that is not possible yet.

        Raises OSError for a file that is named and cannot be read: that does not mend itself.
        """
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await self._is_compared():
            if self._is_away() or asyncio.get_running_loop().time() >= deadline:
                log.warning("ledger.not_compared", why=self.trouble)
                break
            await asyncio.sleep(_LOOK_SECONDS)
        comparing = asyncio.create_task(self._compare_later())
        try:
            yield
        finally:
            await end(comparing)

    async def _compare_later(self) -> None:
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                if await self._is_compared():
                    return
            except OSError as error:
                self.trouble = f"the file cannot be read: {one_line(error)}"

    async def _is_compared(self) -> bool:
        if not self.trouble:
            return True
        try:
            if not self._is_file_compared:
                await ask(self._pool, self._ledger.compare_file, seconds=_COMPARE_SECONDS)
                self._is_file_compared = True
            await ask(self._pool, self._ledger.compare_stream, seconds=_COMPARE_SECONDS)
        except psycopg.Error as error:
            self.trouble = f"the database cannot be asked: {type(error).__name__}"
        except _AWAY as error:
            if not self._is_file_compared:
                raise
            self.trouble = f"JetStream cannot be asked for it: {one_line(error)}"
        else:
            self.trouble = ""
        return not self.trouble
