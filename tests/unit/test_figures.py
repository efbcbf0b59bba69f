"""What the benchmarks make of what they measure; nothing here is timed."""

import asyncio
import io
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.benchmarks import showing
from tests.benchmarks.data import MATCHES, customer, matches
from tests.benchmarks.figures import Memory, Report, Row, Target, rise
from tests.benchmarks.load import Client, Refused, closed_loop, open_loop, percentile

TIMES = st.lists(st.floats(0, 1e6), min_size=1)


@given(TIMES, st.floats(0.1, 100))
def test_so_many_percent_of_the_values_do_not_exceed_a_percentile(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9
    assert sum(value < found for value in values) < len(values) * percent / 100 + 1e-9


async def test_those_who_come_while_a_server_stands_still_count_from_when_they_were_due() -> None:
    requests, rate = 20, 400
    goes_on = asyncio.Event()

    async def stand_still_until_the_last(turn: int) -> None:
        if turn == requests - 1:
            goes_on.set()
        await goes_on.wait()

    timings = await open_loop(rate, range(requests), stand_still_until_the_last)
    waited = sorted(timings.taken, reverse=True)
    # The first waited until the last was due, the second one turn less, and so on.
    assert len(waited) == requests
    for turn, seconds in enumerate(waited):
        assert seconds >= (requests - 1 - turn) / rate - 1e-6


async def test_a_closed_loop_has_as_many_under_way_as_it_has_connections_and_no_more() -> None:
    under_way = most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            under_way += 1
            most = max(most, under_way)
            await asyncio.get_running_loop().run_in_executor(None, int)
            under_way -= 1
            # The body comes in a piece of its own.
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
            await writer.drain()
            writer.write(b"}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Client(server.sockets[0].getsockname()[1], "key") as client:
        requests = iter([client.request("GET", "/")] * 12)
        timings = await closed_loop(client, requests, connections=3, seconds=30)
    assert len(timings.taken) == 12
    assert most <= 3


async def test_an_answer_that_is_no_success_ends_a_measure() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, Client(server.sockets[0].getsockname()[1], "key") as client:
        with pytest.raises(Refused, match=r"GET / .* 429: slow"):
            await client.get("/")


ABOVE = Target(at_least=100.0)
BELOW = Target(at_most=10.0)
TWICE = Target(ratio=2.0)


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row(stage="s", what="w", unit="/s", ours=100, target=ABOVE), True),
        (Row(stage="s", what="w", unit="/s", ours=99, target=ABOVE), False),
        (Row(stage="s", what="w", unit="ms", better="less", ours=10, target=BELOW), True),
        (Row(stage="s", what="w", unit="ms", better="less", ours=11, target=BELOW), False),
        (Row(stage="s", what="w", unit="/s", ours=20, beside=10, target=TWICE), True),
        (Row(stage="s", what="w", unit="/s", ours=19, beside=10, target=TWICE), False),
        (Row(stage="s", what="w", unit="ms", better="less", ours=5, beside=10, target=TWICE), True),
        (
            Row(stage="s", what="w", unit="ms", better="less", ours=6, beside=10, target=TWICE),
            False,
        ),
        (Row(stage="s", what="w", unit="/s", ours=20, target=TWICE), None),
        (Row(stage="s", what="w", unit="/s", beside=20), None),
    ],
)
def test_a_target_is_reached_or_missed_in_the_sense_of_the_measure(
    row: Row, reached: bool | None
) -> None:
    assert row.reached is reached


@pytest.mark.parametrize(("ours", "reached"), [(4, True), (6, False)])
def test_what_is_at_its_floor_needs_no_ratio(ours: float, reached: bool) -> None:
    target = Target(at_most=10, ratio=20, floor=5)
    row = Row(stage="s", what="w", unit="ms", better="less", ours=ours, beside=12, target=target)
    assert row.reached is reached


@pytest.mark.parametrize(
    ("megabytes", "expected"),
    [([10, 50, 100, 100, 100, 100], 0.0), ([0, 0, 0, 90, 100, 110], 0.2)],
)
def test_memory_is_judged_by_the_second_half_of_the_load(
    megabytes: Sequence[float], expected: float
) -> None:
    seconds = [10.0 * turn for turn in range(len(megabytes))]
    memory = Memory(process="api", seconds=seconds, megabytes=list(megabytes))
    assert rise(memory) == pytest.approx(expected)


def test_the_table_says_plainly_what_was_missed_skipped_and_failed_within_100_columns() -> None:
    missed_row = Row(
        stage="s",
        what="search, common word (62,500), p99",
        unit="ms",
        ours=15.0,
        beside=10.0,
        beside_what="peer",
        target=Target(at_most=200, ratio=20, floor=1),
    )
    good_row = Row(
        stage="s",
        what="GET by id, 32 connections",
        unit="/s",
        ours=12_345.6,
        beside=10.0,
        beside_what="bare bytes",
        target=TWICE,
    )
    report = Report(
        command="c",
        began="2026-01-01T00:00:00",
        machine=defaultdict[str, Any](str),
        sizes={},
        rows=[good_row, missed_row],
        skipped={"post": "wrk is not there"},
        failed={"get": "it broke"},
    )
    written = io.StringIO()
    showing.show(report, Console(file=written, width=100))
    text = written.getvalue()
    assert all(len(line) <= 100 for line in text.splitlines())
    (good,) = [line for line in text.splitlines() if "GET by id, 32 connections" in line]
    (missed,) = [line for line in text.splitlines() if "search, common word (62,500), p99" in line]
    assert "12,346/s" in good
    assert "✓" in good
    assert "1.5\N{MULTIPLICATION SIGN}" in missed
    assert "≤ 200 ms ✓, 20\N{MULTIPLICATION SIGN}* ✗" in missed
    assert "skipped post: wrk is not there" in text
    assert "failed get: it broke" in text
    assert "| GET by id, 32 connections | 12,346/s |" in showing.markdown(report)


def test_as_many_of_the_seeded_customers_match_as_is_said() -> None:
    customers = [customer(number) for number in range(2_000)]
    texts = [
        " ".join((*map(str, body.values()),))
        .lower()
        .replace(body["custom_fields"]["account_type"], "")
        for body in customers
    ]
    assert sum("vip" in body["tags"] for body in customers) == matches("vip", 2_000) == 20
    assert sum({"vip", "gold"} <= set(body["tags"]) for body in customers) == 10
    for words in MATCHES.keys() - {"vip", "gold", "vip and gold"}:
        found = sum(all(word in text for word in words.split()) for text in texts)
        assert found == matches(words, 2_000), words
    for name in ("email", "phone", "external_id"):
        assert len({body[name] for body in customers}) == 2_000
