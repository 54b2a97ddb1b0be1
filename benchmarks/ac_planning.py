"""One decision of V-JEPA 2-AC with the reference's budget: ours beside a straight port of the published planner.

    python benchmarks/ac_planning.py [--grid 4] [--depth 2] [--micro-batch 128] [--share 1.0] [--precision bf16]

Both search with the same network, problem and random numbers. The port does what the published planner does: context
and goal repeated for every candidate, all candidates at once, all frames anew at every step of a roll-out, float32.
Seconds are those of the processor (one thread), so that a busy machine disturbs nothing. The costs that are compared
are those of the two plans under the same network in float32. The last line is JSON: `speedup_horizon_1` (800
candidates, 10 iterations), `speedup_horizon_8` (300, 15), the same without stopping early (`..._all_iterations`),
`plan_cost_ratio` (the larger of the two), `peak_mb`, and `shares`: what each lever brings, as a factor, one behind the
other.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig
from openjepa.models.posed_world_model import PosedWorldModel
from openjepa.models.vit import VisionTransformer, vit_tiny
from openjepa.nn.poses import integrate_poses
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import normalize_features
from openjepa.planning.candidates import Imagination
from openjepa.planning.costs import PathCost, bind, final, l1
from openjepa.planning.mean_cem import MeanCEM, vjepa2_ac_planner

STEP = 0.075  # m, largest step of an axis
BUDGETS = {1: (800, 10), 8: (300, 15)}  # horizon: candidates, iterations
ELITES, KEEP = 10, 0.15
COST_STOP = 0.01  # of the range of the first candidates' costs


class Port:
    """The published planner, written from its description (arXiv 2506.09985 and its code's behaviour)."""

    def __init__(self, predictor: PoseActionPredictor) -> None:
        self.predictor = predictor

    def plan(self, z: Tensor, pose: Tensor, z_goal: Tensor, noise: Tensor) -> Tensor:
        """The mean after all iterations [H, 7], from z [1, 1, N, D], a pose [1, 1, 7], noise [iterations, S, H, 4]."""
        horizon = noise.shape[2]
        mean, std = torch.zeros(horizon, 4), torch.tensor([STEP] * 3 + [1.0]).repeat(horizon, 1)
        for draws in noise:
            samples = draws * std + mean
            samples[..., :3] = samples[..., :3].clamp(-STEP, STEP)
            samples[..., 3] = samples[..., 3].clamp(-0.75, 0.75)
            cost = self.costs(z, pose, z_goal, samples)
            elites = samples[cost.topk(ELITES, largest=False).indices]
            mean = elites.mean(0) * (1 - KEEP) + mean * KEEP
            std = elites.std(0) * (1 - KEEP) + std * KEEP
        mean[mean[:, 3].abs() < 0.25, 3] = 0.0
        return _with_rotation(mean)

    def costs(self, z: Tensor, pose: Tensor, z_goal: Tensor, samples: Tensor) -> Tensor:
        """Cost [S] of samples [S, H, 4]: every step predicts all frames so far, and keeps the last."""
        actions = _with_rotation(samples)
        count, horizon = actions.shape[:2]
        frames, poses, goal = (x.repeat(count, *(1,) * (x.ndim - 1)) for x in (z, pose, z_goal))
        for step in range(horizon):
            found = self.predictor(frames, actions[:, : step + 1], poses)[:, -1:]
            frames = torch.cat((frames, normalize_features(found)), 1)
            poses = torch.cat((poses, integrate_poses(poses[:, -1], actions[:, step : step + 1])), 1)
        return (frames[:, -1] - goal).abs().mean((1, 2))


def _with_rotation(actions: Tensor) -> Tensor:
    """Position and gripper [..., 4] with the rotation that is not searched [..., 7]."""
    return torch.cat((actions[..., :3], torch.zeros_like(actions[..., :3]), actions[..., 3:]), -1)


def problem(grid: int, depth: int, horizon: int) -> tuple[PoseActionPredictor, PosedWorldModel, Tensor, Tensor]:
    """Networks with random weights, a context, and a goal that lies near what some plan reaches."""
    generator = keyed_generator(0, horizon)
    encoder = VisionTransformer(
        vit_tiny(img_size=(16 * grid, 16 * grid), patch_size=16, depth=2), generator=generator
    ).eval()
    config = PoseActionPredictorConfig(
        embed_dim=192, predictor_dim=384, depth=depth, num_heads=6, native_rows=grid, rope_layout="tiled"
    )
    predictor = PoseActionPredictor(config, generator=generator).eval().requires_grad_(False)
    with torch.no_grad():  # as after training: an action changes the picture, and each axis about as much
        predictor.action_encoder.weight.mul_(torch.tensor([900.0] * 3 + [50.0] * 3 + [60.0]))
        for block in predictor.blocks:
            block.attn.proj.weight.mul_(8)
            block.mlp.fc2.weight.mul_(8)
    pose = torch.tensor([[[0.4, 0.0, 0.3, 0.1, -0.2, 0.3, 0.5]]])
    world = PosedWorldModel(lambda clips: encoder(clips[:, 0]), predictor, pose)
    picture = torch.randint(256, (1, 1, 3, 16 * grid, 16 * grid), generator=generator, dtype=torch.uint8)
    z = world.encode(picture)
    wanted = _with_rotation((2 * torch.rand(1, horizon, 4, generator=generator) - 1) * torch.tensor([STEP] * 3 + [0.6]))
    reached = world.rollout(z, wanted)[:, -1]
    goal = normalize_features(reached + 0.3 * torch.randn(reached.shape, generator=generator))
    return predictor, world, z, goal


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def peak() -> float:
    """Most memory that the process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def planner(horizon: int, options: argparse.Namespace, cost_stop: float | None = COST_STOP) -> MeanCEM:
    """Ours, with the reference's budget."""
    samples, iterations = budget(horizon, options.share)
    return vjepa2_ac_planner(
        max_step=STEP,
        horizon=horizon,
        num_samples=samples,
        num_iterations=iterations,
        num_elites=ELITES,
        momentum=(KEEP, KEEP),
        gripper_momentum=(KEEP, KEEP),
        micro_batch=options.micro_batch,
        cost_stop=cost_stop,
    )


def budget(horizon: int, share: float) -> tuple[int, int]:
    """Candidates and iterations."""
    samples, iterations = BUDGETS[horizon]
    return max(2 * ELITES, round(samples * share)), iterations


@torch.no_grad()
def decide(horizon: int, options: argparse.Namespace) -> dict[str, Any]:
    """One decision by both, with the cost of the two plans."""
    predictor, world, z, goal = problem(options.grid, options.depth, horizon)
    samples, iterations = budget(horizon, options.share)
    noise = torch.randn(iterations, samples, horizon, 4, generator=keyed_generator(1, horizon))
    full = torch.zeros(1, iterations, samples, horizon, 7)
    full[..., [0, 1, 2, 6]] = noise
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    fast = replace(world, predictor=copy_of(predictor, dtype))
    cost = bind(PathCost(l1, final), goal)

    def ours(cost_stop: float | None) -> Any:
        search = planner(horizon, options, cost_stop)
        return search.search(Imagination(fast, z, cost, None, options.micro_batch), full)

    ours(COST_STOP) if options.share < 0.5 else fast.rollout(z, full[:, 0, 0])  # first calls choose kernels
    before = peak()
    early, plan = seconds(lambda: ours(COST_STOP))
    whole, _ = seconds(lambda: ours(None))
    held = peak() - before
    port = Port(predictor)
    straight, reference = seconds(lambda: port.plan(z, world.poses, goal, noise))
    ported = peak() - before

    def true_cost(actions: Tensor) -> float:
        return float(cost(world.rollout(z, actions)[:, None])[0, 0])

    still = true_cost(torch.zeros(1, horizon, 7))
    costs = true_cost(plan.actions), true_cost(reference[None])
    used = plan.terms["best_cost"].shape[1]
    print(
        f"horizon {horizon}: port {straight:.1f} s, ours {whole:.2f} s in all {iterations} iterations, {early:.2f} s "
        f"in {used}; cost {costs[0]:.4f} beside {costs[1]:.4f}, standing still {still:.4f}",
        flush=True,
    )
    levers = ladder(horizon, options, predictor, world, z, goal, full[:, 0])
    levers["stopping when elites agree"] = whole / early
    return {
        "speedup": straight / early,
        "speedup_all_iterations": straight / whole,
        "cost_ratio": costs[0] / costs[1],
        "gain_ratio": (still - costs[0]) / max(still - costs[1], 1e-9),
        "peak_mb": held,
        "peak_mb_port": ported,
        "shares": levers,
    }


def ladder(
    horizon: int,
    options: argparse.Namespace,
    predictor: PoseActionPredictor,
    world: PosedWorldModel,
    z: Tensor,
    goal: Tensor,
    draws: Tensor,
) -> dict[str, float]:
    """What each lever brings to the scoring of one iteration's candidates, as a factor; each beside the one before."""
    actions = (draws * torch.tensor([STEP] * 3 + [0.0] * 3 + [1.0])).clamp(-STEP, STEP)  # [1, S, H, 7]
    cost, count = bind(PathCost(l1, final), goal), actions.shape[1]
    half = replace(world, predictor=copy_of(predictor, torch.bfloat16))

    def remembering() -> Tensor:
        return cost(world.rollout(z.repeat(count, 1, 1, 1), actions[0])[None])

    def shared(model: PosedWorldModel, micro_batch: int | None) -> Callable[[], Tensor]:
        return lambda: Imagination(model, z, cost, None, micro_batch).scores(actions)

    steps = {
        "": lambda: Port(predictor).costs(z, world.poses, goal, actions[0][..., [0, 1, 2, 6]]),
        "one frame a step (keys and values remembered)": remembering,
        "context taken in once": shared(world, None),
        "micro-batches": shared(world, options.micro_batch),
    }
    if options.precision == "bf16":
        steps["bf16"] = shared(half, options.micro_batch)
    times = {name: min(seconds(call)[0] for _ in range(2)) for name, call in steps.items()}
    names = list(times)
    return {after: times[before] / times[after] for before, after in pairwise(names)}


def copy_of(predictor: PoseActionPredictor, dtype: torch.dtype) -> PoseActionPredictor:
    """The same weights in another precision."""
    copied = PoseActionPredictor(predictor.config)
    copied.load_state_dict(predictor.state_dict())
    return copied.to(dtype).eval().requires_grad_(False)


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Runs both decisions and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=4, help="rows of tokens of a frame")
    parser.add_argument("--depth", type=int, default=2, help="blocks of the predictor")
    parser.add_argument("--micro-batch", type=int, default=128, help="candidates in one call: memory")
    parser.add_argument("--share", type=float, default=1.0, help="of the reference's candidates")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    found = {horizon: decide(horizon, options) for horizon in BUDGETS}
    result = {
        "speedup_horizon_1": found[1]["speedup"],
        "speedup_horizon_8": found[8]["speedup"],
        "speedup_horizon_1_all_iterations": found[1]["speedup_all_iterations"],
        "speedup_horizon_8_all_iterations": found[8]["speedup_all_iterations"],
        "plan_cost_ratio": max(found[h]["cost_ratio"] for h in found),
        "gain_ratio": min(found[h]["gain_ratio"] for h in found),
        "peak_mb": max(found[h]["peak_mb"] for h in found),
        "peak_mb_port": max(found[h]["peak_mb_port"] for h in found),
        "shares": {f"horizon {h}": found[h]["shares"] for h in found},
        "grid": options.grid,
        "micro_batch": options.micro_batch,
        "precision": options.precision,
        "share_of_candidates": options.share,
    }
    print(json.dumps(result, default=float))
    return result


if __name__ == "__main__":
    main()
