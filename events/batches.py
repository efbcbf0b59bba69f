"""Atomic batches into JetStream, by hand: the client library has no helper, and its
`publish_async` never answers a refused publish.

The first message of a batch says which sequence must be the stream's last; the whole batch is
stored behind it, or nothing is. A single message is a plain publish with the same condition. A
batch goes out in one piece: message by message, the library would take most of a relay's time.
"""

import asyncio
import re
from typing import Final

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from runtime.ids import new_id

WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
"""Error codes of the server: the stream does not end where the publisher believes."""

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
        super().__init__(f"JetStream refused to publish: {description} (error {code}).")
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


async def publish_batch(
    client: Client, stream: str, messages: list[Message], *, last_sequence: int, wait_seconds: float
) -> int:
    """Store the messages behind `last_sequence`, all or none; the sequence of the last one.

    Raises PublishError when refused, and TimeoutError or nats.errors.Error when no answer came:
    then the batch may or may not be stored.
    """
    inbox = client.new_inbox()
    wire = _wire_of_batch(messages, stream, last_sequence, inbox)
    subscription = await client.subscribe(inbox, max_msgs=2)
    try:
        if not client.is_connected:
            raise nats.errors.ConnectionClosedError
        await client._send_command(wire)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to send what is built already
        await client._flush_pending()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - see above
        async with asyncio.timeout(wait_seconds):
            while True:
                ack = _read(await subscription.next_msg(timeout=wait_seconds))
                if ack is not None:
                    return ack.seq
    finally:
        await subscription.unsubscribe()


def _wire_of_batch(messages: list[Message], stream: str, last_sequence: int, inbox: str) -> bytes:
    batch_id = str(new_id())
    count = len(messages)
    pieces: list[bytes] = []
    for number, message in enumerate(messages, start=1):
        headers = f"Nats-Expected-Stream: {stream}\r\n"
        if number == 1:
            headers += f"Nats-Expected-Last-Sequence: {last_sequence}\r\n"
        if count > 1:
            headers += f"Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
            if number == count:
                headers += "Nats-Batch-Commit: 1\r\n"
        # The first answer is empty, or the refusal; the last one is the acknowledgement.
        _append_wire(pieces, message, headers, inbox if number in {1, count} else "")
    return b"".join(pieces)


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
