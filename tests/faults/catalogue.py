"""Every fault there is: whoever imports this knows all of them."""

from tests.faults import (
    clocks,
    cluster_faults,
    poison,
    pooler,
    processes,
    restored,
    small_disks,
    stores,
    surroundings,
    wires,
)
from tests.faults.faults import FAULTS, Fault

__all__ = [
    "FAULTS",
    "Fault",
    "clocks",
    "cluster_faults",
    "poison",
    "pooler",
    "processes",
    "restored",
    "small_disks",
    "stores",
    "surroundings",
    "wires",
]
