"""Parts on a cluster: Ray keeps the workers, this process keeps the folder.

A worker loads the network once and computes whole parts; the process that was started hands them out, one at a time to
each worker, and alone writes what comes back. A worker that dies is started anew, on another machine if need be, and
its part is computed again; nothing of it had been written. Ray is imported by nobody else.
"""

import copy
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from openjepa.data.items import Items
from openjepa.errors import ConfigError, DataError, require
from openjepa.eval.embedding.excerpt import compute_excerpt, excerpt
from openjepa.eval.embedding.parts import EmbedConfig, Part
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.version import __version__

HOST = socket.gethostname()
RETRIES = 8  # of a part; asking a worker that is not back yet costs one, too


@dataclass(frozen=True)
class RayConfig:
    """Where the workers are, and how large.

    Attributes:
        address: of a cluster's head, `HOST:PORT`, or `auto` for the one that this machine belongs to; None starts one
            of this machine alone, and ends it afterwards.
        workers: processes; None takes as many as the cluster has room for.
        cpus_per_worker: cores of each, >= 1, which bound its threads.
        gpus_per_worker: GPUs of each, a fraction shares one, >= 0; beyond 0 it computes there, else on the CPU.
    """

    address: str | None = None
    workers: int | None = None
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if (self.workers is not None and self.workers < 1) or self.cpus_per_worker < 1 or self.gpus_per_worker < 0:
            raise ConfigError(
                "`workers` and `cpus_per_worker` must be >= 1, `gpus_per_worker` >= 0; got "
                f"{self.workers}, {self.cpus_per_worker}, {self.gpus_per_worker:g}."
            )


class RayEngine:
    """Computes parts like `compute_parts`, in the order in which they are ready.

    Args:
        config: the cluster.

    Attributes:
        replaced: workers that died and were replaced.
    """

    def __init__(self, config: RayConfig | None = None) -> None:
        self.config = config or RayConfig()
        self.replaced = 0
        _import_ray()  # says so before a model is loaded

    def __call__(
        self, encoder: FrozenEncoder, config: EmbedConfig, items: Items, parts: Sequence[range]
    ) -> Generator[Part]:
        """Yields every part once.

        Raises:
            ConfigError: where there is no cluster, or no room on it.
            DataError: for a part that ends its worker again and again.
        """
        if not parts:
            return
        ray = _import_ray()
        with _cluster(ray, self.config):
            shared = ray.put((_on_cpu(encoder), config))
            remote = ray.remote(
                num_cpus=self.config.cpus_per_worker,
                num_gpus=self.config.gpus_per_worker,
                max_restarts=-1,
                max_task_retries=RETRIES,
            )(_Worker)
            on_gpu = self.config.gpus_per_worker > 0
            workers = [
                remote.remote(__version__, os.getcwd(), self.config.cpus_per_worker, on_gpu)
                for _ in range(_room(ray, self.config, len(parts)))
            ]
            try:
                yield from self._results(ray, workers, shared, items, parts)
            finally:
                for worker in workers:
                    ray.kill(worker)

    def _results(
        self, ray: Any, workers: list[Any], shared: Any, items: Items, parts: Sequence[range]
    ) -> Iterator[Part]:
        queue, running, replaced = iter(parts), dict[Any, tuple[Any, range]](), set[str]()

        def start(worker: Any) -> None:
            if (part := next(queue, None)) is not None:
                running[worker.compute.remote([shared], *excerpt(items, part), part)] = (worker, part)

        for worker in workers:
            start(worker)
        while running:
            (ready,), _ = ray.wait(list(running))
            worker, part = running.pop(ready)
            try:
                process, is_new, found = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError as error:
                raise DataError(
                    f"a part must not end its worker; that of `{items.name(part.start)}` and {len(part) - 1} others "
                    f"ended every one that tried: {str(error).splitlines()[0]}"
                ) from error
            if is_new:
                replaced.add(process)
            self.replaced = len(replaced)
            start(worker)
            yield found


class _Worker:
    """What runs on the cluster: a network, and the parts that it is given."""

    def __init__(self, version: str, folder: str, threads: int, on_gpu: bool) -> None:
        self.wrong = ""
        if version != __version__:
            self.wrong = f"every machine of the cluster must have OpenJEPA {version}; `{HOST}` has {__version__}."
        try:
            os.chdir(folder)  # so that a relative path means the same file
        except OSError:
            self.wrong = f"every machine of the cluster must see `{folder}`; `{HOST}` does not. Start in a shared one."
        self.threads, self.on_gpu = threads, on_gpu
        self.loaded: tuple[FrozenEncoder, EmbedConfig] | None = None
        self.is_new = _import_ray().get_runtime_context().was_current_actor_reconstructed

    def compute(self, shared: list[Any], items: Items, first_file: int, part: range) -> tuple[str, bool, Part]:
        """Returns which process this is, whether in the place of one that died, and the part."""
        if self.wrong:
            raise ConfigError(self.wrong)
        if self.loaded is None:
            torch.set_num_threads(self.threads)
            encoder, config = _import_ray().get(shared[0])
            if self.on_gpu and isinstance(encoder.network, nn.Module):
                encoder = replace(encoder, network=encoder.network.to("cuda"), device="cuda")
            self.loaded = encoder, config
        found = compute_excerpt(*self.loaded, items, first_file, part)
        return f"{HOST}:{os.getpid()}", self.is_new, found


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise require("ray", "ray", "embed on a cluster") from error
    return ray


@contextmanager
def _cluster(ray: Any, config: RayConfig) -> Iterator[None]:
    """Joins a cluster, or starts one of this machine, and leaves it again."""
    if ray.is_initialized():  # the caller's own
        yield
        return
    try:
        ray.init(
            config.address or "local",
            include_dashboard=False if config.address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"`address` must be that of a running Ray cluster; got {config.address}: {str(error).splitlines()[0]} "
            "Start one with `ray start --head`."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _room(ray: Any, config: RayConfig, parts: int) -> int:
    """How many workers are started."""
    there = ray.cluster_resources()
    fits = int(there.get("CPU", 0) // config.cpus_per_worker)
    if config.gpus_per_worker:
        fits = min(fits, int(there.get("GPU", 0) / config.gpus_per_worker))
    wanted = config.workers or fits
    if not 1 <= wanted <= fits:
        raise ConfigError(
            f"the cluster must have room for the workers; {config.workers or 1} of {config.cpus_per_worker} CPUs and "
            f"{config.gpus_per_worker:g} GPUs are wanted, {fits} fit."
        )
    return min(wanted, parts)


def _on_cpu(encoder: FrozenEncoder) -> FrozenEncoder:
    if encoder.device == "cpu" or not isinstance(encoder.network, nn.Module):
        return encoder
    return replace(encoder, network=copy.deepcopy(encoder.network).to("cpu"), device="cpu")
