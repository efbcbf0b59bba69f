"""Plausible customers for `customers dev --seed`, made through the public bulk call.

The same seed gives the same people, so seeding twice changes nothing.
"""

import http.client
import random
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runtime.failure import Failure

ROWS_MAX = 500
_BULK_PATH = "/api/v1/external/customers/bulk"
_CUSTOM_FIELDS = {
    "account_type": ["basic", "standard", "premium"],
    "region": ["north", "south", "east", "west"],
    "payment_terms": ["net14", "net30", "net60"],
}


def _words(text: str) -> list[str]:
    return text.split()


_FIRST_NAMES = _words(
    "Ada Amara Anna Björn Carlos Chloé Dmitri Elena Emma Fatima Grace Hiro Ines Jamal Jane José "
    "Kofi Lars Leila Linh Lucas Mateo Mei Mia Noah Nora Oliver Olga Omar Priya Rosa Samir Sofia "
    "Tomás Yuki Zoë"
)
_LAST_NAMES = _words(
    "Adeyemi Andersson Becker Costa Diaz Doe Dubois Eriksen Fischer García Haddad Ivanova Jensen "
    "Kim Kowalski Larsen López Mensah Müller Nakamura Nguyen Novák O'Brien Okafor Patel Petrov "
    "Rossi Santos Schmidt Silva Singh Smith Tanaka Weber Yusuf Zhang"
)
_COMPANY_WORDS = _words(
    "Acme Alpine Atlas Beacon Blue Bright Cedar Copper Delta Ember Falcon Granite Harbor Indigo "
    "Juniper Lumen Maple Meridian Nimbus North Orchid Pioneer Quartz River Summit Vertex"
)
_COMPANY_KINDS = _words(
    "Bakery Consulting Corp Dental Electric Farms GmbH Labs Logistics Ltd Media"
)
_TAGS = _words("vip newsletter wholesale trial overdue partner enterprise referral churn-risk beta")


class _Counts(Struct, frozen=True):
    failed: int = 0


class _Answer(Struct, frozen=True):
    data: _Counts


def make_customers(count: int, seed: int = 1) -> Iterator[dict[str, object]]:
    """This many customers as the API takes them; the same ones for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - people to look at, not secrets
    for number in range(1, count + 1):
        yield _make_customer(dice, number)


def _make_customer(dice: random.Random, number: int) -> dict[str, object]:
    first, last = dice.choice(_FIRST_NAMES), dice.choice(_LAST_NAMES)
    customer: dict[str, object] = {
        "external_id": f"seed-{number:06}",
        "firstName": first,
        "lastName": last,
        "email": f"{_plain(first)}.{_plain(last)}.{number}@example.com",
        "tags": dice.sample(_TAGS, dice.choice([0, 1, 1, 2, 3])),
        "custom_fields": {name: dice.choice(values) for name, values in _CUSTOM_FIELDS.items()},
        "communication_preferences": {
            "email": dice.random() < 0.9,
            "sms": dice.random() < 0.5,
            "voice": dice.random() < 0.2,
        },
    }
    if dice.random() < 0.8:
        customer["phone"] = f"+1555{dice.randrange(10_000_000):07}"
    if dice.random() < 0.6:
        kind = dice.choice(_COMPANY_KINDS)
        customer["companyName"] = f"{dice.choice(_COMPANY_WORDS)} {last} {kind}"
    return customer


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isascii() and letter.isalpha())


def seed_customers(url: str, api_key: str, count: int, console: Console) -> None:
    """Send them in calls of 500 with a progress bar on the console; raises Failure when refused."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("customers", total=count)
            rows: list[dict[str, object]] = []
            for customer in make_customers(count):
                rows.append(customer)
                if len(rows) == ROWS_MAX:
                    _send(connection, api_key, rows)
                    progress.advance(task, len(rows))
                    rows = []
            if rows:
                _send(connection, api_key, rows)
                progress.advance(task, len(rows))
    finally:
        connection.close()


def _send(
    connection: http.client.HTTPConnection, api_key: str, rows: list[dict[str, object]]
) -> None:
    connection.request(
        "POST",
        _BULK_PATH,
        msgspec.json.encode({"customers": rows}),
        {"X-Api-Key": api_key, "Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise Failure(
            f"The bulk call answered {answer.status}: {body[:300].decode(errors='replace')}",
            "customers status, then customers dev --seed again: what is there stays as it is",
        )
    failed = msgspec.json.decode(body, type=_Answer).data.failed
    if failed:
        raise Failure(
            f"{failed} of {len(rows)} seeded customers were refused.",
            "curl the bulk call with one of them to see why",
        )
