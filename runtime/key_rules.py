"""What a key, its scopes and its workspace may be: pure rules, each refusal with its remedy."""

import re
from collections.abc import Iterable

from runtime.failure import Failure

KNOWN_SCOPES = ("customers:read", "customers:write", "customers:erase")
_WORKSPACE = re.compile(r"[a-z0-9-]{1,48}")
SANDBOX_SUFFIX = "_test"
REMEMBERED_SECONDS = 1.0
"""For so long at most a process heeds a key that was revoked, when nobody could tell it."""


def check_workspace(workspace: str) -> None:
    """Refuse what cannot be the id of a workspace."""
    if workspace.endswith(SANDBOX_SUFFIX):
        raise Failure(
            f"{workspace!r} is the sandbox of a workspace, not a workspace.",
            try_next=f"--workspace {workspace.removesuffix(SANDBOX_SUFFIX)} --test",
        )
    _check_shape(workspace, workspace, "--workspace acme")


def check_data_space(data_space: str) -> None:
    """Refuse what can be neither a workspace nor the sandbox of one."""
    workspace = data_space.removesuffix(SANDBOX_SUFFIX)
    _check_shape(workspace, data_space, "--workspace acme, or acme_test for its sandbox")


def _check_shape(workspace: str, given: str, example: str) -> None:
    if _WORKSPACE.fullmatch(workspace) is None:
        raise Failure(
            f"{given!r} cannot name a workspace: 1 to 48 characters of a-z, 0-9 and '-'.",
            try_next=example,
        )


def check_scopes(scopes: Iterable[str]) -> list[str]:
    """The scopes without doubles, in the order of KNOWN_SCOPES; refuses unknown ones."""
    given = set(scopes)
    unknown = sorted(given.difference(KNOWN_SCOPES))
    if unknown:
        raise Failure(
            f"Unknown scope {unknown[0]!r}.", try_next=f"one of {', '.join(KNOWN_SCOPES)}"
        )
    return [scope for scope in KNOWN_SCOPES if scope in given]


def check_name(name: str) -> str:
    """A key's name as it is stored; refuses what a list could not show."""
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Failure(
            "A key's name is 1 to 100 printable characters.", try_next='--name "billing export"'
        )
    return name


def next_scopes(
    current: list[str],
    *,
    only: Iterable[str] = (),
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    full_access: bool = False,
) -> list[str]:
    """The scopes after a change; only `full_access` makes a restricted key all-powerful.

    An empty list means full access, so taking away the last scope would give every right.
    """
    named, added, removed = check_scopes(only), check_scopes(add), check_scopes(remove)
    if full_access:
        if named or added:
            raise Failure(
                "--full-access and scopes to keep contradict each other.",
                try_next="either --full-access alone, or --set with the scopes",
            )
        return []
    if not named and not current and (added or removed):
        raise Failure(
            "The key has full access: there is nothing to add, and taking away needs a list to "
            "take from.",
            try_next="--set SCOPE for every scope it is to have from now on",
        )
    left = (set(named or current) | set(added)) - set(removed)
    if not left and (named or current):
        raise Failure(
            "That takes away the key's last scope, and a key without scopes has full access.",
            try_next="`customers keys revoke` to end the key; --full-access for every right",
        )
    return [scope for scope in KNOWN_SCOPES if scope in left]
