"""The head of an answer and what follows it go out together, and nothing is kept for long."""

import asyncio

from runtime.web.joined_writes import JoinedWrites
from tests.support.signals import turns

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Sent(asyncio.Transport):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | str] = []
        self.is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.told.append(bytes(data))

    def is_closing(self) -> bool:
        """Whether the client is gone, so that nothing may be written."""
        return self.is_gone

    def close(self) -> None:
        """Keep that as well."""
        self.told.append("closed")


async def test_a_head_and_the_body_behind_it_are_one_write() -> None:
    sent = Sent()
    joined = JoinedWrites(sent)
    for _ in range(2):
        joined.write(HEAD)
        joined.write(b"{}")
    await turns(1)
    assert sent.told == [HEAD + b"{}"] * 2


async def test_a_head_without_a_body_goes_after_a_turn() -> None:
    sent = Sent()
    joined = JoinedWrites(sent)
    joined.write(HEAD)
    assert sent.told == []
    await turns(1)
    assert sent.told == [HEAD]
    joined.write(b"data: 1\n\n")
    assert sent.told == [HEAD, b"data: 1\n\n"]


async def test_what_was_written_goes_before_the_end() -> None:
    sent = Sent()
    joined = JoinedWrites(sent)
    joined.write(HEAD)
    joined.close()
    await turns(1)
    assert sent.told == [HEAD, "closed"]


async def test_a_head_for_a_client_that_is_gone_is_not_sent() -> None:
    sent = Sent()
    JoinedWrites(sent).write(HEAD)
    sent.is_gone = True
    await turns(1)
    assert sent.told == []
