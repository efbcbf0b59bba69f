"""`as_of`: a customer, and the list of all, as they were in a version or at a moment."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
import pytest
from msgspec.structs import replace

from events.customer import CustomerDeleted
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from query_side.past import LOOKS
from runtime.clock import format_time
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.builders import JANE, Writer
from tests.support.past import get, now, walk
from tests.support.projecting import projecting
from tests.support.writing import (
    NOBODY,
    a_deleted_customer,
    bulk,
    code_of,
    create,
    erase,
    errors,
)

BEFORE_ALL = "2020-01-01T00:00:00Z"


@pytest.fixture
async def alone(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of both sides without NATS, relay and projector."""
    async with running_api(replace(settings, nats_url="nats://127.0.0.1:1", read_wait=0)) as client:
        yield with_key(client, make_key(settings))


async def test_every_version_and_moment_shows_what_the_write_then_answered(
    alone: httpx.AsyncClient,
) -> None:
    created = await alone.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
    one = f"{CUSTOMERS}/{created.json()['data']['id']}"
    changed = await alone.patch(
        one,
        content=b'{"lastName":"Roe","custom_fields":{"n":1.00000000000000000001}}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    deleted = await alone.delete(one)
    restored = await alone.post(f"{one}/restore")
    assert deleted.status_code == 200
    for written in (created, changed, restored):
        document = written.json()["data"]
        for as_of in (document["version"], document["updated_at"]):
            answer = await get(alone, one, as_of)
            assert answer.status_code == 200
            assert answer.json()["data"] == document
            assert answer.headers["etag"] == f'"{document["version"]}"'
            assert answer.json()["message"] == "Customer retrieved successfully"
    assert '"n":1.00000000000000000001' in (await get(alone, one, 2)).text
    history = (await alone.get(f"{one}/history")).json()["data"]
    for nobody_then in (3, history[2]["time"], 5, 2**31 - 1, BEFORE_ALL):
        answer = await get(alone, one, nobody_then)
        assert (answer.status_code, code_of(answer)) == (404, "customer_not_found")


async def test_a_moment_may_be_written_in_any_way_that_rfc_3339_allows(
    alone: httpx.AsyncClient,
) -> None:
    created = (await alone.post(CUSTOMERS, json=REFERENCE_CUSTOMER)).json()["data"]
    one = f"{CUSTOMERS}/{created['id']}"
    await alone.delete(one)
    moment = datetime.fromisoformat(created["created_at"])
    east = moment + timedelta(hours=1)
    for text in (
        created["created_at"].lower(),
        created["created_at"].replace("T", " "),
        created["created_at"].replace("Z", "000Z"),
        f"{east:%Y-%m-%dT%H:%M:%S.%f}+01:00",
        f"{east:%Y-%m-%dT%H:%M:%S.%f} 01:00",
    ):
        for path in (one, CUSTOMERS):
            # Not quoted, a plus arrives as a space.
            for query in (quote(text), quote(text, safe="+:")):
                answer = await alone.get(f"{path}?as_of={query}")
                assert answer.status_code == 200, (text, answer.text)
                told = answer.json()["data"]
                assert (told if path == one else told[0])["version"] == 1
    earlier = format_time(moment - timedelta(microseconds=1))
    assert (await get(alone, one, earlier)).status_code == 404


async def test_a_reader_that_has_the_version_of_then_is_told_so(both: httpx.AsyncClient) -> None:
    one = f"{CUSTOMERS}/{await create(both)}"
    await both.patch(one, json={"firstName": "Jane"})
    for tag, status in (('"1"', 304), ('"2"', 200), ("*", 304)):
        answer = await both.get(f"{one}?as_of=1", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (status, '"1"')
    malformed = await both.get(f"{one}?as_of=1", headers={"If-None-Match": "1"})
    assert errors(malformed) == [("If-None-Match", "malformed_etag", None)]
    head = await both.head(f"{one}?as_of=1")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", '"1"')


async def test_what_is_no_version_and_no_moment_so_far_is_refused(
    alone: httpx.AsyncClient, settings: Settings, keyring: Keyring
) -> None:
    one = f"{CUSTOMERS}/{await create(alone, external_id='cust-001')}"
    async with projecting(settings, keyring) as model:
        await model.catch_up()
    # By then somebody else may have had it.
    by_external_id = await alone.get(f"{CUSTOMERS}/external/cust-001?as_of=1")
    assert errors(by_external_id) == [("as_of", "not_supported", None)]
    for as_of, code in (
        *(("0", "out_of_range"), ("-1", "out_of_range"), ("2147483648", "out_of_range")),
        *(("9" * 5000, "out_of_range"), ("", "invalid_moment"), ("1.5", "invalid_moment")),
        *(("yesterday", "invalid_moment"), ("2026-03-03", "invalid_moment")),
        *(("2026-03-03T10:00:00", "invalid_moment"), ("2026-02-30T10:00:00Z", "out_of_range")),
        *(("2999-01-01T00:00:00Z", "in_the_future"), ("9999-12-31T23:59:59Z", "in_the_future")),
        *(("9999-12-31T23:59:59-00:01", "out_of_range"), (f"{BEFORE_ALL}&as_of=1", "repeated")),
    ):
        answer = await alone.get(f"{one}?as_of={as_of}")
        assert (answer.status_code, errors(answer)) == (400, [("as_of", code, None)]), as_of
        listed = await alone.get(f"{CUSTOMERS}?as_of={as_of}")
        # A list has no version.
        expected = "invalid_moment" if as_of.lstrip("-").isdecimal() else code
        assert (listed.status_code, errors(listed)) == (400, [("as_of", expected, None)]), as_of
        assert (await alone.get(f"{NOBODY}?as_of={as_of}")).status_code == 404


async def test_whoever_was_there_then_is_told_what_is_wrong_and_not_that_nobody_is_there(
    alone: httpx.AsyncClient,
) -> None:
    # Nothing is projected here, so the one is not in the read model, and the other never will be.
    live = f"{CUSTOMERS}/{await create(alone)}"
    deleted = f"{CUSTOMERS}/{await a_deleted_customer(alone)}"
    gone = f"{CUSTOMERS}/{await create(alone)}"
    await alone.delete(f"{gone}/personal-data")
    for query, wrong in (
        ("as_of=yesterday", [("as_of", "invalid_moment", None)]),
        ("as_of=1&page=2", [("page", "unknown_parameter", None)]),
        ("as_of=1&as_of=2", [("as_of", "repeated", None)]),
        (
            "as_of=2999-01-01T00:00:00Z&page=2",
            [("page", "unknown_parameter", None), ("as_of", "in_the_future", None)],
        ),
    ):
        strictly = {"Prefer": "handling=strict"}
        for one in (live, deleted):
            answer = await alone.get(f"{one}?{query}", headers=strictly)
            assert (answer.status_code, errors(answer)) == (400, wrong), query
        answer = await alone.get(f"{gone}?{query}", headers=strictly)
        assert (answer.status_code, code_of(answer)) == (410, "customer_erased")
        answer = await alone.get(f"{NOBODY}?{query}", headers=strictly)
        assert (answer.status_code, code_of(answer)) == (404, "customer_not_found")


async def test_the_list_shows_everyone_as_they_were_newest_created_first(
    alone: httpx.AsyncClient,
) -> None:
    ids = [await create(alone, email=f"c{number}@example.com") for number in range(5)]
    await alone.delete(f"{CUSTOMERS}/{ids[1]}")
    await alone.patch(f"{CUSTOMERS}/{ids[2]}", json={"firstName": "Then"})
    then = await now(alone)
    await alone.patch(f"{CUSTOMERS}/{ids[2]}", json={"firstName": "Later"})
    await alone.delete(f"{CUSTOMERS}/{ids[0]}")
    await alone.post(f"{CUSTOMERS}/{ids[1]}/restore")
    await create(alone, email="later@example.com")

    answer = await get(alone, CUSTOMERS, then)

    told = answer.json()
    assert [row["id"] for row in told["data"]] == [ids[4], ids[3], ids[2], ids[0]]
    assert told["data"][2]["first_name"] == "Then"
    assert told["data"] == [
        (await get(alone, f"{CUSTOMERS}/{row['id']}", then)).json()["data"] for row in told["data"]
    ]
    assert list(told["meta"].items())[:-1] == [
        ("as_of", then),
        ("per_page", 20),
        ("has_next", False),
        ("next_cursor", None),
    ]
    assert "link" not in answer.headers
    assert await walk(alone, BEFORE_ALL) == []
    everyone = [row["id"] for row in await walk(alone, await now(alone))]
    assert everyone[1:] == [ids[4], ids[3], ids[2], ids[1]]


async def test_a_walk_skips_and_doubles_nobody_whatever_is_written_meanwhile(
    both: httpx.AsyncClient,
) -> None:
    rows = [{"external_id": f"c-{number}", "email": "a@example.com"} for number in range(23)]
    made = [result["id"] for result in (await bulk(both, *rows))["results"]]
    then = await now(both)
    answer = await both.get(CUSTOMERS, params={"as_of": then, "per_page": "5"})
    seen = [row["id"] for row in answer.json()["data"]]
    while answer.json()["meta"]["has_next"]:
        for customer_id in (made[0], made[-1], made[10]):
            await both.delete(f"{CUSTOMERS}/{customer_id}")
            await both.post(f"{CUSTOMERS}/{customer_id}/restore")
        await create(both)
        link = answer.headers["link"]
        assert link.endswith('; rel="next"')
        answer = await both.get(link[1 : link.index(">")])
        seen += [row["id"] for row in answer.json()["data"]]
    assert seen == made[::-1]
    assert [row["id"] for row in await walk(both, then, per_page=1)] == seen


async def test_a_cursor_is_good_for_its_own_moment_and_list_only(both: httpx.AsyncClient) -> None:
    for _ in range(3):
        await create(both)
    then = await now(both)
    cursor = (await both.get(f"{CUSTOMERS}?as_of={then}&per_page=1")).json()["meta"]["next_cursor"]
    for query, told in (
        (f"as_of={BEFORE_ALL}&cursor={cursor}", ("cursor", "other_query")),
        (f"cursor={cursor}", ("cursor", "other_query")),
        (f"as_of={then}&cursor=x", ("cursor", "invalid_cursor")),
    ):
        assert errors(await both.get(f"{CUSTOMERS}?{query}")) == [(*told, None)]


async def test_after_a_restore_a_cursor_of_the_lost_time_is_told(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    for _ in range(3):
        await create(both)
    query = {"as_of": await now(both), "per_page": "1"}
    query["cursor"] = (await both.get(CUSTOMERS, params=query)).json()["meta"]["next_cursor"]
    with connect_as_owner(settings, "test restore") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("DELETE FROM log.events WHERE workspace_sequence = 3")
    answer = await both.get(CUSTOMERS, params=query)
    assert (answer.status_code, code_of(answer)) == (410, "lost_history")


async def test_a_list_as_it_was_takes_no_search_no_filter_and_no_page(
    both: httpx.AsyncClient,
) -> None:
    excluded = (
        *("page=1", "search=jane", "sort=email", "tags=vip", "tags_none=x", "email=a@example.com"),
        *("phone=%2B1", "external_id=x", f"created_after={BEFORE_ALL}"),
        f"updated_after={BEFORE_ALL}",
    )
    answer = await both.get(f"{CUSTOMERS}?as_of={BEFORE_ALL}&per_page=0&{'&'.join(excluded)}")
    names = [part.partition("=")[0] for part in excluded]
    assert errors(answer) == [
        ("per_page", "out_of_range", None),
        *((name, "excluded", None) for name in names),
    ]


async def test_those_who_are_erased_are_in_no_list_of_any_moment(
    both: httpx.AsyncClient, postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring
) -> None:
    kept, erased = await create(both), await create(both)
    then = await now(both)
    assert [row["id"] for row in await walk(both, then)] == [erased, kept]
    await erase(postgres_log, log_reader, keyring, erased)
    assert [row["id"] for row in await walk(both, then)] == [kept]


async def test_a_long_run_of_the_deleted_is_passed_page_by_page_without_a_long_call(
    both: httpx.AsyncClient, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    oldest, writer = await create(both), Writer(keyring)
    gone = [writer.a_customer() for _ in range(LOOKS + 1)]
    await postgres_log.append(
        [
            writer.group(*(writer.event(customer_id) for customer_id in gone)),
            writer.group(*(writer.event(one, 2, CustomerDeleted(customer=JANE)) for one in gone)),
        ]
    )
    then = await now(both)
    first = (await both.get(CUSTOMERS, params={"as_of": then})).json()
    assert (first["data"], first["meta"]["has_next"]) == ([], True)
    assert [row["id"] for row in await walk(both, then)] == [oldest]


async def test_nothing_of_another_workspace_is_in_a_list_as_it_was(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    await create(both)
    await create(both)
    then = await now(both)
    cursor = (await both.get(f"{CUSTOMERS}?as_of={then}&per_page=1")).json()["meta"]["next_cursor"]
    for workspace, is_test in (("globex", False), ("acme", True), ("acm", False)):
        stranger = {"X-Api-Key": make_key(settings, workspace, test=is_test)}
        answer = await both.get(f"{CUSTOMERS}?as_of={then}", headers=stranger)
        assert (answer.json()["data"], answer.json()["meta"]["next_cursor"]) == ([], None)
        answer = await both.get(f"{CUSTOMERS}?as_of={then}&cursor={cursor}", headers=stranger)
        assert errors(answer) == [("cursor", "invalid_cursor", None)]
