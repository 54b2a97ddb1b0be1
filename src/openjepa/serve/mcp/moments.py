"""What stands behind the handles of an acting agent: moments, seen or imagined, and the episodes they belong to."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.agent import Agent
from openjepa.agent.perception import Perception
from openjepa.envs.policies import default_policy, make_policy
from openjepa.eval.plausibility.conformal import p_values
from openjepa.nn.random import keyed_seed
from openjepa.planning.costs import squared_l2
from openjepa.protocols import ActionBounds, Plan, World
from openjepa.serve.mcp.handles import Closing

MakeWorld = Callable[[int], World]
TOGETHER = 16  # environments that play at a time for pictures and calibration
GALLERIES, GALLERY_BYTES = 8, 16 << 20  # worlds whose pictures are kept, and bytes of each
ORDINARY = 199  # steps of play, each of an episode of its own, that a surprise is compared with
LATEST = 6  # model steps into an episode at which such a step may lie


@dataclass(frozen=True)
class Moment:
    """A state of the world, with what a model with context needs of the past.

    Attributes:
        z: [1, T, N, D] latest states; the last one is of this moment.
        actions: [1, T - 1, A] model actions between them.
        step: of the world, since the episode began.
        frame: [3, H, W] uint8 where it was seen, None where it is imagined.
        surprise: squared latent error of the model's prediction of this moment, where it was seen after an action.
    """

    z: Tensor
    actions: Tensor
    step: int
    frame: np.ndarray | None = None
    surprise: float | None = None

    @property
    def now(self) -> Tensor:
        """The state [1, N, D]."""
        return self.z[:, -1]

    def follow(self, path: Tensor, actions: Tensor, context_len: int, steps: int, frame: np.ndarray | None) -> "Moment":
        """The moment after a path [1, H, N, D] under model actions [1, H, A], `steps` of the world later."""
        z, taken = torch.cat([self.z, path], 1), torch.cat([self.actions, actions], 1)
        kept = min(context_len, z.shape[1])
        return Moment(z[:, -kept:], taken[:, taken.shape[1] - kept + 1 :], self.step + steps, frame)


@dataclass
class Episode(Closing):
    """One episode: where it is now, and the world that it is in, where this process has it.

    Attributes:
        perception: of its own, with its own latest frames.
        world: of one environment, or None where the client sends the pictures.
        seed: of the world.
        now: handle of the present state.
        moment: the present state itself, which does not expire.
        plans: made so far; names the random numbers of the next one.
    """

    perception: Perception
    world: World | None
    seed: int
    now: str = ""
    moment: Moment | None = None
    plans: int = 0

    def close(self) -> None:
        """Closes the world."""
        if self.world is not None:
            self.world.close()


@dataclass(frozen=True)
class KeptPlan:
    """A plan behind a handle; `state` is the handle it begins in."""

    state: str
    actions: np.ndarray  # [H * frameskip, A] of the world


class Pictures:
    """Pictures that are remembered, to show what an imagined state looks like: the most similar one stands for it.

    Args:
        frames: [G, 3, H, W] uint8.
        z: [G, N, D] their states.
    """

    def __init__(self, frames: np.ndarray, z: Tensor) -> None:
        self.frames, self.z = frames, z.flatten(1).float()  # [G, N * D]
        apart = torch.cdist(self.z, self.z)
        self.spacing = float(apart.fill_diagonal_(torch.inf).amin(1).median())

    def nearest(self, z: Tensor) -> tuple[np.ndarray, float]:
        """The picture [3, H, W] most like a state [1, N, D], and how far its latent is."""
        away = torch.cdist(z.flatten(1).float(), self.z)[0]
        return self.frames[int(away.argmin())], float(away.min())


@torch.no_grad()
def remember(agent: Agent, make_world: MakeWorld, seed: int, count: int) -> Pictures:
    """Plays at random in the world of a seed, and remembers what that looks like."""
    played = _Play(agent, make_world)
    frames, states = [], []
    with played:
        played.reset([seed] * TOGETHER, [keyed_seed(seed, i) for i in range(TOGETHER)])
        for _ in range(-(-count // TOGETHER)):
            frames.append(played.frames.copy())
            states.append(played.state())
            played.step()
    return Pictures(np.concatenate(frames)[:count], torch.cat(states)[:count])


class Galleries:
    """Pictures of play by the seed of a world; those of the latest worlds are kept.

    Args:
        agent: that sees.
        make_world: of so many environments.
        count: pictures of each world, fewer where they are large.
        frame_bytes: of one.
    """

    def __init__(self, agent: Agent, make_world: MakeWorld, count: int, frame_bytes: int) -> None:
        self.agent, self.make_world = agent, make_world
        self.count = max(TOGETHER, min(count, GALLERY_BYTES // frame_bytes))
        self._kept: OrderedDict[int, Pictures] = OrderedDict()

    def of(self, seed: int) -> Pictures:
        """The pictures of the world of a seed."""
        if seed not in self._kept:
            self._kept[seed] = remember(self.agent, self.make_world, seed, self.count)
        self._kept.move_to_end(seed)
        if len(self._kept) > GALLERIES:
            self._kept.popitem(last=False)
        return self._kept[seed]


@torch.no_grad()
def ordinary_errors(agent: Agent, make_world: MakeWorld, seed: int = 0) -> np.ndarray:
    """Squared errors [ORDINARY] of predictions of one step of random play, each from an episode of its own."""
    errors: list[float] = []
    length, played = agent.config.context_len, _Play(agent, make_world)
    with played:
        for first in range(0, ORDINARY, TOGETHER):
            seeds = [keyed_seed(seed, 1 + first + i) for i in range(TOGETHER)]
            played.reset(seeds, seeds)
            z, taken = [played.state()], list[Tensor]()
            for _ in range(1 + first // TOGETHER % LATEST):
                taken.append(played.step())
                z.append(played.state())
            context = torch.stack(z[:-1], 1)[:, -length:]  # [B, T, N, D]
            predicted = agent.model.rollout(context, torch.stack(taken, 1)[:, -context.shape[1] :])[:, -1]
            errors += squared_l2(predicted, z[-1]).tolist()
    return np.array(errors[:ORDINARY])


def p_value(error: float, ordinary: np.ndarray) -> float:
    """The conformal p-value of an error."""
    return float(p_values([error], ordinary)[0])


class _Play:
    """Random play of some environments together, seen through the agent's perception; closes the world at the end."""

    def __init__(self, agent: Agent, make_world: MakeWorld) -> None:
        self.agent, self.world = agent, make_world(TOGETHER)
        self.policy = make_policy(default_policy(self.world.bounds), self.world.bounds)
        self.perception = perception_of(agent)
        self.frames = np.empty(0)

    def __enter__(self) -> "_Play":
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()

    def reset(self, seeds: list[int], policy_seeds: list[int]) -> None:
        self.perception.start()
        self.policy.reset(policy_seeds)
        self.frames = self.world.reset(seeds)

    def state(self) -> Tensor:
        self.perception.remember(self.frames)
        return self.perception.state(self.frames, self.world.proprio(), torch.arange(len(self.frames)))

    def step(self) -> Tensor:
        """One step of the model; returns its actions [B, frameskip * A]."""
        parts = []
        for _ in range(self.agent.config.frameskip):
            parts.append(self.policy.act(self.world.states() if self.world.has_states else None))
            self.frames = self.world.step(parts[-1])
        return torch.from_numpy(np.concatenate(parts, 1)).float()


def perception_of(agent: Agent) -> Perception:
    """Eyes of its own for an episode, on the agent's weights."""
    return Perception(agent.model, agent.config.history, agent.config.device, agent.perception.frame_shape)


def chosen(plan: Plan, bounds: ActionBounds, frameskip: int) -> np.ndarray:
    """The actions of a plan of one environment, of the world [H * frameskip, A]."""
    return plan.actions[0].unflatten(1, (frameskip, bounds.dim)).flatten(0, 1).float().cpu().numpy()
