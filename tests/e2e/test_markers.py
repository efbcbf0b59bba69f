"""No value of a customer and no secret gets where it does not belong, whatever goes wrong.

Real processes and servers of their own, with a marker in each field and each secret; then all that
any of them wrote is searched.
"""

import os
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from msgspec import Struct, field
from msgspec.structs import replace
from psycopg import sql

from runtime.embedded import EmbeddedNats, EmbeddedPostgres, make_folder
from runtime.settings import Settings
from tests.benchmarks.deployment import a_folder, a_process, a_service, announced_port
from tests.support.api import CUSTOMERS, make_key
from tests.support.collector import Collector, collecting
from tests.support.command import Command
from tests.support.markers import ABOUT, PERSON, found_in, secret_of_32_bytes

pytestmark = pytest.mark.timeout(180)

WRONG: Final = "sk_live_zqwrong7" + "w" * 36
IN_CLEAR: Final[dict[str, set[str]]] = {"log.reservations": {"external"}}
"""What may stand in a table outside the read model: architecture says of no other that it does."""
_TABLES: Final = """
SELECT schemaname, tablename FROM pg_tables
 WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname NOT LIKE 'edition%'
"""


class Written(Struct, kw_only=True):
    """Everything that was written, by where."""

    keys: list[str] = field(default_factory=list[str])
    logs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    failures: list[httpx.Response] = field(default_factory=list[httpx.Response])
    pages: dict[str, bytes] = field(default_factory=dict[str, bytes])
    tables: dict[str, bytes] = field(default_factory=dict[str, bytes])
    spans: list[bytes] = field(default_factory=list[bytes])


@pytest.fixture(scope="module")
def written() -> Generator[Written]:
    """What was written while everything that could go wrong did."""
    with ExitStack() as stack:
        folder = stack.enter_context(a_folder())
        collector = stack.enter_context(collecting())
        postgres = EmbeddedPostgres(folder, password="zqdbpassword7", durable=False)
        nats = EmbeddedNats(make_folder(folder / "n"), password="zqnatspassword7", durable=False)
        for server in (postgres, nats):
            stack.callback(server.stop)
            server.launch()
            server.wait_ready()
        settings = _settings(postgres, nats, collector)
        found = Written(keys=[make_key(settings), make_key(settings, "acme", test=True)])
        with ExitStack() as processes:
            port = _start(processes, settings, folder)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                _go_wrong(client, settings, found, nats, postgres)
        found.logs = {path.name: path.read_bytes() for path in folder.rglob("*.log")}
        found.spans = collector.bodies
        yield found


def _settings(postgres: EmbeddedPostgres, nats: EmbeddedNats, collector: Collector) -> Settings:
    return replace(
        a_service(postgres, nats, "customers"),
        master_keys=f"zqid:{secret_of_32_bytes('master')}",
        signing_keys=f"zqid:{secret_of_32_bytes('signing')}",
        webhook_secret=f"whsec_{secret_of_32_bytes('webhook')}",
        metrics_token="zqmetricstoken7",
        traces_url=collector.url,
        log_level="debug",
        head_seconds=0.2,
    )


def _start(processes: ExitStack, settings: Settings, folder: Path) -> int:
    """The port of the API; each process has a log file."""
    started: dict[str, Any] = {}
    for name in ("relay", "projector", "api"):
        log = processes.enter_context((folder / f"{name}.log").open("wb"))
        command = (name, "--port", "0") if name == "api" else (name,)
        started[name] = processes.enter_context(a_process(settings, *command, log=log))
    return announced_port(started["api"])


def _go_wrong(
    client: httpx.Client,
    settings: Settings,
    found: Written,
    nats: EmbeddedNats,
    postgres: EmbeddedPostgres,
) -> None:
    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"X-Api-Key": found.keys[0]} | more.pop("headers", {})
        answer = client.request(method, path, headers=headers, **more)
        if answer.status_code >= 400:
            found.failures.append(answer)
        return answer

    def make(**other: Any) -> httpx.Response:
        about = ABOUT | {"Idempotency-Key": f"zqidempotency7-{os.urandom(8).hex()}"}
        return ask("POST", CUSTOMERS, json=PERSON | other, headers=about)

    one = f"{CUSTOMERS}/{make().json()['data']['id']}"
    _be_refused(ask, one)
    for path in (one, f"{one}/history", f"{one}/personal-data", f"{CUSTOMERS}?search=zqsearch7"):
        assert ask("GET", path).status_code == 200
    ask("POST", f"{CUSTOMERS}/bulk", json=[PERSON], headers=ABOUT)
    ask("DELETE", one, headers=ABOUT | {"Idempotency-Key": "zqidempotency7-2"})
    ask("POST", f"{one}/restore")
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        # Somebody else's mistake, so that Postgres refuses what a customer has.
        owner.execute(
            "ALTER TABLE edition_1.customers ADD CHECK (phone <> '+15557315908') NOT VALID"
        )
        assert ask("PUT", one, json={"firstName": "Zqother7"}).status_code == 200
        assert ask("GET", one).json()["meta"]["stale"] is True
        owner.execute(
            "ALTER TABLE log.reservations ADD CHECK (external_id !~ '^zqboom7') NOT VALID"
        )
        assert make(external_id="zqboom7").status_code == 500
        found.tables = _tables(owner)
    found.pages = _pages(client, settings)
    nats.stop()
    assert make(external_id="zqlater7").status_code == 200
    postgres.stop()
    assert ask("GET", f"{CUSTOMERS}?search=zqsearch7").status_code == 503


def _be_refused(ask: Any, one: str) -> None:
    """Requests that are wrong in every field, header and parameter."""
    for name, value in PERSON.items():
        for wrong in ([value], {"x": value}, f"{value}\x00", f"{value}" * 200):
            ask("PUT", one, json={name: wrong})
            ask("POST", f"{CUSTOMERS}/bulk", json=[{"external_id": "zqexternal7", name: wrong}])
    ask(
        "PUT",
        one,
        content=b'{"email":"zqmail7@zqdomain7.example",',
        headers={"Content-Type": "application/json"},
    )
    ask("POST", CUSTOMERS, json=PERSON, headers={"X-Actor": "zqactor7" * 100})
    ask("POST", CUSTOMERS, json=PERSON | {"email": "zqmail7"})
    ask("POST", CUSTOMERS, json=PERSON | {"external_id": "zqexternal7"})
    ask("GET", CUSTOMERS, headers={"X-Api-Key": WRONG})
    ask("GET", CUSTOMERS, headers={"X-Api-Key": "zqwrong7"})
    ask("GET", CUSTOMERS, headers={"X-Consistency-Token": "zqtoken7"})
    for name in ("search", "email", "phone", "external_id", "tags", "created_after", "cursor"):
        ask("GET", f"{CUSTOMERS}?{name}=zqquery7&{name}=zqquery7%00")


def _tables(owner: psycopg.Connection[Any]) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    for schema, name in owner.execute(_TABLES).fetchall():
        query = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, name))
        with owner.cursor().copy(query) as copy:
            content[f"{schema}.{name}"] = b"".join(map(bytes, copy))
    return content


def _pages(client: httpx.Client, settings: Settings) -> dict[str, bytes]:
    """What is told to everybody, and what the command line tells an operator."""
    paths = ("/health/ready", "/openapi.json", "/asyncapi.json", "/log/head")
    pages = {path: client.get(path).content for path in paths}
    token = {"Authorization": f"Bearer {settings.metrics_token}"}
    metrics = client.get("/metrics", headers=token)
    assert metrics.status_code == 200
    pages["/metrics"] = metrics.content
    pages["/metrics without its token"] = client.get("/metrics").content
    for command in (("status", "--json"), ("doctor",), ("projections", "failures")):
        ran = Command(settings=settings).run(*command)
        pages[" ".join(command)] = ran.out.encode() + ran.err.encode()
    return pages


@pytest.mark.parametrize("process", ["api", "relay", "projector", "postgres", "nats"])
def test_no_log_holds_a_value_of_a_customer_or_a_secret(written: Written, process: str) -> None:
    log = written.logs[f"{process}.log"]
    assert log
    assert found_in(log, written.keys) == set()


def test_what_went_wrong_is_in_the_logs_all_the_same(written: Written) -> None:
    for process, event in (
        ("api", b'"request.failed"'),
        ("api", b"nats."),
        ("projector", b'"projector.parked"'),
        ("postgres", b"violates check constraint"),
    ):
        assert event in written.logs[f"{process}.log"]


def test_no_failure_tells_a_value_back_or_a_secret(written: Written) -> None:
    assert {failure.status_code for failure in written.failures} >= {400, 401, 409, 500, 503}
    for failure in written.failures:
        told = failure.content + str(failure.headers).encode()
        assert found_in(told, written.keys) == set(), failure.request.url


def test_no_page_for_everybody_or_for_operators_holds_any(written: Written) -> None:
    for page, content in written.pages.items():
        assert content
        assert found_in(content, written.keys) == set(), page


def test_no_table_but_the_read_model_holds_a_customer_in_clear(written: Written) -> None:
    assert written.tables["log.events"]
    for table, content in written.tables.items():
        assert found_in(content, written.keys) <= IN_CLEAR.get(table, set()), table


def test_no_trace_holds_any(written: Written) -> None:
    spans = b"".join(written.spans)
    assert b"/api/v1/external/customers" in spans
    assert found_in(spans, written.keys) == set()
