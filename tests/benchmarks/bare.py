"""The least that the web framework does for a create and a get: `python -m tests.benchmarks.bare`.

It says on stdout where it listens, {"port": N}, and serves until SIGTERM, as an API process does.
"""

import asyncio
import sys
from typing import Any, Final

import uvloop
from litestar import Litestar, MediaType, get, post
from msgspec import Struct

from runtime.lifecycle import stop_signals
from runtime.web.server import serve

_DOCUMENT: Final = (
    b'{"success":true,"status_code":200,"message":"Customer retrieved successfully","data":{"id":'
    b'"0191f7a2-7c3e-7b1a-8a54-3f2b9c1d0e5f","email":"jane@example.com","phone":"+15550001234",'
    b'"first_name":"Jane","last_name":"Doe","company_name":"Acme Corp","external_id":"cust-001",'
    b'"tags":["vip"],"custom_fields":{"account_type":"premium"},"communication_preferences":'
    b'{"sms":true,"email":true,"voice":false},"created_at":"2026-01-01T00:00:00.000000Z",'
    b'"updated_at":"2026-01-01T00:00:00.000000Z","version":1},"meta":{}}'
)


class Body(Struct, kw_only=True, rename="camel"):
    """The body of a create, its types checked and nothing else."""

    email: str
    first_name: str
    last_name: str
    phone: str
    company_name: str
    external_id: str = ""
    tags: list[str] = []
    custom_fields: dict[str, Any] = {}
    communication_preferences: dict[str, bool] = {}


@post("/echo", status_code=200)
async def echo(data: Body) -> Body:
    """Decode a create and encode it again."""
    return data


@get("/bytes", media_type=MediaType.JSON)
async def finished() -> bytes:
    """A document that is finished."""
    return _DOCUMENT


async def _serve() -> None:
    def announce(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    app = Litestar([echo, finished], openapi_config=None)
    with stop_signals() as stop:
        await serve(app, "127.0.0.1", 0, announce=announce, stop=stop)


def main() -> None:
    """Serve until told to stop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
