"""One trace leads from a request through the append, the relay and the projector."""

import asyncio
import sys

import pytest
from msgspec.structs import replace

from runtime.embedded.ports import free_port
from runtime.failure import Failure
from runtime.settings import Settings, SettingsError
from runtime.telemetry.tracing import make_tracer
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.collector import Collector, Span, collecting
from tests.support.watched import watched_service

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
MARKER = "zebra"


def one(collector: Collector, name: str) -> Span:
    """The only span of this name."""
    [span] = collector.named(name)
    return span


async def test_a_request_and_what_it_leads_to_are_one_trace(settings: Settings) -> None:
    with collecting() as collector:
        traced = replace(settings, traces_url=collector.url)
        async with watched_service(traced) as service:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            created = await service.api.post(CUSTOMERS, json=REFERENCE_CUSTOMER, headers=headers)
            assert created.status_code == 200
    request = one(collector, f"POST {CUSTOMERS}")
    append, publish, project = (one(collector, name) for name in ("append", "publish", "project"))
    assert (request.trace_id, request.parent_id) == (TRACE, PARENT)
    for span in (append, publish, project):
        assert (span.trace_id, span.parent_id) == (TRACE, request.span_id)
    assert [span.process for span in (request, append, publish, project)] == [
        "customers-api",
        "customers-api",
        "customers-relay",
        "customers-projector",
    ]
    assert publish.attributes == project.attributes == {"customers.position": 1}
    assert append.attributes == {"customers.events": 1}


async def test_spans_hold_nothing_of_a_customer_a_key_or_a_workspace(settings: Settings) -> None:
    with collecting() as collector:
        traced = replace(settings, traces_url=collector.url)
        async with watched_service(traced, MARKER) as service:
            api = service.api
            sent = REFERENCE_CUSTOMER | {"lastName": MARKER, "external_id": f"{MARKER}-1"}
            headers = {"X-Request-Id": MARKER, "X-Actor": MARKER, "Idempotency-Key": MARKER}
            await api.put(f"{CUSTOMERS}/external/{MARKER}-1", json=sent, headers=headers)
            await api.get(f"{CUSTOMERS}?search={MARKER}")
            customer = (await api.get(f"{CUSTOMERS}/external/{MARKER}-1")).json()["data"]["id"]
            await api.get(f"{CUSTOMERS}/{customer}")
    assert len(collector.spans) == len(("PUT", "GET", "GET", "GET", "append", "publish", "project"))
    sent_over = b"".join(collector.bodies)
    for mark in (MARKER, "jane", "Jane", customer, api.headers["X-Api-Key"]):
        assert mark.encode() not in sent_over


async def test_the_event_has_the_traceparent_of_the_request_it_came_of(settings: Settings) -> None:
    with collecting() as collector:
        async with running_api(replace(settings, traces_url=collector.url)) as api:
            with_key(api, make_key(settings))
            await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
            given = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
            await api.post(CUSTOMERS, json={"phone": "+15550001234"}, headers=given)
            events = (await api.get("/api/v1/external/events")).json()["data"]
    request = collector.named(f"POST {CUSTOMERS}")[0]
    traced, unkept = (event["traceparent"] for event in events)
    # The last digit's lowest bit says that the trace is kept, the next that its id is random.
    assert traced == f"00-{request.trace_id}-{request.span_id}-03"
    # Who asked keeps no trace of this one, so we do not either, and pass on that it is so.
    assert unkept.startswith(f"00-{TRACE}-")
    assert unkept.endswith("-00")
    assert not [span for span in collector.spans if span.trace_id == TRACE]


async def test_a_collector_that_is_away_keeps_nobody_waiting(settings: Settings) -> None:
    nowhere = replace(settings, traces_url=f"http://127.0.0.1:{free_port()}")
    async with asyncio.timeout(20), running_api(nowhere) as api:
        with_key(api, make_key(settings))
        for _ in range(3):
            assert (await api.get("/api/v1/external/events")).status_code == 200


def test_traces_without_what_makes_them_say_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "runtime.telemetry.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Failure) as failure:
        make_tracer(replace(settings, traces_url="http://127.0.0.1:4318"), "api")
    assert "opentelemetry.sdk.trace is not installed" in failure.value.reason
    assert "'.[tracing]'" in failure.value.try_next


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "ftp://collector", "http://"])
def test_a_collector_without_an_address_is_refused(settings: Settings, url: str) -> None:
    with pytest.raises(SettingsError, match="CUSTOMERS_TRACES_URL"):
        make_tracer(replace(settings, traces_url=url), "api")
