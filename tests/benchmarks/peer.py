"""What one would write instead: the six endpoints as CRUD on one table, with FastAPI, SQLAlchemy 2
(asyncio, asyncpg) and pydantic, to be measured beside.

`uvicorn --factory tests.benchmarks.peer:app` serves it on PEER_DATABASE_URL, in one process, as our
API is one. It is what a good engineer writes by habit and by the documentation of both: response
models, mapped classes that a session loads and changes, an index for every list, a pool, prepared
statements, ids in order of time. It leaves out what makes the difference: events, history,
encryption, idempotency, totals and documents kept ready.

Where habit was found to cost it much, it does better than habit, so a ratio is one to a tuned peer:

- a create is an INSERT into the table, where habit has `session.add`;
- the handlers open the session, where habit has a dependency that yields it;
- JSON columns go through pydantic's serialiser, where SQLAlchemy takes the one of `json`;
- an API key is remembered for as long as ours is, where habit asks the database each time;
- Postgres compiles none of its queries; a bulk call is one upsert;
- uvicorn has uvloop and httptools, and no access log.
"""

import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar
from uuid import UUID

from email_validator import SPECIAL_USE_DOMAIN_NAMES
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import (
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    JsonValue,
    Strict,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import from_json, to_json
from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from uuid_utils.compat import uuid7

from runtime.key_rules import REMEMBERED_SECONDS
from tests.benchmarks.peer_data import (
    LIVE,
    NEWEST_FIRST,
    OWN_ID,
    TABLE,
    ApiKey,
    Customer,
    address,
    now,
)

_POOL_SIZE: Final = 16
_CUSTOM_FIELDS_BYTES: Final = 16 * 1024
_BULK_MAX: Final = 500
_SHORT_WORD: Final = 2

SPECIAL_USE_DOMAIN_NAMES.clear()


_Line = StringConstraints(strict=True, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
_Name = Annotated[str, _Line, Field(max_length=300)]
_Channel = Literal["sms", "email", "voice", "do_not_disturb"]
_Tag = Annotated[
    str,
    StringConstraints(
        strict=True,
        strip_whitespace=True,
        min_length=1,
        max_length=100,
        pattern=r"^[^,\x00-\x1f\x7f-\x9f]*$",
    ),
]


class CustomerChange(BaseModel):
    """What can be sent of a customer."""

    model_config = ConfigDict(populate_by_name=True)

    email: Annotated[EmailStr, Field(max_length=254)] | None = None
    phone: Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{1,14}$")] | None = None
    first_name: Annotated[_Name | None, Field(alias="firstName")] = None
    last_name: Annotated[_Name | None, Field(alias="lastName")] = None
    company_name: Annotated[str | None, _Line, Field(alias="companyName", max_length=500)] = None
    external_id: Annotated[str, _Line, Field(min_length=1, max_length=255)] | None = None
    tags: Annotated[list[_Tag], Field(max_length=100)] = []
    custom_fields: Annotated[dict[str, JsonValue], Field(max_length=100)] = {}
    communication_preferences: dict[_Channel, Annotated[bool, Strict()]] = {}

    @field_validator("tags")
    @classmethod
    def drop_doubles(cls, tags: list[str]) -> list[str]:
        """Of tags that differ in case alone the first stays."""
        kept: dict[str, str] = {}
        for tag in tags:
            kept.setdefault(tag.casefold(), tag)
        return list(kept.values())

    @field_validator("custom_fields")
    @classmethod
    def check_size(cls, fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Refuse what is too much."""
        if len(to_json(fields)) > _CUSTOM_FIELDS_BYTES:
            raise ValueError(f"At most {_CUSTOM_FIELDS_BYTES} bytes.")
        return fields


class NewCustomer(CustomerChange):
    """The body of a create."""

    @model_validator(mode="after")
    def check_contact(self) -> Self:
        """Refuse whom nobody can reach."""
        if not self.email and not self.phone:
            raise ValueError("Send an email or a phone.")
        return self


class BulkRow(NewCustomer):
    """One of many."""

    @model_validator(mode="after")
    def check_external_id(self) -> Self:
        """Refuse what nobody can find again."""
        if self.external_id is None:
            raise ValueError("A row needs an external_id.")
        return self


class BulkBody(BaseModel):
    """The body of a bulk call."""

    customers: Annotated[list[BulkRow], Field(min_length=1, max_length=_BULK_MAX)]


class CustomerOut(BaseModel):
    """A customer as it is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str | None
    phone: str | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    external_id: str | None
    tags: list[str]
    custom_fields: dict[str, Any]
    communication_preferences: dict[str, Any]
    created_at: datetime
    updated_at: datetime


Data = TypeVar("Data")


class Envelope(BaseModel, Generic[Data]):
    """Every answer."""

    success: bool = True
    status_code: int = 200
    message: str
    data: Data
    meta: dict[str, Any] = {}


def _to_json(value: object) -> str:
    return to_json(value).decode()


class Means:
    """What the app keeps while it runs."""

    def __init__(self, dsn: str) -> None:
        self.engine = create_async_engine(
            address(dsn, "asyncpg"),
            pool_size=_POOL_SIZE,
            max_overflow=0,
            # Compiling these short queries would take longer than running them.
            connect_args={"server_settings": {"jit": "off"}},
            json_serializer=_to_json,
            json_deserializer=from_json,
        )
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self.keys: dict[str, tuple[float, str]] = {}


async def _workspace(request: Request, x_api_key: Annotated[str, Header()] = "") -> str:
    means: Means = request.app.state.means
    until, workspace = means.keys.get(x_api_key, (0.0, ""))
    if until > time.monotonic():
        return workspace
    async with means.sessions() as session:
        key = await session.get(ApiKey, sha256(x_api_key.encode()).digest())
    if key is None:
        raise HTTPException(401, "Invalid or expired API key")
    means.keys[x_api_key] = (time.monotonic() + REMEMBERED_SECONDS, key.workspace_id)
    return key.workspace_id


# Opened by the handlers: a session made and closed by a dependency costs a fifth of a GET more.
def _session(request: Request) -> AsyncSession:
    means: Means = request.app.state.means
    return means.sessions()


Workspace = Annotated[str, Depends(_workspace)]
router: Final = APIRouter(prefix="/api/v1/external/customers")


@router.post("", response_model=Envelope[CustomerOut])
async def create_customer(body: NewCustomer, workspace: Workspace, request: Request) -> object:
    """Create one."""
    stamps = {"id": uuid7(), "created_at": (at := now()), "updated_at": at}
    customer = {"workspace_id": workspace, **stamps, **body.model_dump()}
    async with _session(request) as session:
        # Of the table, not of the mapped class: the unit of work would cost a quarter more.
        await session.execute(insert(TABLE), customer)
        await session.commit()
    return {"message": "Customer created successfully", "data": customer}


@router.get("", response_model=Envelope[list[CustomerOut]])
async def list_customers(
    workspace: Workspace,
    request: Request,
    page: Annotated[int, Query(ge=1)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 20,
    search: str = "",
    tags: Annotated[list[str], Query()] = [],  # noqa: B006 - the framework copies it
) -> object:
    """List them, newest first: every word of a search somewhere, one tag of each parameter."""
    found = [Customer.workspace_id == workspace, LIVE]
    found += [Customer.tags.overlap(any_of.split(",")) for any_of in tags]
    found += [_holds(word) for word in search.lower().split()]
    count = select(func.count()).select_from(Customer).where(*found)
    newest_first = select(Customer).where(*found).order_by(*NEWEST_FIRST)
    async with _session(request) as session:
        total = await session.scalar(count) or 0
        listed = await session.scalars(newest_first.offset((page - 1) * per_page).limit(per_page))
        customers = listed.all()
    pages = -(-total // per_page)
    meta = {
        "page": page,
        "per_page": per_page,
        "total": total,
        "total_pages": pages,
        "has_next": page < pages,
        "has_prev": page > 1,
    }
    message = "Customers retrieved successfully"
    return {"message": message, "data": customers, "meta": meta}


def _holds(word: str) -> ColumnElement[bool]:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    begins = " " if len(word) <= _SHORT_WORD else ""
    return Customer.search_text.like(f"%{begins}{escaped}%")


@router.get("/{customer_id}", response_model=Envelope[CustomerOut])
async def get_customer(customer_id: UUID, workspace: Workspace, request: Request) -> object:
    """Fetch one."""
    async with _session(request) as session:
        customer = await _find(session, workspace, customer_id)
    return {"message": "Customer retrieved successfully", "data": customer}


@router.put("/{customer_id}", response_model=Envelope[CustomerOut])
async def update_customer(
    customer_id: UUID, body: CustomerChange, workspace: Workspace, request: Request
) -> object:
    """Change what is sent of one."""
    async with _session(request) as session:
        customer = await _find(session, workspace, customer_id)
        for column, value in body.model_dump(exclude_unset=True).items():
            is_merged = column in {"custom_fields", "communication_preferences"}
            setattr(customer, column, getattr(customer, column) | value if is_merged else value)
        if not customer.email and not customer.phone:
            raise HTTPException(400, "Send an email or a phone.")
        await session.commit()
    return {"message": "Customer updated successfully", "data": customer}


@router.delete("/{customer_id}", response_model=Envelope[dict[str, UUID]])
async def delete_customer(customer_id: UUID, workspace: Workspace, request: Request) -> object:
    """Delete one; its row stays."""
    async with _session(request) as session:
        customer = await _find(session, workspace, customer_id)
        customer.deleted_at = now()
        await session.commit()
    return {"message": "Customer deleted successfully", "data": {"id": customer_id}}


@router.post("/bulk", response_model=Envelope[dict[str, Any]])
async def bulk_customers(body: BulkBody, workspace: Workspace, request: Request) -> object:
    """Create or update many by their external_id; of one sent twice the last counts."""
    rows = {row.external_id: row.model_dump() for row in body.customers}
    upsert = insert(Customer)
    changed = [*CustomerChange.model_fields, "updated_at"]
    statement = upsert.on_conflict_do_update(
        index_elements=OWN_ID,
        index_where=LIVE,
        set_={column: upsert.excluded[column] for column in changed},
    ).returning(Customer.external_id, Customer.id, literal_column("xmax = 0"))
    values = [{"workspace_id": workspace, **row} for row in rows.values()]
    async with _session(request) as session:
        written = await session.execute(statement, values)
        stored = {external_id: (made, is_new) for external_id, made, is_new in written}
        await session.commit()
    results = [
        {
            "index": index,
            "external_id": row.external_id,
            "status": "created" if stored[row.external_id][1] else "updated",
            "id": stored[row.external_id][0],
        }
        for index, row in enumerate(body.customers)
    ]
    created = sum(is_new for _, is_new in stored.values())
    counts = {"total": len(results), "created": created, "updated": len(results) - created}
    data = {**counts, "unchanged": 0, "failed": 0, "results": results}
    return {"message": f"{len(results)} customers processed", "data": data}


async def _find(session: AsyncSession, workspace: str, customer_id: UUID) -> Customer:
    customer = await session.get(Customer, customer_id)
    if customer is None or customer.workspace_id != workspace or customer.deleted_at is not None:
        raise HTTPException(404, "Customer not found")
    return customer


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    errors: list[dict[str, str]] = []
    status, message = 400, "Invalid request"
    match error:
        case RequestValidationError():
            for each in error.errors():
                field = ".".join(map(str, each["loc"][1:]))
                errors.append({"field": field, "error": each["msg"]})
        case IntegrityError():
            status, message = 409, "Another customer has this external_id."
            errors.append({"field": "external_id", "error": message})
        case HTTPException(status_code=401):
            return JSONResponse({"detail": error.detail}, 401)
        case HTTPException():
            status, message = error.status_code, error.detail
        case _:
            raise error
    body = {"success": False, "status_code": status, "message": message, "errors": errors}
    return JSONResponse({**body, "meta": {}}, status)


def app() -> FastAPI:
    """The app, on the database that PEER_DATABASE_URL names."""
    means = Means(os.environ["PEER_DATABASE_URL"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await means.engine.dispose()

    refused = (RequestValidationError, IntegrityError, HTTPException)
    made = FastAPI(lifespan=lifespan, exception_handlers=dict.fromkeys(refused, _refuse))
    made.state.means = means
    made.include_router(router)
    return made
