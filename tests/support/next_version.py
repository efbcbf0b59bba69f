"""A later version of the service, made from this tree: what a release may change, it changes."""

import shutil
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("command_side", "events", "projections", "query_side", "runtime")
_EVENT_TYPE: Final = "CustomerUpdated"


def make_next_version(place: Path) -> Path:
    """The tree of a version with a migration more, other tables to read from, another event.

    Its `CustomerUpdated` has the schema version behind this one's.
    """
    tree = place / "next"
    for package in _PACKAGES:
        shutil.copytree(
            _ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    _add_event_version(tree / "events")
    (tree / "events/migrations/9999_next.sql").write_text("CREATE TABLE log.of_the_next (n int);\n")
    with (tree / "projections/edition.sql").open("a", encoding="utf-8") as edition:
        edition.write("\nCREATE TABLE edition_0.of_the_next (n int);\n")
    return tree


def _add_event_version(events: Path) -> None:
    upcasters = events / "upcasters.py"
    text = upcasters.read_text(encoding="utf-8")
    for known, later in {
        f'"{_EVENT_TYPE}": 1': f'"{_EVENT_TYPE}": 2',
        "Upcasters(NEWEST_VERSION, {})": (
            f'Upcasters(NEWEST_VERSION, {{("{_EVENT_TYPE}", 1): lambda members: members}})'
        ),
    }.items():
        assert text.count(known) == 1
        text = text.replace(known, later)
    upcasters.write_text(text, encoding="utf-8")
    shutil.copy(
        events / f"schemas/{_EVENT_TYPE}.v1.json", events / f"schemas/{_EVENT_TYPE}.v2.json"
    )
