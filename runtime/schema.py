"""The database of this version: whose migrations make it, and in which order.

Apart from `processes`, because who only migrates or only asks must not load the whole service.
"""

from pathlib import Path
from typing import Final

from projections.editions import prepare_editions
from runtime.migrate import apply_migrations, find_migrations
from runtime.postgres import connect_as_owner
from runtime.settings import Settings

_ROOT: Final = Path(__file__).parent.parent
_PACKAGES: Final = ("runtime", "events", "command_side", "projections")
MIGRATION_FOLDERS: Final = tuple(_ROOT / package / "migrations" for package in _PACKAGES)


def migrate(settings: Settings) -> list[str]:
    """Bring the database to this version; the names of the migrations that were applied."""
    with connect_as_owner(settings, "customers migrate") as connection:
        applied = apply_migrations(connection, find_migrations(MIGRATION_FOLDERS))
        return applied + prepare_editions(connection)


def migration_names() -> list[str]:
    """The names of all migrations of this version, in order."""
    return [migration.name for migration in find_migrations(MIGRATION_FOLDERS)]
