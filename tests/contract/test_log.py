"""What every log promises, on Postgres and in memory."""

import asyncio

import pytest

from events.append import (
    Appended,
    AppendLog,
    ExternalIdHeld,
    Replayed,
    VersionConflict,
)
from events.chain import GENESIS, first_bad_position
from events.customer import CustomerErased, CustomerUpdated, PreviousData
from events.envelope import CustomerId, Position, StreamVersion
from events.errors import KeyUnavailable
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.memory_log import MemoryLog
from events.reading import recorded
from events.receipts import ReceiptHasher
from runtime.ids import new_id
from runtime.settings import MasterKeys
from tests.support.builders import ACME, GLOBEX, JANE, Writer, created


class Subject:
    """A log under test."""

    def __init__(self, write: AppendLog, read: LogReader | MemoryLog) -> None:
        self.write = write
        self.head = read.head
        self.read_after = read.read_after


@pytest.fixture(params=["postgres", "memory"])
def log(request: pytest.FixtureRequest) -> Subject:
    """Each log in turn."""
    if request.param == "memory":
        memory = MemoryLog()
        return Subject(memory, memory)
    postgres: PostgresLog = request.getfixturevalue("postgres_log")
    reader: LogReader = request.getfixturevalue("log_reader")
    return Subject(postgres, reader)


@pytest.fixture
def acme(keyring: Keyring) -> Writer:
    """A writer of one workspace."""
    return Writer(keyring, ACME)


@pytest.fixture
def globex(keyring: Keyring) -> Writer:
    """A writer of another workspace."""
    return Writer(keyring, GLOBEX)


async def test_an_empty_log_ends_at_zero_with_the_genesis_chain(log: Subject) -> None:
    head = await log.head()

    assert (head.position, head.chain, head.generation) == (0, GENESIS, 1)
    assert await log.read_after(Position(0), 10) == []


async def test_positions_are_dense_in_commit_order(log: Subject, acme: Writer) -> None:
    await log.write.append([acme.creation(), acme.creation()])
    await log.write.append([acme.creation()])

    events = [keyed.stored for keyed in await log.read_after(Position(0), 10)]

    assert [event.position for event in events] == [1, 2, 3]
    assert [event.workspace_sequence for event in events] == [1, 2, 3]
    assert sorted(event.recorded_at for event in events) == [e.recorded_at for e in events]


async def test_each_workspace_has_a_dense_sequence_of_its_own(
    log: Subject, acme: Writer, globex: Writer
) -> None:
    await log.write.append([acme.creation(), globex.creation(), acme.creation()])

    events = [keyed.stored for keyed in await log.read_after(Position(0), 10)]

    assert [(e.workspace_id, e.workspace_sequence) for e in events] == [
        ("acme", 1),
        ("globex", 1),
        ("acme", 2),
    ]


async def test_what_was_appended_is_read_back(log: Subject, acme: Writer) -> None:
    customer = acme.a_customer()
    updated = CustomerUpdated(
        customer=JANE, changed_fields=("first_name",), previous=PreviousData(first_name=None)
    )
    await log.write.append([acme.group(acme.event(customer), acme.event(customer, 2, updated))])

    read = [recorded(acme.keyring, keyed) for keyed in await log.read_after(Position(0), 10)]

    assert [event.event for event in read] == [created(), updated]
    assert [event.stream_version for event in read] == [1, 2]


async def test_the_digests_and_the_chain_are_those_of_the_written_layout(
    log: Subject, acme: Writer, globex: Writer
) -> None:
    await log.write.append([acme.creation(), globex.creation()])
    outcomes = await log.write.append([acme.creation()])

    events = [keyed.stored for keyed in await log.read_after(Position(0), 10)]

    assert first_bad_position(events) is None
    assert isinstance(outcomes[0], Appended)
    assert outcomes[0].chain == events[-1].chain == (await log.head()).chain


async def test_a_group_that_expects_a_wrong_version_is_refused_alone(
    log: Subject, acme: Writer
) -> None:
    customer = acme.a_customer()
    await log.write.append([acme.group(acme.event(customer))])

    outcomes = await log.write.append(
        [
            acme.creation(),
            acme.group(acme.event(customer, 3)),
            acme.group(acme.event(customer, 1)),
            acme.group(acme.event(customer, 2)),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [
        Appended,
        VersionConflict,
        VersionConflict,
        Appended,
    ]
    assert (await log.head()).position == 3


async def test_a_group_is_whole_or_not_at_all(log: Subject, acme: Writer) -> None:
    known, new = acme.a_customer(), acme.a_customer()
    await log.write.append([acme.group(acme.event(known))])

    outcomes = await log.write.append([acme.group(acme.event(new), acme.event(known, 5))])

    assert outcomes == [VersionConflict(stream_id=known)]
    assert (await log.head()).position == 1


async def test_groups_of_one_call_see_each_other(log: Subject, acme: Writer) -> None:
    customer = acme.a_customer()

    outcomes = await log.write.append(
        [acme.group(acme.event(customer)), acme.group(acme.event(customer, 2))]
    )

    assert [type(outcome) for outcome in outcomes] == [Appended, Appended]


async def test_a_customer_cannot_go_on_in_another_workspace(
    log: Subject, acme: Writer, keyring: Keyring
) -> None:
    customer = acme.a_customer()
    await log.write.append([acme.group(acme.event(customer))])
    acme.workspace_id = GLOBEX

    outcomes = await log.write.append([acme.group(acme.event(customer, 2))])

    assert outcomes == [VersionConflict(stream_id=customer)]


async def test_an_external_id_is_held_by_one_customer_of_a_workspace(
    log: Subject, acme: Writer, globex: Writer
) -> None:
    first = acme.creation("cust-1")
    outcomes = await log.write.append(
        [first, acme.creation("cust-1"), globex.creation("cust-1"), acme.creation("CUST-1")]
    )

    assert outcomes[1] == ExternalIdHeld(external_id="cust-1", holder=first.events[0].stream_id)
    assert [type(outcome) for outcome in outcomes] == [Appended, ExternalIdHeld, Appended, Appended]
    found = await log.write.find_reservations(ACME, ["cust-1", "nobody"])
    assert found == {"cust-1": first.events[0].stream_id}


async def test_a_freed_external_id_can_be_taken_even_in_the_same_group(
    log: Subject, acme: Writer
) -> None:
    first = acme.creation("cust-1")
    holder = first.events[0].stream_id
    heir = acme.a_customer()
    await log.write.append([first])

    outcomes = await log.write.append(
        [
            acme.group(
                acme.event(holder, 2),
                acme.event(heir),
                frees={"cust-1": holder},
                takes={"cust-1": heir, "cust-2": holder},
            )
        ]
    )

    assert isinstance(outcomes[0], Appended)
    found = await log.write.find_reservations(ACME, ["cust-1", "cust-2"])
    assert found == {"cust-1": heir, "cust-2": holder}


async def test_a_refused_group_frees_and_takes_nothing(log: Subject, acme: Writer) -> None:
    first = acme.creation("cust-1")
    holder = first.events[0].stream_id
    await log.write.append([first, acme.creation("cust-2")])

    outcomes = await log.write.append(
        [acme.group(acme.event(holder, 2), frees={"cust-1": holder}, takes={"cust-2": holder})]
    )

    assert isinstance(outcomes[0], ExternalIdHeld)
    assert set(await log.write.find_reservations(ACME, ["cust-1", "cust-2"])) == {
        "cust-1",
        "cust-2",
    }
    assert (await log.head()).position == 2


async def test_sending_a_group_again_appends_nothing_and_answers_as_before(
    log: Subject, acme: Writer
) -> None:
    group = acme.creation("cust-1")
    first = await log.write.append([group])
    await log.write.append([acme.creation()])

    again = await log.write.append([group, acme.creation()])

    assert again[0] == first[0]
    assert (await log.head()).position == 3


async def test_a_receipt_replays_and_writes_nothing(
    log: Subject, acme: Writer, globex: Writer
) -> None:
    customer = acme.a_customer()
    group = acme.group(acme.event(customer), receipt=b"key")
    await log.write.append([group])

    outcomes = await log.write.append(
        [acme.group(acme.event(acme.a_customer()), receipt=b"key"), globex.group(receipt=b"key")]
    )

    assert isinstance(outcomes[0], Replayed)
    assert outcomes[0].command_id == group.command_id
    assert bytes(outcomes[0].outcome).replace(b" ", b"") == b'{"ids":[]}'
    assert isinstance(outcomes[1], Appended)
    assert (await log.head()).position == 1
    found = await log.write.read_receipt(ACME, b"key")
    assert found is not None
    assert found.payload_hmac == b"payload"
    assert await log.write.read_receipt(ACME, b"other") is None


async def test_a_receipt_alone_is_a_group(log: Subject, acme: Writer) -> None:
    group = acme.group(receipt=b"key")

    first = await log.write.append([group])
    again = await log.write.append([group])

    assert isinstance(first[0], Appended)
    assert first[0].first_position is None
    assert isinstance(again[0], Appended)


async def test_the_newest_event_of_a_customer_is_found_in_its_workspace_only(
    log: Subject, acme: Writer
) -> None:
    customer = acme.a_customer()
    await log.write.append([acme.group(acme.event(customer))])
    await log.write.append([acme.group(acme.event(customer, 2))])

    nobody = CustomerId(new_id())
    newest = await log.write.read_newest(ACME, [customer, nobody])

    assert set(newest) == {customer}
    assert newest[customer].stream_version == 2
    assert newest[customer].created_at <= newest[customer].recorded_at
    assert newest[customer].wrapped_key is not None
    assert await log.write.read_newest(GLOBEX, [customer]) == {}


async def test_the_newest_event_says_its_place_in_the_log(
    log: Subject, acme: Writer, globex: Writer
) -> None:
    customer = acme.a_customer()
    outcomes = await log.write.append([globex.creation(), acme.group(acme.event(customer))])
    await log.write.append([globex.creation()])

    newest = (await log.write.read_newest(ACME, [customer]))[customer]

    assert isinstance(outcomes[1], Appended)
    assert (newest.generation, newest.position, newest.chain) == (1, 2, outcomes[1].chain)


async def test_an_event_is_read_by_its_version_in_its_workspace_only(
    log: Subject, acme: Writer
) -> None:
    customer = acme.a_customer()
    first = acme.event(customer)
    await log.write.append(
        [acme.group(first), acme.creation(), acme.group(acme.event(customer, 2))]
    )

    read = await log.write.read_at_version(ACME, customer, StreamVersion(1))
    newest = await log.write.read_at_version(ACME, customer, StreamVersion(2))

    assert read is not None
    assert (read.position, read.stream_version, read.payload) == (1, 1, first.payload)
    assert read.wrapped_key is not None
    assert not read.erased
    assert newest == (await log.write.read_newest(ACME, [customer]))[customer]
    assert newest is not None
    assert newest.created_at == read.recorded_at == read.created_at
    assert await log.write.read_at_version(ACME, customer, StreamVersion(3)) is None
    assert await log.write.read_at_version(GLOBEX, customer, StreamVersion(1)) is None


async def test_an_event_says_when_its_customer_was_erased_since(log: Subject, acme: Writer) -> None:
    customer = acme.a_customer()
    erasure = acme.event(customer, 2, CustomerErased(positions=(1,)))
    await log.write.append([acme.group(acme.event(customer)), acme.group(erasure)])

    read = await log.write.read_at_version(ACME, customer, StreamVersion(1))
    newest = (await log.write.read_newest(ACME, [customer]))[customer]

    assert read is not None
    assert read.erased
    assert newest.erased
    assert newest.wrapped_key is None


async def test_all_processes_of_a_log_hash_alike(log: Subject, keyring: Keyring) -> None:
    hashers = [ReceiptHasher(log.write, keyring) for _ in range(8)]

    hashed = await asyncio.gather(*(hasher.hash("key", b"a", b"b") for hasher in hashers))

    assert len(set(hashed)) == 1


async def test_what_is_hashed_differs_by_purpose_and_by_where_a_part_ends(
    log: Subject, keyring: Keyring
) -> None:
    hasher = ReceiptHasher(log.write, keyring)

    hashed = [
        await hasher.hash("key", b"ab", b"c"),
        await hasher.hash("key", b"a", b"bc"),
        await hasher.hash("key", b"abc"),
        await hasher.hash("payload", b"ab", b"c"),
    ]

    assert len(set(hashed)) == 4
    assert all(len(each) == 32 for each in hashed)


async def test_the_secret_of_a_log_survives_new_master_keys(log: Subject) -> None:
    old, new = bytes(32), bytes(range(32))
    before = Keyring(MasterKeys(current="old", by_id={"old": old}))
    rotated = Keyring(MasterKeys(current="new", by_id={"new": new, "old": old}))
    without = Keyring(MasterKeys(current="new", by_id={"new": new}))

    hashed = await ReceiptHasher(log.write, before).hash("key", b"a")

    assert await ReceiptHasher(log.write, rotated).hash("key", b"a") == hashed
    with pytest.raises(KeyUnavailable, match="'old'"):
        await ReceiptHasher(log.write, without).hash("key", b"a")


async def test_a_receipt_of_the_last_24_hours_is_never_forgotten(
    log: Subject, acme: Writer
) -> None:
    await log.write.append([acme.group(receipt=b"key")])

    assert await log.write.prune_receipts(0) == 0
    assert await log.write.prune_receipts(-5) == 0

    assert await log.write.read_receipt(ACME, b"key") is not None


async def test_of_two_writers_only_one_wins(log: Subject, acme: Writer) -> None:
    customer = acme.a_customer()
    await log.write.append([acme.group(acme.event(customer))])

    outcomes = await asyncio.gather(
        *(log.write.append([acme.group(acme.event(customer, 2))]) for _ in range(8))
    )

    kinds = [type(outcome[0]) for outcome in outcomes]
    assert kinds.count(Appended) == 1
    assert kinds.count(VersionConflict) == 7
