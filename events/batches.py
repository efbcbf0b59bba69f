"""Atomic batches into JetStream, by hand: the client library has no helper, and its
`publish_async` never answers a refused publish.

The first message of a batch says which sequence must be the stream's last; the whole batch is
stored behind it, or nothing is. A single message is a plain publish with the same condition.
"""

import asyncio
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from runtime.ids import new_id

WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
"""Error codes of the server: the stream does not end where the publisher believes."""


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
    count: int = 0


async def publish_batch(
    client: Client, stream: str, messages: list[Message], *, last_sequence: int, wait_seconds: float
) -> int:
    """Store the messages behind `last_sequence`, all or none; the sequence of the last one.

    Raises PublishError when refused, and TimeoutError or nats.errors.Error when no answer came:
    then the batch may or may not be stored.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, max_msgs=2)
    try:
        batch_id = str(new_id())
        for number, message in enumerate(messages, start=1):
            headers = dict(message.headers)
            headers["Nats-Expected-Stream"] = stream
            if number == 1:
                headers["Nats-Expected-Last-Sequence"] = str(last_sequence)
            if len(messages) > 1:
                headers["Nats-Batch-Id"] = batch_id
                headers["Nats-Batch-Sequence"] = str(number)
                if number == len(messages):
                    headers["Nats-Batch-Commit"] = "1"
            # The first answer is empty, or the refusal; the last one is the acknowledgement.
            reply = inbox if number in {1, len(messages)} else ""
            await client.publish(message.subject, message.body, reply=reply, headers=headers)
        async with asyncio.timeout(wait_seconds):
            while True:
                ack = _read(await subscription.next_msg(timeout=wait_seconds))
                if ack is not None:
                    return ack.seq
    finally:
        await subscription.unsubscribe()


def _read(message: Msg) -> _Ack | None:
    if message.headers and message.headers.get("Status") == "503":
        raise PublishError(503, "no JetStream stream takes this subject")
    if not message.data:
        return None
    ack = msgspec.json.decode(message.data, type=_Ack)
    if ack.error is not None:
        raise PublishError(ack.error.err_code, ack.error.description)
    return ack
