"""Random streams that are named by keys, so that nothing depends on what was drawn before."""

import numpy as np
import torch


def keyed_seed(*keys: int) -> int:
    """Returns a 64-bit seed that is a hash of non-negative integers, e.g. (seed, environment, decision)."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0])


def keyed_generator(*keys: int) -> torch.Generator:
    """Returns a CPU generator whose stream is a function of its keys alone.

    >>> first, again = (torch.rand(2, generator=keyed_generator(0, 1)) for _ in range(2))
    >>> torch.equal(first, again)
    True
    """
    return torch.Generator().manual_seed(keyed_seed(*keys))
