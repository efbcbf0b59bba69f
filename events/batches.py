"""Atomic batches into JetStream, by hand: the client library has no helper, and its
`publish_async` never answers a refused publish.

The first message of a batch says which sequence must be the stream's last; the whole batch is
stored behind it, or nothing is. A plain publish has the same condition, and so have several that
are sent one behind the other. All go out in one piece: message by message, the library would take
most of a relay's time.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from runtime.ids import new_id

WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
"""Error codes of the server: the stream does not end where the publisher believes."""

_OUT_OF_ROOM: Final = frozenset({10023, 10047, 10077, 10176})
"""Those of a server whose disk is full (it then loses what it was given of a batch), or a quota."""

_SUBJECT: Final = re.compile(r"[!-~]+")
BATCH_HEADERS_BYTES: Final = 256
"""More than the headers take that make a message one of a batch."""


class Message(Struct, frozen=True, kw_only=True):
    """One message to store."""

    subject: str
    body: bytes
    headers: dict[str, str]


class PublishError(Exception):
    """The server refused a batch; nothing of it was stored."""

    def __init__(self, code: int, description: str) -> None:
        hint = " Has its disk, or a limit of stream or account, no room left?"
        super().__init__(
            f"JetStream refused to publish: {description} (error {code})."
            f"{hint if code in _OUT_OF_ROOM else ''}"
        )
        self.code = code


class _Error(Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Ack(Struct, frozen=True):
    error: _Error | None = None
    seq: int = 0


def size_of(message: Message) -> int:
    """The bytes of a message as the server counts them, at most."""
    headers = sum(len(name) + len(value) + 4 for name, value in message.headers.items())
    return len(message.body) + headers + BATCH_HEADERS_BYTES


class Publisher:
    """Stores messages at the end of a stream; `client` raises nats.errors.Error while NATS is away.

    The server answers to one inbox, of which each publish has a subject of its own: to subscribe
    for every publish costs as much as all the rest of a small one.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._heard_by: Client | None = None
        self._inbox = ""
        self._number = 0
        self._waiting: dict[str, _Answers] = {}

    async def publish(
        self,
        stream: str,
        messages: Sequence[Message],
        *,
        last_sequence: int,
        wait_seconds: float,
        singly: bool = False,
    ) -> int:
        """Store the messages behind `last_sequence`, all or none; the sequence of the last one.

        `singly`: they are sent at once, but stored one by one, each on condition of its own place;
        where somebody else's message took one of them, those behind it are stored all the same.
        Raises PublishError when refused, and TimeoutError or nats.errors.Error when no answer came:
        then any of them may or may not be stored.
        """
        client = self._client()
        await self._listen(client)
        self._number += 1
        inbox = f"{self._inbox}.{self._number}"
        make_wire = _wire_one_by_one if singly else _wire_of_batch
        wire = make_wire(messages, stream, last_sequence, inbox)
        answers = _Answers(len(messages) if singly else 1)
        self._waiting[inbox] = answers
        try:
            if not client.is_connected:
                raise nats.errors.ConnectionClosedError
            await client._send_command(wire)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to send what is built already
            await client._flush_pending()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - see above
            async with asyncio.timeout(wait_seconds):
                return await answers.last
        finally:
            del self._waiting[inbox]

    async def _listen(self, client: Client) -> None:
        """Hear the answers that come to this connection; it subscribes again by itself."""
        if self._heard_by is not client:
            inbox = client.new_inbox()
            await client.subscribe(f"{inbox}.*", cb=self._hear)
            self._inbox, self._heard_by = inbox, client

    async def _hear(self, message: Msg) -> None:
        answers = self._waiting.get(message.subject)
        if answers is not None:
            answers.take(message)


class _Answers:
    """What the server says to one publish: `last` is done when all of it is said."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._error: Exception | None = None
        self.last: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def take(self, message: Msg) -> None:
        """Take one answer; all are waited for, so that none is still being stored afterwards."""
        sequence = 0
        try:
            ack = _read(message)
            if ack is None:
                return
            sequence = ack.seq
        except (PublishError, msgspec.DecodeError) as error:
            self._error = self._error or error
        self._missing -= 1
        if self._missing > 0 or self.last.done():
            return
        if self._error is None:
            self.last.set_result(sequence)
        else:
            self.last.set_exception(self._error)


def _wire_of_batch(
    messages: Sequence[Message], stream: str, last_sequence: int, inbox: str
) -> bytes:
    count = len(messages)
    batch_id = str(new_id()) if count > 1 else ""
    pieces: list[bytes] = []
    for number, message in enumerate(messages, start=1):
        headers = f"Nats-Expected-Stream: {stream}\r\n"
        if number == 1:
            headers += f"Nats-Expected-Last-Sequence: {last_sequence}\r\n"
        if batch_id:
            headers += f"Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
            if number == count:
                headers += "Nats-Batch-Commit: 1\r\n"
        # The first answer is empty, or the refusal; the last one is the acknowledgement.
        _append_wire(pieces, message, headers, inbox if number in {1, count} else "")
    return b"".join(pieces)


def _wire_one_by_one(
    messages: Sequence[Message], stream: str, last_sequence: int, inbox: str
) -> bytes:
    return b"".join(
        _wire_of_batch([message], stream, sequence, inbox)
        for sequence, message in enumerate(messages, start=last_sequence)
    )


def _append_wire(pieces: list[bytes], message: Message, headers: str, reply: str) -> None:
    own = "".join([f"{name}: {value}\r\n" for name, value in message.headers.items()])
    if own.count("\n") != len(message.headers) or not _SUBJECT.fullmatch(message.subject):
        raise ValueError(f"A message for {message.subject!r} would break the protocol.")
    block = f"NATS/1.0\r\n{own}{headers}\r\n".encode()
    size = len(block) + len(message.body)
    pieces += (
        f"HPUB {message.subject} {reply} {len(block)} {size}\r\n".encode(),
        block,
        message.body,
        b"\r\n",
    )


def _read(message: Msg) -> _Ack | None:
    if message.headers and message.headers.get("Status") == "503":
        raise PublishError(503, "no JetStream stream takes this subject")
    if not message.data:
        return None
    ack = msgspec.json.decode(message.data, type=_Ack)
    if ack.error is not None:
        raise PublishError(ack.error.err_code, ack.error.description)
    return ack
