"""The ledger of erasures: who was erased stays so, whatever is restored."""

import asyncio
from base64 import b64decode
from pathlib import Path
from uuid import UUID

import msgspec
import nats
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events import jetstream
from events.envelope import CustomerId
from events.ledger import Entry, LedgerFile
from events.log import PostgresLog
from runtime.ids import new_id
from runtime.postgres import connect_as_owner
from runtime.processes import run_relay
from runtime.settings import Settings
from runtime.tasks import end
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import ACME, Writer
from tests.support.erasing import (
    a_backup,
    a_customer,
    an_eraser,
    erase,
)
from tests.support.nats_server import nats_with
from tests.support.relaying import until_published
from tests.support.signals import until
from tests.support.writing import create

NOWHERE = "nats://127.0.0.1:1"


async def status(settings: Settings, key: str, *customers: str) -> list[int]:
    """How a service answers for customers, from the very first request on."""
    async with running_api(replace(settings, read_wait=0)) as client:
        return [
            (await client.get(f"{CUSTOMERS}/{one}", headers={"X-Api-Key": key})).status_code
            for one in customers
        ]


def keys_of(settings: Settings, customer_id: str) -> int:
    """How many data keys of a customer there are."""
    with connect_as_owner(settings, "test keys") as owner:
        query = "SELECT count(*) FROM keyring.data_keys WHERE stream_id = %s"
        row = owner.execute(query, [customer_id]).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_restored_database_loses_again_who_was_erased_since_before_it_is_served(
    settings: Settings, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "erasures.ndjson"
    key = make_key(settings)
    async with running_api(settings) as api:
        api.headers["X-Api-Key"] = key
        jane, joe, early = [await create(api) for _ in range(3)]
        assert (await api.delete(f"{CUSTOMERS}/{early}/personal-data")).status_code == 200
    await an_eraser(settings, client, file=file).finish_once()
    # Of the copies that are restored, one is served with each form of the ledger.
    async with a_backup(settings) as backup, a_backup(settings, "again") as with_file:
        async with running_api(settings) as api:
            api.headers["X-Api-Key"] = key
            assert (await api.delete(f"{CUSTOMERS}/{jane}/personal-data")).status_code == 200
        await an_eraser(settings, client, file=file).finish_once()
        restored = (
            backup,
            replace(with_file, nats_url=NOWHERE, erasure_ledger=str(file)),
        )
        for copy in restored:
            assert [keys_of(copy, one) for one in (jane, joe, early)] == [1, 1, 0]
            assert await status(copy, key, jane, early) == [410, 410]
            assert [keys_of(copy, one) for one in (jane, joe, early)] == [0, 1, 0]


async def test_a_relay_on_a_restored_database_publishes_nothing_of_who_was_erased(
    settings: Settings, client: Client
) -> None:
    async with running_api(settings) as api:
        jane = await create(with_key(api, make_key(settings)))
    async with a_backup(settings) as backup:
        await erase(settings, CustomerId(UUID(jane)))
        await an_eraser(settings, client).finish_once()
        # JetStream has lost the events, and has the ledger still.
        relaying = asyncio.create_task(run_relay(backup))
        try:
            await until_published(settings, client, 2)
        finally:
            await end(relaying)
    message = await client.jetstream().get_msg(jetstream.stream_name(settings.log_id, 1), seq=2)
    assert b'"type":"CustomerErased"' in (message.data or b"")
    subject = f"$JS.API.STREAM.MSG.GET.{jetstream.stream_name(settings.log_id, 1)}"
    first = await client.request(subject, b'{"seq":1}', timeout=3)
    found = msgspec.json.decode(first.data).get("message")
    assert found is None or b'"data":null' in b64decode(found["data"])


async def test_where_no_ledger_can_be_read_a_restored_service_says_so_until_it_has_compared(
    settings: Settings,
) -> None:
    with nats_with() as server:
        here = replace(settings, nats_url=server.url, read_wait=0)
        key = {"X-Api-Key": make_key(here)}
        async with running_api(here) as api:
            jane = await create(with_key(api, key["X-Api-Key"]))
        async with a_backup(here) as backup:
            async with running_api(here) as api:
                await api.delete(f"{CUSTOMERS}/{jane}/personal-data", headers=key)
            client = await nats.connect(server.url)
            await an_eraser(here, client).finish_once()
            await client.close()
            server.stop()
            async with running_api(backup) as api:
                ready = (await api.get("/health/ready")).json()
                assert ready["status"] == "degraded"
                assert "not compared with the ledger" in ready["checks"]["erasures"]["detail"]
                # An outage of NATS refuses nothing, this included.
                await create(with_key(api, key["X-Api-Key"]))
                server.start()

                async def is_compared() -> bool:
                    checks = (await api.get("/health/ready")).json()["checks"]
                    return checks["erasures"]["ok"]

                await until(is_compared)
                assert (await api.get(f"{CUSTOMERS}/{jane}", headers=key)).status_code == 410
            assert keys_of(backup, jane) == 0


async def test_a_ledger_that_was_lost_gets_every_erasure_again(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    people = [await a_customer(postgres_log, writer) for _ in range(3)]
    for person in people:
        await erase(settings, person)
    await an_eraser(settings, client).finish_once()
    name = jetstream.ledger_stream(settings.log_id)
    assert (await client.jetstream().stream_info(name)).state.messages == 3

    await client.jetstream().delete_stream(name)
    await an_eraser(settings, client).finish_once()
    assert (await client.jetstream().stream_info(name)).state.messages == 3


async def test_a_file_that_is_named_later_or_lost_gets_every_erasure_once(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer, tmp_path: Path
) -> None:
    people = [await a_customer(postgres_log, writer) for _ in range(4)]

    async def named(path: Path) -> list[CustomerId]:
        await an_eraser(settings, client, file=path).finish_once()
        return [entry.customer_id for entry in (await LedgerFile(path).read())[0]]

    for person in people[:2]:
        await erase(settings, person)
    await an_eraser(settings, client).finish_once()
    await erase(settings, people[2])
    path, copied = tmp_path / "erasures.ndjson", tmp_path / "copied.ndjson"
    assert await named(path) == people[:3]
    copied.write_bytes(path.read_bytes())
    await erase(settings, people[3])
    assert await named(path) == people
    assert await named(copied) == people
    assert await named(path) == people


async def test_nothing_is_taken_out_of_the_ledger(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await erase(settings, await a_customer(postgres_log, writer))
    await an_eraser(settings, client).finish_once()
    name = jetstream.ledger_stream(settings.log_id)
    with pytest.raises(Exception, match="not permitted"):
        await client.jetstream().delete_msg(name, 1)
    with pytest.raises(Exception, match="not permitted"):
        await client.jetstream().purge_stream(name)


async def test_a_line_that_a_crash_tore_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "erasures.ndjson"
    one, two = (
        Entry(
            log_id=1,
            workspace_id=ACME,
            customer_id=CustomerId(new_id()),
            data_key_id=None,
            erased_at="now",
        )
        for _ in range(2)
    )
    await LedgerFile(path).append([one])
    with path.open("ab") as file:
        file.write(b'{"log_id":1,"works')
    whole = path.stat().st_size - len(b'{"log_id":1,"works')
    assert await LedgerFile(path).read() == ([one], whole)
    await LedgerFile(path).append([two])
    assert await LedgerFile(path).read() == ([one, two], path.stat().st_size)
    assert (await LedgerFile(path).read(whole))[0] == [two]
    assert path.stat().st_mode & 0o077 == 0
