"""Random streams that are named by keys, so that nothing depends on what was drawn before."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_global_stream = threading.RLock()


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


def keyed_rng(*keys: int) -> np.random.Generator:
    """Returns NumPy's numbers as a function of keys alone; another stream than that of `keyed_generator`."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(keys)))


@contextmanager
def global_stream(seed: int) -> Iterator[None]:
    """Makes first weights and dropout inside the block a function of a seed; PyTorch's own stream is kept.

    One block at a time: threads that fit heads side by side would otherwise mix their streams.
    """
    with _global_stream, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
