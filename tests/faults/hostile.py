"""Requests that nobody well-meaning sends: every one made from a random source, so that it repeats.

Three kinds: bytes at random; a sound request with a few bytes changed; and for each call of the
OpenAPI document a request that is sound HTTP, with hostile values wherever it takes one.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes

from msgspec import Struct

ENDLESS: Final = "/events/stream"
_HOSTILE: Final = (
    "",
    "'",
    '"',
    "' OR 1=1 --",
    "'; DROP TABLE events; --",
    "\\",
    "%",
    "%%",
    "_",
    "\\%",
    "$1",
    "$$",
    "{}",
    "{0}",
    "%s",
    "%(x)s",
    "\x00",
    "a\x00b",
    "\r\nX-Injected: 1",
    "\x1b[31m",
    "\x9b2J",
    "\u2028",
    "\u202e",
    "\ud800",
    "\ufeff",
    "ﷺ" * 50,
    "İ" * 50,
    "\u0301" * 300,
    "😀" * 100,
    "a" * 300,
    "A" * 5000,
    "1" * 40_000 + "x",
    "a=" + " " * 40_000 + "(",
    " ".join(map(str, range(7_000))),
    "a," * 20_000,
    "null",
    "true",
    "NaN",
    "Infinity",
    "-1",
    "0",
    "9" * 30,
    "9" * 4400,
    "1e999",
    "0x10",
    "٣",
    "2026-01-01T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:60+14:00",
    "../../../etc/passwd",
    "..%2f..%2f",
    "%00",
    "%ff",
    "%u0041",
    "//",
    ",",
    ",,,",
    "-created_at,created_at",
    "a,b" * 60,
    "*",
    '"1"',
    'W/"1"',
    "sk_live_" + "a" * 43,
    "00000000-0000-0000-0000-000000000000",
)
_TOKENS: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"\t",
    b" ",
    b":",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Host: a\r\nHost: b\r\n",
    b"X-A:\r\n" * 200,
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"HTTP/1.0",
    b"HTTP/9.9",
    b"GET http://x/ HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"[" * 3000,
    b'{"a":' * 300,
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"%00",
    b"%0d%0a",
)
_FIELDS: Final = (
    *("email", "phone", "firstName", "first_name", "lastName", "companyName", "external_id"),
    *("tags", "custom_fields", "communication_preferences", "if_version", "id", "version"),
    *("customers", "atomic", "__proto__", "", "\x00", "a" * 300),
)


class Sent(Struct, frozen=True, kw_only=True):
    """The bytes to send, and whether they are whole: who sends whole ones is owed an answer."""

    data: bytes
    is_whole: bool
    is_endless: bool = False
    """Whether the answer may go on for ever."""


class Hostile:
    """Makes requests for the calls of a document, with these API keys and these customers."""

    def __init__(self, random: Random, document: dict[str, Any], keys: Sequence[str]) -> None:
        self.customers: list[str] = []
        """Ids worth asking for; whoever sends fills it."""
        self._random = random
        self._keys = keys
        self._parameters = document["components"]["parameters"]
        self._calls = [
            (method.upper(), path, call)
            for path, methods in document["paths"].items()
            for method, call in methods.items()
        ]

    def next(self) -> Sent:
        """Another request."""
        make: Callable[[], Sent] = self._random.choices(
            [self._noise, self._mutated, self._called], [1, 4, 10]
        )[0]
        return make()

    def _noise(self) -> Sent:
        size = self._random.choice([1, 20, 500, 70_000])
        return Sent(data=self._random.randbytes(size), is_whole=False)

    def _mutated(self) -> Sent:
        called = self._called()
        data = bytearray(called.data)
        for _ in range(self._random.choice([1, 1, 2, 5])):
            at = self._random.randrange(len(data) + 1)
            to = at + self._random.choice([0, 1, 1, 3, 40])
            match self._random.randrange(4):
                case 0:
                    data[at:to] = self._random.randbytes(to - at)
                case 1:
                    data[at:at] = self._random.choice(_TOKENS)
                case 2:
                    del data[at:to]
                case _:
                    data[at:at] = data[at:to]
        return Sent(data=bytes(data), is_whole=False, is_endless=called.is_endless)

    def _called(self) -> Sent:
        method, path, call = self._random.choice(self._calls)
        query: list[str] = []
        headers: list[bytes] = []
        steps: dict[str, str] = {}
        for given in call.get("parameters", []):
            parameter = given
            if "$ref" in given:
                parameter = self._parameters[given["$ref"].rsplit("/", 1)[1]]
            name = parameter["name"]
            if parameter["in"] == "path":
                steps[name] = self._step(name)
            elif self._random.random() < 0.3:
                value = self._text(parameter)
                if parameter["in"] == "query":
                    query.append(f"{name}={_quoted(value)}")
                else:
                    kept = value.encode("utf-8", "surrogatepass").translate(None, b"\r\n\0")
                    headers.append(f"{name}: ".encode() + kept)
        if self._random.random() < 0.1:
            query.append(_quoted(self._random.choice(_HOSTILE)))
        body = self._body(call)
        target = path.format(**steps) + ("?" + "&".join(query) if query else "")
        return Sent(
            data=self._request(method, target, headers, body),
            is_whole=True,
            is_endless=path.endswith(ENDLESS),
        )

    def _request(self, method: str, target: str, headers: list[bytes], body: bytes | None) -> bytes:
        lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: test", b"Connection: close"]
        if self._random.random() < 0.95:
            lines.append(f"X-Api-Key: {self._random.choice(self._keys)}".encode())
        lines += headers
        if body is None:
            return b"\r\n".join([*lines, b"", b""])
        lines.append(b"Content-Type: application/json")
        if self._random.random() < 0.2:
            cut = self._random.randrange(len(body) + 1)
            chunks = [part for part in (body[:cut], body[cut:]) if part]
            framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks)
            return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", framed + b"0\r\n\r\n"])
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])

    def _step(self, name: str) -> str:
        if self.customers and name == "customer_id" and self._random.random() < 0.6:
            return self._random.choice(self.customers)
        if name == "external_id" and self._random.random() < 0.5:
            return f"fuzz-{self._random.randrange(20)}"
        return _quoted(self._random.choice(_HOSTILE)) or "x"

    def _text(self, parameter: dict[str, Any]) -> str:
        examples = parameter.get("schema", {}).get("examples") or parameter["schema"].get("enum")
        if self._random.random() < 0.4 and examples:
            return str(self._random.choice(examples))
        return self._random.choice(_HOSTILE)

    def _body(self, call: dict[str, Any]) -> bytes | None:
        if "requestBody" not in call and self._random.random() < 0.9:
            return None
        if self._random.random() < 0.1:
            return self._random.choice(_TOKENS)
        value = self._value(4)
        if self._random.random() < 0.7:
            value = self._customer()
            if "bulk" in call["operationId"]:
                value = [self._customer() for _ in range(self._random.choice([0, 1, 3, 40]))]
        return json.dumps(value, ensure_ascii=self._random.random() < 0.7).encode(
            "utf-8", "surrogatepass"
        )

    def _customer(self) -> dict[str, Any]:
        customer: dict[str, Any] = {"email": f"fuzz{self._random.randrange(99)}@example.com"}
        customer["external_id"] = f"fuzz-{self._random.randrange(20)}"
        for _ in range(self._random.randrange(4)):
            customer[self._random.choice(_FIELDS)] = self._value(2)
        return customer

    def _value(self, depth: int) -> Any:
        match self._random.randrange(8 if depth else 5):
            case 0 | 1:
                return self._random.choice(_HOSTILE)
            case 2:
                return self._random.choice([0, -1, 2**53, 10**400, 0.1, -0.0, 1e308])
            case 3:
                return self._random.choice([None, True, False])
            case 4:
                return {"sms": True, "email": None, "voice": "x"}
            case 5 | 6:
                return [self._value(depth - 1) for _ in range(self._random.randrange(4))]
            case _:
                names = [self._random.choice((*_FIELDS, *_HOSTILE)) for _ in range(3)]
                return {name: self._value(depth - 1) for name in names}


def _quoted(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="")
