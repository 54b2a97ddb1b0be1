"""Several processes: one recipe runs unchanged under `torchrun`, as DDP or FSDP2.

Each process computes the loss of its share of the global batch; gradients are averaged. Weights are broadcast
from rank 0 before wrapping, BatchNorm takes the statistics of the global batch, and a checkpoint always holds
whole tensors, so that it can be resumed by any number of processes.
"""

import atexit
import gc
import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from openjepa.errors import ConfigError
from openjepa.nn.distributed import rank, use_global_batch_norm, world_size
from openjepa.protocols import JEPALoss


def under_torchrun() -> bool:
    """Whether a launcher has described a group of processes to this one."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def local_rank() -> int:
    """Returns the number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if under_torchrun() else 0


def join_group(device: torch.device) -> None:
    """Joins the group that `torchrun` describes (gloo on the CPU, NCCL on CUDA); does nothing without it.

    The group lasts until the process ends, so that several runs can follow each other in one program: PyTorch
    cannot make it a second time from the same rendezvous.
    """
    if not under_torchrun() or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    atexit.register(_leave_group)


def _leave_group() -> None:
    gc.collect()  # wrappers in reference cycles must let go of the group's threads before it ends
    if dist.is_initialized():
        dist.destroy_process_group()


def pick_sharding(wanted: str) -> str:
    """Returns "none", "ddp" or "fsdp2".

    Raises:
        ConfigError: when the choice does not fit the number of processes.
    """
    if wanted == "auto":
        return "ddp" if world_size() > 1 else "none"
    if wanted == "none" and world_size() > 1:
        raise ConfigError(f"`sharding` must be auto, ddp or fsdp2 with {world_size()} processes; got 'none'.")
    if wanted != "none" and not dist.is_initialized():
        raise ConfigError(
            f"`sharding` {wanted!r} must run under torchrun. Start it so: "
            "torchrun --nproc-per-node 2 -m openjepa.cli train ..."
        )
    return wanted


class LossModule(nn.Module):
    """Makes `method.loss` a `forward`, which is what DDP, FSDP2 and torch.compile know.

    Returns a plain tuple: FSDP2 looks for tensors in tuples and dicts only.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: D102
        out: JEPALoss = self.method.loss(batch, step)  # type: ignore[operator]
        return out.loss, out.terms


def parallelize(method: nn.Module, sharding: str, device: torch.device, *, compiled: bool = False) -> nn.Module:
    """Wraps a method that is on its device already; returns the module to call with a batch and the number of the step.

    FSDP2 shards every entry of a module list called `blocks` on its own, and the rest together.

    Raises:
        ConfigError: when FSDP2 cannot shard a parameter.
    """
    module = LossModule(method)
    if compiled:
        module.compile()
    if sharding == "none":
        return module
    use_global_batch_norm(method)
    for tensor in [*method.parameters(), *method.buffers()]:
        dist.broadcast(tensor.detach(), src=0)
    if sharding == "ddp":
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True, **_buffers_stay_local())
    for name, param in method.named_parameters():
        if param.ndim == 0:
            raise ConfigError(f"`{name}` must have at least one axis for fsdp2; it is a scalar. Use ddp, or shape [1].")
    _shard(module, method, device)
    return module


def _buffers_stay_local() -> dict[str, Any]:
    """`broadcast_buffers=False` under the name that this version of PyTorch gives it."""
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False}


def _shard(module: nn.Module, method: nn.Module, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh  # seconds to import, and needed here only
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world_size(),))
    for name, child in method.named_modules():
        if isinstance(child, nn.ModuleList) and name.endswith("blocks"):
            for block in child:
                fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _is_fsdp(module: nn.Module) -> bool:
    return hasattr(module, "set_requires_gradient_sync")


def accumulating(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Keeps gradients local until the last part of a batch, so that they are averaged once per step."""
    if isinstance(module, DistributedDataParallel):
        return nullcontext() if last else module.no_sync()
    if _is_fsdp(module):
        module.set_requires_gradient_sync(last)  # type: ignore[operator]
    return nullcontext()


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Gathers sharded weights while a method is used outside of its loss; all processes must enter."""
    sharded: list[Any] = [m for m in module.modules() if _is_fsdp(m)]
    for part in sharded:
        part.unshard()
    try:
        yield
    finally:
        for part in sharded:
            part.reshard()


def from_rank_0(value: Any) -> Any:
    """Returns rank 0's value on every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def share_buffers(method: nn.Module) -> None:
    """Gives every process rank 0's buffers, those that the checkpoint holds."""
    if world_size() > 1:
        for buffer in method.buffers():
            dist.broadcast(buffer, src=0)


def run_on_rank_0(work: Any) -> Any:
    """Runs `work()` on rank 0 and returns its value on every process; an error there is raised everywhere.

    Without this, the others would wait for a process that has stopped on a full disk.
    """
    if world_size() == 1:
        return work()
    value: Any = None
    if rank() == 0:
        try:
            value = (True, work())
        except Exception as error:  # handed on, not swallowed
            value = (False, error)
    fine, result = from_rank_0(value)
    if not fine:
        raise result
    return result
