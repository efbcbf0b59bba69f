"""`customers listen`: delivers events to a URL while it is developed, and says how that goes."""

from contextlib import aclosing
from datetime import UTC, datetime

import httpx
import rich_click as click
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from events.cloudevents import CONTENT_TYPE
from events.envelope import Position
from events.follower import Begun
from events.jetstream import ACTIONS
from events.walk import Wanted
from runtime.cli import following
from runtime.cli.following import say
from runtime.operators.log import Opened, OpenedLog
from runtime.settings import Settings, read_master_keys
from runtime.webhook import (
    Attempt,
    Delivery,
    Endpoint,
    check_secret,
    http_client,
    shown_url,
    stable_secret,
)

_NAMED_MAX = 10


class Plan(Struct, frozen=True, kw_only=True):
    """What to deliver, and how."""

    url: httpx.URL
    wanted: Wanted
    first: Position | None
    """None for what happens from now on."""
    limit: int | None
    retries: int
    verify: bool
    print_json: bool


class Secret(Struct, frozen=True):
    """What deliveries are signed with, and whether it was given instead of derived."""

    text: str
    was_given: bool

    def __repr__(self) -> str:
        return "Secret()"


def secret_of(settings: Settings, given: str | None) -> Secret:
    """The secret of the command line, of the environment, or of the log."""
    chosen = settings.webhook_secret if given is None else given
    if chosen:
        return Secret(check_secret(chosen), was_given=True)
    return Secret(stable_secret(read_master_keys(settings), settings.log_id), was_given=False)


def listen(log: OpenedLog, plan: Plan, secret: Secret) -> int:
    """Deliver until told to end or the limit is reached; the exit status."""
    say(f"Forwarding to {shown_url(plan.url)} until Ctrl-C")
    say(f"Signing secret: {'the given one' if secret.was_given else secret.text}")
    forwarding = _Forwarding(log, plan)
    has_ended = following.run(forwarding.run(secret.text))
    if not has_ended and forwarding.next_position is not None:
        say(f"Ended: --from {forwarding.next_position} goes on where this was")
    if not forwarding.given_up:
        return 0
    positions = ", ".join(map(str, forwarding.given_up_first))
    more = ", …" if forwarding.given_up > _NAMED_MAX else ""
    say(f"Not delivered: {forwarding.given_up}, at position {positions}{more}")
    return 1


class _Forwarding:
    """Delivers event after event and keeps count."""

    def __init__(self, log: OpenedLog, plan: Plan) -> None:
        self._log = log
        self._plan = plan
        self._console = Console(highlight=False)
        self._left = plan.limit
        self.next_position: int | None = None
        """The first event that was neither accepted nor given up."""
        self.given_up = 0
        self.given_up_first: list[int] = []

    async def run(self, secret: str) -> None:
        """Deliver until the limit is reached or the task is cancelled."""
        plan = self._plan
        async with (
            http_client(verify=plan.verify) as client,
            self._log.follower(plan.wanted, say, hears=True) as follower,
            aclosing(follower.pages(first=plan.first, follow=True, begun=self._begin)) as pages,
        ):
            endpoint = Endpoint(client, plan.url, secret, retries=plan.retries)
            async for page in pages:
                for keyed in page:
                    await self._deliver(endpoint, self._log.open(keyed))
                    if self._left == 0:
                        return

    def _begin(self, begun: Begun) -> None:
        say(f"From position {begun.first} on")
        self.next_position = begun.first

    async def _deliver(self, endpoint: Endpoint, opened: Opened) -> None:
        stored = opened.stored
        self.next_position = stored.position
        body = self._log.cloud_event(opened)
        action = ACTIONS.get(stored.type, stored.type)
        words = f"{stored.workspace_id}  {action.ljust(8)}  {stored.stream_id}"
        self._print("-->", "cyan", stored.position, words)
        if self._plan.print_json:
            following.write([body])

        def report(attempt: Attempt) -> None:
            style = "green" if attempt.accepted else "red"
            self._print("<--", style, stored.position, _words(attempt, self._plan.retries))

        delivery = Delivery(
            message_id=str(stored.event_id), content_type=CONTENT_TYPE, body=body.decode()
        )
        if not await endpoint.deliver(delivery, report):
            self.given_up += 1
            if self.given_up <= _NAMED_MAX:
                self.given_up_first.append(stored.position)
        self.next_position = stored.position + 1
        if self._left is not None:
            self._left -= 1

    def _print(self, arrow: str, style: str, position: int, words: str) -> None:
        line = Text().append(f"{datetime.now(UTC):%H:%M:%S}  ", style="dim")
        line.append(arrow, style=style).append(f"  {position}  {words}")
        if self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
        else:
            click.echo(line.plain)


def _words(attempt: Attempt, retries: int) -> str:
    words = f"{attempt.words}, {attempt.seconds * 1000:.0f} ms"
    if attempt.again_in is not None:
        return f"{words}, again in {attempt.again_in:g} s ({attempt.number}/{retries})"
    if attempt.accepted:
        return words
    return f"{words}, given up" + (f" after {attempt.number} tries" if attempt.number > 1 else "")
