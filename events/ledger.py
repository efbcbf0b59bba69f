"""The ledger of erasures, outside of the database: what a restored backup has to forget again.

It is a JetStream stream of its own that nobody can take anything out of, and a file too where one
is named. An entry holds ids and a time. Who compares it with the database erases again whoever is
in the ledger and readable in the database. That begins where this very database was compared last:
a restored one has the place of its day.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Final, LiteralString
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events import jetstream
from events.envelope import CustomerId, WorkspaceId
from events.erasure import erase_customer, forget_soon
from runtime.clock import format_time

_AT_ONCE: Final = 1000
_SECONDS: Final = 3.0
_NO_SUCH_STREAM: Final = 10059

_UNERASED: Final[LiteralString] = (
    "SELECT workspace_id, stream_id FROM log.find_unerased(%b::text[], %b::uuid[])"
)
_PLACE: Final[LiteralString] = "SELECT log.read_ledger_place(%b::int4, %b)"
_NAMED: Final[LiteralString] = """
SELECT position, workspace_id, stream_id, data_key_id, erased_at FROM log.erasures
 WHERE log_id = %b::int4 AND position > %b::int8 AND ledger_at IS NOT NULL
 ORDER BY position LIMIT %b::int4
"""
_NOTE_PLACE: Final[LiteralString] = "SELECT log.note_ledger_place(%b::int4, %b, %b::int8)"

log = structlog.get_logger()


class Entry(Struct, frozen=True, kw_only=True):
    """An erasure as the ledger names it: nothing of the person."""

    log_id: int
    workspace_id: WorkspaceId
    customer_id: CustomerId
    data_key_id: UUID | None
    erased_at: str


_decoder: Final = msgspec.json.Decoder(Entry)


class LedgerFile:
    """The ledger as a file, a line for each entry; nothing in it is ever changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def append(self, entries: Sequence[Entry]) -> None:
        """Write entries, and return when they are on the disk. Raises OSError."""
        await asyncio.to_thread(self._append, entries)

    def look(self) -> tuple[str, int] | None:
        """Which file it is, and its bytes; None when there is none yet. Raises OSError."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return f"file {found.st_dev}:{found.st_ino}", found.st_size

    async def read(self, behind: int = 0) -> tuple[list[Entry], int]:
        """The entries behind so many bytes, and where the last whole line ends. Raises OSError."""
        return await asyncio.to_thread(self._read, behind)

    def _append(self, entries: Sequence[Entry]) -> None:
        is_new = not self._path.exists()
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            end = os.fstat(file).st_size
            # A line that a crash tore stays alone: its erasure is written again.
            start = b"\n" if end and os.pread(file, 1, end - 1) != b"\n" else b""
            lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
            os.write(file, start + lines)
            os.fsync(file)
        finally:
            os.close(file)
        if is_new:
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read(self, behind: int) -> tuple[list[Entry], int]:
        with self._path.open("rb") as file:
            file.seek(behind)
            whole, newline, _ = file.read().rpartition(b"\n")
        entries: list[Entry] = []
        for line in whole.splitlines():
            try:
                entries.append(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                log.warning("ledger.torn_line", file=str(self._path))
        return entries, behind + len(whole) + len(newline)


class _State(Struct, frozen=True):
    last_seq: int = 0


class _Fault(Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Info(Struct, frozen=True):
    created: str = ""
    state: _State = _State()
    error: _Fault | None = None


class LedgerStream:
    """The ledger as a JetStream stream; `client` raises nats.errors.Error while NATS is away."""

    def __init__(self, client: Callable[[], Client], log_id: int) -> None:
        self._client = client
        self._log_id = log_id
        self._name = jetstream.ledger_stream(log_id)

    async def look(self) -> tuple[str, int] | None:
        """Which stream it is, and its last sequence; None when there is no such stream."""
        subject = f"$JS.API.STREAM.INFO.{self._name}"
        answer = await self._client().request(subject, b"", timeout=_SECONDS)
        info = msgspec.json.decode(answer.data, type=_Info)
        if info.error is None:
            return f"stream {info.created}", info.state.last_seq
        if info.error.err_code == _NO_SUCH_STREAM:
            return None
        raise OSError(f"JetStream stream {self._name}: {info.error.description}")

    async def make(self, replicas: int) -> None:
        """Make the stream."""
        config = jetstream.ledger_config(self._log_id, replicas)
        await self._client().jetstream(timeout=_SECONDS).add_stream(config)

    async def append(self, entries: Sequence[Entry]) -> int:
        """Store entries; the sequence of the last one."""
        context = self._client().jetstream(timeout=_SECONDS)
        subject = jetstream.ledger_subject(self._log_id)
        stored = [
            await context.publish(subject, msgspec.json.encode(entry), stream=self._name)
            for entry in entries
        ]
        return stored[-1].seq

    async def read(self, behind: int, last: int) -> AsyncGenerator[list[Entry]]:
        """The entries behind a sequence, up to another."""
        while behind < last:
            messages = await self._read_some(behind + 1)
            if not messages:
                return
            behind = int((messages[-1].headers or {})["Nats-Sequence"])
            yield [_decoder.decode(message.data) for message in messages]

    async def _read_some(self, first: int) -> list[Msg]:
        client = self._client()
        messages: list[Msg] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def hear(message: Msg) -> None:
            if "Status" not in (message.headers or {}):
                messages.append(message)
            elif not ended.done():
                ended.set_result(None)

        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=hear)
        try:
            asked = msgspec.json.encode({"seq": first, "batch": _AT_ONCE})
            await client.publish(f"$JS.API.DIRECT.GET.{self._name}", asked, reply=inbox)
            async with asyncio.timeout(_SECONDS):
                await ended
        finally:
            await subscription.unsubscribe()
        return messages


class Ledger:
    """Both forms of the ledger of one log, compared with its database."""

    def __init__(self, log_id: int, stream: LedgerStream, path: str) -> None:
        self._log_id = log_id
        self.stream = stream
        self.file = LedgerFile(Path(path)) if path else None

    async def compare_file(self, connection: AsyncConnection[TupleRow]) -> int:
        """Erase again whom the file names and the database can read; how many. Raises OSError."""
        found = None if self.file is None else self.file.look()
        if self.file is None or found is None:
            return 0
        name, size = found
        place = await self.place(connection, name)
        entries, end = await self.file.read(place if place <= size else 0)
        again = await self._erase_again(connection, entries)
        if end > place:
            await connection.execute(_NOTE_PLACE, [self._log_id, name, end])
        return again

    async def complete_file(self, connection: AsyncConnection[TupleRow]) -> int:
        """Name every erasure in a file that was named or replaced since; how many it lacked.

        Raises OSError.
        """
        if self.file is None or await self._is_whole(connection):
            return 0
        there = set[CustomerId]()
        if self.file.look() is not None:
            there = {entry.customer_id for entry in (await self.file.read())[0]}
        lacking, behind = 0, 0
        while True:
            asked = [self._log_id, behind, _AT_ONCE]
            rows = await (await connection.execute(_NAMED, asked)).fetchall()
            if not rows:
                break
            behind = rows[-1][0]
            entries = [self._entry(row) for row in rows if row[2] not in there]
            if entries:
                await self.file.append(entries)
            lacking += len(entries)
        found = self.file.look()
        if found is not None:
            await connection.execute(_NOTE_PLACE, [self._log_id, f"whole {found[0]}", 1])
        return lacking

    async def _is_whole(self, connection: AsyncConnection[TupleRow]) -> bool:
        """Whether this very file was found to name all that were erased before it was there."""
        found = None if self.file is None else self.file.look()
        return found is not None and await self.place(connection, f"whole {found[0]}") > 0

    def _entry(self, row: TupleRow) -> Entry:
        _, workspace_id, stream_id, data_key_id, erased_at = row
        return Entry(
            log_id=self._log_id,
            workspace_id=WorkspaceId(workspace_id),
            customer_id=CustomerId(stream_id),
            data_key_id=data_key_id,
            erased_at=format_time(erased_at),
        )

    async def compare_stream(self, connection: AsyncConnection[TupleRow]) -> int:
        """The same with what the stream has behind the place that was compared last."""
        found = await self.stream.look()
        if found is None:
            return 0
        name, last = found
        place = await self.place(connection, name)
        again = 0
        async for entries in self.stream.read(place, last):
            again += await self._erase_again(connection, entries)
        if last > place:
            await connection.execute(_NOTE_PLACE, [self._log_id, name, last])
        return again

    async def place(self, connection: AsyncConnection[TupleRow], name: str) -> int:
        """Up to where a ledger was compared with this database."""
        row = await (await connection.execute(_PLACE, [self._log_id, name])).fetchone()
        return 0 if row is None else int(row[0])

    async def _erase_again(
        self, connection: AsyncConnection[TupleRow], entries: Sequence[Entry]
    ) -> int:
        again = 0
        ours = [entry for entry in entries if entry.log_id == self._log_id]
        for some in (ours[at : at + _AT_ONCE] for at in range(0, len(ours), _AT_ONCE)):
            asked = [[entry.workspace_id for entry in some], [entry.customer_id for entry in some]]
            cursor = await connection.execute(_UNERASED, asked)
            for workspace_id, customer_id in await cursor.fetchall():
                log.warning("erasure.again", customer_id=str(customer_id))
                await erase_customer(connection, self._log_id, workspace_id, customer_id)
                await forget_soon(connection, workspace_id, customer_id)
                again += 1
        return again
