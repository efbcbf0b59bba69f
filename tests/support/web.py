"""A tiny app on the HTTP frame, with keys and probes that say what a test wants."""

import asyncio
from datetime import datetime

import psycopg
import psycopg_pool
from litestar import Litestar, Request, Response, Router, get, post, put
from litestar.datastructures import State
from litestar.params import FromPath

from runtime.api_keys import Principal, hash_key
from runtime.field_error import summary
from runtime.ids import new_id
from runtime.web.authentication import Authentication, principal_of
from runtime.web.context import read_context
from runtime.web.envelope import BASE_PATH, success
from runtime.web.frame import Frame
from runtime.web.health import Check, Probe
from runtime.web.json_body import check_type, read_bytes
from runtime.web.problems import ApiError
from runtime.web.query_string import ParameterReader, read_parameters
from runtime.web.rate_limit import RateLimit
from runtime.web.strict_json import read_members

AnyRequest = Request[object, object, State]

READER = "sk_live_" + "r" * 43
ALMIGHTY = "sk_test_" + "a" * 43
UNKNOWN = "sk_live_" + "u" * 43

FAULTS: dict[str, Exception] = {
    "bug": RuntimeError("jane@example.com"),
    "database": psycopg.OperationalError("host 10.0.0.1 user root"),
    "pool": psycopg_pool.PoolTimeout("couldn't get a connection after 5.00 sec"),
    "read-only": psycopg.errors.ReadOnlySqlTransaction("cannot execute"),
}


def a_principal(
    *scopes: str, workspace: str = "acme", expires_at: datetime | None = None
) -> Principal:
    """Somebody with these scopes, or with every right."""
    return Principal(
        key_id=new_id(),
        name="test",
        workspace_id=workspace,
        scopes=frozenset(scopes),
        expires_at=expires_at,
    )


class Keys:
    """Knows some keys, counts how often it is asked, and answers when the gate is open."""

    def __init__(self) -> None:
        self.known = {
            hash_key(READER): a_principal("customers:read"),
            hash_key(ALMIGHTY): a_principal(workspace="acme_test"),
        }
        self.asked = 0
        self.fault: Exception | None = None
        self.is_asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def lookup(self, key_hash: bytes) -> Principal | None:
        """Who has the key, as of the moment of asking."""
        self.asked += 1
        self.is_asked.set()
        found = self.known.get(key_hash)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return found


class Probes:
    """A database and a broker that do as a test wants."""

    def __init__(self) -> None:
        self.found: dict[str, Probe | Exception] = {
            "database": Probe(ok=True, detail="answers"),
            "nats": Probe(ok=True, detail="answers"),
        }

    def checks(self) -> list[Check]:
        """The database is vital, the broker is not."""
        return [
            Check(name="database", probe=self._database, vital=True),
            Check(name="nats", probe=self._nats),
        ]

    async def _database(self) -> Probe:
        return self._find("database")

    async def _nats(self) -> Probe:
        return self._find("nats")

    def _find(self, name: str) -> Probe:
        found = self.found[name]
        if isinstance(found, Exception):
            raise found
        return found


@get("/thing", opt={"scope": "customers:read"})
async def read_thing(request: AnyRequest) -> Response[bytes]:
    """Says whose data it would read."""
    reader = ParameterReader(read_parameters(request.scope["query_string"]))
    page = reader.number("page", 1, 9)
    reader.finish()
    workspace = principal_of(request.scope).workspace_id
    return success(request.scope, {"workspace": workspace}, message="Here", meta={"page": page})


@post("/thing", opt={"scope": "customers:write"})
async def make_thing(request: AnyRequest) -> Response[bytes]:
    """Says what it was given."""
    check_type(request.scope)
    members, faults = read_members(await read_bytes(request))
    context, unkept = read_context(request.scope)
    errors = [*faults, *unkept]
    if errors:
        raise ApiError(400, summary(errors), errors=errors)
    told = {"members": list(members), "context": context}
    return success(request.scope, told, message="Made", headers={"Location": "/thing/1"})


@get("/fails/{how:str}", opt={"public": True})
async def fail(how: FromPath[str]) -> Response[bytes]:
    """Fails in the way asked for."""
    raise FAULTS[how]


@put("/unmarked")
async def unmarked() -> None:
    """A route of which somebody forgot to say who may call it."""


def an_app(
    authentication: Authentication, probes: Probes, rate_limit: RateLimit | None = None
) -> Litestar:
    """The tiny app."""
    routes = [read_thing, make_thing, fail, unmarked]
    return Litestar(
        [Router(BASE_PATH, route_handlers=routes)],
        plugins=[Frame(authentication, probes.checks(), rate_limit=rate_limit)],
        openapi_config=None,
    )
