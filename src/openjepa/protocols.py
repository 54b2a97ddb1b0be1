"""The map of OpenJEPA: what a method, a world model, a cost, a planner and a world are.

Shape legend, used in every docstring:
`B` batch · `T` time steps (frames of a clip, steps of a plan) · `C H W` pixels · `N` tokens · `D` latent width ·
`K` context tokens · `M` blocks of `Q` queries · `S` candidate plans · `A` action width · `P` state or
proprioception width · `L` levels · lower-case `t h w` the token grid.

Images are `[B, C, H, W]`, video `[B, T, C, H, W]` (uint8 until the device, then float), world-model states
`[B, T, N, D]` (a global latent has N = 1), actions `[B, T, A]`; `actions[:, t]` leads from `z[:, t]` to
`z[:, t + 1]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from openjepa.nn.action_bounds import ActionBounds as ActionBounds
from openjepa.nn.batches import Batch as Batch
from openjepa.nn.batches import ImageBatch as ImageBatch
from openjepa.nn.batches import LatentBatch as LatentBatch
from openjepa.nn.batches import TrajectoryBatch as TrajectoryBatch
from openjepa.nn.batches import VideoBatch as VideoBatch

if TYPE_CHECKING:  # stores and worlds are NumPy; who only looks at recorded play does not wait for PyTorch
    import torch
    from torch import Tensor

# --------------------------------------------------------------------------------------------------------------
# Batches: what data hands to a method. `to(device)` is the only thing that a training loop does with them.


class BatchSource(Protocol):
    """An endless stream of batches in which batch number `step` is a pure function of its arguments.

    Nothing has to be saved to resume: a run that restarts at step 400 asks for batch 400. Rank r of w processes
    gets the r-th share of the global batch, so that one process with the double batch sees the same samples.
    """

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """Returns this rank's share of batch number `step`."""
        ...


# --------------------------------------------------------------------------------------------------------------
# Training


@dataclass(frozen=True)
class JEPALoss:
    """What a training step returns: the scalar to minimise, and its unweighted terms by name (detached)."""

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """A JEPA: an `nn.Module` that turns a batch into a loss. A training loop needs no more.

    A method does not count: the loop says which step it is. Anything random inside `loss` is drawn from a generator
    seeded by `(config.seed, step)`, so that a resumed run repeats it, and nothing has to be read from the device.
    """

    config: Any

    def loss(self, batch: Any, step: int) -> JEPALoss:
        """Returns the loss of one batch, with gradients into the trainable parts only.

        Args:
            batch: of the method's kind.
            step: number of optimiser steps that came before, 0 at first.
        """
        ...

    def after_step(self, step: int) -> None:
        """Does what follows optimiser step number `step`: the EMA of the target encoder."""
        ...


# --------------------------------------------------------------------------------------------------------------
# Acting


@runtime_checkable
class WorldModel(Protocol):
    """What a planner may call: two verbs."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Encodes the successive frames of each row; a state may depend on earlier frames, never on later ones.

        Args:
            frames: [B, T, C, H, W] uint8.
            proprio: [B, T, P] or None.

        Returns:
            z [B, T, N, D].
        """
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predicts the states that follow.

        Args:
            z: [B, T, N, D] context; T = 1 for a Markov model.
            actions: [B, T - 1 + H, A]; the first T - 1 lie between the context states.

        Returns:
            z_pred [B, H, N, D], the state after each of the last H actions.
        """
        ...


@runtime_checkable
class RememberingModel(Protocol):
    """A world model whose states remember what was seen and done before; optional, for what a picture does not show.

    Attributes:
        memory_dim: trailing numbers of a state that are carried on. Pictures leave them 0; 0 for a model without.
    """

    @property
    def memory_dim(self) -> int: ...  # noqa: D102

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`."""
        ...

    def carry(self, before: Tensor, actions: Tensor, now: Tensor) -> Tensor:
        """States of this moment with what they remember.

        Args:
            before: [..., N, D] states one model step ago, with what they remembered.
            actions: [..., A], the model action in between.
            now: [..., N, D] as pictures tell it.

        Returns:
            [..., N, D].
        """
        ...


@dataclass(frozen=True)
class Futures:
    """Several futures of each row, and how probable each of them is.

    Attributes:
        z: [B, F, H, N, D], the states of F paths after each of the H actions.
        log_weights: [B, F] float32, log-probabilities of the paths; they sum to 1 in every row. A path of weight 0
            (minus infinity) fills a place that no future needs.
    """

    z: Tensor
    log_weights: Tensor


@runtime_checkable
class BranchingModel(Protocol):
    """A world model that knows more than one future; optional, for planning under risk.

    Its `rollout` returns the most probable future, never an average of futures: an average of two roads is in the
    ditch between them.
    """

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`."""
        ...

    def rollout_futures(self, z: Tensor, actions: Tensor, *, num_futures: int, generator: torch.Generator) -> Futures:
        """Predicts at most `num_futures` paths of each row, with their probabilities.

        The generator's numbers are shared by all rows (common random numbers): rows with equal inputs get equal
        futures, so that candidate plans meet the same luck, and a row does not depend on its neighbours.

        Args:
            z: [B, T, N, D] context.
            actions: [B, T - 1 + H, A].
            num_futures: F; a tree of futures with no more leaves is returned whole.
            generator: on the CPU.
        """
        ...


class Cost(Protocol):
    """How far a predicted path is from a goal; lower is better. Broadcasts over leading axes.

    `cost(z_path [..., T, N, D], z_goal [..., N, D]) -> [...]`.
    """

    def __call__(self, z_path: Tensor, z_goal: Tensor) -> Tensor:
        """Returns one number for each path."""


class PathCost(Protocol):
    """A cost whose goals are bound, which is what a planner sees: z_path [B, S, T, N, D] -> [B, S]."""

    def __call__(self, z_path: Tensor) -> Tensor:
        """Returns one number for each candidate."""


@dataclass(frozen=True)
class Plan:
    """What a planner found.

    Attributes:
        actions: [B, T, A], inside the bounds, in the environment's units.
        cost: [B], of exactly these actions under the model.
        z_path: [B, T, N, D], the imagined states after each action.
        model_steps: predictor steps spent per environment, on average.
        terms: diagnostics by name, each [B] or [B, iterations].
    """

    actions: Tensor
    cost: Tensor
    z_path: Tensor
    model_steps: int
    terms: dict[str, Tensor] = field(default_factory=dict)


class Planner(Protocol):
    """Finds actions whose imagined path has a low cost. Knows nothing of environments, decoding or plots."""

    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        cost: PathCost,
        *,
        generators: Sequence[torch.Generator],
        guess: Tensor | None = None,
        context_actions: Tensor | None = None,
    ) -> Plan:
        """Plans for every environment of the batch independently of its neighbours.

        Args:
            model: the world model.
            z: [B, T, N, D] context states, T = 1 for a Markov model.
            cost: bound to the goals.
            generators: one per environment.
            guess: [B, H, A] a plan to start from (the shifted last plan, or a proposal).
            context_actions: [B, T - 1, A] the actions between the context states; needed when T > 1.
        """
        ...


class World(Protocol):
    """A batch of environments that show pictures; everything is NumPy on the host.

    A Gymnasium environment becomes one by `GymnasiumWorld`; `TwoRooms` is one by itself.
    """

    num_envs: int
    bounds: ActionBounds
    max_steps: int  # steps after which an episode of random play ends

    @property
    def name(self) -> str:
        """What the user calls it: a name of `openjepa list`, or the id of a Gymnasium environment."""
        ...

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every frame."""
        ...

    @property
    def has_states(self) -> bool:
        """Whether `states`, `distance` and `is_success` are known."""
        ...

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each column of a state; empty where there are no states."""
        ...

    @property
    def can_reset_to(self) -> bool:
        """Whether `reset_to` works."""
        ...

    @property
    def can_snapshot(self) -> bool:
        """Whether `snapshot` and `restore` work."""
        ...

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Starts an episode in every environment from its own seed; returns frames [B, C, H, W] uint8."""
        ...

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P] that `states` once returned; returns frames."""
        ...

    def snapshot(self) -> list[Any]:
        """What `restore` needs to bring each environment back to where it is now, within this process; [B]."""
        ...

    def restore(self, snapshots: Sequence[Any]) -> np.ndarray:
        """Puts every environment where one of `snapshot` was; returns frames."""
        ...

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Takes actions [B, A] and returns the next frames [B, C, H, W] uint8.

        Raises:
            ConfigError: for an action out of bounds or not finite.
        """
        ...

    def ended(self) -> np.ndarray:
        """Whether each episode is over, terminated or truncated [B] bool; it then stands still until a reset."""
        ...

    def states(self) -> np.ndarray:
        """The simulator's truth [B, P] float32, layout included: for judging, probes and oracles only."""
        ...

    def proprio(self) -> np.ndarray | None:
        """What the agent can measure about itself [B, P] float32, or None."""
        ...

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """True distance between states [B, P] and goals [B, P] in the world's own unit; [B]."""
        ...

    def is_success(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether each goal counts as reached; [B] bool."""
        ...

    def groups(self, starts: np.ndarray, goals: np.ndarray) -> list[str] | None:
        """Which kind of task each pair of states is, as in "cross room"; [B], None where there is one kind."""
        ...

    def close(self) -> None:
        """Frees windows and processes; nothing may be asked of the world afterwards."""
        ...


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T steps.

    Attributes:
        frames: [T + 1, C, H, W] uint8.
        actions: [T, A] float32.
        states: [T + 1, P] float32, the simulator's truth.
        proprio: [T + 1, P] float32 or None.
        info: plain values worth keeping (seed, policy, success).
        extras: further columns by name, [T + 1, ...] for each frame or [T, ...] for each action (reward, time).
    """

    frames: np.ndarray
    actions: np.ndarray
    states: np.ndarray | None = None
    proprio: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, np.ndarray] = field(default_factory=dict)
