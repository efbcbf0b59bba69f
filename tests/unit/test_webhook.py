"""Messages to an HTTP endpoint: signed, repeated, never stuck."""

import base64
import hashlib
import hmac
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from standardwebhooks import Webhook

from runtime.webhook import Attempt, Delivery, Endpoint, http_client, shown_url
from tests.support.receiver import Received, Receiver, receiving

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
DELIVERY = Delivery(
    message_id="01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21",
    content_type="application/cloudevents+json",
    body='{"data":{"first_name":"Zoë"}}',
)


@pytest.fixture
def receiver() -> Generator[Receiver]:
    """A server that takes what is sent."""
    with receiving() as receiver_:
        yield receiver_


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    """The client that sends."""
    async with http_client(verify=True) as client_:
        yield client_


class Sending:
    """An endpoint that waits for nobody, and what it reported."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, *, retries: int = 0, answer_seconds: float = 10
    ) -> None:
        self._endpoint = Endpoint(
            client,
            httpx.URL(url),
            SECRET,
            retries=retries,
            first_wait=0.001,
            answer_seconds=answer_seconds,
        )
        self.attempts: list[Attempt] = []

    async def deliver(self) -> bool:
        """Deliver the message."""
        return await self._endpoint.deliver(DELIVERY, self.attempts.append)


def by_hand(received: Received) -> str:
    """The signature as the specification says it is made."""
    headers = received.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{received.body}"
    digest = hmac.digest(KEY, signed.encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


async def test_a_message_is_signed_so_that_any_library_and_a_hand_made_check_take_it(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    assert await Sending(client, receiver.url).deliver()

    [received] = receiver.received
    assert received.body == DELIVERY.body
    assert received.headers["content-type"] == DELIVERY.content_type
    assert received.headers["webhook-id"] == DELIVERY.message_id
    assert received.headers["webhook-signature"] == by_hand(received)
    Webhook(SECRET).verify(received.body, received.headers)


async def test_a_message_is_sent_again_with_the_same_id_until_a_2xx_answers(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.answers = [500, 404, 202]
    sending = Sending(client, receiver.url, retries=5)

    assert await sending.deliver()

    assert [attempt.words for attempt in sending.attempts] == [
        "500 Internal Server Error",
        "404 Not Found",
        "202 Accepted",
    ]
    assert [attempt.again_in for attempt in sending.attempts] == [0.001, 0.002, None]
    assert [received.headers["webhook-id"] for received in receiver.received] == [
        DELIVERY.message_id
    ] * 3
    for received in receiver.received:
        assert received.headers["webhook-signature"] == by_hand(received)


async def test_after_the_last_try_a_message_is_given_up(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.answers = [503] * 4
    sending = Sending(client, receiver.url, retries=2)

    assert not await sending.deliver()

    assert len(receiver.received) == 3
    assert [attempt.number for attempt in sending.attempts] == [1, 2, 3]
    assert [attempt.accepted for attempt in sending.attempts] == [False] * 3


async def test_a_redirect_is_a_refusal_and_is_not_followed(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("location", f"{receiver.url}/elsewhere")
        handler.send_header("content-length", "0")
        handler.end_headers()

    receiver.answers = [redirect]
    sending = Sending(client, receiver.url)

    assert not await sending.deliver()

    assert [received.path for received in receiver.received] == ["/webhooks"]
    assert "307 Temporary Redirect (redirects are not followed)" in sending.attempts[0].words


async def test_no_answer_in_time_is_a_failure_in_words(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.answers = [lambda _: assert_ended(receiver)]
    sending = Sending(client, receiver.url, answer_seconds=0.1)

    assert not await sending.deliver()

    assert sending.attempts[0].words == "no answer within 0.1 s"


def assert_ended(receiver: Receiver) -> None:
    """Answer nothing while the test runs."""
    assert receiver.ending.wait(60)


@pytest.mark.parametrize("chunk", [b"x", b"x" * 65536], ids=["slow", "huge"])
async def test_an_answer_without_an_end_is_taken_by_its_status(
    client: httpx.AsyncClient, receiver: Receiver, chunk: bytes
) -> None:
    poured: list[int] = []

    def pour(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(10**12))
        handler.end_headers()
        with suppress(OSError):
            while not receiver.ending.wait(0.01 if len(chunk) == 1 else 0):
                handler.wfile.write(chunk)
                poured.append(len(chunk))

    receiver.answers = [pour]
    sending = Sending(client, receiver.url)

    assert await sending.deliver()
    assert await sending.deliver()

    assert [attempt.words for attempt in sending.attempts] == ["200 OK", "204 No Content"]
    # What the kernel keeps on its way, not what comes in a second.
    assert sum(poured) < 20_000_000


async def test_what_is_no_http_is_a_failure_in_words(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    def babble(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x1b[2J nonsense\r\n\r\n")
        handler.close_connection = True

    receiver.answers = [babble]
    sending = Sending(client, receiver.url)

    assert not await sending.deliver()

    assert sending.attempts[0].words.isprintable()


async def test_a_port_nobody_listens_on_is_said_in_words(client: httpx.AsyncClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    sending = Sending(client, url)

    assert not await sending.deliver()

    assert sending.attempts[0].words == "connection refused"


async def test_nothing_the_server_says_comes_back_with_the_next_message(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    def remember(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(204)
        handler.send_header("set-cookie", "crumb=1")
        handler.end_headers()

    receiver.answers = [remember]
    sending = Sending(client, receiver.url)

    await sending.deliver()
    await sending.deliver()

    assert ["cookie" in received.headers for received in receiver.received] == [False, False]


def test_a_shown_address_holds_no_password_and_no_query() -> None:
    url = httpx.URL("https://me:word@example.com:8443/hooks?token=abc")

    assert shown_url(url) == "https://example.com:8443/hooks?…"
