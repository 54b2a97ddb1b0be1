"""Every method, world model and planner, and the agent, on a device that is not there; `-m gpu`: on one that is.

A tensor of the host in a step, or a step that waits for the device, fails here without a GPU. What is in the tables
of `test_conformance.py` joins by being there.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.agent import Agent, AgentConfig, FailedPlanConfig
from openjepa.eval.health.conformance import PointWorld
from openjepa.heads.critic import TemporalDistanceHead
from openjepa.nn.host import to_device, to_host
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM
from openjepa.planning.costs import Arrival, PathCost, Weighted, WeightedSum, bind, l1
from openjepa.planning.risk import CVaR, Entropic, MeanStd, RiskCost, RiskMeasure, expected, worst
from openjepa.planning.support import Mahalanobis, NearestNeighbours
from openjepa.protocols import ActionBounds, Futures
from openjepa.train.health import Health

from .fake_device import FakeDevice, RealDevice, Synchronises
from .test_conformance import (
    FOR_BOXES_ONLY,
    FOR_CHOICES_ONLY,
    HORIZON,
    PLANNERS,
    TOYS,
    TRAINED,
    VARIANTS,
    WINDOWS,
    build,
    is_world_model,
)

METHODS: dict[str, tuple[Callable[[], Any], Any]] = {
    **{name: (lambda name=name: build(name), TOYS[name][1]) for name in TRAINED},
    **{f"lewm {name}": (lambda name=name: build("lewm", **VARIANTS[name]), WINDOWS) for name in VARIANTS},
}
WORLD_MODELS = [name for name in METHODS if is_world_model(name.split()[0])]
BOX = ActionBounds(-np.ones(3), np.ones(3), 1.0)
PROBLEMS = {
    **{kind.__name__: (kind, BOX) for kind in PLANNERS if kind not in FOR_CHOICES_ONLY},
    **{
        f"{kind.__name__} of choices": (kind, ActionBounds.of_categories([3]))
        for kind in PLANNERS
        if kind not in FOR_BOXES_ONLY
    },
}


class Fork(PointWorld):
    """The point of `check_planner` in a world where luck pushes it to one of several sides."""

    def rollout_futures(self, z: Tensor, actions: Tensor, *, num_futures: int, generator: torch.Generator) -> Futures:
        path = self.rollout(z, actions).unsqueeze(1)
        pushes = to_device(torch.rand(num_futures, 1, 1, 1, generator=generator), z.device)
        return Futures(path + pushes, path.new_zeros(len(z), num_futures).log_softmax(1))


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, 1, 3, generator=torch.Generator().manual_seed(0))


# Fitted or built on the host, as by somebody who moves nothing but the model.
COSTS: dict[str, Callable[[torch.device], Any]] = {
    "weighted": lambda device: PathCost(l1, Weighted()),
    "arrival": lambda device: PathCost(aggregate=Arrival(1.0, softness=0.1, slope=0.1)),
    "learned": lambda device: PathCost(TemporalDistanceHead(1, 3).to(device).eval(), stride=2),
    "mahalanobis": lambda device: WeightedSum([PathCost(), Mahalanobis.fit(latents(20))], [1.0, 0.5]),
    "neighbours": lambda device: WeightedSum([PathCost(), NearestNeighbours.fit(latents(20), latents(9))]),
}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def there(request: pytest.FixtureRequest) -> Iterator[Any]:
    with FakeDevice() if request.param == "fake" else RealDevice() as device:
        yield device


def take_a_step(there: Any, name: str, plant: Callable[[Tensor], Tensor] | None = None) -> Any:
    """A training step up to its gradient, and what follows it; `plant` spoils what the first layer returns."""
    make, batch = METHODS[name]
    method = make().to(there.device).train()
    batch, health = batch.to(there.device), Health(there.device)
    if plant is not None:
        layer = next(module for module in method.modules() if isinstance(module, LAYERS))
        layer.register_forward_hook(lambda _, inputs, output: plant(output))
    with there.step():
        found = method.loss(batch, 1)
        health.add(1, found.loss, found.terms, found.loss)
        method.after_step(1)
    return found


LAYERS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)


@pytest.mark.parametrize("name", METHODS)
def test_a_training_step_stays_on_the_device(there: Any, name: str) -> None:
    found = take_a_step(there, name)
    assert found.loss.device == there.device
    assert all(term.device == there.device for term in found.terms.values())


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_encode_and_rollout_stay_on_the_device(there: Any, name: str) -> None:
    model, batch = METHODS[name][0]().to(there.device).eval(), WINDOWS.to(there.device)
    with there.step(), torch.no_grad():
        z = model.encode(batch.frames, batch.proprio)
        path = model.rollout(z[:, :2], batch.actions)
    assert z.device == path.device == there.device


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_plan_stays_on_the_device(there: Any, name: str) -> None:
    plan_to(there, name, PathCost())


@pytest.mark.parametrize("cost", COSTS)
def test_a_cost_stays_on_the_device(there: Any, cost: str) -> None:
    plan_to(there, "CEM", COSTS[cost](there.device))


@pytest.mark.parametrize(
    "risk",
    [expected, worst, CVaR(0.5), Entropic(), MeanStd()],
    ids=["expected", "worst", "CVaR", "Entropic", "MeanStd"],
)
def test_a_plan_under_risk_stays_on_the_device(there: Any, risk: RiskMeasure) -> None:
    plan_to(there, "CEM", RiskCost(PathCost(), risk, num_futures=3, spread_weight=0.1))


def plan_to(there: Any, name: str, cost: Any) -> None:
    kind, bounds = PROBLEMS[name]
    z, goal = latents(2, 1).to(there.device), latents(2).to(there.device)
    guess = bounds.clip(torch.zeros(2, HORIZON, 3)).to(there.device)
    planner = PLANNERS[kind](bounds)
    generators = [keyed_generator(i) for i in range(2)]
    with there.step():
        plan = planner.plan(Fork(), z, bind(cost, goal), generators=generators, guess=guess)
    assert plan.actions.device == plan.cost.device == plan.z_path.device == there.device


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_agent_waits_only_where_it_must(there: Any, name: str) -> None:
    kind, bounds = PROBLEMS[name]
    config = AgentConfig(device=str(there.device))
    act(there, Agent(PointWorld(), PLANNERS[kind](bounds), PathCost(), bounds, config))


def test_an_agent_that_remembers_waits_only_where_it_must(there: Any) -> None:
    config = AgentConfig(failed_plans=FailedPlanConfig(), device=str(there.device))
    act(there, Agent(PointWorld(), PLANNERS[CEM](BOX), PathCost(), BOX, config))


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_an_agent_drives_every_world_model(there: Any, name: str) -> None:
    model, bounds = METHODS[name][0]().to(there.device).eval(), ActionBounds(-np.ones(1), np.ones(1))
    config = AgentConfig(context_len=2, frameskip=2, replan_every=2, device=str(there.device))
    act(there, Agent(model, PLANNERS[CEM](bounds.with_frameskip(2)), PathCost(), bounds, config), WINDOWS.proprio, 5)


def act(there: Any, agent: Agent, proprio: Tensor | None = None, times: int = 2) -> None:
    """Three environments act a few times; one of them is finished after the first."""
    frames = WINDOWS.frames.numpy()
    own = [None if proprio is None else proprio[:, t].numpy() for t in range(4)]
    with there.step():
        agent.start(frames[:, 3], goal_proprio=own[3])
        for t in range(times):
            actions = agent.act(frames[:, t % 4], own[t % 4], active=np.array([True, True, t < 1]))
    assert isinstance(actions, np.ndarray)
    assert actions.shape == (3, agent.bounds.dim)


# ----------------------------------------------------------------------------------------------------- planted faults


def reads(ask: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """A fault that asks for something and goes on with the tensor."""

    def plant(x: Tensor) -> Tensor:
        ask(x.detach())
        return x

    return plant


def draws_there(x: Tensor) -> Tensor:
    return x + torch.rand(x.shape, generator=torch.Generator(), device=x.device)


FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a tensor of the host": lambda x: x + torch.ones(x.shape[-1]),
    "a number of the host in a product": lambda x: torch.stack([x.mean(), torch.tensor(0.0)]).sum() * x,
    "a generator of the host": draws_there,
    "item": reads(lambda x: x.sum().item()),
    "float": reads(lambda x: float(x.sum())),
    "bool": reads(lambda x: bool((x > 0).any())),
    "if": reads(lambda x: 1 if x.sum() > 0 else 0),
    "tolist": reads(lambda x: x.flatten()[:3].tolist()),
    "cpu": reads(lambda x: x.cpu()),
    "numpy": reads(lambda x: x.cpu().numpy()),
    "copied into the host": reads(lambda x: torch.zeros(x.shape).copy_(x)),
    "equal": reads(lambda x: torch.equal(x, x)),
    "nonzero": reads(lambda x: x.nonzero()),
    "a mask as index": reads(lambda x: x[x > 0]),
    "a mask that is written to": reads(lambda x: x.clone().index_put_((x > 0,), x.new_zeros(()))),
    "an index of the host": reads(lambda x: x[torch.zeros(1, dtype=torch.long)]),
    "a list as index": reads(lambda x: x[[0]]),
    "a number written to an index": reads(lambda x: x.clone().__setitem__(x.new_zeros(1, dtype=torch.long), 1.0)),
    "a copy that waits": reads(lambda x: torch.zeros(3).to(x.device)),
    "numbers made there": reads(lambda x: torch.tensor([1.0, 2.0], device=x.device)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_training_step_is_found(fault: str) -> None:
    assert FAULTS[fault](torch.ones(2, 3)).shape == (2, 3)  # on the host nothing is wrong with it
    with FakeDevice() as there, pytest.raises((AssertionError, RuntimeError)):
        take_a_step(there, "ijepa", FAULTS[fault])


@pytest.mark.parametrize("name", TRAINED)
def test_a_fault_in_any_method_is_found(name: str) -> None:
    for fault in ("a tensor of the host", "item"):
        with FakeDevice() as there, pytest.raises((AssertionError, RuntimeError)):
            take_a_step(there, name, FAULTS[fault])


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_fault_in_a_plan_is_found(name: str) -> None:
    def spoilt(plant: Callable[[Tensor], Tensor]) -> Any:
        return lambda z_path, z_goal: PathCost()(plant(z_path), z_goal)

    for fault in ("a tensor of the host", "bool"):
        with FakeDevice() as there, pytest.raises((AssertionError, RuntimeError)):
            plan_to(there, name, spoilt(FAULTS[fault]))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_model_of_an_agent_is_found(fault: str) -> None:
    class Spoilt(PointWorld):
        def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
            return FAULTS[fault](super().encode(frames, proprio))

    with FakeDevice() as there, pytest.raises((AssertionError, RuntimeError)):
        act(there, Agent(Spoilt(), PLANNERS[CEM](BOX), PathCost(), BOX, AgentConfig(device=str(there.device))))


def test_outside_of_a_step_the_host_may_send_and_only_to_host_reads() -> None:
    with FakeDevice() as there:
        x = torch.ones(3).to(there.device)
        assert to_host(x).tolist() == [1.0, 1.0, 1.0]
        assert to_host(x).device.type == "cpu"
        assert (torch.ones(2) + 1).tolist() == [2.0, 2.0]  # the host computes as ever
        with pytest.raises(Synchronises, match="outside of `to_host`"):
            x.cpu()
    assert torch.zeros(1).add(1).item() == 1.0
