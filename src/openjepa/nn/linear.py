"""A linear layer that multiplies float32 matrices with oneDNN on the cores where that was measured to pay.

PyTorch hands float32 products to MKL, whose kernels for AMD processors leave units of AVX-512 idle. oneDNN, which
is part of PyTorch, uses them, with differences of float32 rounding. What that is worth depends on the core: on Zen 5
all three products of a layer gain, on Zen 4, whose units are half as wide, outputs and input gradients gain and
weight gradients lose. Other cores were not measured and are left to PyTorch. The choice follows from the
processor's generation alone, never from a measurement, so that a run repeats bit for bit.
"""

import functools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.nn.processor import processor

Product = Literal["outputs", "weight gradients"]  # input gradients have the shape of outputs, and go with them
PAYS: dict[str, frozenset[Product]] = {
    "Zen 4": frozenset({"outputs"}),
    "Zen 5": frozenset({"outputs", "weight gradients"}),
}
SMALLEST = 1 << 20  # multiplications; below it the call costs more than it saves


class Linear(nn.Linear):
    """`nn.Linear` with the same parameters, names and results."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiplies: x W^T + b, as `torch.nn.functional.linear`; [..., D], [E, D] and [E] to [..., E]."""
    if is_recorded() or "outputs" not in onednn_pays() or not _is_plain(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Linear.apply(x, weight, bias)
    return _multiply(x, weight, bias)


def is_recorded() -> bool:
    """Whether a compiler or an exporter looks on, who must see an ordinary linear map."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


@functools.cache
def onednn_pays() -> frozenset[Product]:
    """Which products are faster with oneDNN than with MKL on this processor; none where it was not measured."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return frozenset()
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return frozenset()
    return PAYS.get(processor().generation, frozenset())


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether both are ordinary float32 tensors on the CPU, outside of autocast, and large enough."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= SMALLEST
        and type(x) in (Tensor, nn.Parameter)
        and type(weight) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._functorch.peek_interpreter_stack()
    )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """All three products of a linear layer, written with itself, so that it may be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _multiply(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0]
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows, grad_rows = x.flatten(0, -2), grad.flatten(0, -2)  # [N, D], [N, E]
        return (
            linear(grad, weight.t()) if wants_x else None,
            _weight_gradient(grad_rows, rows) if wants_weight else None,
            grad_rows.sum(0) if wants_bias and ctx.has_bias else None,
        )


def _weight_gradient(grad: Tensor, rows: Tensor) -> Tensor:
    """Multiplies [N, E] and [N, D] to [E, D]."""
    if "weight gradients" in onednn_pays():
        return linear(grad.t(), rows.t())
    return grad.t() @ rows
