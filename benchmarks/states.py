r"""What a state holds, and what can be reached with it: velocity, heading, and what is touched, on one thread.

    python benchmarks/states.py pendulum --seed 0
    python benchmarks/states.py pendulum four-rooms --seed 0 --option train.steps 300
    python benchmarks/states.py push-t --seed 0 --option method.dense_weight 0 --option act.principal null

Pendulum, one layout of MiniGrid's four rooms, and Push-T (`states_push_t.py`), where play is scripted pushing and a
goal counts at its first hit. Elsewhere play is random and episodes are judged at their last step. Every world is
learned and judged from scratch; options of the learning follow as `--option NAME VALUE`. What random play reaches is
printed beside. `--work` keeps the play for the next time. The last line is one JSON object by world: `success`,
`block_px`, `block_deg`, `velocity_r2`, `heading_r2`, `cpu_seconds` (of learning; null where a world has no such thing).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from states_push_t import push_t_states
from torch import Tensor

from openjepa.agent import Agent, AgentConfig
from openjepa.agent.landmarks import fit_landmarks
from openjepa.agent.stuck_steps import StuckSteps
from openjepa.config import override
from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.data.frame_mean import frame_statistics
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs import GymnasiumWorld, StateAdapter, collect, make_policy
from openjepa.envs.gymnasium_states import CLASSIC
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest, Pair
from openjepa.eval.acting.success_rate import JudgeConfig, Player, evaluate
from openjepa.eval.health.collapse import encode_episodes
from openjepa.eval.health.prediction import one_step_prediction
from openjepa.eval.intervals import wilson
from openjepa.eval.probing.probes import MLPProbe, ProbeConfig, RidgeProbe, r2
from openjepa.heads.critic import fit_temporal_distance
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, CEMConfig, Exhaustive, ExhaustiveConfig
from openjepa.planning.costs import Last, PathCost, mean
from openjepa.protocols import TrajectoryBatch, World
from openjepa.recipes.push_t import push_t
from openjepa.train import TrainConfig, train


@dataclass(frozen=True)
class LearnConfig:
    """How a world is played and learned."""

    policy: str = "drift"
    episodes: int = 300
    steps: int = 60
    window: int = 11
    batch_size: int = 24
    method: LeWMConfig = field(default_factory=LeWMConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


@dataclass(frozen=True)
class Learned:
    """A world model, the latents [E, T, 1, D] that it was refined on with their true states, and held-out play."""

    model: LeWM
    latents: Tensor
    states: Tensor
    held_out: TrajectoryBatch
    cpu_seconds: float


def record(name: str, config: LearnConfig, make: Callable[[int], World], work: Path, seed: int) -> EpisodeStore:
    """Plays where nobody has played yet."""
    path = work / f"{name}-{config.policy}-{config.episodes}x{config.steps}-seed{seed}"
    world = make(min(50, config.episodes))
    with EpisodeStore.resume(path) as store:
        collect(world, make_policy(config.policy, world.bounds), store, config.episodes, config.steps, seed)
    world.close()
    return EpisodeStore.open(path)


def learn(store: EpisodeStore, config: LearnConfig, run_dir: Path, seed: int) -> Learned:
    """Trains the encoder with a first predictor on pixels, and a better predictor on frozen latents."""
    began = time.process_time()
    trained, held_out = split(store, 0.06, seed)
    source = WindowSource(store, trained, WindowConfig(config.window, config.batch_size, seed=seed))
    model = LeWM(replace(config.method, action_dim=source.action_dim, seed=seed))
    moments = statistics(store, "actions", trained)
    model.set_action_statistics(moments.mean, moments.std)
    if config.method.encoder.gain is not None:
        frames = frame_statistics(store, trained, max_frames=1024)
        model.set_frame_statistics(frames.mean, frames.rms)
    train(model, source, replace(config.train, seed=seed), run_dir)
    model.eval()
    trained_at = time.process_time()
    parts = [read_episodes(store, ids) for ids in np.array_split(trained, max(1, len(trained) // 50))]
    latents = torch.cat([encode_episodes(model, part) for part in parts])
    actions = torch.cat([part.actions for part in parts])
    encoded_at = time.process_time()
    model = refine_predictor(model, latents, actions, config.refine, generator=keyed_generator(seed, 1))
    ended = time.process_time()
    print(
        f"  trained in {trained_at - began:.0f}, encoded in {encoded_at - trained_at:.0f}, refined in "
        f"{ended - encoded_at:.0f} CPU-s"
    )
    states = torch.cat([part.states for part in parts if part.states is not None])
    return Learned(model, latents, states, read_episodes(store, held_out), ended - began)


def probe(learned: Learned, targets: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, float]:
    """Held-out R2 of true quantities, read out by probes of the training play, and how well a step is foreseen."""
    batch, skip = learned.held_out, learned.model.states.memory
    z = encode_episodes(learned.model, batch)[:, skip:]
    assert batch.states is not None
    truth, wanted = targets(learned.states[:, skip:]), targets(batch.states[:, skip:])
    x, test_x = learned.latents[:, skip:].flatten(2).flatten(0, 1), z.flatten(2).flatten(0, 1)
    y, test_y = (torch.stack(list(values.values()), -1).flatten(0, 1) for values in (truth, wanted))
    linear = r2(RidgeProbe(x, y, ridge=1e-6)(test_x), test_y)
    mlp = r2(MLPProbe(x, y, ProbeConfig(mlp_steps=1000))(test_x), test_y)
    for name, *pair in zip(wanted, linear, mlp, strict=True):
        print("  {}: R2 {:.4f} linear, {:.4f} MLP".format(name, *pair))
    step = one_step_prediction(learned.model, z, batch.actions[:, skip:])
    print(
        f"  one step: error / copying {step.copy_ratio:.4f}, error with shuffled actions / error "
        f"{step.permutation_ratio:.1f}"
    )
    return {name: max(float(value or 0) for value in pair) for name, *pair in zip(wanted, linear, mlp, strict=True)}


def judge(name: str, player: Player, make: Callable[[int], World], manifest: Manifest, budget: int) -> float:
    """Share of the pairs whose goal holds at the last step."""
    options = JudgeConfig(budget=budget, stop_at_goal=False, batch_size=100, latency_pairs=0)
    began = time.process_time()
    outcomes = evaluate(player, make, manifest, options, name=name).outcomes
    hits = sum(bool(outcome.success_at_end) for outcome in outcomes)
    low, high = wilson(hits, len(outcomes))[:2]
    print(
        f"  {name}: {hits / len(outcomes):.0%} [{low:.0%}, {high:.0%}] of {len(outcomes)} at the last of {budget} "
        f"steps, {time.process_time() - began:.0f} CPU-s"
    )
    return hits / len(outcomes)


class Due:
    """A player whose goal is due at a stated step: its cost looks at the steps that are left."""

    def __init__(self, agent: Agent, steps: int, window: int = 2) -> None:
        self.agent, self.steps, self.window = agent, steps, window

    def start(self, goal_frames: Any, env_ids: Any = None, goal_proprio: Any = None) -> None:  # noqa: D102
        self.left = self.steps
        self.agent.start(goal_frames, env_ids, goal_proprio)

    def act(self, frames: Any, proprio: Any = None, active: Any = None) -> np.ndarray:  # noqa: D102
        assert isinstance(self.agent.cost, PathCost)
        self.agent.cost = replace(self.agent.cost, aggregate=Last(self.window, max(1, self.left)))
        self.left -= 1
        return self.agent.act(frames, proprio, active)


# ------------------------------------------------------------------------------------------------------ Pendulum

SLOW = 1.0  # rad/s; the largest speed is 8


def turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between two angles, in rad."""
    return np.abs((a - b + np.pi) % (2 * np.pi) - np.pi)


def without_arrow(env: Any, observation: Any) -> np.ndarray:
    """Pendulum's picture without the arrow that shows the last torque: the action must not be in the picture."""
    env.unwrapped.last_u = None
    return env.render()


PENDULUM = replace(
    CLASSIC,
    names=lambda env: ("angle", "speed"),
    picture=without_arrow,
    distance=lambda states, goals: np.rad2deg(turn(states[..., 0], goals[..., 0])),
    is_success=lambda states, goals: (
        (np.rad2deg(turn(states[..., 0], goals[..., 0])) < 15) & (np.abs(states[..., 1]) < SLOW)
    ),
)


def pendulum_world(count: int, adapter: StateAdapter = PENDULUM) -> World:
    """Pendulum-v1 at 64 px, without an end."""
    return GymnasiumWorld("Pendulum-v1", count, adapter=adapter, max_steps=1000)


def pendulum_config() -> LearnConfig:
    """Pairs of frames, because a torque changes a velocity."""
    return LearnConfig(
        method=LeWMConfig(
            embed_dim=16,
            state="pair",
            encoder=FrameEncoderConfig("attn", patch_size=4, gain=0.5),
            rollout="both",
            covariance_weight=0.2,
        ),
        train=TrainConfig(steps=500, lr=2e-3, log_every=100, threads=1),
        refine=RefineConfig(
            steps=500, rollout=12, noise=0.05, predictor=LatentPredictorConfig("mlp", 256, scaled=True)
        ),
    )


def pendulum(config: LearnConfig, work: Path, run_dir: Path, seed: int) -> dict[str, Any]:
    """Reaches recorded poses 25 steps later, slowly, and swings up."""
    store = record("pendulum", config, pendulum_world, work, seed)
    learned = learn(store, config, run_dir, seed)
    scores = probe(learned, lambda s: {"cos": s[..., 0].cos(), "sin": s[..., 0].sin(), "velocity": s[..., 1]})
    model, world = learned.model, pendulum_world(1)

    def player(horizon: int) -> Agent:
        cost = PathCost(aggregate=mean, pose_dim=model.config.embed_dim)
        planner = CEM(world.bounds, CEMConfig(horizon=horizon, num_samples=128, num_iterations=4))
        return Agent(model, planner, cost, world.bounds, AgentConfig(history=2, seed=seed))

    def play() -> PolicyPlayer:
        return PolicyPlayer(make_policy("drift", world.bounds), seed)

    timed = timed_pairs(store, split(store, 0.06, seed)[1], world, seed)
    reached = judge("timed goals", Due(player(12), 25), pendulum_world, timed, 25)
    floor = judge("timed goals, random play", play(), pendulum_world, timed, 25)
    up = [Pair(i, (np.pi, 0.0), (0.0, 0.0), 180.0, None, None) for i in range(1)]
    swing = Manifest(
        "swing-up",
        {},
        seed,
        {},
        tuple(
            replace(up[0], pair_id=i, start_state=(np.pi + a, 0.0)) for i, a in enumerate(np.linspace(-0.3, 0.3, 40))
        ),
    )
    swung = judge("swing up", player(15), pendulum_world, swing, 100)
    judge("swing up, random play", play(), pendulum_world, swing, 100)
    return {
        "success": reached,
        "floor": floor,
        "swing_up": swung,
        "velocity_r2": scores["velocity"],
        "cpu_seconds": learned.cpu_seconds,
    }


def timed_pairs(store: EpisodeStore, episodes: Sequence[int], world: World, seed: int, count: int = 100) -> Manifest:
    """Held-out states, and slow ones 25 steps later."""
    found = []
    for i in episodes:
        rows = store.rows_of("states", int(i))
        solved = world.is_success(rows[:-25], rows[25:])
        found += [(int(i), t) for t in np.flatnonzero(~solved & (np.abs(rows[25:, 1]) < SLOW))]
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    assert len(order) == count, f"{len(found)} candidates"
    pairs = []
    for number, k in enumerate(order):
        i, t = found[k]
        rows = store.rows_of("states", i)
        gap = float(world.distance(rows[t : t + 1], rows[t + 25 : t + 26])[0])
        pairs.append(Pair(number, tuple(map(float, rows[t])), tuple(map(float, rows[t + 25])), gap, None, i, int(t)))
    return Manifest("pendulum", {"offset": 25}, seed, {"candidates": len(found)}, tuple(pairs))


# ------------------------------------------------------------------------------------------------------ MiniGrid


class OneLayout(gymnasium.Wrapper):  # type: ignore[type-arg]
    """A grid whose layout is always that of one seed, and whose agent starts anywhere; left, right and forward."""

    def __init__(self, env: gymnasium.Env, layout: int = 0) -> None:  # type: ignore[type-arg]
        super().__init__(env)
        self.layout = layout
        self.action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:  # noqa: D102
        found = self.env.reset(seed=self.layout, options=options)
        rng, places = np.random.default_rng(seed), free_cells(self)
        self.unwrapped.agent_pos = places[rng.integers(len(places))]
        self.unwrapped.agent_dir = int(rng.integers(4))
        return found


def free_cells(env: gymnasium.Env) -> list[tuple[int, int]]:  # type: ignore[type-arg]
    """Cells that an agent can be in."""
    grid = env.unwrapped.grid
    cells = [(x, y) for x in range(grid.width) for y in range(grid.height)]
    return [cell for cell in cells if grid.get(*cell) is None or grid.get(*cell).can_overlap()]


def four_rooms_world(count: int, **options: Any) -> World:
    """MiniGrid-FourRooms in one layout, cells of 5 px, no lit view."""
    make = partial(
        gymnasium.make,
        "minigrid:MiniGrid-FourRooms-v0",
        render_mode="rgb_array",
        max_steps=100_000,
        disable_env_checker=True,
        **{"highlight": False, "tile_size": 5, **options},
    )
    side = 19 * make.keywords["tile_size"]
    return GymnasiumWorld(lambda: OneLayout(make()), count, image_size=side, can_end=False, max_steps=1000)


def four_rooms_config() -> LearnConfig:
    """Turn and step: choices, and cells of the size of the grid's."""
    return LearnConfig(
        policy="one-hot",
        method=LeWMConfig(
            embed_dim=16,
            action_dim=3,
            categories=(3,),
            encoder=FrameEncoderConfig("attn", image_size=95, patch_size=5, gain=0.5),
            rollout="both",
            covariance_weight=0.2,
        ),
        train=TrainConfig(steps=400, lr=2e-3, log_every=100, threads=1),
        refine=RefineConfig(steps=1000, rollout=5, noise=0.1, predictor=LatentPredictorConfig("mlp", 256, scaled=True)),
    )


TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # what a step forward adds to x and y, by heading


def true_steps(free: set[tuple[int, int]], goal: tuple[int, int]) -> dict[tuple[int, int, int], int]:
    """Steps from every place and heading to a cell, by breadth-first search backwards."""
    steps = {(*goal, turn): 0 for turn in range(4)}
    front = list(steps)
    while front:
        following = []
        for x, y, turn in front:
            dx, dy = TURNS[turn]
            for state in ((x, y, (turn + 1) % 4), (x, y, (turn - 1) % 4), (x - dx, y - dy, turn)):
                if state not in steps and state[:2] in free:
                    steps[state] = steps[x, y, turn] + 1
                    following.append(state)
        front = following
    return steps


def grid_pairs(world: GymnasiumWorld, seed: int, count: int = 100) -> Manifest:
    """Any place and heading, and any goal that is 5 to 20 steps away."""
    world.reset([0])
    cells = free_cells(world.envs[0])
    rng, pairs = np.random.default_rng(seed), list[Pair]()
    while len(pairs) < count:
        start, goal = (cells[k] for k in rng.integers(len(cells), size=2))
        turns = rng.integers(4, size=2)
        steps = true_steps(set(cells), goal)[(*start, int(turns[0]))]
        if 5 <= steps <= 20:
            ends = ((*start, float(turns[0])), (*goal, float(turns[1])))
            pairs.append(Pair(len(pairs), *ends, float(np.hypot(*np.subtract(start, goal))), None, None))
    return Manifest("four-rooms", {"steps": "5 to 20"}, seed, {}, tuple(pairs))


class Mapped(Agent):
    """An agent that remembers which imagined steps led nowhere."""

    def start(self, goal_frames: Any, env_ids: Any = None, goal_proprio: Any = None) -> None:  # noqa: D102
        super().start(goal_frames, env_ids, goal_proprio)
        self._episode.failed_plans = StuckSteps(self.cost.distance)  # type: ignore


def four_rooms(config: LearnConfig, work: Path, run_dir: Path, seed: int) -> dict[str, Any]:
    """Reaches pictured cells in four rooms."""
    store = record("four-rooms", config, four_rooms_world, work, seed)
    learned = learn(store, config, run_dir, seed)
    quarter = np.pi / 2
    scores = probe(
        learned,
        lambda s: {
            "x": s[..., 0],
            "y": s[..., 1],
            "heading_cos": (s[..., 2] * quarter).cos(),
            "heading_sin": (s[..., 2] * quarter).sin(),
        },
    )
    began = time.process_time()
    landmarks = fit_landmarks(learned.latents)
    print(f"  {len(landmarks)} landmarks, {landmarks.edges.shape[1]} edges, {time.process_time() - began:.0f} CPU-s")
    world = four_rooms_world(1)
    pairs = grid_pairs(world, seed)  # type: ignore[arg-type]
    head = fit_temporal_distance(learned.latents, generator=keyed_generator(seed, 2))

    def player(kind: type[Agent], distance: Any) -> Agent:
        planner = Exhaustive(world.bounds, ExhaustiveConfig(horizon=5))
        return kind(learned.model, planner, PathCost(distance, mean), world.bounds, AgentConfig(seed=seed))

    reached = judge("landmarks, stuck steps remembered", player(Mapped, landmarks), four_rooms_world, pairs, 40)
    plain = judge("landmarks", player(Agent, landmarks), four_rooms_world, pairs, 40)
    temporal = judge("temporal distance", player(Agent, head), four_rooms_world, pairs, 40)
    floor = judge("random play", PolicyPlayer(make_policy("one-hot", world.bounds), seed), four_rooms_world, pairs, 40)
    return {
        "success": reached,
        "without_memory": plain,
        "temporal_distance": temporal,
        "floor": floor,
        "heading_r2": min(scores["heading_cos"], scores["heading_sin"]),
        "cpu_seconds": learned.cpu_seconds,
    }


# ---------------------------------------------------------------------------------------------------------- main

WORLDS: dict[str, tuple[Callable[[], Any], Callable[..., dict[str, Any]]]] = {
    "pendulum": (pendulum_config, pendulum),
    "four-rooms": (four_rooms_config, four_rooms),
    "push-t": (push_t, push_t_states),
    "push-t-supervised": (push_t, partial(push_t_states, supervised=True)),
}
COLUMNS = ("success", "block_px", "block_deg", "velocity_r2", "heading_r2", "cpu_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="+", choices=WORLDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--option", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--work", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(1)
    options = {name: json.loads(value) if value[:1] in '-0123456789[tfn"' else value for name, value in words.option}
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = words.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for name in words.worlds:
            make, run = WORLDS[name]
            print(f"{name}, seed {words.seed} {options or ''}", flush=True)
            found = run(override(make(), options), work, Path(scratch) / f"run-{name}", words.seed)
            results[name] = {column: found.pop(column, None) for column in COLUMNS} | found
    print(json.dumps(results))


if __name__ == "__main__":
    main()
