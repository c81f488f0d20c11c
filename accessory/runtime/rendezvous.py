"""Where the processes of a start meet: a part of torchrun's store that no start before has written to."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import timedelta

from torch import distributed

_LOOK = 0.05  # seconds between looks at what the others have written


def meeting_point(timeout: timedelta) -> distributed.Store:
    """The store of torchrun's environment for this start; waits for all processes.

    torchrun starts processes anew with the store that those before have written to (torch 2.13; pytorch's issue
    135712). There they would find addresses, or for NCCL the name of a group, of processes that are gone, and fail or
    wait for ever. Its count of restarts does not tell starts apart: every node counts its own.
    """
    store, rank, size = next(distributed.rendezvous("env://", timeout=timeout))
    return own_part(store, rank, size)


def own_part(store: distributed.Store, rank: int, size: int) -> distributed.Store:
    """A part of `store` under a name that all `size` processes of a start agree on, and no others.

    Each writes a token, and then the name that follows from the tokens it sees. A name that follows from one's own
    token was written by processes of this start alone; so where all have written that one, all tokens are theirs.
    """
    shared = distributed.PrefixStore("sphinx_v", store)
    tokens, names = ([f"{key}/{one}" for one in range(size)] for key in ("token", "name"))
    shared.set(tokens[rank], secrets.token_hex(16))
    while True:
        name = hashlib.sha256(b" ".join(shared.multi_get(tokens))).hexdigest()
        shared.set(names[rank], name)
        if all(other == name.encode() for other in shared.multi_get(names)):
            return distributed.PrefixStore(name, shared)
        time.sleep(_LOOK)
