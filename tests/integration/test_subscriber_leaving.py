"""Who leaves a subscriber leaves nothing behind, whatever it was waiting for at that moment."""

import asyncio

import pytest

from events.subscriber import NOW, CustomerSubscriber
from runtime.tasks import end
from tests.support.signals import LIMIT_SECONDS, until
from tests.support.subscribing import Stubborn

pytestmark = pytest.mark.usefixtures("stream")


# The ninth makes the consumer; those before it look for newer generations, and so does the tenth.
@pytest.mark.parametrize("requests", [1, 9, 10])
async def test_leaving_ends_whatever_waits_for_an_answer(
    stubborn: Stubborn, log_id: int, requests: int
) -> None:
    before = asyncio.all_tasks()
    async with asyncio.timeout(LIMIT_SECONDS), CustomerSubscriber(stubborn, log_id=log_id):
        await stubborn.asked(requests)
    assert stubborn.swallowed == 1
    await until(lambda: asyncio.all_tasks() == before)


async def test_one_that_is_cancelled_while_it_looks_for_the_end_leaves_nothing_behind(
    stubborn: Stubborn, log_id: int
) -> None:
    before = asyncio.all_tasks()
    subscriber = CustomerSubscriber(stubborn, log_id=log_id, start=NOW)
    entering = asyncio.create_task(subscriber.__aenter__())
    await stubborn.asked(1)
    await end(entering)
    assert entering.cancelled()
    assert stubborn.swallowed == 1
    assert asyncio.all_tasks() == before
