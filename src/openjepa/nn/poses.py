"""Arithmetic of robot poses: xyz (m), extrinsic xyz Euler angles (rad), gripper opening in [0, 1].

A change of pose, which is an action of V-JEPA 2-AC (arXiv 2506.09985), has the same 7 numbers: positions and
openings subtract, rotations compose from the left, R(after) = R(action) R(before).
"""

import torch
from torch import Tensor


def integrate_poses(pose: Tensor, actions: Tensor) -> Tensor:
    """Poses after each action: xyz adds, R(action) R(pose) composes, the gripper is clipped to [0, 1].

    Args:
        pose: [B, 7].
        actions: [B, H, 7] changes.

    Returns:
        [B, H, 7].
    """
    poses = []
    for action in actions.unbind(1):
        xyz = pose[:, :3] + action[:, :3]
        turned = rotation_matrix(action[:, 3:6]) @ rotation_matrix(pose[:, 3:6])
        gripper = (pose[:, 6:] + action[:, 6:]).clamp(0.0, 1.0)
        pose = torch.cat((xyz, euler_angles(turned), gripper), dim=1)
        poses.append(pose)
    return torch.stack(poses, dim=1)


def pose_differences(poses: Tensor) -> Tensor:
    """Actions between successive poses, which `integrate_poses` undoes: [B, T, 7] to [B, T - 1, 7]."""
    before, after = poses[:, :-1], poses[:, 1:]
    turned = rotation_matrix(after[..., 3:6]) @ rotation_matrix(before[..., 3:6]).mT
    moved = after - before
    return torch.cat((moved[..., :3], euler_angles(turned), moved[..., 6:]), dim=-1)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rz(c) Ry(b) Rx(a) of extrinsic xyz Euler angles (a, b, c); [..., 3] to [..., 3, 3]."""
    (ca, cb, cc), (sa, sb, sc) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = (
        torch.stack((cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa), -1),
        torch.stack((sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa), -1),
        torch.stack((-sb, cb * sa, cb * ca), -1),
    )
    return torch.stack(rows, -2)


def euler_angles(matrix: Tensor) -> Tensor:
    """Extrinsic xyz Euler angles of rotation matrices, [..., 3, 3] to [..., 3]; c is 0 at b = ±90 degrees."""
    cos_b = torch.hypot(matrix[..., 0, 0], matrix[..., 1, 0])
    b = torch.atan2(-matrix[..., 2, 0], cos_b)
    locked = cos_b < 1e-6
    a = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    a_locked = torch.atan2(-matrix[..., 1, 2], matrix[..., 1, 1])
    c = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack((torch.where(locked, a_locked, a), b, torch.where(locked, 0.0, c)), -1)
