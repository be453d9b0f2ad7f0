"""Many processes as one: found, joined, watched, and made sure that they do the same."""

from deeplab.scale.processes.find import Place, agree, client, find_place, gather, global_mesh, is_primary, join, local

__all__ = ["Place", "agree", "client", "find_place", "gather", "global_mesh", "is_primary", "join", "local"]
