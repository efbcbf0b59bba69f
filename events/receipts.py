"""Receipts of Idempotency-Keys: the keyed hashes they are made of, and how they are forgotten."""

import asyncio
import hashlib
import hmac
from typing import Final

import psycopg
import structlog

from events.append import AppendLog
from events.keys import Keyring

_NAME: Final = "receipts"
_LENGTH_BYTES: Final = 8
_PRUNE_SECONDS: Final = 3600.0

log = structlog.get_logger()


class ReceiptHasher:
    """Hashes what clients send under a secret of the log, for all of its processes alike.

    A plain hash of a payload would give it away: there are few e-mail addresses to try.
    """

    def __init__(self, event_log: AppendLog, keyring: Keyring) -> None:
        self._log = event_log
        self._keyring = keyring
        self._secret: bytes | None = None

    async def hash(self, purpose: str, *parts: bytes) -> bytes:
        """HMAC-SHA-256 over the purpose and the parts, each behind its length.

        The first call reads the secret from the log. Raises KeyUnavailable.
        """
        if self._secret is None:
            self._secret = await self._load()
        mac = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in (purpose.encode(), *parts):
            mac.update(len(part).to_bytes(_LENGTH_BYTES, "big"))
            mac.update(part)
        return mac.digest()

    async def _load(self) -> bytes:
        log_id = self._log.log_id
        kept = await self._log.keep_secret(self._keyring.make_secret(log_id, _NAME))
        return self._keyring.unwrap_secret(log_id, kept)


async def prune_receipts(event_log: AppendLog, days: int) -> None:
    """Forget receipts older than so many days: now, and every hour until cancelled."""
    while True:
        try:
            while pruned := await event_log.prune_receipts(days):
                log.info("receipts.pruned", receipts=pruned)
        except psycopg.Error as error:
            log.warning("receipts.not_pruned", error=type(error).__name__)
        await asyncio.sleep(_PRUNE_SECONDS)
