"""Whether the process lives, and whether it can do its work."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from litestar import HttpMethod, MediaType, Response, route
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

_PROBE_SECONDS = 2.0


class Probe(Struct, frozen=True):
    """What one probe found."""

    ok: bool
    detail: str


class Check(Struct, frozen=True, kw_only=True):
    """Something readiness depends on; without a vital one the process cannot answer at all."""

    name: str
    probe: Callable[[], Awaitable[Probe]]
    vital: bool = False


def health_routes(checks: Sequence[Check], *, has_details: bool = True) -> list[HTTPRouteHandler]:
    """`/health/live` and `/health/ready`, for everybody; with or without what was found.

    Ready is 503 only when a vital check fails. Any other fault is `degraded`, with 200: the
    process goes on answering, and taking it out of service would help nobody.
    """
    methods = [HttpMethod.GET, HttpMethod.HEAD]
    looking: asyncio.Task[list[Probe]] | None = None

    async def look() -> list[Probe]:
        # Everybody may ask, as often as they like: all who ask at once share what is found.
        nonlocal looking
        if looking is None or looking.done():
            looking = asyncio.create_task(run_checks(checks))
        return await asyncio.shield(looking)

    @route("/health/live", http_method=methods, opt={"public": True})
    async def live() -> Response[bytes]:
        """Answers whenever the process can answer at all."""
        return _answer(200, {"status": "live"})

    @route("/health/ready", http_method=methods, opt={"public": True})
    async def ready() -> Response[bytes]:
        """Whether work can be done, and what is wrong if not."""
        found = await look()
        status = judge(checks, found)
        body: dict[str, object] = {"status": status}
        if has_details:
            body["checks"] = {check.name: probe for check, probe in zip(checks, found, strict=True)}
        return _answer(503 if status == "not ready" else 200, body)

    return [live, ready]


async def run_checks(checks: Sequence[Check]) -> list[Probe]:
    """What each probe finds, in the order of the checks."""
    return await asyncio.gather(*(_run(check) for check in checks))


def judge(checks: Sequence[Check], found: Sequence[Probe]) -> str:
    """`ready`, `degraded` or `not ready`, from what the probes found."""
    failed = [check for check, probe in zip(checks, found, strict=True) if not probe.ok]
    if any(check.vital for check in failed):
        return "not ready"
    return "degraded" if failed else "ready"


async def _run(check: Check) -> Probe:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await check.probe()
    except TimeoutError:
        return Probe(ok=False, detail=f"no answer within {_PROBE_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - a probe that fails, however, is a finding
        return Probe(ok=False, detail=f"cannot be reached ({type(error).__name__})")


def _answer(status: int, body: object) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, media_type=MediaType.JSON)
