from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openjepa.eval.health.conformance import (
    ConformanceError,
    PointWorld,
    check_method,
    check_planner,
    check_world_model,
)
from openjepa.planning import CEM, CEMConfig
from openjepa.protocols import ActionBounds, ImageBatch, JEPALoss, Plan

FRAMES = torch.randint(256, (3, 4, 2, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
ACTIONS = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(0))


def broken_model(**verbs: Any) -> Any:
    return type("Broken", (PointWorld,), verbs)()


def test_point_world_conforms() -> None:
    check_world_model(PointWorld(), FRAMES, ACTIONS)
    check_world_model(PointWorld(), FRAMES, ACTIONS, context_len=2)
    z = PointWorld().encode(FRAMES)
    expected = z[:, 0, 0, None] + ACTIONS.cumsum(1) / 4
    torch.testing.assert_close(PointWorld().rollout(z[:, :1], ACTIONS)[:, :, 0], expected)


def _noisy(self: Any, z: Tensor, actions: Tensor) -> Tensor:
    return PointWorld.rollout(self, z, actions) + torch.rand(())


def _in_place(self: Any, z: Tensor, actions: Tensor) -> Tensor:
    out = PointWorld.rollout(self, z, actions)
    actions.mul_(2)
    return out


def _noisy_encode(self: Any, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
    return PointWorld.encode(self, frames) + torch.rand(())


WRONG_MODELS: list[tuple[str, dict[str, Any]]] = [
    ("encode shape", {"encode": lambda self, f, p=None: PointWorld.encode(self, f)[:, :, 0]}),
    ("finite encode", {"encode": lambda self, f, p=None: PointWorld.encode(self, f) / 0}),
    ("batch independence", {"encode": lambda self, f, p=None: PointWorld.encode(self, f) - f.float().mean()}),
    ("determinism", {"encode": _noisy_encode}),
    ("rollout shape", {"rollout": lambda self, z, a: PointWorld.rollout(self, z, a)[:, 1:]}),
    ("finite rollout", {"rollout": lambda self, z, a: PointWorld.rollout(self, z, a) * torch.nan}),
    ("determinism", {"rollout": _noisy}),
    ("batch independence", {"rollout": lambda self, z, a: PointWorld.rollout(self, z, a) + a.mean()}),
    ("causality", {"rollout": lambda self, z, a: PointWorld.rollout(self, z, a) + a[:, -1:, None]}),
    ("rollout length", {"rollout": lambda self, z, a: PointWorld.rollout(self, z, a) + a.shape[1]}),
    ("inputs unchanged", {"rollout": _in_place}),
]


@pytest.mark.parametrize(("rule", "verbs"), WRONG_MODELS)
def test_every_broken_rule_of_a_world_model_is_named(rule: str, verbs: dict[str, Any]) -> None:
    with pytest.raises(ConformanceError, match=f"^{rule}: ") as error:
        check_world_model(broken_model(**verbs), FRAMES.clone(), ACTIONS.clone())
    assert error.value.rule == rule


def test_a_module_must_be_in_evaluation_mode() -> None:
    class Net(nn.Module, PointWorld):
        pass

    with pytest.raises(ConformanceError, match="evaluation mode"):
        check_world_model(Net(), FRAMES, ACTIONS)
    check_world_model(Net().eval(), FRAMES, ACTIONS)


BOUNDS = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32))


class Altered:
    """A sound planner whose plan is changed afterwards."""

    def __init__(self, change: Any, **options: Any) -> None:
        self.inner, self.change = CEM(BOUNDS, CEMConfig(horizon=4)), change
        self.options = options

    def plan(self, model: Any, z: Tensor, cost: Any, *, generators: Any, guess: Any = None, **_: Any) -> Plan:
        if self.options.get("forget_guess"):
            guess = None
        if self.options.get("write"):
            z.add_(1e-3)
        if self.options.get("global_random"):
            generators = [torch.Generator().manual_seed(int(torch.randint(2**30, ()))) for _ in generators]
        if self.options.get("one_stream"):
            generators = [generators[0] for _ in generators]
        plan = self.inner.plan(model, z, cost, generators=generators, guess=guess)
        return self.change(plan)


def keep(plan: Plan) -> Plan:
    return plan


def averaged_over_the_batch(plan: Plan) -> Plan:
    mean = plan.actions.mean(0, keepdim=True).expand_as(plan.actions)
    return replace(plan, actions=mean)


def consistent_average(plan: Plan) -> Plan:
    """One plan for all, scored as such."""
    start = plan.z_path[:, :1] - plan.actions[:, :1, None] / 4
    mean = plan.actions.mean(0, keepdim=True).expand_as(plan.actions)
    return replace(plan, actions=mean, z_path=start + mean.cumsum(1).unsqueeze(2) / 4)


WRONG_PLANNERS: list[tuple[str, Any]] = [
    ("plan shape", Altered(lambda p: replace(p, actions=p.actions[:, 1:]))),
    ("bounds", Altered(lambda p: replace(p, actions=2 * p.actions.sign()))),
    ("imagined path", Altered(averaged_over_the_batch)),
    ("imagined path", Altered(lambda p: replace(p, z_path=p.z_path.roll(1, 1)))),
    ("score is of what is executed", Altered(lambda p: replace(p, cost=p.cost * 0.9))),
    ("score is of what is executed", Altered(consistent_average)),
    ("determinism", Altered(keep, global_random=True)),
    ("batch independence", Altered(keep, one_stream=True)),
    ("accounting", Altered(lambda p: replace(p, model_steps=0))),
    ("inputs unchanged", Altered(keep, write=True)),
]


@pytest.mark.parametrize(("rule", "planner"), WRONG_PLANNERS)
def test_every_broken_rule_of_a_planner_is_named(rule: str, planner: Any) -> None:
    with pytest.raises(ConformanceError) as error:
        check_planner(planner, BOUNDS, horizon=4)
    assert error.value.rule == rule


def test_a_planner_that_ignores_a_perfect_guess_is_named() -> None:
    weak = CEMConfig(horizon=8, num_samples=64, num_elites=2, num_iterations=1, init_std=0.02)
    planner = Altered(keep, forget_guess=True)
    planner.inner = CEM(BOUNDS, weak)
    with pytest.raises(ConformanceError, match=r"^warm start: "):
        check_planner(planner, BOUNDS, horizon=8)


@dataclass(frozen=True)
class ToyConfig:
    width: int = 4


class ToyMethod(nn.Module):
    """A JEPA in three lines, with faults to switch on."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.config, self.fault = ToyConfig(), fault
        self.context_encoder, self.predictor = nn.Linear(12, 4), nn.Linear(4, 4)
        self.target_encoder = nn.Linear(12, 4).requires_grad_(fault == "target encoder")
        if fault == "gradient":
            self.unused = nn.Linear(2, 2)
        if fault == "arguments":
            self.after_step = lambda: None

    def loss(self, batch: ImageBatch, step: int) -> JEPALoss:
        x = batch.images.flatten(1).float() / 255
        if self.fault == "inputs unchanged":
            batch.images.zero_()
        error = self.predictor(self.context_encoder(x)) - self.target_encoder(x)
        loss = error.square().mean()
        if self.fault == "finite loss":
            loss = loss / 0
        if self.fault == "scalar loss":
            loss = error.square().mean(1)
        if self.fault == "repeatability":
            loss = loss + float(np.random.default_rng().random())
        if self.fault == "loss type":
            return loss  # type: ignore[return-value]
        return JEPALoss(loss, {"prediction": loss if self.fault == "detached terms" else loss.detach()})

    def after_step(self, step: int) -> None:
        if self.fault == "after a step":
            self.predictor.weight.data.mul_(0.5)


IMAGES = ImageBatch(torch.randint(256, (5, 3, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8))


def test_a_sound_method_passes_and_is_left_alone() -> None:
    method = ToyMethod().eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    check_method(method, IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(p.grad is None for p in method.parameters())
    assert not method.training


@pytest.mark.parametrize(
    "rule",
    [
        "arguments",
        "gradient",
        "target encoder",
        "inputs unchanged",
        "finite loss",
        "scalar loss",
        "repeatability",
        "loss type",
        "detached terms",
        "after a step",
    ],
)
def test_every_broken_rule_of_a_method_is_named(rule: str) -> None:
    with pytest.raises(ConformanceError) as error:
        check_method(ToyMethod(rule), ImageBatch(IMAGES.images.clone()))
    assert error.value.rule == rule


def test_parts_without_a_gradient_can_be_declared() -> None:
    check_method(ToyMethod("gradient"), IMAGES, untrained=["unused"])
