"""Lists follow the live edition of the read model."""

import httpx

from projections.editions import create_edition
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.customers import REFERENCE, Customers, a_list, ids


async def test_reads_follow_the_live_edition(
    customers: Customers, reader: httpx.AsyncClient, settings: Settings
) -> None:
    (jane,) = await customers.add(REFERENCE)
    assert ids(await a_list(reader)) == [jane]
    with connect_as_owner(settings, "test editions") as owner:
        create_edition(owner, 2)
        owner.execute("INSERT INTO edition_2.checkpoints SELECT * FROM edition_1.checkpoints")
        with owner.transaction():
            owner.execute("UPDATE projections.editions SET live = false")
            owner.execute("UPDATE projections.editions SET live = true WHERE edition = 2")
        assert ids(await a_list(reader)) == []
        with owner.transaction():
            owner.execute("UPDATE projections.editions SET live = false")
            owner.execute("UPDATE projections.editions SET live = true WHERE edition = 1")
            owner.execute("DROP SCHEMA edition_2 CASCADE")
            owner.execute("DELETE FROM projections.editions WHERE edition = 2")
        assert ids(await a_list(reader)) == [jane]


async def test_without_an_edition_reads_say_what_to_do(
    reader: httpx.AsyncClient, settings: Settings
) -> None:
    with connect_as_owner(settings, "test editions") as owner:
        owner.execute("DELETE FROM projections.editions")
    answer = await reader.get("/customers")
    assert answer.status_code == 503
    assert "customers migrate" in answer.json()["message"]
