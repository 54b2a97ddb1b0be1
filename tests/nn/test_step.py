import copy

import torch
from torch import nn

from openjepa.nn.step import finish_step, step_of


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.long))


def test_the_number_follows_the_buffer_whoever_writes_it():
    module = Counting()
    assert step_of(module) == 0
    finish_step(module, 4)
    assert step_of(module) == int(module.step) == 5
    module.step.fill_(9)
    assert step_of(module) == 9
    module.load_state_dict({"step": torch.tensor(20)})
    assert step_of(module) == 20
    other = copy.deepcopy(module)
    finish_step(other, 30)
    assert (step_of(other), step_of(module)) == (31, 20)
    module.to(torch.float64)  # replaces nothing that is an integer, but may
    module.step = torch.tensor(7)
    assert step_of(module) == 7


def test_the_device_is_asked_once(monkeypatch):
    module, asked = Counting(), []
    monkeypatch.setattr(torch.Tensor, "__int__", lambda tensor: asked.append(tensor) or tensor.item())
    for step in range(3):
        assert step_of(module) == step
        finish_step(module, step)
    assert len(asked) == 1
    assert set(module.state_dict()) == {"step"}
