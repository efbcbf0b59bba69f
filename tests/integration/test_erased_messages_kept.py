"""What NATS could not delete is not taken for deleted, nor what comes back for gone."""

from collections.abc import AsyncGenerator, Generator
from uuid import UUID

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import jetstream
from events.envelope import CustomerId, Position, WorkspaceId
from events.erased_messages import ErasedCustomer, ErasedMessages, Lineage
from tests.support.nats_server import NatsServer, nats_with

LINEAGE = Lineage(generation=1, shared=None)
STREAM = jetstream.stream_name(1, 1)
CUSTOMER = ErasedCustomer(
    position=Position(3),
    chain=b"",
    workspace_id=WorkspaceId("acme"),
    customer_id=CustomerId(UUID(int=1)),
    positions=(2,),
)


@pytest.fixture
def server() -> Generator[NatsServer]:
    """A NATS server of this test's own."""
    with nats_with() as started:
        yield started


@pytest.fixture
async def client(server: NatsServer) -> AsyncGenerator[Client]:
    """A connection to it, with a stream of three messages."""
    connected = await nats.connect(server.url)
    await connected.jetstream().add_stream(jetstream.stream_config(1, 1, 1))
    for _ in range(3):
        await connected.jetstream().publish("customers.1.1.acme.01.created", b"of a person")
    yield connected
    await connected.close()


async def test_an_erasure_waits_for_a_message_that_nats_cannot_delete(
    server: NatsServer, client: Client
) -> None:
    messages = ErasedMessages(lambda: client, 1)
    # Where it writes what is left of the block: in the way, as a full disk is.
    obstacle = next(server.store.rglob("1.blk")).with_name("1.blk.tmp")
    obstacle.mkdir()
    with pytest.raises(OSError, match="does not delete message 2"):
        await messages.delete([LINEAGE], CUSTOMER)


async def test_a_message_that_is_gone_already_is_deleted(client: Client) -> None:
    messages = ErasedMessages(lambda: client, 1)
    assert await messages.delete([LINEAGE], CUSTOMER) == 1
    assert await messages.delete([LINEAGE], CUSTOMER) == 0


async def test_an_erasure_waits_for_a_message_that_nats_does_not_find_and_yet_lists() -> None:
    with nats_with(jetstream=False) as server:
        nats_2_12 = await nats.connect(server.url)
        asked: list[bytes] = []

        async def delete(message: Msg) -> None:
            # After one that failed on a full disk it overwrites what it remembers of the message.
            asked.append(message.data)
            failed = '"err_code":10057,"description":"no space left on device"'
            again = '"err_code":10043,"description":"sequence 2 not found"'
            await message.respond(
                f'{{"error":{{{failed if len(asked) == 1 else again}}}}}'.encode()
            )

        async def inform(message: Msg) -> None:
            await message.respond(b'{"state":{"first_seq":1,"last_seq":3}}')

        await nats_2_12.subscribe(f"$JS.API.STREAM.MSG.DELETE.{STREAM}", cb=delete)
        await nats_2_12.subscribe(f"$JS.API.STREAM.INFO.{STREAM}", cb=inform)
        messages = ErasedMessages(lambda: nats_2_12, 1)
        for _ in range(2):
            with pytest.raises(OSError, match="does not delete message 2"):
                await messages.delete([LINEAGE], CUSTOMER)
        await nats_2_12.close()


async def test_a_message_that_could_not_be_found_is_looked_for_again(
    server: NatsServer, client: Client
) -> None:
    clients = [client]
    messages = ErasedMessages(lambda: clients[-1], 1)
    block = next(server.store.rglob("1.blk"))

    async def find_with(content: bytes) -> list[int]:
        """What is readable of a stream with this on its disk."""
        await clients.pop().close()
        server.stop()
        block.write_bytes(content)
        server.start()
        clients.append(await nats.connect(server.url))
        return await messages.find_readable(LINEAGE, {2})

    server.stop()
    whole = block.read_bytes()
    second = whole.index(b"of a person", whole.index(b"of a person") + 1)
    assert await find_with(whole[:second] + b"O" + whole[second + 1 :]) == []
    assert await find_with(whole) == [2]
    await clients.pop().close()
