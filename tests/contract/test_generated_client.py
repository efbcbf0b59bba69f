"""openapi-python-client makes a client of the document, and that client can do everything."""

import importlib
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import msgspec
import pytest

from runtime.documents import api_document
from runtime.embedded import children
from runtime.settings import Settings
from tests.support.api import REFERENCE_CUSTOMER, make_key
from tests.support.dev import PATIENT, Dev, a_place, running_dev

pytestmark = pytest.mark.timeout(120)

PACKAGE = "generated_customers_client"
DOCUMENT: dict[str, Any] = msgspec.json.decode(api_document())
OPERATIONS = {
    operation["operationId"]
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}
NOBODY = UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21")


class Generated:
    """The generated client of one service: calls by their operationId."""

    def __init__(self, calls: dict[str, ModuleType], models: ModuleType, client: Any) -> None:
        self._calls = calls
        self.models = models
        self._client = client

    def __call__(self, operation: str, *arguments: object, **named: object) -> Any:
        """Call it; the answer with its status, headers and parsed body."""
        return self._calls[operation].sync_detailed(*arguments, client=self._client, **named)


@pytest.fixture(scope="module")
def generated() -> Generator[Path]:
    """The folder of the generated package, made without a single warning."""
    with a_place() as place:
        (place / "openapi.json").write_bytes(api_document())
        (place / "config.yaml").write_text("post_hooks: []\n", encoding="utf-8")
        made = subprocess.run(
            [
                *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
                *("--path", "openapi.json", "--config", "config.yaml"),
                *("--meta", "none", "--output-path", PACKAGE),
            ],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        assert "warning" not in (made.stdout + made.stderr).lower()
        sys.path.insert(0, str(place))
        yield place / PACKAGE
        sys.path.remove(str(place))


@pytest.fixture(scope="module")
def service() -> Generator[Dev]:
    """A running service."""
    often = {"CUSTOMERS_HEAD_SECONDS": "0.5"}
    with a_place() as place, running_dev(place, "--ephemeral", **PATIENT, **often) as dev:
        yield dev


def made_client(service: Dev, key: str) -> Any:
    """The generated package's own client, with a key."""
    return importlib.import_module(f"{PACKAGE}.client").AuthenticatedClient(
        base_url=service.said["url"], token=key, prefix="", auth_header_name="X-Api-Key"
    )


@pytest.fixture
def api(generated: Path, service: Dev) -> Generator[Generated]:
    """The generated client with a key of the running service."""
    calls = {
        file.stem: importlib.import_module(f"{PACKAGE}.api.{file.parent.name}.{file.stem}")
        for file in generated.glob("api/*/*.py")
        if file.stem != "__init__"
    }
    with made_client(service, service.said["api_key"]) as client:
        yield Generated(calls, importlib.import_module(f"{PACKAGE}.models"), client)


def test_it_has_every_call_and_each_is_driven_here(api: Generated) -> None:
    driven = re.findall(r'\bapi\("(\w+)"', Path(__file__).read_text(encoding="utf-8"))
    assert set(api._calls) == OPERATIONS == set(driven)


def test_one_customer_from_creation_to_restoration(api: Generated) -> None:
    body = api.models.NewCustomer.from_dict(REFERENCE_CUSTOMER | {"external_id": "client-1"})
    created = api("create_customer", body=body, idempotency_key="create-1", x_actor="tests")
    again = api("create_customer", body=body, idempotency_key="create-1", x_actor="tests")
    customer = created.parsed.data
    token, tag = created.headers["X-Consistency-Token"], created.headers["ETag"]
    assert (created.status_code, customer.first_name, customer.version) == (200, "Jane", 1)
    assert customer.custom_fields.additional_properties == {"account_type": "premium"}
    assert (again.parsed.data, again.headers["Idempotency-Replayed"]) == (customer, "true")

    got = api("get_customer", customer.id, x_consistency_token=token)
    assert got.parsed.data == customer
    assert api("get_customer", customer.id, if_none_match=tag).status_code == 304
    assert api("head_get_customer", customer.id).headers["ETag"] == tag

    changes = api.models.CustomerChanges
    updated = api("update_customer", customer.id, body=changes(company_name=None), if_match=tag)
    patched = api("patch_customer", customer.id, body=changes(last_name="Roe"))
    assert (updated.parsed.data.company_name, updated.parsed.data.version) == (None, 2)
    assert (patched.parsed.data.last_name, patched.parsed.data.version) == ("Roe", 3)

    deleted = api("delete_customer", customer.id)
    gone = api("get_customer", customer.id)
    restored = api("restore_customer", customer.id)
    assert (deleted.parsed.data.id, gone.status_code) == (customer.id, 404)
    assert (restored.parsed.data.id, restored.parsed.data.version) == (customer.id, 5)


def test_all_that_is_known_of_one_customer_until_it_is_erased(api: Generated) -> None:
    body = api.models.NewCustomer(email="known@example.com", first_name="Jane")
    customer = api("create_customer", body=body, x_reason="to know").parsed.data

    (entry,) = api("get_history", customer.id).parsed.data
    known = api("get_personal_data", customer.id).parsed.data
    assert (entry.reason, entry.version) == ("to know", 1)
    assert (known.customer, known.status) == (customer, "live")
    assert [event.data.additional_properties["reason"] for event in known.events] == ["to know"]
    assert [access.action for access in known.accesses] == ["history", "export"]
    assert api("head_get_history", customer.id).status_code == 200
    assert api("head_get_personal_data", customer.id).status_code == 200

    receipt = api("erase_customer", customer.id).parsed.data
    assert receipt.customer_id == customer.id
    assert api("get_personal_data", customer.id).status_code == 410


def test_one_customer_by_an_external_id_with_a_slash(api: Generated) -> None:
    external_id = "crm/4711 ä%2F"
    body = api.models.CustomerChanges(email="slash@example.com")
    made = api("put_external_customer", external_id, body=body, if_none_match="*")
    refused = api("put_external_customer", external_id, body=body, if_none_match="*")
    got = api("get_external_customer", external_id)

    assert (made.parsed.data.external_id, made.parsed.data.version) == (external_id, 1)
    assert made.headers["Location"].endswith(str(made.parsed.data.id))
    assert (refused.status_code, refused.parsed.current_version) == (412, 1)
    assert got.parsed.data == made.parsed.data
    assert api("head_get_external_customer", external_id).status_code == 200
    assert api("delete_external_customer", external_id).parsed.data.id == made.parsed.data.id
    assert api("get_external_customer", external_id).status_code == 404


def test_many_customers_in_bulk_then_page_by_page(api: Generated) -> None:
    rows = [
        api.models.BulkRow(external_id=f"row-{n}", email=f"row{n}@example.com", tags=["Bulk"])
        for n in range(5)
    ]
    bad = api.models.BulkRow(external_id="row-9", email="nothing")
    stale = api.models.BulkRow(external_id="row-0", if_version=7)
    tried = api("bulk_upsert_customers", body=rows, dry_run=True)
    done = api("bulk_upsert_customers", body=api.models.BulkBody(customers=[*rows, bad, stale]))
    refused = api("bulk_upsert_customers", body=[*rows, bad], atomic=True)

    assert (tried.parsed.data.created, done.parsed.data.created) == (5, 5)
    assert [result.status for result in done.parsed.data.results[4:]] == [
        "created",
        "failed",
        "failed",
    ]
    assert [error.code for error in done.parsed.data.results[5].errors] == ["invalid_email"]
    assert [error.code for error in done.parsed.data.results[6].errors] == ["version_mismatch"]
    assert (refused.status_code, refused.parsed.errors[0].code) == (400, "invalid_email")

    asked = {"tags": ["bulk"], "sort": "email", "per_page": 2}
    page = api("list_customers", **asked)
    assert (page.parsed.meta.total, page.parsed.meta.total_pages) == (5, 3)
    assert 'rel="next"' in page.headers["Link"]
    found = [customer.email for customer in page.parsed.data]
    while page.parsed.meta.next_cursor:
        page = api("list_customers", **asked, cursor=page.parsed.meta.next_cursor)
        found += [customer.email for customer in page.parsed.data]
    assert found == [f"row{n}@example.com" for n in range(5)]
    assert page.parsed.meta.page is None

    tags = api("list_tags")
    assert ("Bulk", 5) in [(found.tag, found.count) for found in tags.parsed.data]
    assert api("head_list_tags").status_code == 200
    assert api("head_list_customers", search="row3").status_code == 200


def test_every_event_in_order_then_the_place_to_go_on_in_jetstream(api: Generated) -> None:
    external_id = "events-1"
    changes = api.models.CustomerChanges
    for name in ("Ann", "Bea"):
        body = changes(email="events@example.com", first_name=name)
        api("put_external_customer", external_id, body=body)
    asked = {"limit": 2}
    page = api("list_events", **asked)
    events = list(page.parsed.data)
    while page.parsed.meta.has_more:
        page = api("list_events", **asked, after=page.parsed.meta.next_cursor)
        events += page.parsed.data
    assert [int(event.sequence) for event in events] == list(range(1, len(events) + 1))
    names = [event.data.additional_properties["customer"]["first_name"] for event in events[-2:]]
    assert names == ["Ann", "Bea"]
    assert events[-1].streamversion == 2

    cursor = page.parsed.meta.next_cursor
    end = api("list_events", after=cursor, wait=1, hand_over=True).parsed
    assert (end.data, end.meta.next_cursor) == ([], cursor)
    assert end.meta.hand_over.subject == f"customers.1.1.{events[-1].workspace}.>"
    assert end.meta.hand_over.start_sequence > len(events)
    assert api("head_list_events", limit=1).status_code == 200

    # A call that ends with its answer cannot read a stream: only how it begins is driven here.
    refused = api("stream_events", last_event_id="nothing")
    assert [error.field for error in refused.parsed.errors] == ["Last-Event-ID"]
    assert api("head_stream_events", after="now").headers["X-Accel-Buffering"] == "no"


def test_every_failure_is_parsed(api: Generated, service: Dev) -> None:
    bad = api.models.NewCustomer.from_dict({"email": "nothing", "phone": "1"})
    refused = api("create_customer", body=bad)
    assert refused.status_code == 400
    assert {(error.field, error.pointer) for error in refused.parsed.errors} == {
        ("email", "/email"),
        ("phone", "/phone"),
    }
    assert refused.parsed.type_ == "/problems/invalid_request"

    taken = api.models.NewCustomer(email="a@example.com", external_id="taken")
    first = api("create_customer", body=taken)
    conflict = api("create_customer", body=taken)
    assert (conflict.status_code, conflict.parsed.existing_id) == (409, first.parsed.data.id)

    nobody = api("get_customer", NOBODY)
    assert (nobody.status_code, nobody.parsed.title) == (404, "Customer not found")

    reader = make_key(Settings(database_url=service.said["database_url"]), "a", "customers:read")
    with made_client(service, reader) as client:
        scoped = Generated(api._calls, api.models, client)("create_customer", body=bad)
    with made_client(service, "sk_live_unknown") as client:
        stranger = Generated(api._calls, api.models, client)("list_customers")
    assert scoped.parsed.detail == "API key lacks required scope: customers:write"
    assert (stranger.status_code, stranger.parsed.detail) == (401, "Invalid or expired API key")


def test_the_service_tells_about_itself(api: Generated) -> None:
    assert api("live").parsed.status == "live"
    assert api("ready").parsed.checks.additional_properties
    assert api("openapi").parsed.openapi == "3.1.0"
    assert "<html" in api("docs").parsed
    assert api("docs_asset", "docs.js").status_code == 200
    assert "What to do" in api("problem_page", "rate_limited").parsed
    assert api("head_live").status_code == 200
    assert api("head_ready").status_code == 200
    assert api("head_openapi").status_code == 200
    assert b"customers_build_info" in api("metrics").content
    assert api("head_metrics").status_code == 200
    assert api("head_docs").status_code == 200
    assert api("head_docs_asset", "docs.css").status_code == 200
    assert api("head_problem_page", "nothing").status_code == 404


def test_the_service_tells_of_its_newest_signed_head(api: Generated) -> None:
    api("create_customer", body=api.models.NewCustomer(email="head@example.com"))

    assert children.wait_until(lambda: api("head_log_head").status_code == 200, 30.0)
    assert api("log_head").parsed.position >= 1


def test_the_service_tells_about_its_events(api: Generated) -> None:
    listed = api("schemas").parsed.schemas
    assert ("CustomerCreated", 1) in {(entry.type_, entry.version) for entry in listed}
    for entry in listed:
        assert api("schema", entry.type_, str(entry.version)).parsed.id == entry.url
    assert api("asyncapi").parsed.asyncapi == "3.0.0"
    assert "<html" in api("docs_events").parsed
    assert api("schema", "CustomerCreated", "0").parsed.title == "Not found"
    assert api("head_schemas").status_code == 200
    assert api("head_schema", "CustomerErased", "1").status_code == 200
    assert api("head_asyncapi").status_code == 200
    assert api("head_docs_events").status_code == 200
