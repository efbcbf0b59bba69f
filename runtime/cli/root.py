"""What the command line is made of: a root that says failures in two lines, and late commands."""

import sys
from importlib import import_module
from typing import Final

import rich_click as click
from click.exceptions import Abort, ClickException, Exit

from runtime.failure import Failure
from runtime.masking import mask
from runtime.words import one_line

# What says itself what is wrong; by name, so that nothing is imported that is not needed.
_MENDS: Final = {
    "SettingsError": "customers doctor",
    "MigrationError": "customers doctor",
    "KeyUnavailable": "customers master-keys status",
    "UnknownEvent": "customers --version, here and where the newest process runs",
    "ForeignReadModel": "customers rebuild",
    "NoEdition": "customers migrate",
}


class RootGroup(click.RichGroup):
    """Runs a command; what a person can mend is told as `error: …` and `try: …`, exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; only faults of the program itself show a traceback."""
        try:
            return super().invoke(ctx)
        except (Exit, ClickException, Abort, BrokenPipeError):
            # Each is told by click in its own way; a pipe that closes is no failure at all.
            raise
        except Exception as error:
            failure = explain(error)
            if failure is None:
                raise
            tell(failure)
            sys.exit(1)


class LazyCommand(click.RichCommand):
    """A command, or a group of them, whose module is imported only when it is called.

    `customers --help` shows `about`, the first sentence of its own help. In the module it has the
    name by which it is called, with `_` for `-`.
    """

    def __init__(self, name: str, module: str, about: str) -> None:
        super().__init__(name=name, help=about)
        self._module = module
        self._attribute = name.replace("-", "_")

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """The context of the command itself, which goes on from here alone."""
        command: click.Command = getattr(import_module(self._module), self._attribute)
        return command.make_context(info_name, args, parent, **extra)


def tell(failure: Failure) -> None:
    """What failed, and what to try next."""
    click.echo(f"error: {mask(failure.reason)}\ntry: {failure.try_next}", err=True)


def explain(error: Exception) -> Failure | None:
    """What a person can do about an error, or None when it is a fault of the program."""
    if isinstance(error, Failure):
        return error
    name, package = type(error).__name__, type(error).__module__.partition(".")[0]
    reason = one_line(error)
    if name in _MENDS:
        return Failure(reason, _MENDS[name])
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
    if "permission denied to set role" in reason:
        role = reason.rpartition(" role ")[2]
        return Failure(
            f"The user of CUSTOMERS_DATABASE_URL may not act as {role}, as this command does.",
            f"CUSTOMERS_DATABASE_URL with a user who is {role}, or who ran `customers migrate`",
        )
    # Whatever says the server is away, refuses us or goes down.
    if name in ("OperationalError", "ConnectionTimeout", "AdminShutdown", "PoolTimeout"):
        return Failure(f"Postgres cannot be used: {reason}", "customers doctor")
    return None
