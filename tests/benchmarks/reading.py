"""What is measured of reads and of what they read, and what each measure has to reach."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from tests.benchmarks import wrk
from tests.benchmarks.bench import Bench
from tests.benchmarks.compare import differences
from tests.benchmarks.contenders import CUSTOMERS_PATH, Service
from tests.benchmarks.data import matches
from tests.benchmarks.figures import AT_FLOOR, SERVICES, Row, Target, Who
from tests.benchmarks.load import Refused, Timings, closed_loop, run
from tests.benchmarks.wrk import WrkRun

READERS: Final = 32
LISTERS: Final = 4
_PER_PAGE: Final = 20
_IDS: Final = 1_000
_ENOUGH: Final = 12
"""Answers that a list is timed by at least, however slow each is."""
_NOBODY: Final = "nobody at all (the floor)"


class List(Struct, frozen=True, kw_only=True):
    """One list to time: what is asked, how many match by data.py, how long 99 of 100 may take."""

    what: str
    query: dict[str, Any]
    most: float
    match: str = ""


LISTS: Final = (
    List(what="page 1", query={}, most=10),
    List(what="one tag", query={"tags": "vip"}, match="vip", most=20),
    List(what="two tags, both", query={"tags": ["vip", "gold"]}, match="vip and gold", most=50),
    List(what="two tags, either", query={"tags": "vip,gold"}, most=50),
    List(what="search, rare word", query={"search": "quixley"}, match="quixley", most=20),
    List(what="search, word", query={"search": "nimbus"}, match="nimbus", most=50),
    List(what="search, common word", query={"search": "maria"}, match="maria", most=200),
    List(
        what="search, two words",
        query={"search": "maria bergstrom"},
        match="maria bergstrom",
        most=50,
    ),
    List(what="search, two letters", query={"search": "xu"}, match="xu", most=100),
)


def get_by_id(bench: Bench) -> None:
    """Gets of one customer over many connections, with the default consistency."""
    wrk.find_wrk()
    stage, what, seconds = "get", f"GET by id, {READERS} connections", bench.sizes.seconds
    found: dict[Who, WrkRun] = {}
    for who in SERVICES:
        with bench.contender(who, "small") as service:
            ids = bench.out / f"ids-{who}.txt"
            ids.write_text("\n".join(run(_ids(service))), encoding="ascii")
            for duration in (bench.sizes.warm_seconds, seconds):
                found[who] = wrk.gets(
                    service.url, service.key, ids, connections=READERS, seconds=duration
                )
            ids.unlink()
    with bench.bare() as service:
        url = f"http://127.0.0.1:{service.port}/bytes"
        found["bare"] = wrk.same(url, connections=READERS, seconds=seconds)
    for who, ran in found.items():
        bench.note(stage, what, who, ran)
    besides: tuple[tuple[Who, str, float], ...] = (
        ("peer", "peer", 8.0),
        ("bare", "bare bytes", 0.5),
    )
    for who, beside_what, ratio in besides:
        bench.row(
            Row(
                stage=stage,
                what=what,
                unit="/s",
                ours=found["ours"].per_second,
                beside=found[who].per_second,
                beside_what=beside_what,
                target=Target(ratio=ratio),
            )
        )


async def _ids(service: Service) -> list[str]:
    ids: list[str] = []
    async with service.client() as client:
        for page in range(1, _IDS // 100 + 1):
            body = await client.get(f"{CUSTOMERS_PATH}?per_page=100&page={page}")
            ids += [row["id"] for row in msgspec.json.decode(body)["data"]]
    return ids


class _Timed(Struct, frozen=True):
    timings: Timings
    body: bytes


def lists_of_a_million(bench: Bench) -> None:
    """Each list and search, by four clients at once."""
    _time_lists(bench, "lists", LISTS)


def deep_pages(bench: Bench) -> None:
    """A page in the middle and the last one."""
    last = -(-bench.sizes.customers // _PER_PAGE)
    pages = [
        List(what=f"page {page:,}", query={"page": page}, most=20) for page in (last // 2, last)
    ]
    _time_lists(bench, "pages", pages)


def rebuild(bench: Bench) -> None:
    """The read model of all customers built anew, indexes included, while nothing else goes on."""
    # That is done once, when they are made; lists and searches then read what it has built.
    bench.settings("large")
    bench.row(
        Row(
            stage="rebuild",
            what=f"rebuild of {bench.sizes.customers:,} events",
            unit="/s",
            ours=bench.sizes.customers / bench.rebuild_seconds,
            target=Target(at_least=25_000),
        )
    )


def _time_lists(bench: Bench, stage: str, lists: Sequence[List]) -> None:
    """Rows for the lists; a ratio is asked of those of the first stage only."""
    nobody = List(what=_NOBODY, query={"tags": "nobody"}, most=0)
    found: dict[Who, list[_Timed]] = {}
    for who in SERVICES:
        with bench.contender(who, "large") as service:
            timed = [run(_time(bench, service, one)) for one in (*lists, nobody)]
        found[who] = timed
    floor = AT_FLOOR * found["ours"][-1].timings.milliseconds(99)
    for one, mine, theirs in zip(lists, found["ours"], found["peer"], strict=False):
        for who, timed in zip(SERVICES, (mine, theirs), strict=True):
            bench.note(stage, one.what, who, timed.timings)
        ratio = {"ratio": 20.0, "floor": floor} if stage == "lists" else {}
        bench.row(
            Row(
                stage=stage,
                what=f"{_with_matches(one, bench.sizes.customers)}, p99",
                unit="ms",
                better="less",
                ours=mine.timings.milliseconds(99),
                beside=theirs.timings.milliseconds(99),
                beside_what="peer",
                target=Target(at_most=one.most, **ratio),
                note="; ".join(differences(mine.body, theirs.body)[:3]),
            )
        )
    bench.note(stage, _NOBODY, "ours", found["ours"][-1].timings)
    bench.note(stage, _NOBODY, "peer", found["peer"][-1].timings)


async def _time(bench: Bench, service: Service, one: List) -> _Timed:
    bench.tell(f"{one.what}, {one.query or 'no filter'}")
    query = urlencode({"per_page": _PER_PAGE} | one.query, doseq=True)
    async with service.client() as client:
        path = f"{CUSTOMERS_PATH}?{query}"
        # The first ones fill the caches, of Postgres above all.
        body = b""
        for _ in range(3):
            body = await client.get(path)
        _check_total(one, body, bench.sizes.customers)
        request = client.request("GET", path)
        timings = await closed_loop(
            client,
            repeat(request),
            connections=LISTERS,
            seconds=bench.sizes.list_seconds,
            at_least=_ENOUGH,
        )
    return _Timed(timings, body)


def _check_total(one: List, body: bytes, customers: int) -> None:
    """Raises Refused when a list tells another number of matches than there are."""
    meta = msgspec.json.decode(body)["meta"]
    if not one.match:
        return
    wanted = matches(one.match, customers)
    is_right = (
        meta["total"] <= wanted if meta.get("total_is_lower_bound") else meta["total"] == wanted
    )
    if not is_right:
        raise Refused(f"{one.what}: {wanted:,} customers match, and {meta['total']:,} were found")


def _with_matches(one: List, customers: int) -> str:
    return f"{one.what} ({matches(one.match, customers):,})" if one.match else one.what
