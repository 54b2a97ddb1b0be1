"""Trajectories of hands in the one convention of V-JEPA 2-AC, whatever the data set's own (arXiv 2506.09985).

A pose is xyz (m) in the base's frame, extrinsic xyz Euler angles (rad), and the gripper in [0, 1], 1 closed, as DROID
has it; an action is the change of it.
"""

import numpy as np
import torch

from openjepa.data.robot.meaning import RobotSpec, Vector
from openjepa.errors import DataError
from openjepa.nn.poses import euler_angles, pose_differences, rotation_matrix
from openjepa.protocols import Episode

SCALES = {"m": 1.0, "mm": 1e-3, "rad": 1.0, "deg": float(np.pi / 180)}
KINDS_OF_AXES = (("m", "mm"),) * 3 + (("rad", "deg"),) * 3 + (("gripper",),)


def pose_trajectory(episode: Episode, spec: RobotSpec) -> tuple[np.ndarray, np.ndarray]:
    """Poses and their changes of an episode whose meaning is known.

    Args:
        episode: with proprioception [T + 1, 7], an absolute pose.
        spec: what its numbers mean.

    Returns:
        poses [T + 1, 7] and actions [T, 7], both float32.

    Raises:
        DataError: where a meaning is unknown, or numbers are no pose.
    """
    if episode.proprio is None or spec.proprio.kind != "absolute" or spec.proprio.frame not in ("base", "world"):
        raise DataError(
            "`observation.state` must be an absolute pose in the base's frame; "
            f"it is {spec.proprio.kind} in {spec.proprio.frame}. State it: --proprio.kind absolute "
            "--proprio.frame base."
        )
    poses = torch.from_numpy(_in_si(episode.proprio, spec.proprio, "observation.state", is_change=False))
    kind, frame = spec.action.kind, spec.action.frame
    if kind == "unknown" or frame not in ("base", "world", "hand") or (kind == "absolute" and frame == "hand"):
        raise DataError(
            f"`action` must be absolute, a displacement or a velocity of the hand in the frame of base or hand; it is "
            f"{kind} in {frame}. State it: --action.kind displacement --action.frame base."
        )
    taken = torch.from_numpy(_in_si(episode.actions, spec.action, "action", is_change=kind != "absolute"))
    if kind == "absolute":
        changes = pose_differences(torch.stack((poses[:-1], taken), 1))[:, 0]
    else:
        changes = taken / spec.fps if kind == "velocity" else taken
        if frame == "hand":
            changes = _in_base(changes, poses[:-1])
    return poses.float().numpy(), changes.float().numpy()


def _in_base(changes: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
    """Changes in the hand's own axes as changes in those of the base: R x, and R R(a) R^T."""
    hand = rotation_matrix(poses[:, 3:6])
    moved = (hand @ changes[:, :3, None])[..., 0]
    turned = hand @ rotation_matrix(changes[:, 3:6]) @ hand.mT
    return torch.cat((moved, euler_angles(turned), changes[:, 6:]), 1)


def _in_si(values: np.ndarray, vector: Vector, name: str, *, is_change: bool) -> np.ndarray:
    """Metres, radians and a gripper in [0, 1], 1 closed; float64."""
    units = vector.units_of(values.shape[1], name)
    if len(units) != 7 or any(unit not in known for unit, known in zip(units, KINDS_OF_AXES, strict=True)):
        raise DataError(
            f"`{name}` must be xyz in m or mm, three angles in rad or deg, and a gripper; its units are "
            f"{', '.join(units)}."
        )
    found = values.astype(np.float64)
    found[:, :6] *= [SCALES[unit] for unit in units[:6]]
    found[:, 6] = (found[:, 6] - (0.0 if is_change else vector.open)) / (vector.closed - vector.open)
    return found
