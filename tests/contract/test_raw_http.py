"""What no HTTP library would send: each connection gets an answer that helps; none gets stuck."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress

import httpx
import pytest

from runtime.processes import api_app
from runtime.settings import Settings
from runtime.web.authentication import Authentication
from runtime.web.envelope import BASE_PATH
from runtime.web.json_body import OBJECT_LIMIT
from runtime.web.protocol import HEAD_LIMIT, HEADERS_MAX
from runtime.web.server import serve
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.web import ALMIGHTY, Keys, Probes, an_app

THING = f"{BASE_PATH}/thing".encode()
CLOSE = b"Connection: close\r\n"


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    """The port of a tiny app behind the server that an API process runs."""
    app = an_app(Authentication(Keys().lookup), Probes())
    announced = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve(app, "127.0.0.1", 0, announce=announced.set_result, stop=stop)
    )
    yield json.loads(await announced)["port"]
    stop.set()
    await serving


def request(
    method: bytes, path: bytes, headers: bytes = CLOSE, body: bytes = b"", key: str = ALMIGHTY
) -> bytes:
    known = b"Host: test\r\nX-Api-Key: %b\r\nContent-Type: application/json\r\n" % key.encode()
    return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method, path, known, headers, body)


async def talk(port: int, sent: bytes, *, piece: int = 10_000_000) -> list[tuple[int, str]]:
    """The status and the rest of each answer, until the server closes the connection."""
    heard = await asyncio.to_thread(_talk, port, sent, piece)
    answers = heard.decode().split("HTTP/1.1 ")[1:]
    return [(int(answer[:3]), answer[3:]) for answer in answers]


def _talk(port: int, sent: bytes, piece: int) -> bytes:
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A server that closes before it has read everything resets the connection.
        with suppress(ConnectionError):
            for start in range(0, len(sent), piece):
                connection.sendall(sent[start : start + piece])
        with suppress(ConnectionError):
            while read := connection.recv(65_536):
                heard += read
    return heard


async def statuses(port: int, sent: bytes) -> list[int]:
    return [status for status, _ in await talk(port, sent)]


@pytest.mark.parametrize(
    "sent",
    [
        request(b"GET", THING + b"/\x00"),
        request(b"GET", THING + b"/\xff"),
        request(b"GET", THING + "/é".encode()),
        request(b"GET", THING + b"/a b"),
        request(b"FR OB", THING),
        request(b"CONNECT", THING),
        request(b"CONNECT", b"test:443"),
        request(b"GET", THING, b"no colon\r\n"),
        request(b"GET", THING, b"X-Actor: a\x00b\r\n"),
        request(b"GET", THING, b"X-Actor: a\r\n b\r\n"),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1",
        b"hello\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_told_so_in_our_shape(port: int, sent: bytes) -> None:
    ((status, told),) = await talk(port, sent)
    head, _, body = told.partition("\r\n\r\n")
    assert status == 400
    assert json.loads(body)["type"] == "/problems/invalid_request"
    assert f"X-Request-Id: {json.loads(body)['meta']['request_id']}\r\n" in head
    assert "Connection: close" in head


@pytest.mark.parametrize("method", ["FROB", "get", "Post", "PROPFIND", "X-1"])
async def test_an_unknown_method_is_told_which_ones_there_are(port: int, method: str) -> None:
    again = request(b"POST", THING, CLOSE + b"Content-Length: 2\r\n", b"{}")
    answers = await talk(port, request(method.encode(), THING, b"") + again)
    assert [status for status, _ in answers] == [405, 200]
    head, _, body = answers[0][1].partition("\r\n\r\n")
    assert re.findall(r"(?i)\r\nallow: (.*)\r\n", head) == ["GET, OPTIONS, POST"]
    assert json.loads(body)["message"].startswith(f"{method} is not possible")


async def test_what_looks_like_a_method_inside_a_body_begins_no_request(port: int) -> None:
    body = b'{"a":"' + b" " * 100
    head = request(b"POST", THING, CLOSE + b"Content-Length: %d\r\n" % (len(body) + 17), body)
    heard = await talk(port, head + b'FROB /x HTTP/1.1"' + b"FROB /x", piece=len(head))
    assert [status for status, _ in heard] == [400]


@pytest.mark.parametrize(
    ("lengths", "body"),
    [
        (b"Content-Length: -2\r\n", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{} "),
        (b"Content-Length: 99999999999999999999999999\r\n", b"{}"),
        (b"Content-Length: 0x2\r\n", b"{}"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding : chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 2\r\n", b"{}"),
        (b"Transfer-Encoding: chunked, identity\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding:\r\n chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"2\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"2;a\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"0x2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n"),
        (b"Content-Length: 2, 2\r\n", b"{}"),
        (b"Content-Length: +2\r\n", b"{}"),
        (b"Content-Length: 2\n", b"{}"),
        (b"X-A: b\rContent-Length: 2\r\n", b"{}"),
        (b"Transfer-Encoding: gzip\r\n", b"{}"),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
    ],
)
async def test_lengths_that_two_readers_could_read_differently_are_refused(
    port: int, lengths: bytes, body: bytes
) -> None:
    assert await statuses(port, request(b"POST", THING, lengths, body)) == [400]


async def test_a_body_in_chunks_is_taken_like_any_other(port: int) -> None:
    chunks = b"3\r\n{  \r\n1\r\n}\r\n0\r\n\r\n"
    headers = CLOSE + b"Transfer-Encoding: chunked\r\n"
    assert await statuses(port, request(b"POST", THING, headers, chunks)) == [200]
    long = b"%x\r\n%b\r\n" % (OBJECT_LIMIT, b" " * OBJECT_LIMIT) + chunks
    assert await statuses(port, request(b"POST", THING, headers, long)) == [413]


async def test_who_waits_for_100_is_invited_unless_the_body_would_be_refused(port: int) -> None:
    headers = CLOSE + b"Expect: 100-continue\r\nContent-Length: %d\r\n"
    assert await statuses(port, request(b"POST", THING, headers % 2, b"{}")) == [100, 200]
    refused = request(b"POST", THING, headers % (OBJECT_LIMIT + 1))
    assert await statuses(port, refused) == [413]


async def test_what_follows_a_request_does_not_take_its_answer_away(port: int) -> None:
    keep = b"Content-Length: 2\r\n"
    assert await statuses(port, request(b"POST", THING, keep, b"{}garbage\r\n\r\n")) == [200]
    two = request(b"GET", THING, b"") + request(b"GET", THING)
    assert await statuses(port, two) == [200, 200]


async def test_the_address_and_the_headers_may_have_64_kib_together(port: int) -> None:
    fits = b"x" * (HEAD_LIMIT - 1000)
    assert await statuses(port, request(b"GET", THING, CLOSE + b"X-A: " + fits + b"\r\n")) == [200]
    assert await statuses(port, request(b"GET", THING + b"?a=" + fits)) == [200]
    for sent in (
        request(b"GET", THING, CLOSE + b"X-A: " + b"x" * HEAD_LIMIT + b"\r\n"),
        request(b"GET", THING, CLOSE + b"X-A: x\r\n" * 20_000),
        request(b"GET", THING + b"/" + b"x" * HEAD_LIMIT),
        request(b"GET", THING + b"?a=" + b"x" * HEAD_LIMIT),
    ):
        ((status, told),) = await talk(port, sent)
        assert status == 400
        assert f"at most {HEAD_LIMIT} bytes" in told


async def test_a_request_may_have_a_hundred_headers(port: int) -> None:
    ours = 4
    fits = CLOSE + b"".join(b"X-%d:\r\n" % number for number in range(HEADERS_MAX - ours))
    assert await statuses(port, request(b"GET", THING, fits)) == [200]
    ((status, told),) = await talk(port, request(b"GET", THING, fits + b"X-A:\r\n"))
    assert status == 400
    assert f"at most {HEADERS_MAX}" in told


async def test_what_follows_a_body_in_chunks_is_no_header(port: int) -> None:
    headers = CLOSE + b"Transfer-Encoding: chunked\r\nTrailer: X-Actor\r\nX-Actor: me\r\n"
    trailers = b"X-Actor: you\r\nX-Request-Id: theirs\r\nExpect: 100-continue\r\n\r\n"
    sent = request(b"POST", THING, headers, b"2\r\n{}\r\n0\r\n" + trailers)
    ((status, told),) = await talk(port, sent)
    assert (status, '"actor":"me"' in told, "theirs" in told) == (200, True, False)
    # Nor does a key that comes so late open anything.
    late = sent.replace(b"X-Api-Key: " + ALMIGHTY.encode() + b"\r\n", b"").replace(
        b"X-Request-Id: theirs", b"X-Api-Key: " + ALMIGHTY.encode()
    )
    assert await statuses(port, late) == [401]


@pytest.mark.parametrize("unit", [b"X-A: b\r\n", b"x"])
async def test_what_follows_a_body_is_not_kept_without_an_end(port: int, unit: bytes) -> None:
    headers = CLOSE + b"Transfer-Encoding: chunked\r\n"
    trailers = b"0\r\nX-B: " + unit * (20 * HEAD_LIMIT // len(unit))
    assert await statuses(port, request(b"POST", THING, headers, b"2\r\n{}\r\n" + trailers)) == [
        400
    ]
    extension = b"2;" + b"x" * 20 * HEAD_LIMIT
    assert await statuses(port, request(b"POST", THING, headers, extension)) == [400]


async def test_a_header_without_an_end_is_not_kept(port: int) -> None:
    endless = request(b"GET", THING, b"X-A: " + b"x" * 20 * HEAD_LIMIT).rstrip()
    assert await statuses(port, endless) == [400]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2"])
async def test_who_asks_for_another_protocol_is_served_in_this_one(
    port: int, protocol: bytes
) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: %b\r\n"
    wish %= protocol
    length = b"Content-Length: 7\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    sent = [
        request(b"GET", THING, wish),
        request(b"POST", THING, wish + length, b'{"a":1}'),
        request(b"POST", THING, wish + chunked, b'7\r\n{"a":1}\r\n0\r\n\r\n'),
        request(b"GET", THING),
    ]
    for piece in (7, 100_000):
        answers = await talk(port, b"".join(sent), piece=piece)
        assert [status for status, _ in answers] == [200] * 4
        assert [told.count('"members":["a"]') for _, told in answers] == [0, 1, 1, 0]


async def test_many_wishes_for_another_protocol_at_once_are_all_served(port: int) -> None:
    wish = b"GET /health/live HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert await statuses(port, wish * 2000 + last) == [200] * 2001


async def test_methods_that_http_knows_and_the_path_does_not_are_405(port: int) -> None:
    for method in (b"TRACE", b"PROPFIND", b"PATCH", b"QUERY"):
        ((status, told),) = await talk(port, request(method, THING))
        assert status == 405
        assert "allow: GET, OPTIONS, POST\r\n" in told


async def test_slashes_too_many_are_taken_for_one(port: int) -> None:
    for path in (THING + b"/", b"/" + THING, THING.replace(b"/", b"//"), b"http://test" + THING):
        assert await statuses(port, request(b"GET", path)) == [200]


async def test_older_and_odd_clients_get_an_answer(port: int) -> None:
    assert await statuses(port, b"GET / HTTP/1.0\r\n\r\n") == [404]
    assert await statuses(port, request(b"OPTIONS", b"*")) == [404]
    bad_host = b"GET / HTTP/1.1\r\nHost: a b/c\r\nConnection: close\r\n\r\n"
    assert await statuses(port, bad_host) == [400]


async def test_a_connection_that_ends_before_its_body_changes_nothing(settings: Settings) -> None:
    key = make_key(settings)
    stop = asyncio.Event()
    announced = asyncio.get_running_loop().create_future()
    async with api_app(settings) as app:
        serving = asyncio.create_task(
            serve(app, "127.0.0.1", 0, announce=announced.set_result, stop=stop)
        )
        port = json.loads(await announced)["port"]
        body = b'{"phone":"+15550001234"}'
        headers = b"Content-Length: %d\r\n" % (len(body) + 1)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(b"POST", CUSTOMERS.encode(), headers, body, key))
            writer.write_eof()
            writer.close()
            assert await reader.read() == b""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            listed = await with_key(client, key).get(CUSTOMERS)
            assert listed.json()["meta"]["total"] == 0
        stop.set()
        await serving


async def test_odd_bytes_in_an_id_are_a_malformed_id(settings: Settings) -> None:
    async with running_api(settings) as client:
        api = with_key(client, make_key(settings))
        for text in ("%00", "%ff", "%C3%28", "%ED%A0%80", "%20", "%2e%2e", "x" * 50_000):
            for method in ("GET", "PUT", "DELETE"):
                body = {} if method == "PUT" else None
                answer = await api.request(method, f"{CUSTOMERS}/{text}", json=body)
                assert answer.status_code == 400
                assert answer.json()["errors"][0]["field"] == "customer_id"
