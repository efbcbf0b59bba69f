"""`customers dev` as a person or a script uses it: started, called, killed, stopped."""

import json
import os
import signal
import socket
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import nats
import psycopg
import pytest
from nats.js.errors import NotFoundError

from runtime.embedded import children, running_servers
from tests.support.dev import Dev, a_place, customers, running_dev
from tests.support.signals import until

pytestmark = pytest.mark.timeout(180)

MEMBERS = ["url", "api_key", "test_api_key", "database_url", "nats_url", "pids"]
SAID = "https://customers.example.com"
PROCESSES = ["api", "relay", "projector", "scrub", "postgres", "nats"]


@pytest.fixture
def place() -> Generator[Path]:
    """A folder to work in."""
    with a_place() as path:
        yield path


class Shared(NamedTuple):
    """The one `customers dev` of the tests that leave it running, and its folder."""

    dev: Dev
    place: Path


@pytest.fixture(scope="module")
def shared() -> Generator[Shared]:
    """Started once, kept in the folder it works in."""
    with a_place() as path, running_dev(path) as dev:
        yield Shared(dev, path)


@pytest.fixture(scope="module")
def ephemeral() -> Generator[tuple[Dev, Dev]]:
    """Two ephemeral ones that were started in one folder; the second is told its address."""
    with (
        a_place() as path,
        running_dev(path, "--ephemeral") as one,
        running_dev(path, "--ephemeral", CUSTOMERS_PUBLIC_URL=SAID) as other,
    ):
        yield one, other


def test_it_says_in_one_line_all_a_script_needs_and_leaves_nothing_behind(place: Path) -> None:
    with running_dev(place, "--ephemeral") as dev:
        before = [children.identify(pid) for pid in dev.pids.values()]
        status, rest = dev.stop()
        after = [children.identify(pid) for pid in dev.pids.values()]

    assert list(dev.said) == MEMBERS
    assert list(dev.pids) == PROCESSES
    assert (status, rest) == (0, "")
    assert list(place.iterdir()) == []
    assert all(before)
    assert not any(after)


def test_a_customer_made_is_found_at_once_but_not_in_the_sandbox(shared: Shared) -> None:
    api, test_key = shared.dev.api, shared.dev.said["test_api_key"]

    made = api.post("/customers", json={"email": "kim@example.com", "firstName": "Kim"})
    found = api.get("/customers", params={"search": "kim"})
    sandbox = api.get("/customers", headers={"X-Api-Key": test_key})

    assert made.status_code == 200
    assert [customer["id"] for customer in found.json()["data"]] == [made.json()["data"]["id"]]
    assert sandbox.json()["data"] == []


def test_an_event_says_where_its_schema_is_and_there_it_is(shared: Shared) -> None:
    made = shared.dev.api.post("/customers", json={"email": "lee@example.com"})
    shared.dev.api.delete(f"/customers/{made.json()['data']['id']}")

    events = shared.dev.api.get("/events").json()["data"]

    assert {event["type"] for event in events} >= {"CustomerCreated", "CustomerDeleted"}
    for address in {event["dataschema"] for event in events}:
        served = httpx.get(address)
        assert served.status_code == 200, address
        assert served.json()["$id"] == address
        assert address.startswith(shared.dev.said["url"])


async def test_events_name_the_address_that_a_person_said(ephemeral: tuple[Dev, Dev]) -> None:
    _, dev = ephemeral
    dev.api.post("/customers", json={"email": "kim@example.com"})
    client = await nats.connect(dev.said["nats_url"])
    messages = client.jetstream()

    async def is_published() -> bool:
        with suppress(NotFoundError):
            return (await messages.stream_info("CUSTOMERS_1_1")).state.last_seq > 0
        return False

    await until(is_published)
    message = await messages.get_msg("CUSTOMERS_1_1", 1)
    await client.close()

    assert json.loads(message.data or b"")["dataschema"] == f"{SAID}/schemas/CustomerCreated/1"


async def test_its_servers_can_be_used_by_any_client(shared: Shared) -> None:
    with psycopg.connect(shared.dev.said["database_url"]) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = user").fetchone()
    client = await nats.connect(shared.dev.said["nats_url"])
    await client.jetstream().account_info()
    await client.close()

    assert row == (True,)


def test_two_ephemeral_ones_run_side_by_side(ephemeral: tuple[Dev, Dev]) -> None:
    one, other = ephemeral
    before = other.api.get("/customers").json()["data"]
    one.api.post("/customers", json={"email": "jane@example.com"})

    assert len(one.api.get("/customers").json()["data"]) == 1
    assert other.api.get("/customers").json()["data"] == before


def test_after_a_kill_the_next_start_has_the_same_data_keys_and_addresses(place: Path) -> None:
    with running_dev(place) as first:
        made = first.api.post("/customers", json={"email": "jane@example.com"}).json()["data"]
        first.process.kill()
        first.process.communicate()

        with running_dev(place) as second:
            found = second.api.get(f"/customers/{made['id']}").json()["data"]

    assert found == made
    same = ["api_key", "test_api_key", "database_url", "nats_url"]
    assert [second.said[name] for name in same] == [first.said[name] for name in same]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_child_that_dies_is_started_again(shared: Shared, name: str) -> None:
    pid = written_pids(shared.place)[name]

    os.kill(pid, signal.SIGKILL)

    assert children.wait_until(lambda: written_pids(shared.place)[name] != pid, 20.0)
    assert children.wait_until(lambda: makes_and_finds_a_customer(shared.dev), 30.0)


def written_pids(place: Path) -> dict[str, int]:
    """What the running `customers dev` tells the other commands."""
    return json.loads((place / ".customers/dev/run.json").read_text())["pids"]


def makes_and_finds_a_customer(dev: Dev) -> bool:
    """Whether a fresh write is answered and read back."""
    try:
        made = dev.api.post("/customers", json={"email": "jane@example.com"})
        found = dev.api.get("/customers", params={"per_page": 1})
    except httpx.HTTPError:
        return False
    if made.status_code != 200 or found.status_code != 200:
        return False
    return found.json()["data"][0]["id"] == made.json()["data"]["id"]


def test_a_second_one_on_the_same_folder_is_refused_naming_the_first(shared: Shared) -> None:
    second = customers(shared.place, "dev", "--port", "0")

    assert second.returncode == 1
    assert f"as process {shared.dev.process.pid}" in second.stderr
    assert "try: " in second.stderr


def test_a_taken_port_is_said_at_once_with_the_way_out(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        refused = customers(place, "dev", "--port", str(other.getsockname()[1]))

    assert refused.returncode == 1
    assert "is taken by another program" in refused.stderr
    assert "try: customers dev --port 0" in refused.stderr
    assert list(place.iterdir()) == []


def test_seeded_customers_reach_stream_and_read_model(place: Path) -> None:
    with running_dev(place, "--seed", "1200") as dev:
        total = dev.api.get("/customers").json()["meta"]["total"]
        status = customers(place, "status", "--json")

    assert total == 1200
    assert status.returncode == 0, status.stdout + status.stderr
    found = json.loads(status.stdout)
    assert found["log_head"] == found["stream_sequence"] == found["checkpoint"] == 1200
    assert found["lag_events"] == 0
    assert found["pids"] == dev.pids


def test_the_other_commands_find_it_by_the_folder(shared: Shared) -> None:
    scope = ("--scope", "customers:read")
    made = customers(shared.place, "keys", "create", "--workspace", "acme", *scope)
    acme = {"X-Api-Key": made.stdout.strip()}
    listed = shared.dev.api.get("/customers", headers=acme)
    refused = shared.dev.api.post("/customers", headers=acme, json={"email": "jane@example.com"})

    assert made.returncode == 0, made.stderr
    assert (listed.status_code, refused.status_code) == (200, 403)
    # Those that were killed before this test may still be on their way back to one another.
    assert children.wait_until(lambda: finds_nothing_wrong(shared.place), 30.0), customers(
        shared.place, "doctor"
    ).stdout


def finds_nothing_wrong(place: Path) -> bool:
    """Whether `customers doctor` has nothing to complain of."""
    return customers(place, "doctor").returncode == 0


def test_what_is_printed_of_the_events_is_what_it_serves(shared: Shared) -> None:
    printed = customers(shared.place, "asyncapi")
    served = httpx.get(f"{shared.dev.said['url']}/asyncapi.json")

    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout) == served.json()


async def test_the_command_line_shows_each_event_as_jetstream_has_it(shared: Shared) -> None:
    dev, place = shared
    made = dev.api.post("/customers", json={"email": "lou@example.com"}).json()["data"]["id"]
    dev.api.patch(f"/customers/{made}", json={"tags": ["vip"]})

    tail = customers(place, "events", "tail", "--json", "--customer", made)

    assert tail.returncode == 0, tail.stderr
    shown = [json.loads(line) for line in tail.stdout.splitlines()]
    assert [line["event"]["type"] for line in shown] == ["CustomerCreated", "CustomerUpdated"]
    client = await nats.connect(dev.said["nats_url"])
    jetstream = client.jetstream()

    async def published(position: int) -> bool:
        try:
            return (await jetstream.stream_info("CUSTOMERS_1_1")).state.last_seq >= position
        except NotFoundError:
            return False

    for line, text in zip(shown, tail.stdout.splitlines(), strict=True):
        position = line["position"]
        await until(lambda position=position: published(position))
        message = await jetstream.get_msg("CUSTOMERS_1_1", position)
        assert message.data
        assert text == f'{{"position":{position},"event":{message.data.decode()}}}'
    await client.close()


def test_it_uses_the_servers_it_is_told_to_use(place: Path) -> None:
    with running_servers() as servers:
        told = {
            "CUSTOMERS_DATABASE_URL": servers.postgres.url,
            "CUSTOMERS_NATS_URL": servers.nats.url,
        }
        with running_dev(place, "--ephemeral", **told) as dev:
            dev.api.post("/customers", json={"email": "jane@example.com"})
            listed = dev.api.get("/customers").json()["data"]
            dev.stop()

        with psycopg.connect(servers.postgres.url) as connection:
            head = connection.execute("SELECT max(position) FROM log.events").fetchone()

    assert (dev.pids["postgres"], dev.pids["nats"]) == (None, None)
    assert dev.said["database_url"] == told["CUSTOMERS_DATABASE_URL"]
    assert len(listed) == 1
    assert head == (1,)


@pytest.mark.parametrize(
    ("variable", "url", "said"),
    [
        ("CUSTOMERS_DATABASE_URL", "postgresql://me:word@127.0.0.1:1/none", "Postgres cannot be"),
        ("CUSTOMERS_NATS_URL", "nats://me:word@127.0.0.1:1", "NATS, as CUSTOMERS_NATS_URL says"),
    ],
)
def test_a_server_that_is_not_there_is_said_and_everything_else_ends(
    place: Path, variable: str, url: str, said: str
) -> None:
    refused = customers(place, "dev", "--ephemeral", "--port", "0", **{variable: url})

    assert refused.returncode == 1
    assert refused.stdout == ""
    assert f"error: {said}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "word" not in refused.stderr.replace("password", "")
