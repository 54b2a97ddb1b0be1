"""What keeps an arm from pushing a block where a picture shows it: the state, the dynamics, or the planner?

    python benchmarks/pushing.py

Here the state is the truth (place of the hand, place and yaw of the block) in place of a latent; everything else is
what `openjepa train arm-push` uses: play, a learned predictor, a search. No picture is drawn. Rows:

    play         the scripted play itself, which never sees the goal
    search       the cross-entropy method alone
    imitation    the policy that imitates play, alone (`heads.goal_policy.imitate_play`)
    both         its proposals, imagined and repaired by the search
    error_N_mm   the same where the block is seen with a normal error of N mm on each axis, drawn anew in every look

Judged on near pairs that no recipe is judged on, by the block's distance at the last step; plans are compared by their
ends. The last line is JSON: shares within 3 and 5 cm, and the predictor's error in imagined steps beside copying.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.agent import Agent, AgentConfig, ProposeVerifyRepair
from openjepa.baselines.behaviour_cloning import BehaviourCloning
from openjepa.envs import make_policy
from openjepa.envs.arm import Arm, ArmConfig
from openjepa.eval.acting.arm_pairs import draw_arm_pairs
from openjepa.eval.acting.floors import PolicyPlayer, StateView
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.heads.goal_policy import imitate_play
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.refine import refine_predictor
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEM, CEMConfig
from openjepa.planning.costs import PathCost, final
from openjepa.protocols import Planner
from openjepa.recipes.arm import arm_push, summary

UNIT = 0.1  # m
MIDDLE = torch.tensor([0.44, 0.0, 0.165])  # m, of where the hand goes
BLOCK_COUNTS = 5.0  # squared distance of the block, in that of the hand
WAY = 3.0  # cm that a block moved, from which a rollout counts as one with contact


class Unseen(Arm):
    """An arm that nobody draws."""

    def render(self) -> np.ndarray:
        """Black pictures [B, 3, 1, 1]."""
        return np.zeros((self.num_envs, 3, 1, 1), np.uint8)


class Truth(LeWM):
    """A world model whose latent is the true state."""

    error = 0.0  # m, of the block's place

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """States [B, T, 1, 7] from true ones [B, T, 8]."""
        assert proprio is not None
        hand, block = proprio[..., :3] - MIDDLE, proprio[..., 4:6] - MIDDLE[:2]
        yaw = 4 * proprio[..., 6:7]  # a quarter turn looks the same
        block = block + self.error * torch.randn(block.shape, generator=self.luck)
        return torch.cat([hand / UNIT, BLOCK_COUNTS**0.5 * block / UNIT, yaw.cos(), yaw.sin()], -1).unsqueeze(2)

    luck = torch.Generator().manual_seed(0)


def record(episodes: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """True states [E, T + 1, 8] and actions [E, T, 3] of play."""
    states, actions = [], []
    for first in range(0, episodes, 64):
        world = Unseen(64, ArmConfig(task="push"))
        play = make_policy("arm-push", world.bounds)
        seeds: Sequence[int] = range(seed * 2**20 + first, seed * 2**20 + first + 64)
        world.reset(seeds)
        play.reset(seeds)
        rows, moves = [world.states()], []
        for _ in range(steps):
            moves.append(play.act(rows[-1]))
            world.step(moves[-1])
            rows.append(world.states())
        states.append(np.stack(rows, 1))
        actions.append(np.stack(moves, 1))
    return torch.from_numpy(np.concatenate(states)), torch.from_numpy(np.concatenate(actions))


@torch.no_grad()
def errors(model: LeWM, z: Tensor, actions: Tensor, steps: int) -> dict[str, float]:
    """Median error of the block in cm after imagined steps in which it was moved, beside copying, and of the hand."""
    starts = range(0, actions.shape[1] - steps, 3)
    first = torch.cat([z[:, t] for t in starts])
    target = torch.cat([z[:, t + steps, 0] for t in starts])
    imagined = model.rollout(first.unsqueeze(1), torch.cat([actions[:, t : t + steps] for t in starts]))[:, -1, 0]
    block = 100 * UNIT / BLOCK_COUNTS**0.5
    copied = block * (target - first[:, 0])[:, 3:5].norm(dim=-1)
    touched = copied > WAY
    off = block * (target - imagined)[:, 3:5].norm(dim=-1)
    hand = 100 * UNIT * (target - imagined)[:, :3].norm(dim=-1)
    found = {"block_cm": off[touched], "copied_cm": copied[touched], "still_cm": off[~touched], "hand_cm": hand}
    return {name: float(values.median()) for name, values in found.items()}


def main() -> None:
    """Measures, prints a line for each row, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config, began = arm_push(), time.process_time()
    act, world = config.act, ArmConfig(task="push", split="near")
    states, actions = record(config.play.episodes + 64, config.play.steps, options.seed)
    bounds = Unseen(1).bounds
    model = Truth(
        LeWMConfig(action_dim=3, embed_dim=7, predictor=LatentPredictorConfig("mlp", 256), seed=options.seed)
    ).eval()
    model.set_action_statistics(actions.flatten(0, 1).mean(0), actions.flatten(0, 1).std(0))
    z = model.encode(torch.zeros(0), states)
    luck = torch.Generator().manual_seed(options.seed)
    model = refine_predictor(model, z[:-64], actions[:-64], act.refine, generator=luck)
    plan: dict[str, int] = {"horizon": act.planner.horizon, "knot_steps": act.planner.knot_steps}
    policy = imitate_play(z[:-64], actions[:-64], bounds, act.policy, **plan, generator=luck)  # type: ignore[arg-type]
    table: dict[str, Any] = {f"after_{n}_steps": errors(model, z[-64:], actions[-64:], n) for n in (1, 4, 8)}
    print(json.dumps(table), flush=True)
    pairs = draw_arm_pairs(world, options.pairs, seed=7)
    judged = JudgeConfig(budget=act.budget, stop_at_goal=False, batch_size=100, latency_pairs=0)
    wide = CEMConfig(horizon=12, knot_steps=3, num_samples=128, num_elites=12, num_iterations=4)
    both = ProposeVerifyRepair(policy, bounds, act.proposals, repair=act.planner)

    def planned(planner: Planner, error: float = 0.0) -> Agent:
        model.error = error
        replan = AgentConfig(replan_every=act.replan_every, seed=options.seed)
        return Agent(model, planner, PathCost(aggregate=final), bounds, replan)

    players = {
        "play": lambda: PolicyPlayer(make_policy("arm-push", bounds), options.seed),
        "search": lambda: planned(CEM(bounds, wide)),
        "imitation": lambda: BehaviourCloning(model, lambda z, goal: policy(z, goal)[:, 0], bounds),
        "both": lambda: planned(both),
        **{f"error_{mm}_mm": lambda mm=mm: planned(both, error=mm / 1000) for mm in (10, 20)},
    }
    for name, player in players.items():
        row = summary(evaluate(player(), lambda n: StateView(Unseen(n, world)), pairs, judged, name=name))
        table[name] = row
        print(name, json.dumps(row), flush=True)
    print(json.dumps({**table, "cpu_seconds": round(time.process_time() - began), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
