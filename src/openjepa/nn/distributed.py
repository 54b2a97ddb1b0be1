"""What a loss must know about the other processes of a run: their number, and the mean over all of them.

Everything is the identity in a single process. Counts are equal on every process, because a `BatchSource`
hands out equal shares.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Returns the number of processes of this run, 1 outside of `torchrun`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, 0 outside of `torchrun`."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_sharded(x: Tensor) -> bool:
    """Whether a tensor is one process's shard of a larger one (a DTensor, as FSDP2 makes).

    Asked by attribute, because importing DTensor takes two seconds that a single process need not spend.
    """
    return hasattr(x, "full_tensor")


def all_mean(x: Tensor) -> Tensor:
    """Averages a tensor of any shape over all processes, with gradients.

    A statistic of the global batch is the mean of the local ones, taken before anything non-linear: for
    SIGReg (arXiv 2511.08544) average the empirical characteristic function here, square it afterwards, and
    multiply by the global number of samples. Together with the gradient averaging of data parallelism this
    gives exactly the gradient of one process with the whole batch.
    """
    return x if world_size() == 1 else _AllMean.apply(x)


class _AllMean(torch.autograd.Function):
    """The mean over processes is its own adjoint, so backward is the same all-reduce."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _mean(grads[0])


def _mean(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / world_size()


class GlobalBatchNorm(nn.Module):
    """BatchNorm whose batch statistics are those of the global batch; same parameters, buffers and keys.

    PyTorch's own `SyncBatchNorm` needs CUDA; this one runs on every backend. Input [B, C, ...].
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, local: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> None:
        super().__init__()
        self.eps, self.momentum = local.eps, local.momentum
        self.weight, self.bias = local.weight, local.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(local, name))
        self.train(local.training)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide = x.float()
        if self.training or self.running_mean is None or self.running_var is None:
            mean = all_mean(wide.mean(axes))  # [C]
            var = all_mean((wide - mean.view(shape)).square().mean(axes))  # [C]
            self._track(mean.detach(), var.detach(), count=x.numel() // x.shape[1] * world_size())
        else:
            mean, var = self.running_mean, self.running_var
        out = (wide - mean.view(shape)) * torch.rsqrt(var + self.eps).view(shape)
        if self.weight is not None and self.bias is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _track(self, mean: Tensor, var: Tensor, *, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var * (count / max(1, count - 1)), share)


def use_global_batch_norm(module: nn.Module) -> None:
    """Replaces every `nn.BatchNorm` inside `module`; parameters and state-dict keys stay the same."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            setattr(module, name, GlobalBatchNorm(child))
        else:
            use_global_batch_norm(child)
