"""The composition root: every process is built here, from settings and nothing else."""

from pathlib import Path

from runtime.migrate import apply_migrations, find_migrations
from runtime.postgres import connect_as_owner
from runtime.settings import Settings

_ROOT = Path(__file__).parent.parent
MIGRATION_FOLDERS = tuple(
    _ROOT / package / "migrations"
    for package in ("runtime", "events", "command_side", "projections")
)


def migrate(settings: Settings) -> list[str]:
    """Bring the database to this version; the names of the migrations that were applied."""
    with connect_as_owner(settings, "customers migrate") as connection:
        return apply_migrations(connection, find_migrations(MIGRATION_FOLDERS))
