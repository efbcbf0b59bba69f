"""TLS and credentials of NATS: everybody who connects keeps to them, and says what is wrong."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from runtime.doctor import examine
from runtime.facts import NatsFacts, Unknown, ask_nats
from runtime.key_ping import key_change_subject, ping_key_change
from runtime.nats import NatsLine
from runtime.nats_access import read_credentials
from runtime.settings import Settings, SettingsError
from tests.support.certificates import ACCOUNT, Authority, Nkey, a_jwt_server
from tests.support.nats_server import NatsServer, nats_with
from tests.support.signals import turns, until

STREAM = "CUSTOMERS_1_1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates of this test."""
    return Authority(tmp_path, "authority")


@pytest.fixture
def tls_nats(authority: Authority) -> Generator[NatsServer]:
    """A NATS server that speaks TLS and nothing else."""
    certificate, key = authority.issue("nats")
    with nats_with(tls={"cert_file": certificate, "key_file": key}) as server:
        yield server


@pytest.fixture
def mutual_nats(authority: Authority) -> Generator[NatsServer]:
    """A NATS server that demands a certificate of each client."""
    certificate, key = authority.issue("nats")
    tls = {"cert_file": certificate, "key_file": key, "verify": True}
    with nats_with(tls=tls | {"ca_file": str(authority.file)}) as server:
        yield server


def settings_of(server: NatsServer, **members: str) -> Settings:
    """Settings of a service on this server."""
    return replace(Settings(nats_url=f"tls://127.0.0.1:{server.port}"), **members)


@asynccontextmanager
async def a_line(settings: Settings) -> AsyncGenerator[NatsLine]:
    """The line of a process."""
    line = NatsLine(settings, "test")
    async with line.kept_up():
        yield line


def _trouble(line: NatsLine) -> str:
    """Why a process cannot connect, as its relay would say it; nothing before it was tried."""
    assert not line.connected
    with pytest.raises(nats.errors.Error) as raised:
        line.client()
    words = str(raised.value)
    return "" if words == str(nats.errors.ConnectionClosedError()) else words


async def trouble_of(settings: Settings) -> str:
    """Why a process cannot connect."""
    async with a_line(settings) as line:
        await until(lambda: _trouble(line) != "")
        return _trouble(line)


async def reason_of(settings: Settings) -> str:
    """What `status` and `doctor` say of a server that they cannot ask."""
    facts = await asyncio.to_thread(ask_nats, settings, STREAM)
    assert isinstance(facts, Unknown)
    return facts.reason


async def test_with_the_authority_every_kind_of_connection_is_made_by_tls(
    tls_nats: NatsServer, authority: Authority
) -> None:
    settings = settings_of(tls_nats, nats_ca=str(authority.file))
    heard: list[bytes] = []
    line = NatsLine(settings, "test", hears={key_change_subject(1): heard.append})
    async with line.kept_up():
        await until(lambda: line.connected)
        await line.client().flush()
        await asyncio.to_thread(ping_key_change, settings)
        await until(lambda: heard == [b""])
    assert isinstance(await asyncio.to_thread(ask_nats, settings, STREAM), NatsFacts)
    settings = replace(settings, database_url="postgresql://127.0.0.1:1/none")
    checks = await asyncio.to_thread(lambda: {c.name: c for c in examine(settings, None)})
    assert checks["NATS"].is_fine
    assert checks["NATS max_payload"].is_fine


async def test_a_server_that_another_authority_signed_is_not_spoken_to(
    tls_nats: NatsServer, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    for settings in (settings_of(tls_nats, nats_ca=str(other.file)), settings_of(tls_nats)):
        words = await trouble_of(settings)
        assert "its certificate is not trusted" in words
        assert "CUSTOMERS_NATS_CA names" in words
        assert "its certificate is not trusted" in await reason_of(settings)


async def test_once_the_certificate_was_mended_the_next_try_succeeds(
    tls_nats: NatsServer, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    certificate, key = Authority(tmp_path / "other", "other").issue("nats")
    tls_nats.stop()
    tls_nats.configure(tls={"cert_file": certificate, "key_file": key})
    tls_nats.start()
    async with a_line(settings_of(tls_nats, nats_ca=str(authority.file))) as line:
        await until(lambda: _trouble(line) != "")
        tls_nats.stop()
        certificate, key = authority.issue("nats")
        tls_nats.configure(tls={"cert_file": certificate, "key_file": key})
        tls_nats.start()
        await until(lambda: line.connected)


async def test_a_server_without_tls_never_gets_the_password_of_who_wants_tls(
    authority: Authority,
) -> None:
    with nats_with(authorization={"user": "api", "password": "right"}) as server:
        plain = f"nats://api:right@127.0.0.1:{server.port}"
        async with a_line(Settings(nats_url=plain)) as line:
            await until(lambda: line.connected)
        for settings in (
            Settings(nats_url=plain.replace("nats:", "tls:")),
            Settings(nats_url=plain, nats_ca=str(authority.file)),
        ):
            assert "it does not speak TLS" in await trouble_of(settings)
            assert "it does not speak TLS" in await reason_of(settings)


async def test_a_demanded_client_certificate_is_shown_or_asked_for_in_words(
    mutual_nats: NatsServer, authority: Authority
) -> None:
    bare = settings_of(mutual_nats, nats_ca=str(authority.file))
    assert "client certificate, set CUSTOMERS_NATS_CERT" in await trouble_of(bare)
    assert "client certificate, set CUSTOMERS_NATS_CERT" in await reason_of(bare)
    certificate, key = authority.issue("api")
    async with a_line(replace(bare, nats_cert=certificate, nats_key=key)) as line:
        await until(lambda: line.connected)


@pytest.mark.parametrize("url", ["nats://", "nats://127.0.0.1:port"])
async def test_a_url_that_names_no_server_is_told_and_ends_nothing(url: str) -> None:
    settings = Settings(nats_url=url)
    async with a_line(settings) as line:
        await until(lambda: _trouble(line) != "")
        told = _trouble(line)
    assert told == await reason_of(settings)
    await asyncio.to_thread(ping_key_change, settings)


async def test_a_creds_file_opens_a_server_with_an_operator(tmp_path: Path) -> None:
    jwt = a_jwt_server()
    file = tmp_path / "api.creds"
    file.write_text(jwt.credentials)
    with nats_with(**jwt.config) as server:
        settings = Settings(nats_url=server.url, nats_credentials=str(file))
        async with a_line(settings) as line:
            await until(lambda: line.connected)
            await line.client().flush()
        assert isinstance(await asyncio.to_thread(ask_nats, settings, STREAM), NatsFacts)
        nobody = Settings(nats_url=server.url)
        assert "Authorization Violation" in await reason_of(nobody)


async def test_a_creds_file_that_was_renewed_is_read_again(tmp_path: Path) -> None:
    old, new = a_jwt_server(), a_jwt_server()
    file = tmp_path / "api.creds"
    file.write_text(old.credentials)
    with nats_with(**old.config) as server:
        async with a_line(Settings(nats_url=server.url, nats_credentials=str(file))) as line:
            await until(lambda: line.connected)
            server.stop()
            server.configure(**new.config)
            file.write_text(new.credentials)
            server.start()
            await until(lambda: line.connected)


def test_the_seed_of_a_user_is_the_key_that_nats_says_it_is(tmp_path: Path) -> None:
    # The example of NATS' documentation.
    seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    public = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    file = tmp_path / "api.creds"
    text = a_jwt_server().credentials
    file.write_text(re.sub(r"\bSU[A-Z2-7]{56}\b", seed, text))
    key = read_credentials(file).key.public_key().public_bytes_raw()
    assert base64.b32decode(public)[1:33] == key


def test_a_file_that_is_no_creds_file_is_told_in_words(tmp_path: Path) -> None:
    whole = a_jwt_server().credentials
    jwt, stars, seed = whole.partition("***")
    found = re.search(r"\bSU[A-Z2-7]{56}\b", whole)
    assert found
    file = tmp_path / "api.creds"
    bad_seed = "the seed in it is not that of a user, or was damaged"
    for text, words in (
        ("", "no user JWT in it"),
        (stars + seed, "no user JWT in it"),
        (jwt, "no user's seed in it"),
        (whole.replace(found[0], Nkey(ACCOUNT).seed), bad_seed),
        (whole.replace(found[0], found[0][:-1]), bad_seed),
        (whole.replace(found[0], found[0][:9] + found[0][10:] + "A"), bad_seed),
        (whole.replace(found[0], "SU!"), bad_seed),
        (whole.replace(found[0], "SUé"), bad_seed),
    ):
        file.write_text(text)
        with pytest.raises(SettingsError) as refused:
            read_credentials(file)
        assert str(refused.value).startswith(f"CUSTOMERS_NATS_CREDENTIALS={file}: {words}")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not a text file"):
        read_credentials(file)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"nats_credentials": "/nowhere"}, "CUSTOMERS_NATS_CREDENTIALS=/nowhere: No such file"),
        ({"nats_ca": "/nowhere"}, "CUSTOMERS_NATS_CA=/nowhere: No such file"),
        ({"nats_cert": "/nowhere"}, "CUSTOMERS_NATS_CERT and CUSTOMERS_NATS_KEY belong together"),
        (
            {"nats_cert": "/nowhere", "nats_key": "/none"},
            "CUSTOMERS_NATS_CERT and CUSTOMERS_NATS_KEY=/nowhere, /none: No such file",
        ),
        ({"nats_ca": __file__}, "not what PEM files hold"),
    ],
)
async def test_files_that_cannot_be_used_are_told_at_the_start_and_by_status(
    members: dict[str, str], words: str
) -> None:
    settings = replace(Settings(nats_url="tls://127.0.0.1:4222"), **members)
    with pytest.raises(SettingsError) as refused:
        NatsLine(settings, "test")
    assert words in str(refused.value)
    assert words in await reason_of(settings)
    # A courtesy, which troubles nobody.
    await asyncio.to_thread(ping_key_change, settings)


def test_what_we_use_of_the_client_that_is_private_is_still_there() -> None:
    # Without these, passwords would go out in clear and batches not at all: hence the narrow range
    # of versions in pyproject.toml.
    for name in ("_connect_command", "_process_connect_init", "_send_command", "_flush_pending"):
        assert callable(getattr(Client, name))
    made = vars(Client())
    assert made["_server_info"] == {}
    assert made["_transport"] is made["_flush_queue"] is None


async def test_a_ping_that_is_nonsense_is_passed_over(nats_url: str) -> None:
    heard: list[int] = []
    settings = Settings(nats_url=nats_url)
    line = NatsLine(settings, "test", hears={"nonsense.ping": lambda told: heard.append(int(told))})
    async with line.kept_up():
        await until(lambda: line.connected)
        for payload in (b"\xff", b"", b'{"specversion":"1.0"}', b"9" * 5000, b"7"):
            await line.ping("nonsense.ping", payload)
        await until(lambda: heard == [7])
        assert line.connected


async def test_a_line_is_left_at_once_whatever_it_waits_for(settings: Settings) -> None:
    for far in range(60):
        line = NatsLine(settings, "test leaving", hears={"customers-ping.1.test": lambda _: None})
        async with asyncio.timeout(10), line.kept_up():
            await turns(far)
