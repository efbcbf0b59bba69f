"""What the command line answers before any server is asked."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import customers
from runtime.cli.root import LazyCommand, explain
from runtime.failure import Failure
from runtime.settings import SettingsError
from tests.support.command import logging_kept

COMMANDS = [
    "dev",
    "migrate",
    "api",
    "openapi",
    "asyncapi",
    "relay",
    "projector",
    "listen",
    "accesses",
    "erase",
    "erasures",
    "events",
    "events tail",
    "events show",
    "keys",
    "master-keys",
    "projections",
    "projections failures",
    "projections retry",
    "rebuild",
    "rebuild rollback",
    "rebuild drop",
    "rebuild cancel",
    "rebuild status",
    "rebuild list",
    "scrub",
    "workspaces",
    "workspaces offboard",
    "status",
    "doctor",
]
KEY = f"test:{base64.b64encode(bytes(32)).decode()}"
# Nothing listens on port 1.
NOWHERE = {
    "CUSTOMERS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "CUSTOMERS_NATS_URL": "nats://127.0.0.1:1",
    "CUSTOMERS_MASTER_KEYS": KEY,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[..., Result]]:
    """Runs a command in an empty folder, with no settings but the given ones."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("CUSTOMERS_"):
            monkeypatch.delenv(name)

    def invoke(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(customers, arguments, env=environ)

    with logging_kept():
        yield invoke


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(
    run: Callable[..., Result], command: str
) -> None:
    result = run(*command.split(), "--help")

    assert result.exit_code == 0
    assert f"Example: customers {command}" in result.output


def test_every_command_is_listed(run: Callable[..., Result]) -> None:
    output = run("--help").output

    assert all(command.split()[0] in output for command in COMMANDS)
    # Whatever stands under no heading of ours would stand under this one.
    assert "─ Commands ─" not in output
    assert "─ The past ─" in output


def test_a_command_in_a_module_of_its_own_is_loaded_when_it_is_called_and_not_for_the_list() -> (
    None
):
    late = [one for one in customers.commands.values() if isinstance(one, LazyCommand)]
    assert late
    script = (
        "import sys; from runtime.cli.main import customers; "
        "customers(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    listed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = listed.stdout.splitlines()[-1].split()
    assert {name for name in loaded if name.startswith("runtime.cli")} == {
        "runtime.cli",
        "runtime.cli.catalogue",
        "runtime.cli.main",
        "runtime.cli.root",
    }
    for command in late:
        context = command.make_context(command.name, [], resilient_parsing=True)
        assert context.command.get_short_help_str(1000) == command.get_short_help_str(1000)


@pytest.mark.parametrize(
    "options",
    [
        "replay --from 0",
        "replay --from beginning",
        "replay --to 3 --from 4",
        "replay --to 3 --until 2026-03-03T10:00:00Z",
        "replay --until 2026-03-03",
        "replay --until 2026-02-30T10:00:00Z",
        "replay --format xml",
        "state --at 1",
        "state --customer 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21",
        "state --customer 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21 --at 0",
        "state --customer 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21 --at 2026-02-30T10:00:00Z",
        "export customers",
        "export customers --workspace acme --at now",
        "export person",
    ],
)
def test_a_replay_or_export_that_says_nothing_or_nonsense_is_a_wrong_use(
    run: Callable[..., Result], options: str
) -> None:
    assert run(*options.split(), **NOWHERE).exit_code == 2


@pytest.mark.parametrize(
    "command", ["migrate", "status", "relay", "keys list", "events tail", "events show 1"]
)
def test_without_any_server_known_the_way_to_start_one_is_named(
    run: Callable[..., Result], command: str
) -> None:
    result = run(*command.split())

    assert result.exit_code == 1
    assert "error: No database is known" in result.stderr
    assert "customers dev" in result.stderr
    assert "try: " in result.stderr


@pytest.mark.parametrize("command", ["migrate", "keys list", "events tail -f", "events show 1"])
def test_a_database_that_does_not_answer_is_no_traceback(
    run: Callable[..., Result], command: str
) -> None:
    result = run(*command.split(), **NOWHERE)

    assert result.exit_code == 1
    assert "onnection refused" in result.stderr
    assert result.stderr.splitlines()[-1] == "try: customers doctor"


def test_a_wrong_url_is_no_traceback(run: Callable[..., Result]) -> None:
    result = run("migrate", CUSTOMERS_DATABASE_URL="not a url")

    assert result.exit_code == 1
    assert "error: CUSTOMERS_DATABASE_URL cannot be read" in result.stderr
    assert "try: CUSTOMERS_DATABASE_URL=postgresql://" in result.stderr


@pytest.mark.parametrize(
    "command",
    ["api", "relay", "projector", "scrub --every", "events tail", "listen --print-secret"],
)
def test_no_process_starts_without_a_master_key(run: Callable[..., Result], command: str) -> None:
    result = run(*command.split(), **{**NOWHERE, "CUSTOMERS_MASTER_KEYS": ""})

    assert result.exit_code == 1
    assert "CUSTOMERS_MASTER_KEYS is not set" in result.stderr


def test_the_asyncapi_document_has_the_address_that_events_have(run: Callable[..., Result]) -> None:
    printed = run("asyncapi", CUSTOMERS_PUBLIC_URL="https://customers.example.com")

    assert printed.exit_code == 0
    document = json.loads(printed.output)
    assert document["servers"]["http"]["host"] == "customers.example.com"
    event = document["components"]["messages"]["CustomerCreated"]["examples"][0]["payload"]
    assert event["dataschema"] == "https://customers.example.com/schemas/CustomerCreated/1"


def test_status_says_what_is_down(run: Callable[..., Result]) -> None:
    result = run("status", **NOWHERE)

    assert result.exit_code == 1
    assert "Postgres cannot be asked" in result.output
    assert "NATS cannot be asked" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--type renamed", "one of created, updated, deleted, restored, erased, CustomerCreated"),
        ("--customer 42", "'42' is no id of a customer"),
        ("--workspace Acme", "'Acme' cannot name a workspace"),
        ("--workspace _test", "'_test' cannot name a workspace"),
        ("--workspace acme_test_test", "acme_test for its sandbox"),
        ("--from 0", "'0' is no position"),
        ("--from 9999999999999999999", "is no position"),
        ("--from ever", "--from beginning, --from 42 or --from now"),
    ],
)
def test_events_that_there_cannot_be_are_refused_before_any_server_is_asked(
    run: Callable[..., Result], options: str, said: str
) -> None:
    result = run("events", "tail", *options.split(), **NOWHERE)

    assert result.exit_code == 1
    assert said in result.stderr
    assert "try: " in result.stderr


@pytest.mark.parametrize(
    "options", ["--from now", "--from 1 --lines 2 --follow", "--lines -1", "--lines many"]
)
def test_options_of_tail_that_contradict_each_other_are_a_wrong_use(
    run: Callable[..., Result], options: str
) -> None:
    assert run("events", "tail", *options.split(), **NOWHERE).exit_code == 2


@pytest.mark.parametrize("position", ["0", "-1", "first"])
def test_only_a_position_can_be_shown(run: Callable[..., Result], position: str) -> None:
    assert run("events", "show", position, **NOWHERE).exit_code == 2


@pytest.mark.parametrize(
    "url", ["ftp://me:word@host/", "127.0.0.1:3000", "http://", "http://host:99999/", "http://[::1"]
)
def test_only_http_and_https_are_forwarded_to_and_a_wrong_url_is_not_repeated(
    run: Callable[..., Result], url: str
) -> None:
    result = run("listen", "--forward-to", url, **NOWHERE)

    assert result.exit_code == 1
    assert "no http or https URL" in result.stderr
    assert "try: --forward-to http://" in result.stderr
    assert "word" not in result.stderr


def test_listen_needs_to_know_where_to(run: Callable[..., Result]) -> None:
    assert run("listen", **NOWHERE).exit_code == 2


@pytest.mark.parametrize("secret", ["hunter2", "whsec_hunter2", "whsec_", f"whsec_{'A' * 28}"])
def test_a_secret_that_signs_nothing_is_refused_and_not_repeated(
    run: Callable[..., Result], secret: str
) -> None:
    url = "http://127.0.0.1:1"
    for result in (
        run("listen", "--forward-to", url, "--secret", secret, **NOWHERE),
        run("listen", "--forward-to", url, **NOWHERE, CUSTOMERS_WEBHOOK_SECRET=secret),
    ):
        assert result.exit_code == 1
        assert "`whsec_` and base64 of 24 to 64 bytes" in result.stderr
        assert "hunter2" not in result.output
        assert "A" * 28 not in result.output


def test_the_signing_secret_outlives_a_new_master_key(run: Callable[..., Result]) -> None:
    newer = f"newer:{base64.b64encode(bytes(range(32))).decode()}"

    before = run("listen", "--print-secret", **NOWHERE)
    after = run(
        "listen", "--print-secret", **{**NOWHERE, "CUSTOMERS_MASTER_KEYS": f"{newer},{KEY}"}
    )
    another = run("listen", "--print-secret", **{**NOWHERE, "CUSTOMERS_MASTER_KEYS": newer})

    assert before.stdout.startswith("whsec_")
    assert len(base64.b64decode(before.stdout.strip().removeprefix("whsec_"))) == 32
    assert before.stdout == after.stdout != another.stdout


def test_doctor_names_the_mend_of_what_is_wrong(run: Callable[..., Result]) -> None:
    result = run("doctor", **NOWHERE)

    assert result.exit_code == 1
    assert "✗ Postgres: " in result.output
    assert "try: start it, or correct CUSTOMERS_DATABASE_URL" in result.output


def test_doctor_is_content_with_a_machine_that_can_run_dev(run: Callable[..., Result]) -> None:
    result = run("doctor", CUSTOMERS_PORT="0")

    assert result.exit_code == 0, result.output
    assert "✓ Postgres programs" in result.output


def test_a_folder_with_something_else_in_it_takes_no_data(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")

    result = run("dev", "--data-dir", str(tmp_path), "--port", "0")

    assert result.exit_code == 1
    assert "holds something else already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CUSTOMERS_MASTER_KEYS", "junk", "is not `id:base64 of 32 bytes`"),
        ("CUSTOMERS_PG_BIN", "/absent", "No Postgres programs"),
        ("CUSTOMERS_NATS_BIN", "/absent", "No nats-server program"),
        ("CUSTOMERS_PORT", "http", "CUSTOMERS_PORT='http' cannot be used"),
    ],
)
def test_dev_refuses_a_wrong_setting_before_it_starts_anything(
    run: Callable[..., Result], variable: str, value: str, said: str
) -> None:
    result = run("dev", "--ephemeral", "--port", "0", **{variable: value})

    assert result.exit_code == 1
    assert said in result.stderr
    assert "try: " in result.stderr


def test_ephemeral_and_a_data_folder_contradict_each_other(run: Callable[..., Result]) -> None:
    assert run("dev", "--ephemeral", "--data-dir", "x").exit_code == 2


@pytest.mark.parametrize(
    ("error", "try_next"),
    [
        (Failure("why", "how"), "how"),
        (SettingsError("CUSTOMERS_PORT"), "customers doctor"),
        (psycopg.OperationalError("refused"), "customers doctor"),
        (
            psycopg.OperationalError('FATAL: permission denied to set role "x"'),
            'CUSTOMERS_DATABASE_URL with a user who is "x", or who ran `customers migrate`',
        ),
        (psycopg.errors.UndefinedTable("log.events"), "customers migrate"),
        (OSError(98, "Address already in use"), "customers doctor"),
    ],
)
def test_what_a_person_can_mend_comes_with_the_next_command(
    error: Exception, try_next: str
) -> None:
    failure = explain(error)

    assert failure is not None
    assert failure.try_next == try_next


@pytest.mark.parametrize("error", [ValueError("x"), psycopg.errors.SyntaxError("x"), KeyError("x")])
def test_a_fault_of_the_program_is_not_dressed_up(error: Exception) -> None:
    assert explain(error) is None


def test_the_root_is_a_click_group() -> None:
    assert isinstance(customers, click.Group)
