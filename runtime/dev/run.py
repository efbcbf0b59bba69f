"""`customers dev`: the whole service on this machine, in one terminal.

Starting: Postgres and NATS together; then the migrations and the development keys, while the
interpreters of api, relay and projector load; then those three go. Ending: the other way round.
"""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console

from runtime.dev.children import NAMES, OwnProcesses, url_of
from runtime.dev.folder import DEFAULT_FOLDER, DevFolder, open_folder
from runtime.dev.panel import Ready, make_log_writer, show_json, show_panel
from runtime.dev.seed import seed_customers
from runtime.dev.supervisor import Service, Supervisor
from runtime.discovery import Running
from runtime.embedded import EmbeddedNats, EmbeddedPostgres
from runtime.embedded.ports import reserved_port
from runtime.failure import Failure
from runtime.logs import is_text
from runtime.settings import Settings, read_master_keys

# Who writes stops first; what the others need stops last.
_STOP_ORDER = ("api", "scrub", "projector", "relay", "nats", "postgres")
log = structlog.get_logger()


class DevOptions(Struct, frozen=True, kw_only=True):
    """What the command line asks of `customers dev`; without a folder it is ephemeral."""

    folder: Path | None
    port: int
    as_json: bool
    seed: int


def run_dev(settings: Settings, options: DevOptions) -> None:
    """Run everything until somebody asks to stop; raises Failure when it cannot start."""
    with ExitStack() as stack:
        try:
            port = stack.enter_context(reserved_port(settings.host, options.port))
        except OSError as error:
            raise Failure(
                f"Port {options.port} of {settings.host} is taken by another program.",
                "customers dev --port 0, which takes a free one",
            ) from error
        if settings.master_keys:
            read_master_keys(settings)
        folder = stack.enter_context(open_folder(options.folder))
        Development(_reached_at(settings, port), options, folder).run()


def _reached_at(settings: Settings, port: int) -> Settings:
    """The settings with the API's own address, unless a person said another."""
    variable = "CUSTOMERS_PUBLIC_URL"
    is_said = os.environ.get(variable) or os.environ.get(f"{variable}_FILE")
    public_url = settings.public_url if is_said else url_of(settings.host, port)
    return replace(settings, port=port, public_url=public_url)


class Development:
    """One run of everything on one folder."""

    def __init__(self, settings: Settings, options: DevOptions, folder: DevFolder) -> None:
        self._given = settings
        self._options = options
        self._folder = folder
        self._console = Console(stderr=True, highlight=False)
        self._running: Running | None = None
        self._supervisor = Supervisor(
            on_start=self._note_start,
            on_log=make_log_writer(self._console, is_text=is_text(settings)),
        )
        secrets = folder.secrets
        self._nats = (
            EmbeddedNats(
                folder.path,
                password=secrets.nats_password,
                port=secrets.nats_port,
                program=settings.nats_bin,
            )
            if not settings.nats_url
            else None
        )
        self._postgres = (
            EmbeddedPostgres(
                folder.path,
                password=secrets.postgres_password,
                port=secrets.postgres_port,
                programs=settings.pg_bin,
            )
            if not settings.database_url
            else None
        )

    def run(self) -> None:
        """Start, say so, keep running, stop."""
        self._supervisor.listen()
        log.info("dev.starting", folder=str(self._folder.path))
        try:
            self._folder.end_leftovers()
            settings = self._start_servers()
            own = OwnProcesses(
                settings.host, settings.port, self._environment(settings), self._supervisor
            )
            own.start()
            self._check_foreign_nats(settings)
            self._prepare_database(settings)
            own.release()
            own.wait_ready()
            self._announce(settings)
            self._supervisor.keep_running()
        except KeyboardInterrupt:
            log.info("dev.interrupted")
        finally:
            self._stop()

    def _start_servers(self) -> Settings:
        """Start those that are ours, side by side; the settings with the addresses of both."""
        nats, postgres, secrets = self._nats, self._postgres, self._folder.secrets
        # Kept before first use: data whose password is lost would be of no use.
        self._folder.save_secrets()
        if nats:
            nats.launch()
        if postgres:
            postgres.launch()
        if nats:
            steps = ((signal.SIGTERM, 10.0),)
            service = Service(name="nats", launch=nats.launch, stop_steps=steps)
            self._supervisor.watch(service, nats.wait_ready())
            secrets.nats_port = nats.port
        if postgres:
            steps = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))
            service = Service(name="postgres", launch=postgres.launch, stop_steps=steps)
            self._supervisor.watch(service, postgres.wait_ready())
            secrets.postgres_port = postgres.port
        return replace(
            self._given,
            database_url=postgres.url if postgres else self._given.database_url,
            nats_url=nats.url if nats else self._given.nats_url,
        )

    def _environment(self, settings: Settings) -> dict[str, str]:
        environment = {
            "CUSTOMERS_DATABASE_URL": settings.database_url,
            "CUSTOMERS_NATS_URL": settings.nats_url,
            "CUSTOMERS_PUBLIC_URL": settings.public_url,
            "CUSTOMERS_LOG_FORMAT": "text" if is_text(settings) else "json",
        }
        if not settings.master_keys:
            environment["CUSTOMERS_MASTER_KEYS_FILE"] = str(self._folder.master_keys_file)
        if not settings.signing_keys:
            environment["CUSTOMERS_SIGNING_KEYS_FILE"] = str(self._folder.signing_keys_file)
        if not settings.head_file:
            environment["CUSTOMERS_HEAD_FILE"] = str(self._folder.path / "heads.jsonl")
        # So that there is soon one to look at.
        for variable, value in (("HEAD_SECONDS", "10"), ("PUBLISH_HEADS", "true")):
            if not os.environ.get(f"CUSTOMERS_{variable}"):
                environment[f"CUSTOMERS_{variable}"] = value
        if not settings.erasure_ledger:
            environment["CUSTOMERS_ERASURE_LEDGER"] = str(self._folder.path / "erasures.ndjson")
        return environment

    def _check_foreign_nats(self, settings: Settings) -> None:
        if self._nats is not None:
            return
        from runtime.facts import Unknown, ask_nats  # noqa: PLC0415 - only where it is needed

        answer = ask_nats(settings, f"CUSTOMERS_{settings.log_id}_1")
        if isinstance(answer, Unknown):
            raise Failure(
                f"NATS, as CUSTOMERS_NATS_URL says where, cannot be used: {answer.reason}.",
                "start it, or unset CUSTOMERS_NATS_URL: customers dev brings one",
            )

    def _prepare_database(self, settings: Settings) -> None:
        # Imported now, while our own processes load: the driver alone takes a fifth of a second.
        from runtime.dev.keys import ensure_keys  # noqa: PLC0415 - see above
        from runtime.schema import migrate  # noqa: PLC0415 - see above

        for name in migrate(settings):
            log.info("dev.migrated", migration=name)
        ensure_keys(settings, self._folder.secrets)
        self._folder.save_secrets()

    def _announce(self, settings: Settings) -> None:
        url = url_of(settings.host, settings.port)
        secrets, folder = self._folder.secrets, self._folder
        if self._options.seed:
            seed_customers(url, secrets.api_key, self._options.seed, self._console)
        keys_file = "" if settings.master_keys else str(folder.master_keys_file)
        self._running = Running(
            dev_pid=os.getpid(),
            url=url,
            public_url=settings.public_url,
            database_url=settings.database_url,
            nats_url=settings.nats_url,
            master_keys_file=keys_file,
            signing_keys_file="" if settings.signing_keys else str(folder.signing_keys_file),
            head_file=settings.head_file or str(folder.path / "heads.jsonl"),
            pids=self._pids(),
        )
        folder.save_running(self._running)
        ready = Ready(
            url=url,
            api_key=secrets.api_key,
            test_api_key=secrets.test_api_key,
            database_url=settings.database_url,
            nats_url=settings.nats_url,
            pids=self._pids(),
        )
        if self._options.as_json:
            show_json(ready)
        else:
            show_panel(ready, folder=str(folder.path), exports=self._exports())

    def _exports(self) -> dict[str, str]:
        """What another terminal needs when this folder does not tell it where the servers are."""
        running = self._running
        if running is None or self._folder.path == DEFAULT_FOLDER.resolve():
            return {}
        exports = {
            "CUSTOMERS_DATABASE_URL": running.database_url,
            "CUSTOMERS_NATS_URL": running.nats_url,
            "CUSTOMERS_PUBLIC_URL": running.public_url,
            "CUSTOMERS_MASTER_KEYS_FILE": running.master_keys_file,
            "CUSTOMERS_SIGNING_KEYS_FILE": running.signing_keys_file,
            "CUSTOMERS_HEAD_FILE": running.head_file,
        }
        return {name: value for name, value in exports.items() if value}

    def _pids(self) -> dict[str, int | None]:
        pids = self._supervisor.pids()
        return {name: pids.get(name) for name in (*NAMES, "postgres", "nats")}

    def _note_start(self, name: str, pid: int) -> None:
        self._folder.record_process(name, pid)
        if self._running is not None:
            self._running = replace(self._running, pids=self._pids())
            self._folder.save_running(self._running)

    def _stop(self) -> None:
        log.info("dev.stopping")
        self._supervisor.stop(_STOP_ORDER)
        # Also those that were stopped while they started, and what they keep outside the folder.
        if self._nats:
            self._nats.stop()
        if self._postgres:
            self._postgres.stop()
            if self._folder.is_ephemeral:
                self._postgres.erase()
        self._folder.forget_running()
