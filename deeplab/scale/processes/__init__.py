"""Several processes as one run: their places, their rendezvous, a watchdog over them, and a supervisor."""

from deeplab.scale.processes.exchange import (
    allgather_json,
    assert_same_across_processes,
    client,
    global_mesh,
    is_primary,
    local,
)
from deeplab.scale.processes.find import Place, find_place

__all__ = [
    "Place",
    "allgather_json",
    "assert_same_across_processes",
    "client",
    "find_place",
    "global_mesh",
    "is_primary",
    "local",
]
