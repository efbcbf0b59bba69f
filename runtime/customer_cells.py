"""A customer as cells of a table, whatever it is read from."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

TEXTS: Final = ("email", "phone", "first_name", "last_name", "company_name", "external_id")
COLUMNS: Final = (*TEXTS, "tags", "custom_fields", "communication_preferences")
_text: Final = msgspec.json.Decoder(str | None)


def customer_cells(customer: Mapping[str, Raw]) -> list[str | None]:
    """A cell for each of COLUMNS: a text as it is, what holds more than one value as JSON."""
    cells: list[str | None] = []
    for name in COLUMNS:
        value = customer.get(name)
        if value is None:
            cells.append(None)
        elif name in TEXTS:
            cells.append(_text.decode(value))
        else:
            cells.append(bytes(value).decode())
    return cells
