"""What `/asyncapi.json` says in prose: how to read the events, and what holds of them."""

from typing import Final

import msgspec

from events import jetstream
from events.envelope import WorkspaceId

ALL_OF_ACME: Final = jetstream.workspace_subjects(1, 1, WorkspaceId("acme"))
_CONSUMER: Final = msgspec.json.encode(
    {
        "name": "acme",
        "filter_subject": ALL_OF_ACME,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": 5,
    }
).decode()
_A_CONSUMER: Final = f"""\
## A consumer of your own

You keep the place, JetStream does not: nothing is acknowledged. Store the `sequence` of the \
last event, its position and its chain (both in headers) in the same transaction as what you made \
of it. Begin each run at that position (the first at 1), with a pull consumer that is made anew; \
delete the one of the run before, which is further on:

```json
{_CONSUMER}
```

At the position and not behind it: if the message there still has the `{jetstream.CHAIN_HEADER}` \
that you stored, the history is still the one you read. Skip it then.

A user that `deploy/make-subscriber acme` made may make, read and delete one such consumer, of its \
own name `acme`, and do nothing else. It cannot acknowledge: a consumer that waits for that would \
send it the same messages for ever. It connects with the inbox prefix `_INBOX_acme`, and takes the \
JetStream domain `customers`."""


def about(pages: str, live: str) -> str:
    """What the document says before its parts, given the two paths of the events over HTTP."""
    return f"""\
Every change of a customer is one event: a CloudEvent 1.0 in JSON, the same wherever it is read. \
It holds the whole customer after the change, what changed, what that was before, who and why. A \
subscriber needs no call of the API and folds nothing.

## Three ways to read

- **NATS JetStream**: for services that follow live, at any rate. It takes a NATS user who may \
read your subjects.
- `GET {pages}`: for whoever speaks HTTP, page by page or by long poll. It takes an API key \
with `customers:read`.
- `GET {live}`: the same as server-sent events.

Nothing expires: each way begins with the first event ever.

## What holds

- **In order, without gaps.** `sequence` counts the events of a workspace: 1, 2, 3 and so on. A \
number that does not follow the one before means that something was missed: read again from the \
last that you have.
- **At least once.** An event may come again, after a reconnection for instance. Keep the last \
`sequence` in the same transaction as what you made of it, and skip what is not greater.
- **The same bytes everywhere**, but for `data` after an erasure, and for the host in `dataschema` \
where the address of the service was changed: what was published keeps that of its day.
- **The place in JetStream.** The sequence of a message in the stream `{jetstream.STREAM}` is the \
position of the event in the log; `{jetstream.POSITION_HEADER}` says it again. Other workspaces' \
events are in between, so only `sequence` shows a gap.
- **Erasure.** After `CustomerErased` nobody can read the customer's earlier events. Over HTTP, \
and in a stream that was made again, they are tombstones: all the members, but `"data": null`. \
From JetStream they may be deleted: a hole in `sequence`, which \
`GET {pages}` fills.
- **Generations.** When the log had to go on from an earlier point (a backup was restored), a new \
generation begins, with a stream and subjects of its own, and nothing more comes on the old ones. \
A cursor of the history that was lost is answered 410, never skipped. `{jetstream.CHAIN_HEADER}` \
tells two histories apart: the same position, another chain.
- **Only the relay publishes.** Nobody else has the right to; a message that is not in the log \
stops the relay, and a person decides.

{_A_CONSUMER}

## Growing

Ignore members, types and actions that you do not know. What a published schema says stays true \
of every event that names it in `dataschema`; it may only come to describe further optional \
members. Anything else is a new version, beside the old one: old events keep theirs.

## From the feed to JetStream

Read `GET {pages}` to its end, the last page with `hand_over=true`: its `meta.hand_over` \
names the stream, the subject to filter by, and the sequence to start from (`deliver_policy: \
by_start_sequence`). What comes there is exactly what comes behind that page.
"""
