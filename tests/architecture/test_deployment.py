"""compose.yaml, Dockerfile and what they use agree with the settings, the CLI and one another."""

import re
import runpy
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
import rich_click as click
import yaml
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict

from events.relay import RelayCondition
from projections.runner import Condition
from runtime.cli.main import customers
from runtime.lifecycle import TROUBLED
from runtime.settings import PREFIX, Settings, read_master_keys, read_settings
from tests.support.servers import NATS_IMAGE, POSTGRES_IMAGE

ROOT: Final = Path(__file__).parents[2]
SECRETS: Final = "/run/secrets/"
ONE_SHOTS: Final = {"migrate", "users"}
PROCESSES: Final = ("api", "relay", "projector")
SECOND: Final = ("api-2", "relay-2", "projector-2", "postgres-2", "nats-2", "nats-3")
"""What the profile `cluster` adds."""
PUBLIC_URL: Final = f"{PREFIX}PUBLIC_URL"
FROM_SHELL: Final = {PUBLIC_URL, f"{PREFIX}DRAIN_SECONDS", f"{PREFIX}STREAM_REPLICAS"}


class Build(Struct, frozen=True):
    """How an image is made."""

    context: str


class Check(Struct, frozen=True):
    """How the health of a container is asked for."""

    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str


class Service(Struct, frozen=True, kw_only=True):
    """What compose.yaml says of one service."""

    image: str
    restart: str
    profiles: list[str] = []
    build: str | Build | None = None
    command: list[str] = []
    environment: dict[str, str] = {}
    secrets: list[str] = []
    volumes: list[str] = []
    ports: list[str] = []
    depends_on: dict[str, dict[str, str]] = {}
    healthcheck: Check | None = None
    read_only: bool = False
    cap_drop: list[str] = []
    security_opt: list[str] = []


class Secret(Struct, frozen=True):
    """Where a secret is kept."""

    file: str


class Compose(Struct, frozen=True):
    """compose.yaml, as far as it is looked at here."""

    services: dict[str, Service]
    secrets: dict[str, Secret]
    volumes: dict[str, None]


class Project(Struct, frozen=True):
    """pyproject.toml, as far as it is looked at here."""

    version: str
    packages: list[str]


@pytest.fixture(scope="module")
def compose() -> Compose:
    """What compose.yaml says."""
    return msgspec.convert(yaml.safe_load((ROOT / "compose.yaml").read_text()), Compose)


@pytest.fixture(scope="module")
def single(compose: Compose) -> dict[str, Service]:
    """The services that run without a profile."""
    return {name: one for name, one in compose.services.items() if not one.profiles}


@pytest.fixture(scope="module")
def dockerfile() -> str:
    """The Dockerfile with its continued lines joined, without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", " ")


@pytest.fixture(scope="module")
def project() -> Project:
    """What pyproject.toml says."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return Project(read["project"]["version"], read["tool"]["setuptools"]["packages"])


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder of secrets that `deploy/make-secrets` makes."""
    folder = tmp_path / "secrets"
    subprocess.run([ROOT / "deploy/make-secrets", folder], check=True, capture_output=True)
    return folder


def test_every_variable_in_compose_and_dockerfile_is_a_setting(
    compose: Compose, dockerfile: str
) -> None:
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__}
    given = [name for service in compose.services.values() for name in service.environment]
    given += re.findall(r"\b(CUSTOMERS_[A-Z_]+)=", dockerfile)
    ours = {name.removesuffix("_FILE") for name in given if name.startswith(PREFIX)}
    assert ours
    assert ours <= known


def test_every_process_is_told_what_it_cannot_do_without(compose: Compose) -> None:
    for name in PROCESSES:
        given = {key.removesuffix("_FILE") for key in compose.services[name].environment}
        assert given >= {f"{PREFIX}{need}" for need in ("DATABASE_URL", "NATS_URL", "MASTER_KEYS")}


def test_a_service_is_given_the_secrets_it_reads_and_no_other(compose: Compose) -> None:
    for name, service in compose.services.items():
        if service.build is None:
            continue
        read = [value for value in service.environment.values() if value.startswith(SECRETS)]
        assert {path.removeprefix(SECRETS) for path in read} == set(service.secrets), name
        assert {key for key in service.environment if not key.endswith("_FILE")} <= FROM_SHELL


def test_events_have_one_public_address_whoever_answers_or_publishes_them(
    compose: Compose,
) -> None:
    told = {name: service.environment.get(PUBLIC_URL) for name, service in compose.services.items()}
    assert {name.removesuffix("-2") for name, address in told.items() if address} == {
        "api",
        "relay",
    }
    assert {address for address in told.values() if address} == {
        f"${{{PUBLIC_URL}:-{Settings().public_url}}}"
    }
    assert PUBLIC_URL in (ROOT / "compose.yaml").read_text().partition("\n\n")[0]


def test_every_secret_is_used_kept_out_of_the_repository_and_made_by_make_secrets(
    compose: Compose, secrets: Path
) -> None:
    used = {secret for service in compose.services.values() for secret in service.secrets}
    made = {path.name for path in secrets.iterdir()}
    assert used == set(compose.secrets) == made
    assert {secret.file for secret in compose.secrets.values()} == {
        f"./deploy/secrets/{name}" for name in made
    }
    assert "secrets/" in (ROOT / "deploy/.gitignore").read_text().split()


def test_only_their_maker_can_get_at_the_secrets_on_disk_and_every_container_user_within(
    secrets: Path,
) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o444}


def test_make_secrets_never_replaces_a_key(secrets: Path) -> None:
    before = (secrets / "master_keys").read_bytes()
    again = subprocess.run(
        [ROOT / "deploy/make-secrets", secrets], check=False, capture_output=True, text=True
    )
    assert again.returncode == 1
    assert "left as it is" in again.stderr
    assert (secrets / "master_keys").read_bytes() == before


def test_make_secrets_adds_what_an_older_version_did_not_make(secrets: Path) -> None:
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    (secrets / "nats_cluster").unlink()
    subprocess.run([ROOT / "deploy/make-secrets", secrets], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before


def test_the_made_secrets_are_settings_with_a_user_for_each_process(
    compose: Compose, secrets: Path
) -> None:
    for name in PROCESSES:
        environ = {
            key: value.replace(SECRETS, f"{secrets}/")
            for key, value in compose.services[name].environment.items()
            if key not in FROM_SHELL
        }
        settings = read_settings(environ)
        where = conninfo_to_dict(settings.database_url)
        assert (where["user"], where["host"]) == (name, "postgres")
        assert where["dbname"] == compose.services["postgres"].environment["POSTGRES_DB"]
        assert re.fullmatch(rf"nats://{name}:[0-9a-f]{{48}}@nats:4222", settings.nats_url)
        assert len(read_master_keys(settings).by_id) == 1


def test_every_command_of_ours_exists(compose: Compose) -> None:
    for service in compose.services.values():
        if service.build is not None:
            found = customers.get_command(click.Context(customers), service.command[0])
            assert found is not None, service.command
    assert {name.removesuffix("-2") for name, one in compose.services.items() if one.build} == {
        *PROCESSES,
        "migrate",
        "scrub",
    }


def test_whatever_stays_up_tells_its_health_and_is_started_again(compose: Compose) -> None:
    for name, service in compose.services.items():
        if name in ONE_SHOTS:
            assert service.restart.startswith("on-failure:"), name
        else:
            assert service.restart == "unless-stopped", name
            assert service.healthcheck is not None, name


def test_the_processes_start_behind_the_migrations_and_do_not_wait_for_nats(
    compose: Compose,
) -> None:
    done = {"condition": "service_completed_successfully"}
    assert compose.services["users"].depends_on == {"migrate": done}
    for name in PROCESSES:
        depends_on = compose.services[name].depends_on
        assert depends_on["users"] == done
        assert depends_on.get("nats", {"condition": "service_started"}) == {
            "condition": "service_started"
        }


def test_images_are_pinned_and_those_of_the_servers_are_what_the_tests_run_on(
    compose: Compose, project: Project
) -> None:
    images = {name: service.image for name, service in compose.services.items()}
    assert images["postgres"] == images["users"] == POSTGRES_IMAGE
    assert images["nats"] == f"{NATS_IMAGE}-alpine"
    ours = {images[name] for name in (*PROCESSES, "migrate", "scrub")}
    assert ours == {f"customers:{project.version}"}


def test_only_the_api_is_published_and_only_on_loopback(compose: Compose) -> None:
    published = {name: service.ports for name, service in compose.services.items() if service.ports}
    assert published == {"api": ["127.0.0.1:8080:8080"], "api-2": ["127.0.0.1:8081:8080"]}


def test_no_container_can_gain_rights_or_change_its_own_files(compose: Compose) -> None:
    for name, service in compose.services.items():
        assert service.read_only, name
        assert service.security_opt == ["no-new-privileges:true"], name
        # Postgres starts as root and becomes somebody else.
        is_postgres = name.removesuffix("-2") == "postgres"
        assert service.cap_drop == ([] if is_postgres else ["ALL"]), name


def test_what_the_servers_keep_is_on_volumes(compose: Compose) -> None:
    kept = [volume for service in compose.services.values() for volume in service.volumes]
    named = {volume.partition(":")[0] for volume in kept if not volume.startswith("./")}
    kept_on = {"postgres", "postgres-2", "nats", "nats-2", "nats-3"}
    assert named == set(compose.volumes) == kept_on
    mounted = [ROOT / volume.partition(":")[0] for volume in kept if volume.startswith("./")]
    assert all(path.is_file() for path in mounted)


def test_the_image_holds_every_package_and_what_the_health_checks_run(
    dockerfile: str, project: Project, compose: Compose
) -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, flags=re.MULTILINE)
    packages = {package.partition(".")[0] for package in project.packages}
    assert {f"{package}/" for package in packages} <= set(copied)
    allowed = (ROOT / ".dockerignore").read_text().split()
    assert set(copied) == {line[1:] for line in allowed if line.startswith("!")}
    for name in ("relay", "projector", "scrub"):
        check = compose.services[name].healthcheck
        assert check is not None
        assert check.test == ["CMD", "python", "/opt/customers/heartbeat.py", name]
    assert "COPY deploy/heartbeat.py /opt/customers/heartbeat.py\n" in dockerfile


def test_a_second_of_each_is_what_the_first_is_and_there_with_the_profile_alone(
    compose: Compose, single: dict[str, Service]
) -> None:
    assert set(compose.services) - set(single) == set(SECOND)
    for name in SECOND:
        one, other = compose.services[name], compose.services[name.rpartition("-")[0]]
        assert one.profiles == ["cluster"], name
        assert (one.image, one.command, one.secrets) == (other.image, other.command, other.secrets)
        settings = {key for key in other.environment if key.startswith(PREFIX)}
        assert {key: one.environment[key] for key in settings} == {
            key: other.environment[key] for key in settings
        }


def test_the_secrets_of_a_cluster_name_every_server_of_it(compose: Compose, tmp_path: Path) -> None:
    made = tmp_path / "secrets"
    command = [ROOT / "deploy/make-secrets", "--cluster", made]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in PROCESSES:
        where = conninfo_to_dict((made / f"{name}_database_url").read_text().strip())
        assert str(where["host"]).split(",") == ["postgres", "postgres-2"]
        assert where["target_session_attrs"] == "read-write"
        urls = (made / f"{name}_nats_url").read_text().strip().split(",")
        assert [url.rpartition("@")[2] for url in urls] == [
            "nats:4222",
            "nats-2:4222",
            "nats-3:4222",
        ]
    routes = re.findall(
        r"nats-route://route:[0-9a-f]{48}@(\S+):6222", (made / "nats_cluster").read_text()
    )
    assert routes == ["nats", "nats-2", "nats-3"]
    assert set(routes) | {"postgres", "postgres-2"} <= set(compose.services)
    told = dict(line.split("=") for line in said.splitlines() if "=" in line)
    assert told.keys() == {"COMPOSE_PROFILES", *FROM_SHELL - {PUBLIC_URL}}
    environ = {key: value for key, value in told.items() if key.startswith(PREFIX)}
    assert read_settings(environ).stream_replicas == 3


def test_the_wheel_in_the_image_holds_every_package(project: Project) -> None:
    tops = {package.partition(".")[0] for package in project.packages}
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in tops
        for file in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(project.packages)


def test_the_image_is_made_from_locked_packages_and_does_not_run_as_root(dockerfile: str) -> None:
    assert set(re.findall(r"^FROM (\S+)", dockerfile, flags=re.MULTILINE)) == {"python:3.12-slim"}
    installs = [line for line in dockerfile.splitlines() if " install " in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert "-r requirements/runtime.txt" in dockerfile
    assert dockerfile.rsplit("FROM", maxsplit=1)[-1].count("USER 10001\n") == 1


def test_the_image_needs_no_particular_builder(dockerfile: str) -> None:
    assert not re.findall(r"--mount|--link|--chmod|--parents|--exclude|<<", dockerfile)


def test_the_heartbeat_check_knows_the_conditions_that_are_trouble() -> None:
    trouble = set(runpy.run_path(str(ROOT / "deploy/heartbeat.py"))["_IN_TROUBLE"])
    assert trouble == set(TROUBLED)
    assert trouble <= set(get_args(RelayCondition))
    assert trouble - set(get_args(Condition)) == {"damaged", "erasures wait", "not signing"}
