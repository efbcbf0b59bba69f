"""Processes on the list of the living, and how they hear that they are to end."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow
from structlog.testing import capture_logs

from runtime.lifecycle import Process, read_processes, registered, stop_signals
from runtime.postgres import Role, connect
from runtime.settings import Settings


class Line:
    """Lends connections of one role, can be cut, and says when it was used."""

    def __init__(self, settings: Settings, role: Role = Role.RELAY) -> None:
        self._settings = settings
        self._role = role
        self.is_cut = False
        self.beats: asyncio.Queue[bool] = asyncio.Queue()

    @asynccontextmanager
    async def connecting(self) -> AsyncGenerator[AsyncConnection[TupleRow]]:
        """A connection, or the error of a database that is away."""
        try:
            if self.is_cut:
                raise psycopg.OperationalError("away")
            async with await connect(self._settings, self._role, "test beat") as connection:
                yield connection
        finally:
            self.beats.put_nowait(not self.is_cut)

    async def next_beat(self, *, arrives: bool) -> None:
        """Wait until a beat that began after now has ended so."""
        while not self.beats.empty():
            self.beats.get_nowait()
        await self.beats.get()
        while await self.beats.get() is not arrives:
            pass


def only(owner: Connection[TupleRow]) -> Process:
    """The one process on the list."""
    (process,) = read_processes(owner)
    return process


@pytest.mark.parametrize("role", list(Role))
async def test_a_process_is_on_the_list_while_it_runs(
    settings: Settings, owner: Connection[TupleRow], role: Role
) -> None:
    line = Line(settings, role)
    position = 0
    async with registered(line.connecting, "relay", lambda: {"position": position}, every=0) as own:
        await line.next_beat(arrives=True)
        process = only(owner)
        assert (process.process_id, process.kind, process.pid) == (own, "relay", os.getpid())
        assert process.host == socket.gethostname()
        assert process.alive
        position = 7
        await line.next_beat(arrives=True)
        assert only(owner).state == {"position": 7}
        assert only(owner).beat_at > process.beat_at
        assert only(owner).started_at == process.started_at
    assert read_processes(owner) == []


async def test_trouble_and_its_end_are_told_before_the_next_beat_is_due(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    line = Line(settings, Role.RELAY)
    condition = "starting"
    never = 1e6
    async with registered(line.connecting, "relay", lambda: {"condition": condition}, every=never):
        for condition in ("starting", "no connection", "publishing"):
            assert await line.beats.get()
            assert only(owner).state == {"condition": condition}


async def test_a_database_that_goes_away_and_comes_back_ends_no_process(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    line = Line(settings)
    with capture_logs() as lines:
        async with registered(line.connecting, "projector", dict, every=0):
            await line.next_beat(arrives=True)
            line.is_cut = True
            await line.next_beat(arrives=False)
            line.is_cut = False
            owner.execute("DELETE FROM control.processes")
            await line.next_beat(arrives=True)
            assert only(owner).kind == "projector"
    assert [entry["event"] for entry in lines] == ["heartbeat.unheard", "heartbeat.back"]


async def test_a_process_that_cannot_leave_ends_all_the_same(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    line = Line(settings)
    async with registered(line.connecting, "api", dict, every=0):
        await line.next_beat(arrives=True)
        line.is_cut = True
    assert only(owner).kind == "api"


async def test_the_silent_count_as_gone_and_are_forgotten_after_a_day(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    for process, ago in (("0" * 31 + "1", "11 seconds"), ("0" * 31 + "2", "25 hours")):
        owner.execute("SELECT control.beat(%s, 'relay', 1, 'elsewhere', '{}')", [process])
        owner.execute(
            "UPDATE control.processes SET beat_at = clock_timestamp() - %s::interval"
            " WHERE process_id = %s",
            [ago, process],
        )
    assert [process.alive for process in read_processes(owner)] == [False, False]
    line = Line(settings)
    async with registered(line.connecting, "api", dict, every=0):
        await line.next_beat(arrives=True)
        found = {(process.kind, process.alive) for process in read_processes(owner)}
        assert found == {("relay", False), ("api", True)}


async def test_the_signals_to_stop_set_an_event_instead_of_killing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT):
        with stop_signals() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            await asyncio.wait_for(stop.wait(), 10)
    assert signal.getsignal(signal.SIGTERM) == before
