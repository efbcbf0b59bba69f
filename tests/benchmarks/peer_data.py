"""The peer's database: its tables, its one key, and many customers at once."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb
from sqlalchemy import (
    Computed,
    DateTime,
    Engine,
    Index,
    Text,
    create_engine,
    insert,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

_WORKSPACE: Final = "acme"
# The trigram index serves words of three characters and more; a shorter word is sought at the start
# of a word, which has trigrams: therefore the space in front.
_SEARCH_TEXT: Final = (
    "lower(' ' || coalesce(first_name, '') || ' ' || coalesce(last_name, '')"
    " || ' ' || coalesce(company_name, '') || ' ' || coalesce(email, '')"
    " || ' ' || coalesce(phone, '') || ' ' || coalesce(external_id, ''))"
)


def now() -> datetime:
    """What is written into a row."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The tables."""

    type_annotation_map = {  # noqa: RUF012 - so SQLAlchemy reads it
        str: Text,
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB,
    }


class Customer(Base):
    """A customer; a deleted one stays, out of every index but the primary key's."""

    __tablename__ = "customers"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    workspace_id: Mapped[str]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    company_name: Mapped[str | None]
    external_id: Mapped[str | None]
    tags: Mapped[list[str]]
    custom_fields: Mapped[dict[str, Any]]
    communication_preferences: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    deleted_at: Mapped[datetime | None]
    search_text: Mapped[str] = mapped_column(Computed(_SEARCH_TEXT, persisted=True), deferred=True)


TABLE: Final = Base.metadata.tables["customers"]
LIVE: Final = Customer.deleted_at.is_(None)
NEWEST_FIRST: Final = (Customer.created_at.desc(), Customer.id.desc())
OWN_ID: Final = (Customer.workspace_id, Customer.external_id)
_INDEXES: Final = (
    Index("customers_external_id", *OWN_ID, unique=True, postgresql_where=LIVE),
    Index("customers_newest", Customer.workspace_id, *NEWEST_FIRST, postgresql_where=LIVE),
    Index("customers_tags", Customer.tags, postgresql_using="gin", postgresql_where=LIVE),
    Index(
        "customers_search",
        Customer.search_text,
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
        postgresql_where=LIVE,
    ),
)


class ApiKey(Base):
    """A key, by its hash."""

    __tablename__ = "api_keys"

    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    workspace_id: Mapped[str]


_MEMBERS: Final = {
    "email": "email",
    "phone": "phone",
    "first_name": "firstName",
    "last_name": "lastName",
    "company_name": "companyName",
    "external_id": "external_id",
    "tags": "tags",
    "custom_fields": "custom_fields",
    "communication_preferences": "communication_preferences",
}
"""The members of a request by their columns."""


def prepare(dsn: str) -> str:
    """Make the tables and their indexes in an empty database; returns the workspace's API key."""
    key = f"sk_live_{token_urlsafe(24)}"
    key_hash = sha256(key.encode()).digest()
    engine = _engine(dsn)
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
        Base.metadata.create_all(connection)
        connection.execute(insert(ApiKey).values(key_hash=key_hash, workspace_id=_WORKSPACE))
    engine.dispose()
    return key


def seed(dsn: str, rows: Iterable[dict[str, Any]]) -> None:
    """Fill the empty table with bodies of creates, the first one the oldest; the indexes after."""
    engine = _engine(dsn)
    with engine.begin() as connection:
        for index in _INDEXES:
            index.drop(connection)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _copy(connection, rows)
    with engine.begin() as connection:
        for index in _INDEXES:
            index.create(connection)
    engine.dispose()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE customers")


def _copy(connection: psycopg.Connection, rows: Iterable[dict[str, Any]]) -> None:
    columns = ["id", "workspace_id", "created_at", "updated_at", *_MEMBERS]
    begun = now() - timedelta(days=1)
    statement = sql.SQL("COPY customers ({}) FROM STDIN").format(
        sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor().copy(statement) as copy:
        for number, row in enumerate(rows):
            at = begun + timedelta(milliseconds=number)
            values = [row.get(name) for name in _MEMBERS.values()]
            stored = [Jsonb(value) if isinstance(value, dict) else value for value in values]
            copy.write_row((uuid7(), _WORKSPACE, at, at, *stored))


def address(dsn: str, driver: str) -> URL:
    """The same database for SQLAlchemy, by one of its drivers."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value}
    return URL.create(
        f"postgresql+{driver}",
        username=parts.get("user"),
        password=parts.get("password"),
        host=parts.get("host"),
        port=int(parts.get("port", 5432)),
        database=parts.get("dbname"),
    )


def _engine(dsn: str) -> Engine:
    return create_engine(address(dsn, "psycopg"))
