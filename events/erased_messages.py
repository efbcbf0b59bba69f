"""The messages of erased customers in JetStream: deleted by sequence, overwritten on disk.

Every generation of the log has a stream, and a person stands in each of them. Up to where a stream
is a copy of the log so far, a message has its event's position. Behind that an older one goes on
with a history that was lost: there the customer's messages are looked for by subject.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

import msgspec
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from events import jetstream
from events.cloudevents import CloudEvent
from events.envelope import CustomerId, Position, WorkspaceId

_SECONDS: Final = 5.0
_AT_ONCE: Final = 16
_NO_SUCH_STREAM: Final = 10059
"""Error code of the server."""

log = structlog.get_logger()


class Lineage(Struct, frozen=True, kw_only=True):
    """A stream of the log, and up to where it holds what the log holds now."""

    generation: int
    shared: int | None
    """None: all of it, as it is with the stream that the relay fills."""


class ErasedCustomer(Struct, frozen=True, kw_only=True):
    """Whose messages are to go: the positions of the events that its CustomerErased lists."""

    position: Position
    """Of the CustomerErased."""
    chain: bytes
    """The log's chain there."""
    workspace_id: WorkspaceId
    customer_id: CustomerId
    positions: tuple[int, ...]


class _Fault(Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Answer(Struct, frozen=True):
    error: _Fault | None = None


class _State(Struct, frozen=True):
    first_seq: int = 0
    last_seq: int = 0
    deleted: list[int] | None = None


class _Info(Struct, frozen=True):
    state: _State = _State()
    error: _Fault | None = None


_event: Final = msgspec.json.Decoder(CloudEvent)


class ErasedMessages:
    """Deletes messages of one log; `client` raises nats.errors.Error while NATS is away."""

    def __init__(self, client: Callable[[], Client], log_id: int) -> None:
        self._client = client
        self._log_id = log_id
        self._tombstones: dict[str, set[int]] = {}
        """Messages at erased positions that hold nothing of a person, by stream."""

    async def holds(self, generation: int, customer: ErasedCustomer) -> bool:
        """Whether the stream has the CustomerErased, and so all before it, as the log has them."""
        try:
            message = await self._stream.get_msg(self._name(generation), seq=customer.position)
        except NotFoundError:
            return False
        headers = cast(dict[str, str], message.headers or {})
        return headers.get(jetstream.CHAIN_HEADER) == customer.chain.hex()

    async def delete(self, lineages: Iterable[Lineage], customer: ErasedCustomer) -> int:
        """Delete all messages of a customer but its CustomerErased; how many there were."""
        deleted = 0
        for lineage in lineages:
            shared = lineage.shared
            known = [p for p in customer.positions if shared is None or p <= shared]
            if shared is not None:
                known += await self._find_behind(lineage.generation, shared, customer)
            deleted += await self._delete(self._name(lineage.generation), known)
        return deleted

    async def find_readable(self, lineage: Lineage, erased: set[int]) -> list[int]:
        """The messages of a stream that are at erased positions, and hold data all the same."""
        name, shared = self._name(lineage.generation), lineage.shared
        wanted = erased if shared is None else {one for one in erased if one <= shared}
        there = await self._find_listed(name, wanted)
        known = self._tombstones.setdefault(name, set())
        readable: list[int] = []
        tombstones: set[int] = set()
        looked = sorted(there - known)
        for some in (looked[at : at + _AT_ONCE] for at in range(0, len(looked), _AT_ONCE)):
            found = await asyncio.gather(*(self._find_data(name, one) for one in some))
            for sequence, data in zip(some, found, strict=True):
                # Who is not found now may be damaged or half deleted, and come back.
                if data == b"null":
                    tombstones.add(sequence)
                elif data is not None:
                    readable.append(sequence)
        self._tombstones[name] = (there & known) | tombstones
        return readable

    async def delete_again(self, generation: int, sequences: Sequence[int]) -> int:
        """Delete messages that are back, as they are in an older copy of the stream."""
        return await self._delete(self._name(generation), sequences)

    async def _find_listed(self, name: str, sequences: set[int]) -> set[int]:
        """Those that the server lists as there; none when there is no such stream.

        Raises OSError.
        """
        subject = f"$JS.API.STREAM.INFO.{name}"
        answer = await self._client().request(
            subject, b'{"deleted_details":true}', timeout=_SECONDS
        )
        info = msgspec.json.decode(answer.data, type=_Info)
        if info.error is None:
            state = info.state
            there = sequences.difference(state.deleted or ())
            return {one for one in there if state.first_seq <= one <= state.last_seq}
        if info.error.err_code == _NO_SUCH_STREAM:
            return set()
        raise OSError(f"JetStream stream {name}: {_words_of(info.error)}")

    async def _find_data(self, name: str, sequence: int) -> bytes | None:
        """What a message says of the customer, null of nobody; None when it is not there."""
        try:
            return _data_of(await self._stream.get_msg(name, seq=sequence))
        except NotFoundError:
            return None

    async def _find_behind(
        self, generation: int, shared: int, customer: ErasedCustomer
    ) -> list[int]:
        """The customer's messages behind where an older stream left the log."""
        one = jetstream.event_subject(
            self._log_id, generation, customer.workspace_id, customer.customer_id, "CustomerErased"
        )
        subject = f"{one.rpartition('.')[0]}.*"
        found: list[int] = []
        while True:
            try:
                message = await self._stream.get_msg(
                    self._name(generation), seq=shared + 1, next=True, subject=subject
                )
            except NotFoundError:
                return found
            shared = message.seq or 0
            if _is_of(message, customer.customer_id):
                found.append(shared)

    async def _delete(self, name: str, sequences: Sequence[int]) -> int:
        """Delete messages; how many were there. Raises OSError when one still is."""
        # One after another: the server does no two of a stream at once, and each takes it some
        # 20 ms, for which publishing waits.
        faults = {sequence: await self._delete_one(name, sequence) for sequence in sequences}
        refused = {sequence: fault for sequence, fault in faults.items() if fault is not None}
        if refused:
            # It says "not found" of what is gone, and may say it too of what it could not write to
            # a full disk, where that still is: only what it lists as deleted is.
            there = await self._find_listed(name, set(refused))
            if there:
                first = min(there)
                words = _words_of(refused[first])
                raise OSError(f"JetStream stream {name} does not delete message {first}: {words}")
        return len(faults) - len(refused)

    async def _delete_one(self, name: str, sequence: int) -> _Fault | None:
        """Delete a message and overwrite it, as the server does unless it is told not to."""
        answer = await self._client().request(
            f"$JS.API.STREAM.MSG.DELETE.{name}",
            msgspec.json.encode({"seq": sequence}),
            timeout=_SECONDS,
        )
        return msgspec.json.decode(answer.data, type=_Answer).error

    def _name(self, generation: int) -> str:
        return jetstream.stream_name(self._log_id, generation)

    @property
    def _stream(self) -> JetStreamContext:
        return self._client().jetstream(timeout=_SECONDS)


def _words_of(fault: _Fault) -> str:
    return f"{fault.description} (error {fault.err_code})"


def _data_of(message: RawStreamMsg) -> bytes:
    try:
        return bytes(_event.decode(message.data or b"").data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # What cannot be read by us may be by others.
        return b""


def _is_of(message: RawStreamMsg, customer_id: CustomerId) -> bool:
    try:
        return _event.decode(message.data or b"").subject == customer_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
