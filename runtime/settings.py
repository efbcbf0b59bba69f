"""All settings are environment variables named CUSTOMERS_…, with defaults for development."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

PREFIX = "CUSTOMERS_"


class SettingsError(Exception):
    """The environment cannot be used as it is; the message names the variable and the mend."""


class Settings(Struct, frozen=True, kw_only=True):
    """Every knob of every process. A secret may be given as NAME or as a file in NAME_FILE."""

    database_url: Annotated[
        str, Meta(description="Postgres 16 or newer, as a libpq URL. Needed by every process.")
    ] = ""
    nats_url: Annotated[
        str,
        Meta(
            description="NATS with JetStream 2.12 or newer; `tls://` insists on TLS. Several "
            "servers: comma-separated."
        ),
    ] = ""
    nats_credentials: Annotated[
        str,
        Meta(description="Path of a NATS .creds file; a user and password may stand in the URL."),
    ] = ""
    nats_ca: Annotated[
        str,
        Meta(
            description="PEM file of the authority that signed NATS' certificate; insists on TLS. "
            "Empty: those the system trusts."
        ),
    ] = ""
    nats_cert: Annotated[
        str, Meta(description="PEM file of a client certificate, if NATS demands one.")
    ] = ""
    nats_key: Annotated[
        str, Meta(description="PEM file of the private key of CUSTOMERS_NATS_CERT.")
    ] = ""
    nats_max_payload: Annotated[
        int,
        Meta(
            ge=8192,
            le=64 * 1024 * 1024,
            description="Bytes that NATS takes in one message: its `max_payload`. A write whose "
            "event would be larger is refused.",
        ),
    ] = 1024 * 1024
    master_keys: Annotated[
        str,
        Meta(
            description="Keys that wrap the customers' data keys: `id:base64 of 32 bytes`, comma-"
            "separated, the current one first. `customers keys master` prints a new one."
        ),
    ] = ""
    signing_keys: Annotated[
        str,
        Meta(
            description="Keys that the relay signs heads of the log with: `id:base64 of 32 bytes`, "
            "comma-separated, the current one first. `customers signing-keys new` prints a new "
            "one. Empty: no head is signed."
        ),
    ] = ""
    audit_keys: Annotated[
        str,
        Meta(
            description="Public keys that signed heads are checked with, as `customers "
            "signing-keys public` prints them. Empty: those of CUSTOMERS_SIGNING_KEYS."
        ),
    ] = ""
    head_seconds: Annotated[
        float,
        Meta(gt=0, le=86_400, description="Seconds between two signed heads, while the log moves."),
    ] = 300.0
    head_file: Annotated[
        str,
        Meta(
            description="File that the relay appends each signed head to. Empty: they are kept in "
            "Postgres and JetStream alone."
        ),
    ] = ""
    publish_heads: Annotated[
        bool,
        Meta(
            description="Serve the newest signed head at `/log/head`, to anybody: it tells how "
            "many events there are in all."
        ),
    ] = False
    log_id: Annotated[int, Meta(ge=1, le=2_000_000_000, description="Which log this is.")] = 1
    host: Annotated[str, Meta(description="Address the API listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port the API listens on.")] = 8080
    drain_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="Seconds an API process that was told to stop goes on answering, while "
            "`/health/ready` says 503 and each answer ends its connection: a load balancer sends "
            "its requests elsewhere meanwhile. 0: it stops at once.",
        ),
    ] = 0.0
    public_url: Annotated[
        str,
        Meta(
            description="Where integrators and subscribers reach the API; stands in every event, "
            "in the address of its schema. Set it once, the same for API and relay, before the "
            "first event."
        ),
    ] = "http://127.0.0.1:8080"
    pool_size: Annotated[
        int, Meta(ge=1, le=200, description="Connections an API process reads with.")
    ] = 8
    prepared_statements: Annotated[
        bool, Meta(description="Set to false behind a pooler in transaction mode.")
    ] = True
    read_wait: Annotated[
        float, Meta(ge=0, le=60, description="Seconds a read waits to see its own writes.")
    ] = 2.0
    write_wait: Annotated[
        float, Meta(gt=0, le=300, description="Seconds a write waits for the log before 503.")
    ] = 10.0
    rate_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Requests a minute with one API key, and as many at once; 0 = no limit. "
            "Each API process counts for itself: with several, a key may make several times as "
            "many.",
        ),
    ] = 6000
    wrong_keys: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Wrong API keys a minute from one address before each key from there that "
            "was not right lately waits a second; 0 = no limit. Each API process counts for "
            "itself, and takes a proxy for one address.",
        ),
    ] = 60
    docs: Annotated[
        bool,
        Meta(
            description="Serve `/docs`, `/openapi.json`, `/asyncapi.json` and `/schemas`, to "
            "anybody. false: nowhere; the paths are not there."
        ),
    ] = True
    health_details: Annotated[
        bool,
        Meta(
            description="Say at `/health/ready` what was checked and found, to anybody. false: "
            "only whether the process is ready."
        ),
    ] = True
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Connections that an API process keeps open; one workspace may have half.",
        ),
    ] = 2000
    requests: Annotated[
        int,
        Meta(
            ge=2,
            le=10_000,
            description="Writes that an API process works on at once, and as many reads, but at "
            "most 8 for each of CUSTOMERS_POOL_SIZE. One workspace may have half.",
        ),
    ] = 128
    request_wait: Annotated[
        float,
        Meta(gt=0, le=60, description="Seconds a request waits for its turn before 503."),
    ] = 2.0
    client_wait: Annotated[
        float,
        Meta(
            gt=0,
            le=300,
            description="Seconds a client may take to send a request, or to take more of an "
            "answer; a body may take a second more for each 64 KiB.",
        ),
    ] = 10.0
    keep_alive: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds a connection may be idle; more than a balancer in front keeps its "
            "own.",
        ),
    ] = 75.0
    streams: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Event streams that an API process keeps open; one API key may have a "
            "quarter.",
        ),
    ] = 1000
    receipt_days: Annotated[
        int, Meta(ge=1, le=36_500, description="Days an Idempotency-Key is remembered.")
    ] = 2
    erasure_ledger: Annotated[
        str,
        Meta(
            description="File that the relay notes every erasure in, beside the ledger that "
            "JetStream holds; each API process and relay reads it when it starts. Keep it where no "
            "backup of Postgres is restored to. Empty: JetStream alone."
        ),
    ] = ""
    scrub_days: Annotated[
        int,
        Meta(
            ge=1,
            le=365,
            description="Days within which what was erased leaves Postgres' data files and WAL.",
        ),
    ] = 7
    backup_days: Annotated[
        int,
        Meta(ge=0, le=36_500, description="Days that you keep backups; an erasure's receipt says."),
    ] = 35
    webhook_secret: Annotated[
        str,
        Meta(
            description="Signs what `customers listen` sends: `whsec_` and base64. Empty: one that "
            "is derived from the master keys."
        ),
    ] = ""
    stream_replicas: Annotated[
        Literal[1, 3, 5], Meta(description="Copies of the JetStream stream; 3 needs three servers.")
    ] = 1
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="Shape of the log lines; auto: text on a terminal, else JSON."),
    ] = "auto"
    metrics: Annotated[
        bool,
        Meta(
            description="Tell Prometheus at `/metrics` how the process does. false: nowhere; the "
            "path is not there."
        ),
    ] = True
    metrics_token: Annotated[
        str,
        Meta(
            description="What Prometheus must send as `Authorization: Bearer …` to read "
            "`/metrics`. Empty: everybody who reaches it may, and sees how much is written."
        ),
    ] = ""
    metrics_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        Meta(
            description="Port of its own for `/metrics` of an API process, a relay or a projector; "
            "0: any. Empty: the API answers on its own port, relay and projector nowhere."
        ),
    ] = None
    metrics_host: Annotated[
        str, Meta(description="Address that CUSTOMERS_METRICS_PORT listens on.")
    ] = "127.0.0.1"
    traces_url: Annotated[
        str,
        Meta(
            description="Collector that takes traces as OTLP over HTTP, like "
            "`http://127.0.0.1:4318`; needs the extra `tracing`. Empty: nothing is traced."
        ),
    ] = ""
    pg_bin: Annotated[
        str, Meta(description="Folder of the Postgres programs that `customers dev` starts.")
    ] = ""
    nats_bin: Annotated[
        str, Meta(description="The nats-server program that `customers dev` starts.")
    ] = ""


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Build the settings from an environment; raises SettingsError naming the variable at fault."""
    given: dict[str, object] = {}
    for name in Settings.__struct_fields__:
        variable = PREFIX + name.upper()
        text = environ.get(variable) or _from_file(environ, variable)
        if text is None or text == "":
            continue
        try:
            given[name] = msgspec.convert(text, _type_of(name), strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{variable}={text!r} cannot be used: {error}.") from error
    return msgspec.convert(given, Settings)


class MasterKeys(Struct, frozen=True, kw_only=True):
    """The keys that wrap data keys, by id; `current` wraps new ones, all of them unwrap."""

    current: str
    by_id: dict[str, bytes] = field(default_factory=dict[str, bytes])


def read_master_keys(settings: Settings) -> MasterKeys:
    """Parse CUSTOMERS_MASTER_KEYS; raises SettingsError when it is missing or malformed."""
    by_id = _read_keys("CUSTOMERS_MASTER_KEYS", settings.master_keys, "keys master")
    if not by_id:
        raise SettingsError(
            "CUSTOMERS_MASTER_KEYS is not set, so customers can be neither encrypted nor read. "
            "`customers keys master` prints a new key; losing it later means losing the data."
        )
    return MasterKeys(current=next(iter(by_id)), by_id=by_id)


def read_signing_keys(settings: Settings) -> dict[str, bytes]:
    """The seeds of CUSTOMERS_SIGNING_KEYS by id, the current one first; raises SettingsError."""
    return _read_keys("CUSTOMERS_SIGNING_KEYS", settings.signing_keys, "signing-keys new")


def read_audit_keys(settings: Settings) -> dict[str, bytes]:
    """The public keys of CUSTOMERS_AUDIT_KEYS by id; raises SettingsError."""
    return _read_keys("CUSTOMERS_AUDIT_KEYS", settings.audit_keys, "signing-keys public")


def _read_keys(variable: str, text: str, command: str) -> dict[str, bytes]:
    by_id: dict[str, bytes] = {}
    entries = filter(None, (part.strip() for part in text.split(",")))
    for number, entry in enumerate(entries, start=1):
        key_id, colon, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not key_id or len(key) != 32:
            # Without a colon it may be the key itself.
            name = repr(key_id) if colon else str(number)
            raise SettingsError(
                f"{variable}: the entry {name} is not `id:base64 of 32 bytes`. "
                f"`customers {command}` prints one that is."
            )
        by_id[key_id] = key
    return by_id


def _from_file(environ: Mapping[str, str], variable: str) -> str | None:
    path = environ.get(f"{variable}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE={path}: {error.strerror}.") from error


def _type_of(name: str) -> object:
    return Settings.__annotations__[name]
