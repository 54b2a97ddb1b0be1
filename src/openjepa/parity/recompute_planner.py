"""Recomputes the planner of V-JEPA 2-AC on a recorded toy model, and the arithmetic of poses."""

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from openjepa.interop.state_files import State, read_json
from openjepa.models.posed_world_model import PosedWorldModel
from openjepa.nn.poses import integrate_poses, pose_differences, rotation_matrix
from openjepa.nn.random import keyed_generator
from openjepa.parity.recorded_case import Case, Found
from openjepa.planning.candidates import Imagination
from openjepa.planning.costs import PathCost, bind, final, l1
from openjepa.planning.mean_cem import MeanCEM, vjepa2_ac_planner

SEARCHED = (0, 1, 2, 6)  # axes of an action for the four recorded random numbers: x, y, z, gripper


@dataclass
class LinearToy:
    """Next frame = last frame + action @ matrix + gain * (pose @ pose matrix), remembering what it was asked."""

    action_matrix: Tensor
    pose_matrix: Tensor
    pose_gain: float = 0.0
    asked: list[Tensor] = field(default_factory=list)

    def rollout(self, z: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """States [B, H, N, D] after z [B, 1, N, D]."""
        self.asked.append(actions.clone())
        moved = actions @ self.action_matrix + self.pose_gain * (poses @ self.pose_matrix)  # [B, H, D]
        return z + moved.cumsum(1).unsqueeze(2)


def planner(case: Case) -> Found:
    """Candidates and plans for recorded random numbers, recovery of known actions, poses."""
    recorded, inputs = read_json(case.folder / "planner.json"), case.inputs()
    found = Found(extra=_poses(case))
    for name, entry in recorded["exact"].items():
        found.outputs |= _exact(name, entry["parameters"], inputs)
    for i, entry in enumerate(recorded.get("recover", ())):
        found.extra[f"recovery {i}, error of its tolerance"] = (_recovery(i, entry, inputs), 1.0)
    return found


def _exact(name: str, parameters: dict[str, Any], inputs: State) -> State:
    search, toy = _planner(parameters), _toy(parameters, inputs)
    noise = inputs[f"{name}.noise"].permute(0, 2, 1, 3)  # [iterations, S, H, 4]
    full = noise.new_zeros(1, *noise.shape[:-1], 7)
    full[..., list(SEARCHED)] = noise
    plan = search.search(_problem(toy, inputs, inputs[f"{name}.goal"]), full)
    return {f"{name}.samples": torch.stack(toy.asked[:-1]), f"{name}.action": plan.actions[0]}


def _recovery(number: int, entry: dict[str, Any], inputs: State) -> float:
    """Largest error of the recovered sum of actions, as a share of the recorded tolerance; own random numbers."""
    search, toy = _planner(entry["parameters"]), _toy(entry["parameters"], inputs)
    goal = inputs["start"] + torch.tensor(entry["goal_is_start_plus"])
    problem = _problem(toy, inputs, goal)
    plan = search.plan(_world(problem), problem.z, problem.cost, generators=[keyed_generator(0, number)])
    near_mean = "tolerance_around_mean" in entry
    expected = torch.tensor(entry["mean_over_24_seeds" if near_mean else "sum_of_actions_to_recover"])
    limit = torch.tensor(entry["tolerance_around_mean" if near_mean else "tolerance"])
    return float(((plan.actions[0].sum(0) - expected).abs() / limit).max())


def _world(problem: Imagination) -> PosedWorldModel:
    """The world model of a problem that `_problem` made."""
    assert isinstance(problem.model, PosedWorldModel)
    return problem.model


def _problem(toy: LinearToy, inputs: State, goal: Tensor) -> Imagination:
    world = PosedWorldModel(lambda pixels: pixels, toy, inputs["start_pose"])
    return Imagination(world, inputs["start"], bind(PathCost(l1, final), goal[:, 0]))


def _toy(parameters: dict[str, Any], inputs: State) -> LinearToy:
    return LinearToy(inputs["action_matrix"], inputs["pose_matrix"], parameters.get("pose_gain", 0.0))


def _planner(parameters: dict[str, Any]) -> MeanCEM:
    p = parameters
    return vjepa2_ac_planner(
        max_step=p["maxnorm"],
        horizon=p["rollout"],
        num_samples=p["samples"],
        num_iterations=p["cem_steps"],
        num_elites=p["topk"],
        momentum=(p["momentum_mean"], p["momentum_std"]),
        gripper_momentum=(p.get("momentum_mean_gripper", 0.15), p.get("momentum_std_gripper", 0.15)),
        close_gripper=p.get("close_gripper"),
        fixed=tuple((SEARCHED[int(axis)], value) for axis, value in p.get("fixed_axes", {}).items()),
    )


def _poses(case: Case) -> dict[str, tuple[float, float]]:
    """Differences of recorded poses in float64, rotations as matrices, and their limit."""
    recorded = read_json(case.folder / "poses.json")
    steps, pairs = (_doubles(recorded[kind]) for kind in ("integrate", "difference"))
    integrated = integrate_poses(steps["pose"], steps["action"].unsqueeze(1))[:, 0]
    changes = pose_differences(torch.stack((pairs["start"], pairs["end"]), 1))[:, 0]
    limit = float(recorded["tolerance"])
    return {
        "pose integration": (_pose_error(integrated, steps["new_pose"]), limit),
        "pose difference": (_pose_error(changes, pairs["action"]), limit),
    }


def _doubles(entry: dict[str, Any]) -> State:
    return {
        name: torch.tensor(rows, dtype=torch.float64)
        for name, rows in entry.items()
        if not re.search("rule|note", name)
    }


def _pose_error(pose: Tensor, expected: Tensor) -> float:
    rotations = rotation_matrix(pose[:, 3:6]) - rotation_matrix(expected[:, 3:6])
    others = (pose - expected)[:, (0, 1, 2, 6)]
    return float(max(rotations.abs().max(), others.abs().max()))
