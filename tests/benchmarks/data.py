"""Customers for measuring: the same ones every time, and how many of them match what.

`customer(number)` for number 0, 1, 2, … is the body of a create. Names, companies and tags vary as
they do in life; what is searched for stands at every so many-th customer, scattered evenly, so that
the matches grow with the number of customers. At 1,000,000 customers:

| what | where | matches |
|---|---|---|
| tag `vip` | number % 100 == 7 | 10,000 |
| tag `gold` | number % 40 == 7 | 25,000; both: 5,000; either: 30,000 |
| `quixley`, a last name | number % 10,000 == 11 | 100 |
| `nimbus`, in a company's name | number % 1,000 == 13 | 1,000 |
| `maria`, a first name | number % 16 == 3 | 62,500 |
| `bergstrom`, a last name | number % 50 == 17 | 20,000; `maria bergstrom`: 2,500 |
| `xu`, a last name; nothing else holds these two letters | number % 200 == 19 | 5,000 |
"""

from typing import Any, Final

import msgspec

from events.customer import CustomerData

CUSTOMERS: Final = 1_000_000

MATCHES: Final = {
    "vip": (100, 7),
    "gold": (40, 7),
    "vip and gold": (200, 7),
    "quixley": (10_000, 11),
    "nimbus": (1_000, 13),
    "maria": (16, 3),
    "maria bergstrom": (400, 67),
    "xu": (200, 19),
}
"""Every how many-th customer matches, and the first that does."""


def _words(text: str) -> list[str]:
    return text.split()


_FIRST: Final = _words(
    "Aaron Abigail Adam Adrian Agnes Aisha Alan Alejandro Alice Amelia Amir Ana Andrea Andrew "
    "Anika Anna Antonio Arjun Astrid Aurora Beatriz Benjamin Bianca Björn Bruno Camille Carlos "
    "Carmen Chen Chiara Chloé Christian Clara Daniel David Deborah Diego Dmitri Edith Elena Eli "
    "Elif Emma Eric Esther Fatima Felipe Fiona Francesca Frank George Gloria Grace Hannah Haruto "
    "Hassan Helen Hugo Ibrahim Ines Ingrid Irene Isabel Ivan Jacob James Jamila Jane Javier Jean "
    "Jens Jin Johanna John Jorge José Judith Julia Kai Karin Kenji Kim Klara Lars Laura Leila "
    "Leo Lin Lucas Lucía Magnus Marcus Margaret Mark Mateo Maya Mei Miguel Min Mohammed Nadia "
    "Naomi Nia Nikolai Nina Noah Nora Olga Oliver Omar Paula Peter Petra Priya Rachel Ravi Rosa "
    "Ruth Samuel Sara Sofia Stefan Sven Tanaka Theo Thomas Ursula Valentina Victor Vera Wei "
    "William Yara Yusuf Zoë"
)
_STEMS: Final = _words(
    "Ander Arm Bark Bell Berg Black Brand Brook Carl Castel Clay Dahl Denn East Eng Fair Falk "
    "Ferr Fisch Ford Frank Gold Green Hall Hart Hess Holm Jack John Karl Kauf Keller Klein Krag "
    "Lind Lock Mann Mill Mor Neu North Old Palm Park Peter Ras Reich Rich Ring Rob Rosen Sand "
    "Schn Silver Stan Steen Strand Thorn Wald West Will Wood"
)
_ENDINGS: Final = _words(
    "acher aghan aldo ano berg borough by dale eau eira ell en er ers etti field ford gren ham "
    "hof holt ington ini land ley low man mark mer more ov quist ridge s sen ska son stein stone "
    "strom ton vale vik ward well wick wood worth"
)
_BUSINESS: Final = _words(
    "Acme Alder Anchor Apex Atlas Aurum Basalt Beacon Birch Bluebird Bridge Canopy Cedar Cobalt "
    "Compass Copper Coral Crescent Delta Ember Falcon Fern Forge Granite Harbour Hazel Heron "
    "Horizon Iris Juniper Keystone Lantern Larch Linden Lotus Maple Meridian Midland Mosaic "
    "Northern Oak Olive Orchard Osprey Pacific Pioneer Prairie Quartz Raven River Saffron Sierra "
    "Slate Solstice Summit Tidal Topaz Union Vanguard Willow Zenith"
)
_KINDS: Final = _words("Bakery Clinic Corp Dental GmbH Group Labs Ltd Media Motors Partners Studio")
_DOMAINS: Final = _words(
    "example.com example.net example.org mail.example.com home.example.net post.example.org"
)
_TAGS: Final = [
    f"{kind}-{number}" for kind in ("group", "campaign", "region") for number in range(30)
]
_ACCOUNTS: Final = ("basic", "standard", "premium", "trial")
_MASK: Final = (1 << 64) - 1
_ASCII: Final = str.maketrans("öéíáë", "oeiae")


def customer(number: int) -> dict[str, Any]:
    """The body of a create; no two have the same email, phone or external_id."""
    dice = _scattered(number)
    first = "Maria" if _matches("maria", number) else _FIRST[dice % len(_FIRST)]
    last = _last_name(number, dice >> 8)
    address = f"{first}.{last}".lower().translate(_ASCII)
    body: dict[str, Any] = {
        "email": f"{address}{number}@{_DOMAINS[(dice >> 24) % len(_DOMAINS)]}",
        "firstName": first,
        "lastName": last,
        "phone": f"+1{2_000_000_000 + number * 7_368_787 % 7_999_999_993}",
        "external_id": f"cust-{number:07d}",
        "tags": _tags(number, dice >> 32),
        "custom_fields": {
            "account_type": _ACCOUNTS[(dice >> 48) % len(_ACCOUNTS)],
            "score": (dice >> 40) % 1_000,
        },
        "communication_preferences": {
            "sms": bool(dice & 1 << 50),
            "email": bool(dice & 1 << 51),
            "voice": False,
        },
    }
    company = _company(number, dice >> 36)
    return body | {"companyName": company} if company else body


def customer_data(number: int) -> CustomerData:
    """The same customer as an event holds it."""
    body = customer(number)
    return CustomerData(
        email=body["email"],
        phone=body["phone"],
        first_name=body["firstName"],
        last_name=body["lastName"],
        company_name=body.get("companyName"),
        external_id=body["external_id"],
        tags=tuple(body["tags"]),
        custom_fields={
            name: msgspec.Raw(msgspec.json.encode(value))
            for name, value in body["custom_fields"].items()
        },
        communication_preferences=body["communication_preferences"],
    )


def matches(what: str, customers: int) -> int:
    """How many of so many customers match, for a name in MATCHES."""
    every, first = MATCHES[what]
    return len(range(first, customers, every))


def _matches(what: str, number: int) -> bool:
    every, first = MATCHES[what]
    return number % every == first


def _last_name(number: int, dice: int) -> str:
    if number % 50 == 17:
        return "Bergstrom"
    if _matches("xu", number):
        return "Xu"
    if _matches("quixley", number):
        return "Quixley"
    stem, ending = dice % len(_STEMS), dice // len(_STEMS) % len(_ENDINGS)
    name = _STEMS[stem] + _ENDINGS[ending]
    return name if name != "Bergstrom" else "Bergman"


def _company(number: int, dice: int) -> str | None:
    if _matches("nimbus", number):
        return f"Nimbus {_KINDS[number // 1_000 % len(_KINDS)]}"
    if dice % 5 < 2:
        return None
    name, kind = _BUSINESS[dice // 5 % len(_BUSINESS)], _KINDS[dice // 500 % len(_KINDS)]
    return f"{name} {kind}"


def _tags(number: int, dice: int) -> list[str]:
    # The lower a tag's number the more have it, as it is with tags.
    picked = {
        _TAGS[min(dice >> 7 * turn & 127, dice >> 7 * turn + 3 & 127) % len(_TAGS)]
        for turn in range(dice % 4)
    }
    return [
        *(["vip"] if _matches("vip", number) else []),
        *(["gold"] if _matches("gold", number) else []),
        *sorted(picked),
    ]


def _scattered(number: int) -> int:
    """64 bits that look like chance, the same for the same number (splitmix64)."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31
