"""What an auditor asks of a log: verify it, sign its head, prove what is in it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import nats.errors
import nats.js.errors
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.errors import EventsError, PositionBeyondEnd
from events.head_book import FORKS
from events.head_sources import HeadFile, HeadSource, HeadStream, HeadTable
from events.heads import (
    Fork,
    NotAHead,
    SignedHead,
    is_binding,
)
from events.keys import Keyring
from events.proofs import ConsistencyProof, InclusionProof, Prover
from events.verification import KnownHead, Verified, Verifier
from runtime.failure import Failure
from runtime.nats_access import connected_once, words_of
from runtime.postgres import Role, connect, connect_blocking
from runtime.settings import Settings, read_master_keys, read_signing_keys
from runtime.signed_heads import open_book, trusted_keys

_NAME: Final = "customers verify"


class Audit:
    """One log, as an auditor sees it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = trusted_keys(settings)

    async def verify(
        self,
        files: Sequence[Path],
        *,
        first: int,
        end: int | None,
        begun: Callable[[int], None],
        tell: Callable[[int], None],
    ) -> Verified:
        """Verify positions of the log, against the heads in these files and all that were kept."""
        settings = self._settings
        notes: list[str] = []
        async with await connect(settings, Role.RELAY, _NAME, statement_timeout=0) as connection:
            heads = [head for path in files for head in await _brought(path)]
            sources: list[HeadSource] = [HeadTable(connection, settings.log_id)]
            if settings.head_file:
                sources.append(HeadFile(Path(settings.head_file)))
            heads += await _read(sources)
            try:
                async with self._stream() as stream:
                    heads += await _read([stream] if stream else [])
                reason = "" if stream else "CUSTOMERS_NATS_URL is not set"
            except (OSError, nats.errors.Error, nats.js.errors.APIError) as error:
                reason = f"NATS cannot be used: {words_of(error, settings).removesuffix('.')}"
            if reason:
                notes.append(f"the heads that JetStream keeps were not compared: {reason}")
            with connect_blocking(settings, Role.RELAY, _NAME) as blocking:
                # An auditor need not have the master keys.
                keyring = Keyring(read_master_keys(settings)) if settings.master_keys else None
                verifier = Verifier(connection, blocking, settings.log_id, self._keys, keyring)
                try:
                    verified = await verifier.verify(
                        heads, first=first, end=end, begun=begun, tell=tell
                    )
                except PositionBeyondEnd as error:
                    raise Failure(str(error), "customers verify, which goes to the end") from None
        return replace(verified, notes=verified.notes + notes)

    @asynccontextmanager
    async def _stream(self) -> AsyncGenerator[HeadStream | None]:
        """The heads in JetStream, when it is known where that is."""
        if not self._settings.nats_url:
            yield None
            return
        async with connected_once(self._settings, _NAME) as client:
            yield HeadStream(lambda: client, self._settings.log_id)

    async def sign(self) -> SignedHead:
        """Sign how the log ends, unless that is signed already, and keep the head everywhere."""
        settings = self._settings
        seeds = read_signing_keys(settings)
        if not seeds:
            raise Failure(
                "CUSTOMERS_SIGNING_KEYS is not set, so no head can be signed.",
                "customers signing-keys new, which prints a key",
            )
        async with (
            await connect(
                settings, Role.RELAY, "customers head", statement_timeout=0
            ) as connection,
            AsyncExitStack() as stack,
        ):
            stream = None
            with suppress(OSError, nats.errors.Error):
                # Whoever is away gets the head from the relay later.
                stream = await stack.enter_async_context(self._stream())
            book = open_book(settings, connection, stream)
            try:
                head = await book.write()
            except EventsError as error:
                raise Failure(str(error), "customers verify") from error
        if head is None:
            raise Failure("There is no event yet, so there is nothing to sign.", "customers status")
        return head

    async def prove_event(
        self, position: Position, size: int | None, head: SignedHead | None
    ) -> InclusionProof:
        """That an event is in the log as it was at a size or a head, or as the newest head has it.

        Without any head, as it is now.
        """
        async with self._prover() as (prover, connection):
            if size is None and head is None:
                head = await self._newest_over(connection, position)
            size = size or (head.tree_size if head else await prover.end())
            return await prover.prove_event(position, size, head)

    async def prove_consistency(
        self, old: int | SignedHead, new: int | SignedHead
    ) -> ConsistencyProof:
        """That the log was only ever added to between two sizes or heads."""
        (old_size, old_head), (size, head) = _sized(old), _sized(new)
        async with self._prover() as (prover, _):
            return await prover.prove_consistency(old_size, size, old_head, head)

    @asynccontextmanager
    async def _prover(self) -> AsyncGenerator[tuple[Prover, AsyncConnection[TupleRow]]]:
        settings = self._settings
        async with await connect(
            settings, Role.RELAY, "customers prove", statement_timeout=0
        ) as connection:
            try:
                yield Prover(connection, settings.log_id), connection
            except PositionBeyondEnd as error:
                try_next = f"a number up to {error.end}" if error.end else "customers events tail"
                raise Failure(str(error), try_next) from None
            except EventsError as error:
                raise Failure(str(error), "customers verify") from None

    async def _newest_over(
        self, connection: AsyncConnection[TupleRow], position: Position
    ) -> SignedHead | None:
        """The newest kept head that has this position and that the log has not forked before."""
        cursor = await connection.execute(FORKS, [self._settings.log_id])
        forks = [Fork(*row) for row in await cursor.fetchall()]
        found = None
        async for head in HeadTable(connection, self._settings.log_id).read():
            if head.position >= position and is_binding(head, forks):
                found = head
        return found


def _sized(at: int | SignedHead) -> tuple[int, SignedHead | None]:
    return (at, None) if isinstance(at, int) else (at.tree_size, at)


async def _brought(path: Path) -> list[KnownHead]:
    """The heads of a file that the auditor brings: one without any compares nothing."""
    heads = await _read([HeadFile(path, must_exist=True)])
    if not heads:
        raise Failure(f"{path} has no signed head.", "customers head, which signs one")
    return [replace(head, is_brought=True) for head in heads]


async def _read(sources: Sequence[HeadSource]) -> list[KnownHead]:
    """Each head once, wherever else it is kept too."""
    found: dict[SignedHead, KnownHead] = {}
    try:
        for source in sources:
            async for head in source.read():
                found.setdefault(head, KnownHead(head=head, source=source.name))
    except NotAHead as error:
        raise Failure(str(error), "the file as the service wrote it") from error
    return list(found.values())
