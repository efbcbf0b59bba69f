"""Where signed heads are kept: a table of the log's database, a file, a JetStream stream.

Each is append-only in its own way, and who can write to one of them need not be able to write to
the others. All take a head behind the others, and give them back oldest first.
"""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, LiteralString, Protocol

import nats.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events import jetstream
from events.heads import NotAHead, SignedHead, read_head

_PAGE: Final = 500
_REQUEST_SECONDS: Final = 3.0
_READ_SECONDS: Final = 3.0
_IDLE_SECONDS: Final = 10.0

_READ: Final[LiteralString] = """
SELECT number, head FROM log.heads WHERE log_id = %b::int4 AND number > %b::int8
 ORDER BY number LIMIT %b::int4
"""
_KEEP: Final[LiteralString] = "SELECT log.keep_head(%b::int4, %b)"
_NEWEST: Final[LiteralString] = "SELECT log.newest_head(%b::int4)"


class HeadSource(Protocol):
    """A place where heads are kept."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    def read(self) -> AsyncGenerator[SignedHead]:
        """All heads, oldest first; raises NotAHead."""
        ...

    async def make(self) -> bool:
        """Make the place if it is not there; whether it was not."""
        ...

    async def append(self, head: SignedHead) -> None:
        """Keep a head behind the others; it is durable afterwards."""
        ...


class HeadTable:
    """The table `log.heads`."""

    name = "log.heads"

    def __init__(self, connection: AsyncConnection[TupleRow], log_id: int) -> None:
        self._connection = connection
        self._log_id = log_id

    async def read(self) -> AsyncGenerator[SignedHead]:
        """All heads, oldest first; raises NotAHead."""
        number = 0
        while True:
            cursor = await self._connection.execute(_READ, [self._log_id, number, _PAGE])
            rows = await cursor.fetchall()
            for number, head in rows:
                yield _read(f"row {number} of {self.name}", head)
            if len(rows) < _PAGE:
                return

    async def make(self) -> bool:
        """It is there as soon as the database is."""
        return False

    async def append(self, head: SignedHead) -> None:
        """Keep a head behind the others."""
        await self._connection.execute(_KEEP, [self._log_id, head.encoded().decode()])


class HeadFile:
    """A file with one head on each line, which is only ever appended to."""

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self._path = path
        self._must_exist = must_exist

    @property
    def name(self) -> str:
        """The path."""
        return str(self._path)

    async def read(self) -> AsyncGenerator[SignedHead]:
        """All heads, oldest first; raises NotAHead, OSError."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            if self._must_exist:
                raise
            return
        with file:
            for number, line in enumerate(file, 1):
                # What was torn when the writer died was never given out: it is no head.
                if line.strip() and line.rstrip().endswith(b"}"):
                    yield _read(f"line {number} of {self._path}", line)

    async def make(self) -> bool:
        """Make the file if it is not there; whether it was not. Raises OSError."""
        try:
            self._path.touch(0o640, exist_ok=False)
        except FileExistsError:
            return False
        _sync_folder(self._path.parent)
        return True

    async def append(self, head: SignedHead) -> None:
        """Keep a head behind the others, on disk; raises OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self._path, flags, 0o640)
        try:
            size = os.fstat(file).st_size
            is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            # One call, so that no other writer comes in between.
            os.write(file, (b"\n" if is_torn else b"") + head.encoded() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


class HeadStream:
    """A JetStream stream of its own; `client` raises nats.errors.Error while NATS is away."""

    def __init__(self, client: Callable[[], Client], log_id: int, *, replicas: int = 1) -> None:
        self._client = client
        self._log_id = log_id
        self._replicas = replicas

    @property
    def name(self) -> str:
        """The name of the stream."""
        return jetstream.heads_stream_name(self._log_id)

    async def read(self) -> AsyncGenerator[SignedHead]:
        """All heads, oldest first; raises NotAHead, nats.errors.Error."""
        stream = self._client().jetstream(timeout=_REQUEST_SECONDS)
        try:
            last = (await stream.stream_info(self.name)).state.last_seq
        except NotFoundError:
            return
        if not last:
            return
        subject = jetstream.HEADS_SUBJECT.format(log=self._log_id, generation="*")
        # Messages that are to be acknowledged would stop coming after a thousand.
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=_IDLE_SECONDS)
        reading = await stream.pull_subscribe(subject, stream=self.name, config=config)
        try:
            sequence = 0
            while sequence < last:
                for message in await reading.fetch(_PAGE, timeout=_READ_SECONDS):
                    sequence = message.metadata.sequence.stream
                    yield _read(f"message {sequence} of {self.name}", message.data)
        finally:
            with suppress(nats.errors.Error):
                await reading.unsubscribe()

    async def make(self) -> bool:
        """Make the stream if it is not there; whether it was not."""
        stream = self._client().jetstream(timeout=_REQUEST_SECONDS)
        try:
            await stream.stream_info(self.name)
        except NotFoundError:
            await stream.add_stream(jetstream.heads_config(self._log_id, self._replicas))
            return True
        return False

    async def append(self, head: SignedHead) -> None:
        """Keep a head behind the others."""
        stream = self._client().jetstream(timeout=_REQUEST_SECONDS)
        subject = jetstream.heads_subject(self._log_id, head.generation)
        await stream.publish(subject, head.encoded(), stream=self.name)


async def newest_head(connection: AsyncConnection[TupleRow], log_id: int) -> bytes | None:
    """The newest head of the table as it was signed, for who may see no other."""
    row = await (await connection.execute(_NEWEST, [log_id])).fetchone()
    return row[0].encode() if row and row[0] is not None else None


def _read(place: str, line: bytes | str) -> SignedHead:
    try:
        return read_head(line)
    except NotAHead as error:
        raise NotAHead(f"{place[0].upper()}{place[1:]} is {error}.") from error


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
