"""A CUDA device that is not there: its tensors have shapes and no numbers, and it refuses what a real one waits for.

Tensors on it are PyTorch's `FakeTensor`; tensors on the host stay real. So an operation that mixes the two fails, and
so does whoever asks the device for a number. Inside of `step()` it also refuses what `torch.cuda.set_sync_debug_mode`
finds on a real device: copies that make the host wait until the device has finished all its work.

`RealDevice` has the same verbs, so that one list of cases runs on both.
"""

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openjepa.nn.host import to_host

CUDA = torch.device("cuda", 0)
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
LOOKS_UP = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}
# Operations that take a number from the host beside tensors of the device, as all element-wise ones do.
TAKES_NUMBERS = {torch.ops.aten.fill_.Tensor, torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


def fused_gru_cell(from_input: Tensor, from_hidden: Tensor, hidden: Tensor, *biases: Tensor | None) -> Any:
    """The shapes that `aten._thnn_fused_gru_cell` gives, for which PyTorch has no rule."""
    return torch.empty_like(hidden), hidden.new_empty(len(hidden), 5 * hidden.shape[1])


STAND_INS = {torch.ops.aten._thnn_fused_gru_cell.default: fused_gru_cell}


class Synchronises(AssertionError):
    """The host would wait for the device."""


class FakeDevice(TorchDispatchMode):
    """The device while it is entered; `device` is what tensors and modules are sent to.

    It has no numbers, so where the code may ask for one by design (`openjepa.nn.host.to_host`) the answer is 1 or True.
    """

    device = CUDA

    def __init__(self) -> None:
        super().__init__()
        self.fake, self.strict, self.inside = FakeTensorMode(allow_non_fake_inputs=True), False, ExitStack()

    def __enter__(self) -> "FakeDevice":
        self.inside.enter_context(lent_device_guard())
        self.inside.enter_context(pytest.MonkeyPatch.context()).setattr(torch.autograd, "grad", no_slope)
        self.inside.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="User provided device_type of 'cuda', but CUDA is not available")
        self.inside.enter_context(self.fake)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.inside.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """What happens here must not make the host wait."""
        self.strict = True
        try:
            yield
        finally:
            self.strict = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        there = any(isinstance(x, FakeTensor) or (isinstance(x, torch.device) and x.type == "cuda") for x in leaves)
        if not there:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in COPIES and leaves_the_device(func, args, kwargs):
            if asked_by(to_host.__code__) is None:
                raise Synchronises(f"{func}: the host reads from the device outside of `to_host`.")
            with unset_fake_temporarily():
                return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        self._check_mixture(func, leaves)
        if self.strict:
            self._check_waiting(func, args, kwargs, leaves)
        return STAND_INS.get(func, func)(*args, **kwargs)

    def _check_mixture(self, func: Any, leaves: list[Any]) -> None:
        """Refuses what `FakeTensor` lets pass: numbers of the host in matrix products, generators of the host."""
        on_host = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, FakeTensor)]
        if on_host and func not in COPIES | LOOKS_UP | TAKES_NUMBERS and torch.Tag.pointwise not in func.tags:
            raise AssertionError(f"{func}: a tensor of the host {list(on_host[0].shape)} beside those of the device.")
        if any(isinstance(x, torch.Generator) and x.device.type != "cuda" for x in leaves):
            raise AssertionError(f"{func}: a generator of the host draws on the device.")

    def _check_waiting(self, func: Any, args: Any, kwargs: Any, leaves: list[Any]) -> None:
        on_host = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, FakeTensor)]
        waits = not (kwargs.get("non_blocking") or (func is torch.ops.aten.copy_.default and args[2:] == (True,)))
        if func in COPIES and on_host and waits:
            raise Synchronises(f"{func}: a copy to the device without `non_blocking`. Use `to_device`.")
        if func in LOOKS_UP:
            if on_host:
                raise Synchronises(f"{func}: an index or value of the host, which is copied. Use `to_device`.")
            if any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]):
                raise Synchronises(f"{func}: a mask as index, whose number of rows must be counted.")


def leaves_the_device(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a copy goes from the device to the host."""
    if func is torch.ops.aten.copy_.default:
        return isinstance(args[1], FakeTensor) and not isinstance(args[0], FakeTensor)
    wanted = kwargs.get("device")
    return isinstance(args[0], FakeTensor) and wanted is not None and wanted.type == "cpu"


def asked_by(code: CodeType) -> FrameType | None:
    """The running call of a function, if there is one."""
    import sys

    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


def no_slope(outputs: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Stands in for `torch.autograd.grad`, whose engine asks for a stream of a real device."""
    assert outputs.requires_grad
    return tuple(torch.zeros_like(x) for x in inputs)


@contextmanager
def lent_device_guard() -> Iterator[None]:
    """Lets a build without CUDA index tensors that claim to be there.

    PyTorch looks up who switches to a device before most operations. A CPU build knows nobody for CUDA and stops, so
    the guard of the meta device, which does nothing, answers for CUDA as long as the fake device is used.
    """
    if torch.version.cuda is not None:  # `FakeTensorMode` sees to it
        yield
        return
    kinds = torch._C._autograd.DeviceType
    library = next((Path(torch.__file__).parent / "lib").glob("*c10.*"))
    registry = (ctypes.c_void_p * 20).in_dll(ctypes.CDLL(str(library)), "_ZN3c104impl26device_guard_impl_registryE")
    before = registry[int(kinds.CUDA)]
    registry[int(kinds.CUDA)] = registry[int(kinds.Meta)]
    try:
        yield
    finally:
        registry[int(kinds.CUDA)] = before


class RealDevice:
    """A CUDA device that is there; `step()` turns waits of the host into errors, except those of `to_host`."""

    device = CUDA

    def __enter__(self) -> "RealDevice":
        return self

    def __exit__(self, *error: Any) -> None:
        torch.cuda.synchronize()

    @contextmanager
    def step(self) -> Iterator[None]:
        """What happens here must not make the host wait."""
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="called a synchronizing CUDA operation")
                warnings.filterwarnings("ignore", message="called a synchronizing", module=to_host.__module__)
                yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
