"""AdamW against its formula, the groups, and clipping against hand computation."""

import pytest
import torch
from torch import nn

from openjepa.errors import ConfigError
from openjepa.train.optimizer import build_optimizer, clip_gradient, set_schedule


def build(method: nn.Module) -> torch.optim.AdamW:
    return build_optimizer(method, lr=0.1, weight_decay=0.5, betas=(0.9, 0.999), eps=1e-8)


def test_first_update_by_hand():
    net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.bias.fill_(2.0)
    optimizer = build(net)
    set_schedule(optimizer, lr=0.1, weight_decay=0.5)
    net.weight.grad, net.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), -3.0)
    optimizer.step()
    # Adam's first step is lr * sign(gradient); decoupled decay multiplies matrices by 1 - lr * decay.
    assert net.weight.item() == pytest.approx(2.0 * (1 - 0.05) - 0.1, abs=1e-6)
    assert net.bias.item() == pytest.approx(2.0 + 0.1, abs=1e-6)


class TwoSpeeds(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.groups = [
            {"params": self.slow.parameters(), "lr_scale": 0.1},
            {"params": self.fast.parameters()},
        ]

    def param_groups(self):
        return [{**g, "params": list(g["params"])} for g in self.groups]


def test_a_method_may_offer_groups():
    optimizer = build(TwoSpeeds())
    set_schedule(optimizer, lr=1.0, weight_decay=0.5)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.1, 0.5),
        (0.1, 0.0),
        (1.0, 0.5),
        (1.0, 0.0),
    ]


def test_groups_must_cover_every_trainable_parameter_once():
    method = TwoSpeeds()
    method.groups = method.groups[:1]
    with pytest.raises(ConfigError, match=r"`fast\.weight` must be in a group"):
        build(method)
    method = TwoSpeeds()
    method.groups = [{"params": method.parameters()}, {"params": method.slow.parameters()}]
    with pytest.raises(ConfigError, match=r"`slow\.weight` must be in one group"):
        build(method)
    with pytest.raises(ConfigError, match="nothing to train"):
        build(nn.Linear(2, 2).requires_grad_(False))


def test_clipping_by_hand():
    net = nn.Linear(1, 1)
    net.weight.grad, net.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), 4.0)
    optimizer = build(net)
    assert clip_gradient(optimizer, None).item() == 5.0
    assert net.bias.grad.item() == 4.0
    assert clip_gradient(optimizer, 1.0).item() == 5.0
    assert net.weight.grad.item() == pytest.approx(0.6, abs=1e-5)
    assert net.bias.grad.item() == pytest.approx(0.8, abs=1e-5)
