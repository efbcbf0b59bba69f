"""Faults of what the two servers keep: JetStream's files, and a Postgres that was set back."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from events.jetstream import stream_name
from tests.faults.faults import FOREIGN, Fault, register
from tests.faults.operators import begin_generation, until_told
from tests.faults.system import System
from tests.support.signals import until


def _stream(system: System) -> str:
    return stream_name(system.settings.log_id, system.generation)


def _store(system: System) -> Path:
    """Where NATS keeps everything of JetStream."""
    return system.folder / "nats-data" / "nats" / "jetstream"


async def delete_stream(system: System) -> None:
    """What an operator is told to do: the relay fills it again from the log."""
    client = await nats.connect(system.settings.nats_url)
    try:
        await client.jetstream().delete_stream(_stream(system))
    finally:
        await client.close()


@asynccontextmanager
async def _deleted(system: System) -> AsyncGenerator[None]:
    await delete_stream(system)
    yield


@asynccontextmanager
async def _wiped(system: System) -> AsyncGenerator[None]:
    await system.nats.stop()
    shutil.rmtree(_store(system))
    await system.nats.start()
    yield


@asynccontextmanager
async def _set_back(system: System) -> AsyncGenerator[None]:
    """A copy of the store is taken, the service goes on, and then the copy is all there is."""
    store, copy = _store(system), system.folder / "nats-copy"
    await system.nats.stop()
    shutil.copytree(store, copy)
    await system.nats.start()
    try:
        yield
    finally:
        await system.nats.stop()
        shutil.rmtree(store)
        copy.rename(store)
        await system.nats.start()


@asynccontextmanager
async def _flipped(system: System) -> AsyncGenerator[None]:
    """A bit of a stored message is another while NATS is down, in order or killed.

    Killed, NATS cuts its stream off there, and the relay fills it again. Ended in order, it passes
    the message over: an operator deletes the stream, as the relay says when it comes across it.
    """
    is_killed = system.chance.random() < 0.5
    if is_killed:
        system.nats.is_wanted = False
        system.nats.kill()
        await until(lambda: not system.nats.is_alive)
    else:
        await system.nats.stop()
    folder = _store(system) / "$G" / "streams" / _stream(system) / "msgs"
    block = system.chance.choice([one for one in folder.glob("*.blk") if one.stat().st_size])
    content = bytearray(block.read_bytes())
    content[system.chance.randrange(len(content))] ^= 1 << system.chance.randrange(8)
    block.write_bytes(content)
    await system.nats.start()
    try:
        yield
    finally:
        if not is_killed:
            await delete_stream(system)


@asynccontextmanager
async def _foreign(system: System) -> AsyncGenerator[None]:
    """Somebody who may publish does, at the end of the stream: the relay stops, and says why."""
    client = await nats.connect(system.settings.nats_url)
    try:
        lineage = f"customers.{system.settings.log_id}.{system.generation}"
        subject = f"{lineage}.acme.00.created"
        await client.jetstream().publish(subject, FOREIGN)
    finally:
        await client.close()
    try:
        yield
    finally:
        await until_told(system, "customers relay new-generation")
        await begin_generation(system, "somebody else published")


@asynccontextmanager
async def _quota(system: System) -> AsyncGenerator[None]:
    """The stream may hold no more than it does: NATS refuses every message, until it may again."""
    client = await nats.connect(system.settings.nats_url)
    try:
        jetstream = client.jetstream()
        info = await jetstream.stream_info(_stream(system))
        await _allow(jetstream, info.config, info.state.bytes)
        try:
            yield
        finally:
            await _allow(jetstream, info.config, -1)
    finally:
        await client.close()


async def _allow(jetstream: JetStreamContext, config: StreamConfig, size: int) -> None:
    await jetstream.update_stream(replace(config, max_bytes=size))


register(
    Fault(
        name="delete-stream",
        about="Somebody deletes the JetStream stream",
        inject=_deleted,
        owns=("nats",),
    ),
    Fault(
        name="wipe-jetstream",
        about="All that JetStream keeps is gone, with the ledger of erasures and the heads",
        inject=_wiped,
        owns=("nats",),
    ),
    Fault(
        name="old-jetstream",
        about="JetStream comes back with an old copy of what it keeps",
        inject=_set_back,
        owns=("nats",),
    ),
    Fault(
        name="flipped-bit",
        about="A bit in the files of the JetStream stream is flipped while NATS is down",
        inject=_flipped,
        owns=("nats",),
    ),
    Fault(
        name="foreign-message",
        about="Somebody else publishes into the stream: the relay stops; a new generation begins",
        inject=_foreign,
        owns=("postgres", "nats"),
    ),
    Fault(
        name="full-stream",
        about="A quota lets JetStream take nothing more; then there is none",
        inject=_quota,
        owns=("nats",),
        longest=10.0,
    ),
)
