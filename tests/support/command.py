"""The command line on the servers of a test: in this process, or as a person runs it."""

import asyncio
import logging
import os
import signal
import sys
import termios
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog
from click.testing import CliRunner
from msgspec import Struct

from runtime.cli.main import customers
from runtime.settings import Settings
from tests.support.dev import CUSTOMERS, clean_environment


class Ran(Struct, frozen=True, kw_only=True):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed."""
        return self.out.splitlines()


@contextmanager
def logging_kept() -> Generator[None]:
    """Have the log afterwards as it was: a command points it at a stream that is soon closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = handlers, level


class Command:
    """`customers` in a folder, or with the settings of a test."""

    def __init__(self, *, place: Path | None = None, settings: Settings | None = None) -> None:
        self._place = place
        self._environ = clean_environment()
        if settings is not None:
            self._environ |= {
                "CUSTOMERS_DATABASE_URL": settings.database_url,
                "CUSTOMERS_NATS_URL": settings.nats_url,
                "CUSTOMERS_LOG_ID": str(settings.log_id),
                "CUSTOMERS_MASTER_KEYS": settings.master_keys,
            }

    def run(self, *arguments: str, **environ: str) -> Ran:
        """Run in this process, where no event loop runs, until it ends by itself.

        It knows of no NATS: the line to it would go on logging as this command does.
        """
        theirs = dict.fromkeys(os.environ) | self._environ | {"CUSTOMERS_NATS_URL": ""} | environ
        with logging_kept():
            ran = CliRunner(catch_exceptions=False).invoke(customers, arguments, env=theirs)
        return Ran(code=ran.exit_code, out=ran.stdout, err=ran.stderr)

    async def shell(self, script: str) -> Ran:
        """Run a line of shell in which `customers` is the command; a failing pipe fails."""
        customers = f'customers() {{ "{sys.executable}" -m runtime.cli "$@"; }}'
        process = await self._start(["bash", "-o", "pipefail", "-c", f"{customers}; {script}"], {})
        return await _ended(process)

    async def look(self, columns: int, *arguments: str, **environ: str) -> str:
        """What a terminal of this width gets to show; a little, that ends by itself."""
        return await self._look(columns, arguments, environ, "stdout")

    async def look_beside(self, columns: int, *arguments: str, **environ: str) -> str:
        """What a terminal of this width gets to show beside stdout, which goes nowhere."""
        return await self._look(columns, arguments, environ, "stderr")

    async def _look(
        self, columns: int, arguments: tuple[str, ...], environ: dict[str, str], shown: str
    ) -> str:
        terminal, its_end = os.openpty()
        termios.tcsetwinsize(its_end, (24, columns))
        process = await asyncio.create_subprocess_exec(
            *CUSTOMERS,
            *arguments,
            env=self._environ | environ,
            stdout=its_end if shown == "stdout" else DEVNULL,
            stderr=its_end if shown == "stderr" else None,
        )
        os.close(its_end)
        screen, code = await asyncio.gather(asyncio.to_thread(_read, terminal), process.wait())
        assert code == 0
        return screen

    async def answer(self, words: str, *arguments: str, **environ: str) -> Ran:
        """Run it with a terminal to ask at, where somebody answers this."""
        terminal, its_end = os.openpty()
        process = await asyncio.create_subprocess_exec(
            *CUSTOMERS,
            *arguments,
            env=self._environ | environ,
            stdin=its_end,
            stdout=PIPE,
            stderr=PIPE,
        )
        os.close(its_end)
        with os.fdopen(terminal, "wb", buffering=0) as typing:
            typing.write(f"{words}\n".encode())
            return await _ended(process)

    @asynccontextmanager
    async def running(self, *arguments: str, **environ: str) -> AsyncGenerator["Running"]:
        """One that goes on until Ctrl-C, or until the block ends."""
        process = await self._start([*CUSTOMERS, *arguments], environ)
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def _start(self, command: list[str], environ: dict[str, str]) -> Process:
        return await asyncio.create_subprocess_exec(
            *command, cwd=self._place, env=self._environ | environ, stdout=PIPE, stderr=PIPE
        )


class Running:
    """A command that runs."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def line(self) -> str:
        """The next line it prints."""
        assert self._process.stdout
        return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def word(self) -> str:
        """The next line it says on stderr."""
        assert self._process.stderr
        return (await self._process.stderr.readline()).decode().rstrip("\n")

    async def stop(self, number: signal.Signals = signal.SIGINT) -> Ran:
        """Ctrl-C or another signal, and what it printed since."""
        self._process.send_signal(number)
        return await _ended(self._process)


async def _ended(process: Process) -> Ran:
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(code=process.returncode, out=out.decode(), err=err.decode())


def _read(terminal: int) -> str:
    shown = b""
    # An error tells that nobody writes to it any more.
    with os.fdopen(terminal, "rb", buffering=0) as screen, suppress(OSError):
        while piece := screen.read(65536):
            shown += piece
    return shown.decode()
