"""Pose arithmetic by hand, by its inverse, and against recorded values."""

import json
import math
from pathlib import Path

import torch

from openjepa.nn.poses import euler_angles, integrate_poses, pose_differences, rotation_matrix

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "cem" / "poses.json").read_text())


def test_poses_by_hand():
    pose = torch.tensor([[1.0, 2.0, 3.0, 0.0, 0.0, math.pi / 2, 0.9]])
    action = torch.tensor([[[0.5, 0.0, -1.0, 0.0, 0.0, math.pi / 4, 0.3]]])
    moved = integrate_poses(pose, action)[0, 0]
    expected = torch.tensor([1.5, 2.0, 2.0, 0.0, 0.0, 0.75 * math.pi, 1.0])
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)


def test_angles_and_matrices_agree():
    angles = (torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 3
    torch.testing.assert_close(euler_angles(rotation_matrix(angles)), angles, atol=1e-5, rtol=0)
    turned = rotation_matrix(torch.tensor([[math.pi / 2, 0.0, 0.0]]))[0]
    torch.testing.assert_close(turned @ torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    locked = rotation_matrix(torch.tensor([[0.3, math.pi / 2, 0.0]]))
    torch.testing.assert_close(rotation_matrix(euler_angles(locked)), locked, atol=1e-5, rtol=0)


def test_recorded_poses():
    doubles = {
        k: {n: torch.tensor(v, dtype=torch.float64) for n, v in RECORDED[k].items() if n != "rule"}
        for k in ("integrate", "difference")
    }
    steps, pairs = doubles["integrate"], doubles["difference"]
    found = integrate_poses(steps["pose"], steps["action"][:, None])[:, 0]
    torch.testing.assert_close(found, steps["new_pose"], atol=1e-9, rtol=0)
    found = pose_differences(torch.stack((pairs["start"], pairs["end"]), 1))[:, 0]
    torch.testing.assert_close(found, pairs["action"], atol=1e-9, rtol=0)


def test_differences_undo_integration():
    generator = torch.Generator().manual_seed(1)
    pose = torch.rand(4, 7, generator=generator, dtype=torch.float64)
    actions = (torch.rand(4, 5, 7, generator=generator, dtype=torch.float64) - 0.5) / 10
    poses = torch.cat((pose[:, None], integrate_poses(pose, actions)), 1)
    torch.testing.assert_close(pose_differences(poses)[..., :6], actions[..., :6], atol=1e-12, rtol=0)
