"""What `customers dev` shows a person: the lines of its children, and the panel when ready."""

import sys
from collections.abc import Callable

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from runtime.logs import text_prefix

API_PATH = "/api/v1/external"
_COLOURS = {"api": "cyan", "relay": "magenta", "projector": "green"}
_WARNING = "customers is running: for development, not for production"


class Ready(Struct, frozen=True, kw_only=True):
    """What `customers dev --json` prints, on one line; a server that is not ours has no pid."""

    url: str
    api_key: str
    test_api_key: str
    database_url: str
    nats_url: str
    pids: dict[str, int | None]


def make_log_writer(console: Console, *, is_text: bool) -> Callable[[str, str], None]:
    """Writes a child's line to stderr: as it is for programs, behind its name for people."""

    def write_text(name: str, line: str) -> None:
        prefix = text_prefix(name)
        text = Text(prefix, style=_COLOURS.get(name, "blue"))
        text.append(line.removeprefix(prefix), style="default")
        console.print(text, soft_wrap=True, highlight=False)

    def write_plain(_name: str, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    return write_text if is_text else write_plain


def show_json(ready: Ready) -> None:
    """Print the one line a script waits for."""
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()


def show_panel(ready: Ready, *, folder: str, exports: dict[str, str]) -> None:
    """Print the panel to stdout; addresses and calls stand on lines that can be copied whole.

    `exports` are the variables another terminal needs when it cannot find the servers by itself.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(Panel(_WARNING, style="yellow", expand=False))
    for name, value in (
        ("API", f"{ready.url}{API_PATH}"),
        ("Docs", f"{ready.url}/docs"),
        ("Events", f"{ready.url}/docs/events"),
        ("Health", f"{ready.url}/health/ready"),
        ("API key", ready.api_key),
        ("Test key", f"{ready.test_api_key}  (sandbox data)"),
        ("Postgres", ready.database_url),
        ("NATS", ready.nats_url),
        ("Data", folder),
    ):
        console.print(Text(f"  {name:<9}", style="bold").append(value, style="not bold"))
    console.print("\n  Create a customer, then find it:\n")
    for call in _calls(ready):
        console.print(Text(call, style="green"))
    if exports:
        console.print("\n  For other commands in another terminal:\n")
        for name, value in exports.items():
            console.print(Text(f"export {name}='{value}'"))
    console.print("\n  Ctrl-C stops all of it; what was written is there at the next start.\n")


def _calls(ready: Ready) -> list[str]:
    customers = f"{ready.url}{API_PATH}/customers"
    key = f"-H 'X-Api-Key: {ready.api_key}'"
    body = '{"email":"jane@example.com","firstName":"Jane","lastName":"Doe","tags":["vip"]}'
    return [
        f"curl -X POST {customers} {key} -H 'Content-Type: application/json' -d '{body}'",
        f"curl '{customers}?search=jane' {key}",
    ]
