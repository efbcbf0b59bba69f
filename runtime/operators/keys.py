"""Which master keys are in use, and wrapping everything by the current one: for an operator."""

from collections.abc import Callable

from msgspec import Struct

from events.keys import Keyring
from events.rewrapping import Rewrapped, count_keys, rewrap
from runtime.lifecycle import MASTER_KEYS_STATE, read_processes
from runtime.postgres import connect, connect_as_owner
from runtime.settings import Settings, read_master_keys

_NAME = "customers master-keys"


class KeyUse(Struct, frozen=True, kw_only=True):
    """One master key: how much it wraps, and whether the settings have it."""

    master_key_id: str
    keys: int
    is_current: bool
    is_known: bool


class KeysInUse(Struct, frozen=True, kw_only=True):
    """All master keys that the settings have or that something is wrapped by."""

    current: str
    master_keys: list[KeyUse]
    behind: list[str]
    """Running processes that do not know the current one: `api 4711 on web-1`."""

    @property
    def missing(self) -> list[KeyUse]:
        """Those that wrap something, and that the settings do not have."""
        return [use for use in self.master_keys if use.keys and not use.is_known]

    @property
    def unused(self) -> list[KeyUse]:
        """Those that wrap nothing and may leave the settings."""
        return [use for use in self.master_keys if not use.keys and not use.is_current]


async def read_keys_in_use(settings: Settings) -> KeysInUse:
    """Count the keys by their master key; needs the owner's rights."""
    master_keys = read_master_keys(settings)
    async with await connect(settings, None, _NAME, statement_timeout=0) as connection:
        counts = await count_keys(connection)
    known = list(master_keys.by_id)
    return KeysInUse(
        current=master_keys.current,
        master_keys=[
            KeyUse(
                master_key_id=name,
                keys=counts.get(name, 0),
                is_current=name == master_keys.current,
                is_known=name in known,
            )
            for name in [*known, *sorted(counts.keys() - set(known))]
        ],
        behind=_processes_without(settings, master_keys.current),
    )


async def rewrap_all(settings: Settings, batch: int, report: Callable[[int], None]) -> Rewrapped:
    """Wrap every data key and secret by the current master key; needs the owner's rights."""
    keyring = Keyring(read_master_keys(settings))
    async with await connect(settings, None, _NAME) as connection:
        return await rewrap(connection, keyring, batch=batch, report=report)


def _processes_without(settings: Settings, master_key_id: str) -> list[str]:
    with connect_as_owner(settings, _NAME) as connection:
        processes = read_processes(connection)
    return [
        f"{process.kind} {process.pid} on {process.host}"
        for process in processes
        if process.alive and not _knows(process.state.get(MASTER_KEYS_STATE), master_key_id)
    ]


def _knows(said: object, master_key_id: str) -> bool:
    # A process that says nothing of master keys has no need of them.
    return not isinstance(said, list) or master_key_id in said
