"""Every method, world model and planner, and the agent, on a device that is not there; `-m gpu`: on one that is.

A tensor of the host in a step, or a step that waits for the device, fails here without a GPU. What is in the tables
of `test_conformance.py` joins by being there.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from openjepa.protocols import ActionBounds
from openjepa.train.health import Health

from .fake_device import FakeDevice, RealDevice
from .test_conformance import TOYS, TRAINED, VARIANTS, WINDOWS, build, is_world_model

DEVICES = [
    pytest.param(FakeDevice, id="fake"),
    pytest.param(RealDevice, id="real", marks=pytest.mark.gpu),
]
WORLD_MODELS: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: build(name) for name in TRAINED if is_world_model(name)},
    **{f"lewm {name}": lambda name=name: build("lewm", **VARIANTS[name]) for name in VARIANTS},
}
METHODS: dict[str, tuple[Callable[[], Any], Any]] = {
    **{name: (lambda name=name: build(name), TOYS[name][1]) for name in TRAINED},
    **{f"lewm {name}": (lambda name=name: build("lewm", **VARIANTS[name]), WINDOWS) for name in VARIANTS},
}
BOUNDS = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), 1.0)


@pytest.fixture(params=DEVICES)
def there(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param() as device:
        yield device


@pytest.mark.parametrize("name", METHODS)
def test_a_training_step_stays_on_the_device(there: Any, name: str) -> None:
    make, batch = METHODS[name]
    method = make().to(there.device).train()
    batch, health = batch.to(there.device), Health(there.device)
    with there.step():
        found = method.loss(batch, 1)
        health.add(1, found.loss, found.terms, found.loss)
        method.after_step(1)
    assert found.loss.device == there.device
    assert all(term.device == there.device for term in found.terms.values())


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_encode_and_rollout_stay_on_the_device(there: Any, name: str) -> None:
    model, batch = WORLD_MODELS[name]().to(there.device).eval(), WINDOWS.to(there.device)
    with there.step(), torch.no_grad():
        z = model.encode(batch.frames, batch.proprio)
        path = model.rollout(z[:, :1], batch.actions)
    assert z.device == path.device == there.device
