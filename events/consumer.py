"""One pull consumer by name: made, pulled and deleted with no more rights than that needs.

The requests are written by hand: `action: create` keeps a consumer that is there already from being
shared, and the subject in the request lets the server check what a user may read.
"""

import asyncio
from typing import Final
from uuid import uuid4

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from events.envelope import Position, WorkspaceId
from events.jetstream import stream_name, workspace_subjects

HEARTBEAT_SECONDS: Final = 2.0
_PULL_SECONDS: Final = 30.0
_PULL_BYTES: Final = 16 * 1024 * 1024
_REQUEST_SECONDS: Final = 2.0
_INACTIVE_SECONDS: Final = 30.0
_NANOSECONDS: Final = 1_000_000_000
GENERATIONS_AHEAD: Final = 8
"""So far behind a generation a newer one is looked for: those between may have no stream."""

_NO_SUCH_STREAM: Final = 10059
_CONSUMER_EXISTS: Final = 10148

AT_THE_END: Final[dict[str, object]] = {"deliver_policy": "last"}
"""Begin with the last message there is."""


def at_position(position: Position) -> dict[str, object]:
    """Begin with the message of this position."""
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(position, 1)}


class _Fault(Struct, frozen=True):
    code: int = 500
    err_code: int = 0
    description: str = ""


class _Made(Struct, frozen=True):
    num_pending: int = 0
    error: _Fault | None = None


class PullConsumer:
    """A consumer's name in the streams of a log, for all of their messages or one workspace's.

    `domain` is what JetStream is called where the connection's user sees it under another name.
    """

    def __init__(
        self, log_id: int, workspace_id: WorkspaceId | None, name: str, domain: str | None = None
    ) -> None:
        self._log_id = log_id
        self._workspace_id = workspace_id
        self._name = name
        self._api = f"$JS.{domain}.API" if domain else "$JS.API"

    def stream(self, generation: int) -> str:
        """The name of the stream of a generation."""
        return stream_name(self._log_id, generation)

    async def make_newest(
        self, client: Client, oldest: int, begin: dict[str, object]
    ) -> tuple[int, int]:
        """Make it in the newest generation that has a stream: which, and how many messages wait.

        Raises nats.errors.Error.
        """
        found = await self._make_last(client, oldest, oldest + GENERATIONS_AHEAD, begin)
        if found is None:
            words = f"there is no JetStream stream {self.stream(oldest)}"
            raise NotFoundError(code=404, err_code=_NO_SUCH_STREAM, description=words)
        first = oldest + GENERATIONS_AHEAD + 1
        while newer := await self._make_last(client, first, found[0] + GENERATIONS_AHEAD, begin):
            await self.delete(client, found[0])
            first, found = found[0] + GENERATIONS_AHEAD + 1, newer
        return found

    async def _make_last(
        self, client: Client, first: int, last: int, begin: dict[str, object]
    ) -> tuple[int, int] | None:
        # The last one first: nothing then comes between making it and pulling. A subscriber of the
        # same name that made it anew meanwhile would be pulled from unnoticed.
        for generation in range(last, first - 1, -1):
            waiting = await self.make(client, generation, begin)
            if waiting is not None:
                return generation, waiting
        return None

    async def make(self, client: Client, generation: int, begin: dict[str, object]) -> int | None:
        """Make it; how many messages wait for it, or None when there is no such stream."""
        config: dict[str, object] = {
            "name": self._name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(_INACTIVE_SECONDS * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
            # No two are alike: what is there already is never taken for the one that is asked for.
            "metadata": {"made": str(uuid4())},
        }
        request = self._request("CREATE", generation)
        if self._workspace_id is not None:
            subject = workspace_subjects(self._log_id, generation, self._workspace_id)
            config["filter_subject"] = subject
            request = f"{request}.{subject}"
        body = msgspec.json.encode(
            {
                "stream_name": self.stream(generation),
                "config": config | begin,
                "action": "create",
            }
        )
        fault = await self._ask_for(client, request, body)
        if isinstance(fault, _Fault) and fault.err_code == _CONSUMER_EXISTS:
            # Of an earlier life of this subscriber, or of another one, which has to give way.
            await self.delete(client, generation)
            fault = await self._ask_for(client, request, body)
        if isinstance(fault, int):
            return fault
        if fault.err_code == _NO_SUCH_STREAM:
            return None
        raise APIError(code=fault.code, err_code=fault.err_code, description=fault.description)

    async def delete(self, client: Client, generation: int) -> None:
        """Delete it, if it is there."""
        request = self._request("DELETE", generation)
        await _ask(client, request, b"")

    async def pull(self, client: Client, generation: int, inbox: str, messages: int) -> None:
        """Ask for so many messages; they come to the inbox as soon as there are any."""
        request = {
            "batch": messages,
            "max_bytes": _PULL_BYTES,
            "expires": int(_PULL_SECONDS * _NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANOSECONDS),
        }
        subject = self._request("MSG.NEXT", generation)
        await client.publish(subject, msgspec.json.encode(request), reply=inbox)

    async def pull_one(self, client: Client, generation: int) -> Msg:
        """A message that waits; raises nats.errors.TimeoutError when there is none."""
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        try:
            await self.pull(client, generation, inbox, 1)
            message = await subscription.next_msg(_REQUEST_SECONDS)
        finally:
            await subscription.unsubscribe()
        if not message.reply:
            raise nats.errors.TimeoutError
        return message

    async def _ask_for(self, client: Client, request: str, body: bytes) -> int | _Fault:
        made = msgspec.json.decode(await _ask(client, request, body), type=_Made)
        return made.num_pending if made.error is None else made.error

    def _request(self, verb: str, generation: int) -> str:
        return f"{self._api}.CONSUMER.{verb}.{self.stream(generation)}.{self._name}"


async def _ask(client: Client, request: str, body: bytes) -> bytes:
    answer = await client.request(request, body, timeout=_REQUEST_SECONDS)
    # In Python 3.11 the wait for the answer swallows a cancellation that meets it.
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError
    return answer.data
