"""DELETE /customers/{id}: a customer is gone at once, from everywhere."""

import httpx

from events.log import LogReader
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key
from tests.support.customers import Customers
from tests.support.writing import NOBODY, code_of, create, errors


async def test_deleting_answers_the_id_and_doing_it_again_is_404(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"

    gone = await api.delete(path)
    again = await api.delete(path)

    assert (gone.status_code, gone.json()["data"]) == (200, {"id": path.rsplit("/", 1)[1]})
    assert gone.json()["message"] == "Customer deleted successfully"
    assert (again.status_code, code_of(again)) == (404, "customer_not_found")
    assert (await log_reader.head()).position == 2


async def test_deleting_frees_the_external_id(api: httpx.AsyncClient) -> None:
    customer_id = await create(api, external_id="cust-1")

    await api.delete(f"{CUSTOMERS}/{customer_id}")

    assert await create(api, external_id="cust-1") != customer_id


async def test_who_is_deleted_is_gone_from_get_list_search_and_tags(
    both: httpx.AsyncClient, customers: Customers
) -> None:
    customer_id = await create(both, external_id="cust-1", tags=["vip"])
    kept = await create(both, tags=["gold"])
    await customers.model.catch_up()
    ones = (f"{CUSTOMERS}/{customer_id}", f"{CUSTOMERS}/external/cust-1")
    lists = (CUSTOMERS, f"{CUSTOMERS}?search=jane")

    async def shown() -> tuple[list[int], list[list[str]], list[str]]:
        statuses = [(await both.get(path)).status_code for path in ones]
        listed = [(await both.get(path)).json()["data"] for path in lists]
        tags = (await both.get(f"{CUSTOMERS}/tags")).json()["data"]
        ids = [[customer["id"] for customer in data] for data in listed]
        return statuses, ids, sorted(tag["tag"] for tag in tags)

    assert await shown() == ([200, 200], [[kept, customer_id]] * 2, ["gold", "vip"])
    await both.delete(f"{CUSTOMERS}/{customer_id}")
    await customers.model.catch_up()
    assert await shown() == ([404, 404], [[kept]] * 2, ["gold"])


async def test_only_a_customer_of_the_own_workspace_can_be_deleted(
    api: httpx.AsyncClient, settings: Settings, log_reader: LogReader
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"
    globex = {"X-Api-Key": make_key(settings, "globex")}
    sandbox = {"X-Api-Key": make_key(settings, "acme", test=True)}

    foreign = await api.delete(path, headers=globex)
    tested = await api.delete(path, headers=sandbox)
    unknown = await api.delete(NOBODY)
    malformed = await api.delete(f"{CUSTOMERS}/42")

    for answer in (foreign, tested, unknown):
        assert (answer.status_code, code_of(answer)) == (404, "customer_not_found")
    assert errors(malformed) == [("customer_id", "invalid_id", None)]
    assert (await log_reader.head()).position == 1
