"""Cells in the worlds: play, training, and everything that is judged about one trained rival.

What is trained is frozen; then every rival gets the same: latents of unit variance, a new predictor learned on them,
a temporal distance, CEM, the same pairs of start and goal. Rollouts and plans by a rival's own dynamics are measured
beside that.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.agent import Agent, AgentConfig
from openjepa.baselines.behaviour_cloning import clone_pixels
from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs import collect, make_policy
from openjepa.envs.two_rooms import CROSS_ROOM, TwoRooms
from openjepa.eval.acting.floors import PolicyPlayer, StateView, simulator_player
from openjepa.eval.acting.manifest import Manifest, draw_two_rooms_pairs
from openjepa.eval.acting.rollout_error import rollout_error
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.eval.health.collapse import encode_episodes
from openjepa.eval.probing.probes import MLPProbe, ProbeConfig, RidgeProbe, r2
from openjepa.heads.critic import TemporalDistanceConfig, fit_temporal_distance
from openjepa.methods.refine import RefineConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.protocols import TrajectoryBatch
from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.compute import count_flops
from openjepa.studies.comparison.frozen_world import FrozenWorld, OwnDynamics
from openjepa.studies.comparison.rivals import Training, plan_training
from openjepa.studies.comparison.scale import SHIFTS, Cell, Scale, world_of
from openjepa.train import TrainConfig, load_method, train

HORIZON, STARTS = 16, (0, 6)  # of measured rollouts; those of a toy are shorter
PLANNER = CEMConfig(horizon=9, num_samples=64, num_elites=8, num_iterations=3, knot_steps=3)
PROBE_STEPS = 400  # of the MLP probe
PREDICTOR = LatentPredictorConfig("mlp", 128, depth=2)


def play(cell: Cell, scale: Scale, out: Path) -> dict[str, Any]:
    """Records the episodes of a condition."""
    path = store_path(cell.condition, scale, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    world = TwoRooms(min(100, scale.episodes), world_of(cell.condition))
    with EpisodeStore.resume(path) as store:
        collect(world, make_policy("smooth", world.bounds), store, scale.episodes, scale.steps, scale.play_seed)
        return {"episodes": len(store), "steps": scale.steps, "seed": scale.play_seed}


def store_path(condition: str, scale: Scale, out: Path) -> Path:
    """Where the episodes of a condition are."""
    return out / "play" / f"{condition}-{scale.play_seed}"


def train_and_judge(cell: Cell, scale: Scale, out: Path, device: str) -> dict[str, Any]:
    """Trains a world model and measures all that the report says about it."""
    store, trained, held_out = _episodes(cell, scale, out)
    training = plan_training(cell.method, scale.parameters, scale.gflops, trial=cell.trial, seed=cell.seed)
    model, seconds = _train(training, cell, out, store, trained, device)
    return {
        **_facts(training, seconds),
        **_judge_model(model, cell, scale, read_episodes(store, trained), read_episodes(store, held_out)),
    }


def clone_and_judge(cell: Cell, scale: Scale, out: Path) -> dict[str, Any]:
    """Trains goal-conditioned behaviour cloning from pixels and judges it."""
    store, trained, held_out = _episodes(cell, scale, out)
    training = plan_training(cell.method, scale.parameters, scale.gflops, trial=cell.trial, seed=cell.seed)
    batch = read_episodes(store, trained)
    bounds = TwoRooms(1).bounds
    start = time.process_time()
    player = clone_pixels(batch.frames, batch.actions, bounds, training.config, seed=cell.seed)
    seconds = time.process_time() - start
    latents, known = encode_episodes(_Seeing(player.model), batch), read_episodes(store, held_out)
    z = encode_episodes(_Seeing(player.model), known)
    found: dict[str, Any] = {"probe": _probe(latents, batch, z, known)[0]}
    found["planning"] = {"frozen": _reach(player, cell.condition, scale)}
    if cell.condition == "clean" and cell.trial is None:
        found["shifts"] = {shift: _reach(player, shift, scale, timed=False) for shift in SHIFTS}
    return {**_facts(training, seconds), **found}


def judge_floors(cell: Cell, scale: Scale) -> dict[str, Any]:
    """Chance and the true simulator on the pairs of a condition."""
    options = world_of(cell.condition)
    bounds = TwoRooms(1, options).bounds
    policy = PolicyPlayer(make_policy("smooth", bounds), scale.pairs_seed)
    oracle = simulator_player(bounds, options) if not options.distractors and options.background == "plain" else None
    found = {"random play": _reach(policy, cell.condition, scale, timed=False)}
    if oracle is not None:
        found["oracle"] = _reach(oracle, cell.condition, scale, sees_truth=True)
    return {"planning": found}


def judge_untrained(cell: Cell, scale: Scale, out: Path) -> dict[str, Any]:
    """The same probe on the encoders as they are before training."""
    store, trained, held_out = _episodes(cell, scale, out)
    batch, known = read_episodes(store, trained), read_episodes(store, held_out)
    found = {}
    for kind, method in (("latent", rivals.LATENT_ONLY), ("tokens", rivals.TOKENS)):
        training = plan_training(method, scale.parameters, scale.gflops, seed=cell.seed)
        model: Any = rivals.build(training.config).eval()
        found[kind] = _probe(encode_episodes(model, batch), batch, encode_episodes(model, known), known)[0]
    return {"probe": found}


def draw_pairs(condition: str, scale: Scale) -> Manifest:
    """The judged pairs of a condition; positions are the same in all of them."""
    return draw_two_rooms_pairs(world_of(condition), scale.pairs, seed=scale.pairs_seed, task=condition)


# ---------------------------------------------------------------------------------------------------------- training


def _episodes(cell: Cell, scale: Scale, out: Path) -> tuple[EpisodeStore, Any, Any]:
    store = EpisodeStore.open(store_path(cell.condition, scale, out))
    trained, held_out = split(store, scale.held_out / scale.episodes, 0)
    return store, trained[: max(2, round(cell.share * len(trained)))], held_out


def _train(
    training: Training, cell: Cell, out: Path, store: EpisodeStore, trained: Any, device: str
) -> tuple[Any, float]:
    windows = WindowConfig(rivals.WINDOW, training.batch, seed=cell.seed)
    method: Any = rivals.build(training.config)
    moments = statistics(store, "actions", trained)
    method.set_action_statistics(moments.mean, moments.std)
    source = WindowSource(store, trained, windows)
    return fit_method(method, source, training, out / "runs" / cell.name, cell.seed, device)


def fit_method(
    method: Any, source: Any, training: Training, run_dir: Path, seed: int, device: Any
) -> tuple[Any, float]:
    """Trains by the common loop; returns the model and the CPU-seconds that it took."""
    parted = in_two_parts(training)
    config = TrainConfig(
        steps=training.steps,
        seed=seed,
        lr=training.lr,
        final_lr=0.01 * training.lr,
        schedule="wsd" if parted and training.steps > 10 else "cosine",
        anneal_steps=max(1, training.steps // 4) if parted and training.steps > 10 else 0,
        warmup_steps=min(30, training.steps // 4),
        weight_decay=1e-4,
        threads=1,
        device=device,
        log_every=training.steps,
        checkpoint_every=training.steps,
    )
    start = time.process_time()
    result = train(method, source, config, run_dir)
    return result.method.to("cpu").eval(), time.process_time() - start


def in_two_parts(training: Training) -> bool:
    """Whether two parts learn one after the other, so that a falling rate would treat them unequally."""
    return hasattr(training.config, "tokenizer_steps")


def _facts(training: Training, seconds: float) -> dict[str, Any]:
    return {
        "parameters": training.parameters,
        "steps": training.steps,
        "batch": training.batch,
        "lr": training.lr,
        "gflops": training.gflops,
        "train_seconds": seconds,
    }


# ----------------------------------------------------------------------------------------------------------- judging


def _judge_model(
    model: Any, cell: Cell, scale: Scale, batch: TrajectoryBatch, known: TrajectoryBatch
) -> dict[str, Any]:
    latents, z = encode_episodes(model, batch), encode_episodes(model, known)
    scores, read = _probe(latents, batch, z, known)
    world, head = freeze(model, cell, scale, latents, batch)
    own = OwnDynamics(world).eval() if cell.method in rivals.OWN_DYNAMICS else None
    found: dict[str, Any] = {"probe": scores, "rollout": _imagine(world, own, read, z, known)}
    found["planning"] = {"frozen": _reach(_agent(world, head, cell), cell.condition, scale)}
    if cell.condition == "clean" and cell.trial is None and cell.share == 1:
        agent = _agent(world, head, cell)
        found["shifts"] = {shift: _reach(agent, shift, scale, timed=False) for shift in SHIFTS}
        if own is not None:
            few = scale.own_pairs if cell.method == rivals.TOKENS else None
            found["planning"]["own"] = _reach(_agent(own, head, cell), cell.condition, scale, few=few)
    return found


def freeze(model: Any, cell: Cell, scale: Scale, latents: Tensor, batch: TrajectoryBatch) -> tuple[FrozenWorld, Any]:
    """The common predictor and distance on the frozen latents of a model; the same every time."""
    world = FrozenWorld(model, latents, batch.actions, PREDICTOR, generator=keyed_generator(cell.seed, 1))
    refine = RefineConfig(steps=scale.refine_steps, rollout=12)
    world.learn(latents, batch.actions, refine, generator=keyed_generator(cell.seed, 2))
    distance = TemporalDistanceConfig(steps=scale.distance_steps)
    with torch.no_grad():
        states = world.flat(latents)
    head = fit_temporal_distance(states, distance, generator=keyed_generator(cell.seed, 3))
    return world.eval().requires_grad_(False), head


def reopen_agent(cell: Cell, scale: Scale, out: Path) -> Agent:
    """The agent that a finished cell was judged with."""
    store, trained, _ = _episodes(cell, scale, out)
    batch = read_episodes(store, trained)
    model: Any = load_method(out / "runs" / cell.name).eval()
    world, head = freeze(model, cell, scale, encode_episodes(model, batch), batch)
    return _agent(world, head, cell)


def _agent(model: Any, head: Any, cell: Cell) -> Agent:
    bounds = TwoRooms(1).bounds
    cost = PathCost(head, stride=PLANNER.knot_steps)
    return Agent(model, CEM(bounds, PLANNER), cost, bounds, AgentConfig(replan_every=3, seed=cell.seed))


def _probe(latents: Tensor, batch: TrajectoryBatch, z: Tensor, known: TrajectoryBatch) -> tuple[dict[str, Any], Any]:
    """R2 of the agent's position on held-out episodes, linear and by an MLP, and the MLP probe."""
    assert batch.states is not None
    assert known.states is not None
    x, y = latents.flatten(2).flatten(0, 1), batch.states[..., :2].flatten(0, 1)
    x_test, y_test = z.flatten(2).flatten(0, 1), known.states[..., :2].flatten(0, 1)
    linear, mlp = RidgeProbe(x, y), MLPProbe(x, y, ProbeConfig(mlp_steps=PROBE_STEPS))

    def score(probe: Any) -> float:
        values = [value for value in r2(probe(x_test), y_test) if value is not None]
        return sum(values) / max(len(values), 1)

    pixels = float((mlp(x_test) - y_test).norm(dim=-1).mean())
    return {"linear": score(linear), "mlp": score(mlp), "mlp_px": pixels}, mlp


def _imagine(world: FrozenWorld, own: OwnDynamics | None, read: Any, z: Tensor, known: TrajectoryBatch) -> dict:
    """Rollout errors in px of the common dynamics and of the rival's own."""
    assert known.states is not None
    horizon = min(HORIZON, known.actions.shape[1] - max(STARTS))
    with torch.no_grad():
        flat = world.flat(z)

    def px(states: Tensor) -> Tensor:
        return read(world.standardize.inverse(states))

    found = {}
    for name, model in (("frozen", world), ("own", own)):
        if model is not None:
            errors = rollout_error(
                model, px, flat, known.actions, known.states[..., :2], horizon=horizon, starts=STARTS
            )
            found[name] = asdict(errors)
    return found


def _reach(
    player: Any,
    condition: str,
    scale: Scale,
    *,
    timed: bool = True,
    few: int | None = None,
    sees_truth: bool = False,
) -> dict[str, Any]:
    """Success on short goals (same room) and long ones (the other room), and what a decision costs."""
    options = world_of(condition)
    manifest = draw_pairs(condition, scale)
    if few is not None:
        manifest = replace(manifest, pairs=manifest.pairs[:few])

    def world(count: int) -> Any:
        return StateView(TwoRooms(count, options)) if sees_truth else TwoRooms(count, options)

    judged = JudgeConfig(
        scale.budget,
        batch_size=len(manifest),
        latency_pairs=3 if timed else 0,
        latency_decisions=6 if few is None else 2,
    )
    report = evaluate(player, world, manifest, judged)
    found: dict[str, Any] = {
        "short": [int(o.success) for o in report.outcomes if o.group != CROSS_ROOM],
        "long": [int(o.success) for o in report.outcomes if o.group == CROSS_ROOM],
    }
    if timed:
        seen = world(1)
        goal = seen.reset_to(manifest.goals[:1]).copy()
        truth = seen.proprio()
        frame = seen.reset_to(manifest.starts[:1])

        def decide() -> None:
            player.start(goal, [0], truth)
            player.act(frame, seen.proprio())

        found["ms"] = report.times.median_ms
        found["gflops"] = 0.0 if sees_truth else count_flops(decide) / 1e9
        found["model_steps"] = report.times.model_steps
    return found


class _Seeing(torch.nn.Module):
    """The encoder of a cloned policy as something that `encode_episodes` can ask."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        return self.model.encode(frames, proprio)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """A policy predicts nothing."""
        raise NotImplementedError
