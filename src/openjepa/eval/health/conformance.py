"""Checks that a method, a world model or a planner keeps its contract, like Gymnasium's `check_env`.

They run over everything in OpenJEPA, and serve whoever writes a part of their own. Each rule that is broken
raises a `ConformanceError` that names it.
"""

import copy
import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.errors import OpenJEPAError
from openjepa.nn.random import keyed_generator
from openjepa.protocols import ActionBounds, BranchingModel, Futures, JEPALoss, Plan, Planner, WorldModel


class ConformanceError(OpenJEPAError):
    """A contract of `openjepa.protocols` that a part breaks.

    Attributes:
        rule: the rule's name, e.g. "batch independence".
    """

    def __init__(self, rule: str, found: str) -> None:
        super().__init__(f"{rule}: {found}")
        self.rule = rule


class PointWorld:
    """The world model that planners are checked on: a point moves by a quarter of the action, z' = z + a / 4.

    A frame holds the position in its first pixel, one dimension per channel, 32 grey levels per unit around
    128.

    Attributes:
        rest: [A] the action that does not move the point.
    """

    rest: Tensor | float = 0.0

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] uint8 to positions [B, T, 1, C]."""
        return (frames[..., 0, 0].float() - 128).unsqueeze(2) / 32

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Context [B, T, 1, A] and actions [B, T - 1 + H, A] to [B, H, 1, A]."""
        new = actions[:, z.shape[1] - 1 :]
        return z[:, -1:] + (new - self.rest).cumsum(1).unsqueeze(2) / 4


def check_world_model(
    model: WorldModel,
    frames: Tensor,
    actions: Tensor,
    proprio: Tensor | None = None,
    *,
    context_len: int = 1,
    tolerance: float = 1e-4,
) -> None:
    """Checks the two verbs of a world model on one batch.

    Args:
        model: in evaluation mode.
        frames: [B, T, C, H, W] uint8 with B >= 2 and T >= 2.
        actions: [B, T - 1, A] in the environment's units.
        proprio: [B, T, P] or None.
        context_len: states that a rollout is started from, < T.
        tolerance: largest relative difference that counts as equal.

    Raises:
        ConformanceError: with the first rule that is broken.
    """
    _require(isinstance(model, WorldModel), "verbs", "the model must have `encode` and `rollout`.")
    if isinstance(model, nn.Module):
        _require(not model.training, "evaluation mode", "call `model.eval()` before it is asked to predict.")
    inputs = [frames, actions] + ([] if proprio is None else [proprio])
    kept = [x.clone() for x in inputs]
    with torch.no_grad():
        z = model.encode(frames, proprio)
        _check_encode(model, frames, proprio, z, tolerance)
        context, past = z[:, :context_len], actions[:, : context_len - 1]
        future = actions[:, context_len - 1 :]
        inputs, kept = [*inputs, context], [*kept, context.clone()]
        z_pred = model.rollout(context, actions)
        for x, before in zip(inputs, kept, strict=True):
            _require(torch.equal(x, before), "inputs unchanged", "the model writes into its inputs.")
        shape = [z.shape[0], future.shape[1], *z.shape[2:]]
        _require(
            list(z_pred.shape) == shape,
            "rollout shape",
            f"{context_len} states and {actions.shape[1]} actions must give {shape}; got {list(z_pred.shape)}.",
        )
        finite = bool(torch.isfinite(z_pred).all())
        _require(finite, "finite rollout", "NaN or infinity in the predicted states.")
        _same(model.rollout(context, actions), z_pred, 0.0, "determinism", "two equal rollouts differ")
        alone = model.rollout(context[:1], actions[:1])
        _same(
            alone,
            z_pred[:1],
            tolerance,
            "batch independence",
            "a rollout depends on its neighbours in the batch",
        )
        if future.shape[1] > 1:
            changed = torch.cat([past, future[:, :-1], future[:, -1:] + 1], 1)
            early = model.rollout(context, changed)[:, :-1]
            _same(early, z_pred[:, :-1], tolerance, "causality", "a later action changes an earlier state")
            short = model.rollout(context, actions[:, :-1])
            _same(
                short,
                z_pred[:, :-1],
                tolerance,
                "rollout length",
                "a shorter rollout is not the beginning of a longer one",
            )


def _check_encode(model: WorldModel, frames: Tensor, proprio: Tensor | None, z: Tensor, tolerance: float) -> None:
    batch, steps = frames.shape[:2]
    _require(
        z.ndim == 4 and list(z.shape[:2]) == [batch, steps],
        "encode shape",
        f"frames {list(frames.shape)} must give [{batch}, {steps}, N, D]; got {list(z.shape)}.",
    )
    _require(z.is_floating_point(), "encode dtype", f"states must be floating point; got {z.dtype}.")
    _require(bool(torch.isfinite(z).all()), "finite encode", "NaN or infinity in the states.")
    _same(model.encode(frames, proprio), z, 0.0, "determinism", "two equal calls of `encode` differ")
    own = None if proprio is None else proprio[:1, :1]
    one = model.encode(frames[:1, :1], own)
    _same(
        one,
        z[:1, :1],
        tolerance,
        "batch independence",
        "the code of a frame depends on other frames or samples",
    )


def check_branching_model(
    model: BranchingModel, z: Tensor, actions: Tensor, *, num_futures: int = 4, tolerance: float = 1e-4
) -> None:
    """Checks the third verb of a world model with several futures.

    Args:
        model: in evaluation mode; `check_world_model` checks its other verbs.
        z: [B, T, N, D] context states with B >= 2.
        actions: [B, T - 1 + H, A].
        num_futures: F.
        tolerance: largest relative difference that counts as equal.

    Raises:
        ConformanceError: with the first rule that is broken.
    """
    _require(isinstance(model, BranchingModel), "verbs", "the model must have `rollout_futures`.")
    horizon = actions.shape[1] - z.shape[1] + 1

    def roll(rows: slice | list[int], seed: int = 0) -> Futures:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            return model.rollout_futures(z[rows], actions[rows], num_futures=num_futures, generator=generator)

    found = roll(slice(None))
    paths = found.log_weights.shape[-1]
    shape = [len(z), paths, horizon, *z.shape[2:]]
    _require(
        list(found.z.shape) == shape and list(found.log_weights.shape) == [len(z), paths] and paths <= num_futures,
        "futures shape",
        f"z and log_weights must be {shape} and {shape[:2]} with at most {num_futures} futures; got "
        f"{list(found.z.shape)} and {list(found.log_weights.shape)}.",
    )
    _require(bool(torch.isfinite(found.z).all()), "finite futures", "NaN or infinity in the predicted states.")
    total = found.log_weights.exp().sum(1)
    _same(total, torch.ones_like(total), 1e-3, "probabilities", "the weights of a row do not sum to 1")
    again = roll(slice(None))
    _same(again.z, found.z, 0.0, "determinism", "equal generators give different futures")
    alone = roll(slice(1, 2))
    _same(alone.z, found.z[1:2], tolerance, "batch independence", "futures depend on their neighbours")
    twice = roll([0, 0])
    _same(twice.z[1], twice.z[0], tolerance, "common random numbers", "equal rows get different futures")


def check_planner(
    planner: Planner, bounds: ActionBounds, *, horizon: int, cost: Any = None, tolerance: float = 1e-4
) -> None:
    """Checks a planner on a point that moves by a quarter of its action, with goals in opposite directions.

    The middle of a box leaves the point where it is, and so does uniform chance among categories, on average: a plan
    must be better than that.

    Args:
        planner: made for `bounds`.
        bounds: allowed actions.
        horizon: length of its plans.
        cost: maps goals [B, N, D] to the cost that the planner is given; the mean squared distance by
            default.
        tolerance: largest relative difference that counts as equal.

    Raises:
        ConformanceError: with the first rule that is broken.
    """
    from openjepa.planning.categorical import chance
    from openjepa.planning.costs import PathCost, bind

    make_cost = cost or (lambda goals: bind(PathCost(), goals))
    model, dim = PointWorld(), bounds.dim
    rest = torch.as_tensor((bounds.low + bounds.high) / 2, dtype=torch.float32)
    reach = torch.as_tensor(bounds.high, dtype=torch.float32) - rest
    if bounds.categories:
        rest, reach = chance(bounds, rest), _opposite_choices(bounds)
    model.rest = rest
    z = torch.linspace(-0.2, 0.2, 3)[:, None, None, None].expand(3, 1, 1, dim).contiguous()
    towards = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    ahead = towards * reach  # [3, 1, A]
    z_goal = z[:, 0] + ahead * horizon / 8
    guess = bounds.clip(rest + 0.1 * ahead.expand(3, horizon, dim))
    kept = z.clone(), guess.clone(), z_goal.clone()

    def plan(rows: slice, start: Tensor | None = None, seed: int = 0) -> Plan:
        generators = [keyed_generator(seed, i) for i in range(3)[rows]]
        own = None if start is None else start[rows]
        result = planner.plan(model, z[rows], make_cost(z_goal[rows]), generators=generators, guess=own)
        for x, before in zip((z, guess, z_goal), kept, strict=True):
            _require(torch.equal(x, before), "inputs unchanged", "`plan` writes into its inputs.")
        return result

    found = plan(slice(None))
    _require(
        list(found.actions.shape) == [3, horizon, dim]
        and list(found.cost.shape) == [3]
        and list(found.z_path.shape) == [3, horizon, 1, dim],
        "plan shape",
        f"actions, cost and z_path must be [3, {horizon}, {dim}], [3] and [3, {horizon}, 1, {dim}]; got "
        f"{list(found.actions.shape)}, {list(found.cost.shape)} and {list(found.z_path.shape)}.",
    )
    _require(not found.actions.requires_grad, "no gradient", "the plan must be detached.")
    _same(bounds.clip(found.actions), found.actions, 1e-5, "bounds", "actions lie outside the bounds")
    path = model.rollout(z, found.actions)
    _same(found.z_path, path, tolerance, "imagined path", "`z_path` is not the rollout of the returned actions")
    scored = make_cost(z_goal)(path.unsqueeze(1)).squeeze(1)
    _same(
        found.cost,
        scored,
        tolerance,
        "score is of what is executed",
        "`cost` is not that of the returned actions",
    )
    still = model.rollout(z, rest.expand(3, horizon, dim))
    worst = make_cost(z_goal)(still.unsqueeze(1)).squeeze(1)
    _require(bool((found.cost < worst).all()), "improvement", "a plan costs no less than standing still.")
    _require(found.model_steps > 0, "accounting", f"`model_steps` must be positive; got {found.model_steps}.")
    again = plan(slice(None))
    _same(again.actions, found.actions, 0.0, "determinism", "equal generators give different plans")
    middle = plan(slice(1, 2))
    _same(
        middle.actions,
        found.actions[1:2],
        tolerance,
        "batch independence",
        "a plan depends on its neighbours",
    )
    headed = ((found.actions - rest).sum(1) * reach).sum(1)
    opposite = (headed[0] > 0) and (headed[1] < 0)
    _require(bool(opposite), "one plan per environment", "opposite goals do not get opposite plans.")
    warm = plan(slice(None), guess, seed=1)
    start_cost = make_cost(z_goal)(model.rollout(z, guess).unsqueeze(1)).squeeze(1)
    allowed = start_cost * (1 + tolerance) + 1e-6
    _require(bool((warm.cost <= allowed).all()), "warm start", "a plan costs more than the guess it was given.")


def _opposite_choices(bounds: ActionBounds) -> Tensor:
    """[A] 1 at the first choice of every group, -1 at the last, which lead opposite ways."""
    way, first = torch.zeros(bounds.dim), 0
    for size in bounds.categories:
        way[first] += 1
        way[first + size - 1] -= 1
        first += size
    return way


def check_method(method: Any, batch: Any, *, untrained: Iterable[str] = (), target: str = "target_encoder") -> None:
    """Checks a method on one batch: loss, gradients, randomness, what follows a step; on a copy of the method.

    Args:
        method: an `nn.Module` that follows `openjepa.protocols.Method`.
        batch: of its kind; at least two samples.
        untrained: prefixes of parameters that may stay without a gradient although they require one.
        target: prefix of the part that must never get one.

    Raises:
        ConformanceError: with the first rule that is broken.
    """
    _require(isinstance(method, nn.Module), "module", f"a method is an `nn.Module`; got {type(method).__name__}.")
    config = getattr(method, "config", None)
    _require(
        dataclasses.is_dataclass(config) and not isinstance(config, type),
        "config",
        "`method.config` must be the dataclass it was built from.",
    )
    for verb, wanted in ((method.loss, ("batch", "step")), (method.after_step, ("step",))):
        taken = inspect.signature(verb)
        try:
            taken.bind(*wanted)
        except TypeError:
            found = f"`{verb.__name__}` must take ({', '.join(wanted)}); it takes {taken}."
            raise ConformanceError("arguments", found) from None
    method = copy.deepcopy(method).train()
    kept = copy.deepcopy(batch)
    result = _loss(method, batch)
    for name, value in vars(batch).items():
        if isinstance(value, Tensor):
            _require(torch.equal(value, getattr(kept, name)), "inputs unchanged", f"`loss` writes into `{name}`.")
    _check_gradients(method, result, tuple(untrained), target)
    fresh = copy.deepcopy(method)
    first, second = _loss(copy.deepcopy(fresh), batch).loss, _loss(fresh, batch).loss
    _same(second, first, 0.0, "repeatability", "the same weights, step and random state give two losses")
    trained = {name: p.detach().clone() for name, p in method.named_parameters() if p.requires_grad}
    method.after_step(0)
    for name, value in trained.items():
        same = torch.equal(value, method.get_parameter(name))
        _require(same, "after a step", f"`after_step` moves `{name}`, which is the optimiser's.")


def _loss(method: Any, batch: Any) -> JEPALoss:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = method.loss(batch, 0)
    _require(
        isinstance(result, JEPALoss),
        "loss type",
        f"`loss` must return a JEPALoss; got {type(result).__name__}.",
    )
    _require(result.loss.ndim == 0, "scalar loss", f"the loss must be a scalar; got {list(result.loss.shape)}.")
    _require(
        bool(torch.isfinite(result.loss.detach())),
        "finite loss",
        f"the loss is {float(result.loss.detach())}.",
    )
    for name, term in result.terms.items():
        _require(not term.requires_grad, "detached terms", f"term `{name}` must be detached.")
        _require(bool(torch.isfinite(term).all()), "finite terms", f"term `{name}` is not finite.")
    return result


def _check_gradients(method: nn.Module, result: JEPALoss, untrained: tuple[str, ...], target: str) -> None:
    _require(result.loss.requires_grad, "gradient", "the loss does not depend on any trainable parameter.")
    method.zero_grad()
    result.loss.backward()
    for name, parameter in method.named_parameters():
        if name.startswith(target):
            _require(not parameter.requires_grad, "target encoder", f"`{name}` must not require a gradient.")
            continue
        if not parameter.requires_grad or name.startswith(untrained):
            continue
        _require(
            parameter.grad is not None,
            "gradient",
            f"`{name}` requires a gradient but the loss gives it none.",
        )
        assert parameter.grad is not None
        _require(
            bool(torch.isfinite(parameter.grad).all()),
            "finite gradient",
            f"the gradient of `{name}` is not finite.",
        )


def _require(holds: bool, rule: str, found: str) -> None:
    if not holds:
        raise ConformanceError(rule, found)


def _same(x: Tensor, y: Tensor, tolerance: float, rule: str, found: str) -> None:
    """Equality up to a share of the largest magnitude; exact for a tolerance of 0."""
    difference = float((x - y).detach().abs().max())
    scale = float(y.detach().abs().max())
    _require(difference <= tolerance * max(scale, 1e-3), rule, f"{found} (by {difference:.2g} of {scale:.2g}).")
