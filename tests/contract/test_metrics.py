"""`/metrics` says what an API process does, by names that never hold anything of a customer."""

import httpx
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families

from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.customers import Customers, a_customer

MARKER = "zebra"


async def samples(api: httpx.AsyncClient, name: str) -> dict[tuple[str, ...], float]:
    """The numbers of one metric now, by the values of its labels."""
    page = (await api.get("/metrics")).text
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


async def sample(api: httpx.AsyncClient, name: str) -> float | None:
    """The number of a metric without labels; None when it is not told."""
    return (await samples(api, name)).get(())


async def test_requests_are_counted_by_the_template_of_their_route_and_their_status(
    both: httpx.AsyncClient,
) -> None:
    for _ in range(2):
        await both.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
    await both.get(f"{CUSTOMERS}/no-uuid")
    await both.get(f"{CUSTOMERS}/external/{MARKER}%2F{MARKER}?consistency=eventual")
    await both.delete("/health/live")
    counted = await samples(both, "customers_http_requests_total")
    assert counted == {
        ("POST", CUSTOMERS, "200"): 1,
        ("POST", CUSTOMERS, "409"): 1,
        ("GET", f"{CUSTOMERS}/{{customer_id}}", "400"): 1,
        ("GET", f"{CUSTOMERS}/external/{{external_id}}", "404"): 1,
        ("DELETE", "unmatched", "405"): 1,
    }


async def test_how_long_requests_take_is_told_by_route(api: httpx.AsyncClient) -> None:
    await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
    name = "customers_http_request_duration_seconds"
    assert await samples(api, f"{name}_count") == {("POST", CUSTOMERS): 1}
    assert 0 < (await samples(api, f"{name}_sum"))["POST", CUSTOMERS] < 60


async def test_whatever_is_sent_makes_no_series_of_its_own(api: httpx.AsyncClient) -> None:
    for number in range(20):
        await api.request(f"M{number}", f"/{MARKER}/{number}")
        await api.get(f"/{MARKER}{number}")
        await api.get("/health/live", headers={"X-Request-Id": f"{MARKER}-{number}"})
    assert await samples(api, "customers_http_requests_total") == {
        ("other", "unmatched", "404"): 20,
        ("GET", "unmatched", "404"): 20,
        ("GET", "/health/live", "200"): 20,
    }


async def test_nothing_of_a_customer_a_key_or_a_workspace_stands_in_it(
    settings: Settings,
) -> None:
    key = make_key(settings, MARKER)
    async with running_api(settings) as api:
        with_key(api, key)
        sent = REFERENCE_CUSTOMER | {"firstName": MARKER, "external_id": f"{MARKER}-1"}
        created = await api.post(CUSTOMERS, json=sent, headers={"Idempotency-Key": MARKER})
        await api.get(f"{CUSTOMERS}/external/{MARKER}-1?consistency=eventual")
        await api.get(f"{CUSTOMERS}?search={MARKER}&consistency=eventual")
        await api.get("/metrics", headers={"X-Request-Id": MARKER, "X-Api-Key": f"{key}{MARKER}"})
        page = (await api.get("/metrics")).text
    assert created.status_code == 200
    assert not [
        mark for mark in (MARKER, key, "jane", created.json()["data"]["id"]) if mark in page
    ]


async def test_the_append_tells_the_size_and_the_time_of_its_batches(
    api: httpx.AsyncClient,
) -> None:
    rows = [{"email": "a@example.com", "external_id": f"x-{number}"} for number in range(7)]
    await api.post(f"{CUSTOMERS}/bulk", json=rows)
    assert await sample(api, "customers_append_batch_events_count") == 1
    assert await sample(api, "customers_append_batch_events_sum") == 7
    assert await sample(api, "customers_append_duration_seconds_count") == 1
    assert await sample(api, "customers_append_queue") == 0
    assert await sample(api, "customers_append_failures_total") == 0


async def test_the_lag_of_the_read_model_is_told_in_events_and_in_seconds(
    api: httpx.AsyncClient, customers: Customers
) -> None:
    await customers.add(a_customer(1), a_customer(2))
    assert await sample(api, "customers_log_head_position") == 2
    assert await sample(api, "customers_checkpoint_position") == 2
    assert await sample(api, "customers_projection_lag_events") == 0
    assert await sample(api, "customers_projection_lag_seconds") == 0
    assert await sample(api, "customers_parked_customers") == 0


async def test_a_read_model_that_nobody_moves_is_behind(api: httpx.AsyncClient) -> None:
    await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
    assert await sample(api, "customers_projection_lag_events") == 1
    assert ((await sample(api, "customers_projection_lag_seconds")) or 0) > 0


async def test_metrics_and_readiness_say_the_same(api: httpx.AsyncClient) -> None:
    checks = (await api.get("/health/ready")).json()["checks"]
    told = await samples(api, "customers_health_check")
    assert {(name,): float(check["ok"]) for name, check in checks.items()} == told
    assert told["database",] == 1
    assert told["relay",] == 0


async def test_who_prefers_openmetrics_gets_that(api: httpx.AsyncClient) -> None:
    answer = await api.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "customers_log_head_position" in {each.name for each in read_open(answer.text)}
    plain = await api.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_with_a_token_nobody_else_reads_them(settings: Settings) -> None:
    async with running_api(replace(settings, metrics_token="secret")) as api:
        for headers in ({}, {"Authorization": "Bearer Secret"}, {"Authorization": "secret"}):
            refused = await api.get("/metrics", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "customers_" not in refused.text
        answer = await api.get("/metrics", headers={"Authorization": "bearer secret"})
        assert answer.status_code == 200


async def test_closed_metrics_are_a_path_that_nobody_serves(settings: Settings) -> None:
    async with running_api(replace(settings, metrics=False)) as api:
        closed, unknown = await api.get("/metrics"), await api.get("/nothing")
        document = (await api.get("/openapi.json")).json()
    assert (closed.status_code, unknown.status_code) == (404, 404)
    assert closed.json()["message"] == unknown.json()["message"]
    assert "/metrics" not in document["paths"]
