"""The commands of `customers`: under which heading each stands, and which are loaded late."""

from typing import Final

import rich_click as click

from runtime.cli.root import LazyCommand, RootGroup

_PANELS: Final = {
    "Run": ["dev", "migrate", "api", "relay", "projector"],
    "Look": ["status", "doctor", "events", "listen", "openapi", "asyncapi"],
    "Keys and workspaces": ["keys", "workspaces", "master-keys"],
    "The past": ["state", "replay", "export", "accesses"],
    "Proof": ["verify", "head", "prove", "signing-keys"],
    "Erasing": ["erase", "erasures", "scrub"],
    "Read model": ["rebuild", "projections"],
}

LATE_COMMANDS: Final = (
    LazyCommand(
        "accesses",
        "runtime.cli.accesses",
        "Show who read histories, the past or exports, and who erased somebody; newest last.",
    ),
    LazyCommand(
        "erase",
        "runtime.cli.erase",
        "Forget a person for ever, everywhere: the customer's data key is destroyed.",
    ),
    LazyCommand(
        "erasures",
        "runtime.cli.erase",
        "Show who was erased and when, and how far that is; with --customer the receipt.",
    ),
    LazyCommand("events", "runtime.cli.events", "Events of the log: follow them, look at one."),
    LazyCommand(
        "export",
        "runtime.cli.export",
        "Exports: all customers of a workspace, or all that is known of one person.",
    ),
    LazyCommand(
        "head",
        "runtime.cli.heads",
        "Sign how the log ends now, and print the head: one line of JSON for who wants to keep it.",
    ),
    LazyCommand("keys", "runtime.cli.keys", "API keys: create, list, restrict, rotate, revoke."),
    LazyCommand(
        "master-keys",
        "runtime.cli.master_keys",
        "Master keys: how much each wraps; wrap everything by the current one.",
    ),
    LazyCommand(
        "rebuild",
        "runtime.cli.rebuild",
        "Build the read model anew from the log, and switch to it while the service goes on.",
    ),
    LazyCommand(
        "projections",
        "runtime.cli.projections",
        "Customers that the read model could not take: show them, try them again.",
    ),
    LazyCommand(
        "prove",
        "runtime.cli.prove",
        "Prove that an event is in the log, or that the log was only ever added to.",
    ),
    LazyCommand(
        "replay",
        "runtime.cli.replay",
        "Give out the events of the log in clear, oldest first, each with its position.",
    ),
    LazyCommand("scrub", "runtime.cli.scrub", "Clean Postgres' files of what was erased."),
    LazyCommand(
        "state",
        "runtime.cli.state",
        "Show a customer as it was, and who had last changed it.",
    ),
    LazyCommand(
        "signing-keys",
        "runtime.cli.heads",
        "Keys that heads of the log are signed with: make one, show what an auditor needs.",
    ),
    LazyCommand(
        "verify",
        "runtime.cli.audit",
        "Prove that the log is what was written, or name the first position where it is not.",
    ),
    LazyCommand(
        "workspaces",
        "runtime.cli.keys",
        "Workspaces: one tenant each, with a sandbox beside its live data.",
    ),
)


def in_panels(group: RootGroup) -> RootGroup:
    """The group, whose help lists the commands under headings."""
    for heading, names in _PANELS.items():
        group = click.command_panel(heading, commands=names)(group)
    return group
