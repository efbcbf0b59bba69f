"""Load from several workspaces: each client writes, and reads back what it or another wrote."""

from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any, Final

import httpx
from msgspec import Struct

from tests.faults.history import History, Write
from tests.faults.sending import Sender, said_by, what_is_said
from tests.faults.system import System, Workspace
from tests.support.signals import lapse

_TAGS: Final = ("vip", "VIP", "gold", "new", "Été")
_KINDS: Final = {
    "create": 6,
    "update": 10,
    "delete": 3,
    "restore": 3,
    "external": 4,
    "shared": 4,
    "bulk": 2,
    "erase": 1,
}
_OWN: Final = 20
_SHARED: Final = 3
_RECENT: Final = 50
_REPEATED: Final = 10
_REGRETTED: Final = 0.5
"""So many of those who were deleted are restored at once."""


class Known(Struct, kw_only=True):
    """A customer of a client's own, as the answers have it."""

    id: str
    document: dict[str, Any]
    is_deleted: bool = False


class Board:
    """Where the clients of a workspace tell one another what they were answered."""

    def __init__(self) -> None:
        self.newest: list[Write] = []
        self.leaving: set[str] = set()
        """Customers whose end somebody has begun to ask for."""

    def tell(self, write: Write) -> None:
        """Somebody was answered that this was done."""
        self.newest = [*self.newest[-_RECENT:], write]


class Client:
    """Writes one thing after the other, and knows therefore what it must read."""

    def __init__(
        self,
        system: System,
        history: History,
        workspace: Workspace,
        name: str,
        seed: str,
        board: Board | None = None,
        others: Sequence[Board] = (),
    ) -> None:
        self.name = name
        self._system = system
        self.known: list[Known] = []
        self._workspace = workspace.name
        self._seed = seed
        self._chance = Random(seed)  # noqa: S311 - a load to repeat, not a secret
        self._sender = Sender(
            system.url,
            workspace.key,
            history,
            name,
            self._chance,
            must_answer=system.must_answer,
        )
        self.history = history
        self._board = board or Board()
        self._others = others
        """Of the other workspaces."""
        self._numbers = count(1)

    async def go_on(self, is_over: Callable[[], bool], rest_seconds: float) -> None:
        """Write and read until it is over; what was begun is brought to its end."""
        while not is_over():
            await self.step()
            await lapse(self._chance.random() * 2 * rest_seconds)

    async def close(self) -> None:
        """Hang up."""
        await self._sender.http.aclose()

    async def step(self) -> None:
        """One write, and what a reader sees after it."""
        kind = self._chance.choices(list(_KINDS), list(_KINDS.values()))[0]
        await getattr(self, f"_{kind}")()
        looks = [self._look, self._look_in_list, self._look_at_other, self._look_abroad, None]
        look = self._chance.choice(looks)
        if look is not None:
            await look()

    async def repeat(self) -> None:
        """Send some of what was done once more: it is answered as it was, and not done again."""
        done = [one for one in self.history.acknowledged() if one.client == self.name]
        for write in self._chance.sample(done, min(_REPEATED, len(done))):
            await self.repeat_one(write)

    async def repeat_one(self, write: Write) -> None:
        """Send once more what was done."""
        answer = await self._sender.send_again(write)
        # Of who was erased since, nothing is left to answer with.
        is_gone = answer.status_code == 410 and write.kind != "erase"
        is_same = answer.status_code == 200 and said_by(answer) == what_is_said(write.data)
        is_told = "Idempotency-Replayed" in answer.headers
        if not (is_gone or (is_same and is_told)):
            words = f"{write.marker}, sent once more, was answered {answer.text}"
            self._fail("repeated", f"{words} instead of {write.data}", write.marker)

    async def _create(self) -> None:
        write = self._begin("create", "POST", "/customers", self._fields())
        if await self._done(write):
            self._learn(write.data)

    async def _update(self) -> None:
        one = self._one_of(is_deleted=False)
        if one is None:
            return await self._create()
        method = self._chance.choice(["PUT", "PATCH"])
        write = self._begin("update", method, f"/customers/{one.id}", self._changes())
        if self._chance.random() < 0.3:
            # Sent again after a lost answer, it must not be refused for its own doing.
            write.headers = {"If-Match": f'"{one.document["version"]}"'}
        if await self._done(write):
            one.document = write.data
        return None

    async def _delete(self) -> None:
        one = self._one_of(is_deleted=False)
        if one is None:
            return await self._create()
        self._board.leaving.add(one.id)
        if await self._done(self._begin("delete", "DELETE", f"/customers/{one.id}")):
            one.is_deleted = True
            if self._chance.random() < _REGRETTED:
                # At once, so that whoever lags behind sees both together.
                await self._bring_back(one)
        return None

    async def _restore(self) -> None:
        one = self._one_of(is_deleted=True)
        if one is None:
            return await self._update()
        return await self._bring_back(one)

    async def _bring_back(self, one: Known) -> None:
        write = self._begin("restore", "POST", f"/customers/{one.id}/restore")
        # Somebody may hold its external_id by now.
        write.refusals = (409,)
        if await self._done(write):
            one.document, one.is_deleted = write.data, False

    async def _erase(self) -> None:
        if not self.known:
            return await self._create()
        one = self._chance.choice(self.known)
        self._board.leaving.add(one.id)
        write = self._begin("erase", "DELETE", f"/customers/{one.id}/personal-data")
        if await self._done(write):
            self.known.remove(one)
        return None

    async def _external(self) -> None:
        path = f"/customers/external/{self.name}-{self._chance.randrange(_OWN)}"
        write = self._begin("external", "PUT", path, self._fields())
        if await self._done(write):
            self._learn(write.data)

    async def _shared(self) -> None:
        """What all clients of the workspace write at once: nobody's change may be lost."""
        path = f"/customers/external/shared-{self._chance.randrange(_SHARED)}"
        if self._chance.random() < 0.1:
            write = self._begin("delete", "DELETE", path)
            write.refusals = (404,)
        else:
            number = self._chance.randrange(10**9)
            body = {"email": "shared@example.com", "custom_fields": {self.name: number}}
            write = self._begin("external", "PUT", path, body)
        await self._sender.write(write)

    async def _bulk(self) -> None:
        numbers = self._chance.sample(range(_OWN), self._chance.choice([2, 5, _OWN]))
        rows = [self._fields() | {"external_id": f"{self.name}-{n}"} for n in numbers]
        query = self._chance.choice(["", "?atomic=true"])
        write = self._begin("bulk", "POST", f"/customers/bulk{query}", {"customers": rows})
        if not await self._done(write):
            return
        for row in write.data["results"]:
            answer = await self._sender.read(f"/customers/{row['id']}", write.token)
            if self._may_be_parked(answer):
                # What it is now is in no read; whoever does not know it leaves it alone.
                self.known = [one for one in self.known if one.id != row["id"]]
                continue
            if answer.status_code != 200 or answer.json()["data"]["version"] != row["version"]:
                words = f"read {answer.text} after {row}"
                self._fail("read-your-writes", words, row["id"], write.marker)
            else:
                self._learn(answer.json()["data"])

    async def _look(self) -> None:
        """Read one of its own customers, which nobody else writes: it must be as it was left."""
        if not self.known:
            return
        one = self._chance.choice(self.known)
        answer = await self._sender.attempt("GET", f"/customers/{one.id}", {})
        if answer is None or not self._is_fresh(answer):
            return
        wanted = 404 if one.is_deleted else 200
        if answer.status_code != wanted:
            words = f"{one.id} was answered with {answer.status_code}, not {wanted}: {answer.text}"
            self._fail("read-your-writes", words, one.id)
        elif wanted == 200 and answer.json()["data"] != one.document:
            words = f"{one.id} is {answer.json()['data']}, and was written {one.document}"
            self._fail("read-your-writes", words, one.id)

    async def _look_in_list(self) -> None:
        """Search for one of its own customers, or what was deleted, by an email of its own."""
        if not self.known:
            return
        one = self._chance.choice(self.known)
        name = self._chance.choice(["email", "search"])
        asked = f"/customers?{name}={one.document['email']}"
        answer = await self._sender.attempt("GET", asked, {})
        if answer is None or not self._is_fresh(answer):
            return
        wanted = [] if one.is_deleted else [one.document]
        if answer.json()["data"] != wanted:
            words = f"{asked} found {answer.json()['data']} instead of {wanted}"
            self._fail("read-your-writes", words, one.id)

    async def _look_at_other(self) -> None:
        """Read with the token of another client's write: what it wrote, or something newer."""
        if not self._board.newest:
            return
        write = self._chance.choice(self._board.newest)
        answer = await self._sender.read(f"/customers/{write.customer}", write.token)
        if self._may_be_parked(answer):
            return
        is_gone = answer.status_code in {404, 410} and write.customer in self._board.leaving
        if is_gone or (answer.status_code == 200 and _version(answer) >= (write.version or 0)):
            return
        words = f"with the token of version {write.version} of {write.customer}: {answer.text}"
        self._fail("read-your-writes", words, write.customer, write.marker)

    async def _look_abroad(self) -> None:
        """What another workspace has is not there for this one: not to read, nor to write."""
        theirs = [write for board in self._others for write in board.newest]
        if not theirs:
            return
        write = self._chance.choice(theirs)
        path = f"/customers/{write.customer}"
        found = f"/customers?email={write.data['email']}"
        method, asked = self._chance.choice([("GET", path), ("GET", found), ("PATCH", path)])
        body = None if method == "GET" else {"first_name": "Nobody"}
        answer = await self._sender.attempt(method, asked, {}, body)
        if answer is None or answer.status_code >= 500:
            return
        said = answer.json().get("data") if asked == found else answer.status_code
        if said not in ([], 404):
            words = f"{method} {asked}, of {write.workspace}, was answered {answer.text}"
            self._fail("workspaces apart", words, write.customer)

    def _may_be_parked(self, answer: httpx.Response) -> bool:
        """Whether it says `stale` while it may: of a parked customer it shows what was before."""
        return self._system.parks and bool(answer.json().get("meta", {}).get("stale"))

    def _is_fresh(self, answer: httpx.Response) -> bool:
        if answer.status_code >= 500 or answer.json().get("meta", {}).get("stale"):
            return False
        self.history.fresh_at.append(self.history.now)
        return True

    def _begin(self, kind: str, method: str, path: str, body: Any = None) -> Write:
        write = Write(
            marker=f"{self._seed}-{next(self._numbers)}",
            workspace=self._workspace,
            client=self.name,
            kind=kind,
            method=method,
            path=path,
            body=body,
            asked_at=self.history.now,
        )
        self.history.writes.append(write)
        return write

    async def _done(self, write: Write) -> bool:
        is_done = await self._sender.write(write)
        if is_done and write.kind in {"create", "update", "restore", "external"}:
            self._board.tell(write)
        return is_done

    def _learn(self, document: dict[str, Any]) -> None:
        known = next((one for one in self.known if one.id == document["id"]), None)
        if known is None:
            self.known.append(Known(id=document["id"], document=document))
        else:
            known.document, known.is_deleted = document, False

    def _one_of(self, *, is_deleted: bool) -> Known | None:
        those = [one for one in self.known if one.is_deleted is is_deleted]
        return self._chance.choice(those) if those else None

    def _fields(self) -> dict[str, Any]:
        chance = self._chance
        return {
            "email": f"{self.name}-{chance.randrange(10**9)}@example.com",
            "last_name": chance.choice(["Doe", "Müller", "van Dyk"]),
            "tags": chance.sample(_TAGS, chance.randrange(4)),
            "custom_fields": {"n": chance.randrange(10**9)},
        }

    def _changes(self) -> dict[str, Any]:
        fields = self._fields()
        kept = self._chance.sample(["email", "last_name", "tags"], self._chance.randrange(3))
        return {name: fields[name] for name in ("custom_fields", *kept)}

    def _fail(self, check: str, words: str, *about: str) -> None:
        self._sender.fail(check, words, *about)


def _version(answer: httpx.Response) -> int:
    return int(answer.json()["data"]["version"])
