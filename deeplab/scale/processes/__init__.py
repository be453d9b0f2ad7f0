"""Many processes as one: found, joined, watched, and made sure that they do the same."""

from deeplab.scale.processes.find import (
    Place,
    allgather_json,
    assert_same_across_processes,
    client,
    find_place,
    global_mesh,
    is_primary,
    join,
    local,
)

__all__ = [
    "Place",
    "allgather_json",
    "assert_same_across_processes",
    "client",
    "find_place",
    "global_mesh",
    "is_primary",
    "join",
    "local",
]
