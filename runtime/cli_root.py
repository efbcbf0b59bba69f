"""The groups of the command line: one loads its commands late, one says failures in two lines."""

import sys
from collections.abc import Callable
from typing import TypeAlias

import rich_click as click
from click.exceptions import Abort, ClickException, Exit

from runtime.failure import Failure
from runtime.words import one_line

Load: TypeAlias = Callable[[], click.Group]


class RootGroup(click.RichGroup):
    """Runs a command; what a person can mend is told as `error: …` and `try: …`, exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; only faults of the program itself show a traceback."""
        try:
            return super().invoke(ctx)
        except (Exit, ClickException, Abort):
            raise
        except Exception as error:
            failure = explain(error)
            if failure is None:
                raise
            click.echo(f"error: {failure.reason}\ntry: {failure.try_next}", err=True)
            sys.exit(1)


class LazyGroup(click.RichGroup):
    """A group whose module is imported when one of its commands is looked for."""

    def __init__(self, *, name: str, about: str, example: str, load: Load) -> None:
        super().__init__(name=name, help=about, epilog=example)
        self._load = load

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return self._load().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        return self._load().get_command(ctx, cmd_name)


def explain(error: Exception) -> Failure | None:
    """What a person can do about an error, or None when it is a fault of the program."""
    if isinstance(error, Failure):
        return error
    name, package = type(error).__name__, type(error).__module__.partition(".")[0]
    reason = one_line(error)
    if name in ("SettingsError", "MigrationError"):
        return Failure(reason, "customers doctor")
    if package in ("psycopg", "psycopg_pool"):
        return _explain_postgres(name, reason)
    if package == "nats":
        return Failure(f"NATS cannot be used: {reason}", "customers doctor")
    return Failure(reason, "customers doctor") if isinstance(error, OSError) else None


def _explain_postgres(name: str, reason: str) -> Failure | None:
    if name in ("UndefinedTable", "InvalidSchemaName", "UndefinedFunction"):
        return Failure("This database does not hold our tables.", "customers migrate")
    if name == "InsufficientPrivilege":
        return Failure(
            f"The user of CUSTOMERS_DATABASE_URL may not do this: {reason}",
            "CUSTOMERS_DATABASE_URL with the user who ran `customers migrate`",
        )
    if name == "ProgrammingError":
        return Failure(
            f"CUSTOMERS_DATABASE_URL cannot be read: {reason}",
            "CUSTOMERS_DATABASE_URL=postgresql://user:password@host:5432/database",
        )
    # Whatever says the server is away, refuses us or goes down.
    if name in ("OperationalError", "ConnectionTimeout", "AdminShutdown", "PoolTimeout"):
        return Failure(f"Postgres cannot be used: {reason}", "customers doctor")
    return None
