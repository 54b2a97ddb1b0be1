"""Weights laid out in memory for an agent, which looks at one picture and imagines a few plans.

A product of a few rows reads its weights faster by columns (a third less time for 16 x 256 x 256), and a convolution of
one picture reads them faster with the channels last. Numbers, names and shapes stay; results may differ by rounding.
Training keeps PyTorch's own layout, which large batches and sharded parameters want.
"""

import torch
from torch import nn

from openjepa.models.frame_encoder import FrameEncoder


@torch.no_grad()
def lay_out_for_acting(*modules: object) -> None:
    """Lays out the float32 weights of modules on the host; what is no module is left alone."""
    for module in (part for one in modules if isinstance(one, nn.Module) for part in one.modules()):
        if isinstance(module, FrameEncoder):
            for conv in (part for part in module.modules() if type(part) is nn.Conv2d and _is_plain(part)):
                conv.weight.data = conv.weight.contiguous(memory_format=torch.channels_last)
        elif type(module) is nn.Linear and _is_plain(module):
            module.weight.data = module.weight.T.contiguous().T


def _is_plain(layer: nn.Linear | nn.Conv2d) -> bool:
    weight = layer.weight
    return type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.float32
