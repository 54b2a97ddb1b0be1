"""Folders in the manner of DROID: one for each trajectory, with `trajectory.h5` and `recordings/MP4/*.mp4`.

Poses are the measured ones, and the action of a row is the change of pose that followed, as V-JEPA 2-AC is trained
(arXiv 2506.09985). The gripper is 0 open and 1 closed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data.robot.meaning import RobotSpec, Vector
from openjepa.data.video_file import VideoFile
from openjepa.errors import ConfigError, DataError, require
from openjepa.files import read_json
from openjepa.protocols import Episode

FILE, VIDEOS = "trajectory.h5", "recordings/MP4"
NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
UNITS = ("m", "m", "m", "rad", "rad", "rad", "gripper")
CAMERAS = ("left", "ext1", "ext2", "wrist")
MOST_APART = 1  # frames by which video and rows may differ: the recorder stops one before the other


def is_droid(folder: Path) -> bool:
    """Whether there is a trajectory somewhere below a folder."""
    return folder.is_dir() and next(folder.glob(f"**/{FILE}"), None) is not None


class DroidData:
    """The trajectories below a folder, in the order of their names; a source of episodes.

    Args:
        root: the folder.
        camera: `left`, `ext1`, `ext2`, `wrist` or a serial number; None is the first that the metadata name.
        size: side in px of the centre square that frames are cut to; None keeps them whole.

    Raises:
        DataError: where there is no trajectory.
    """

    def __init__(self, root: str | Path, *, camera: str | None = None, size: int | None = None) -> None:
        self.root, self.camera, self.size = Path(root), camera, size
        self.folders = sorted(path.parent for path in self.root.glob(f"**/{FILE}"))
        if not self.folders:
            raise DataError(f"`{root}` must hold folders with a {FILE}; it holds none.")
        with VideoFile(self._video(self.folders[0])) as video:
            fps = float(video.fps)
        pose = Vector(NAMES, UNITS, "absolute", "base", closed=1.0, open=0.0)
        change = Vector(NAMES, UNITS, "displacement", "base", closed=1.0, open=0.0)
        self.spec = RobotSpec(round(fps, 3), "franka", change, pose)
        self.left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.folders)

    def __enter__(self) -> "DroidData":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open between episodes."""

    def episode(self, episode: int) -> Episode:
        """Reads one trajectory.

        Raises:
            DataError: where rows or frames are missing, the rate differs, or poses cannot be.
        """
        import torch

        from openjepa.nn.poses import pose_differences

        folder = self.folders[episode]
        poses, extrinsics, path = *self._rows(folder), self._video(folder)
        with VideoFile(path) as video:
            if abs(video.fps / self.spec.fps - 1) > 0.01:
                raise DataError(
                    f"`{path}` must run at {self.spec.fps:g} frames per second, as the first; it runs at "
                    f"{video.fps:.4g}."
                )
            if abs(video.num_frames - len(poses)) > MOST_APART:
                raise DataError(
                    f"`{path}` must have {len(poses)} frames, one per row of {FILE}; it has {video.num_frames}."
                )
            length = min(video.num_frames, len(poses))
            if length < 2:
                raise DataError(f"`{folder}` must have at least 2 frames; it has {length}. Remove it.")
            frames = np.stack(list(video.pictures(video.middles(np.arange(length)), self.size)))
        poses = poses[:length]
        changes = pose_differences(torch.from_numpy(poses)[None].double())[0].float().numpy()
        proprio = poses.astype(np.float32)
        self.spec.check(changes, proprio, f"`{folder}`")
        info: dict[str, Any] = {"robot": self.spec.plain(), "folder": str(folder.relative_to(self.root))}
        task = self._about(folder).get("current_task")
        if isinstance(task, str) and task:
            info["task"] = task
        times = (np.arange(length) / self.spec.fps).astype(np.float32)
        extras = {"timestamp": times}
        if extrinsics is not None:
            extras["camera_extrinsics"] = extrinsics[:length].astype(np.float32)
        return Episode(frames, changes, proprio=proprio, info=info, extras=extras)

    def _rows(self, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Poses [L, 7], and the extrinsics of the camera [L, 6] where they were recorded."""
        try:
            import h5py
        except ImportError as error:
            raise require("h5py", "data", "read DROID trajectories") from error
        path = folder / FILE
        try:
            with h5py.File(path, "r") as file:
                seen = file["observation"]
                hand = np.asarray(seen["robot_state/cartesian_position"], np.float64)
                gripper = np.asarray(seen["robot_state/gripper_position"], np.float64)
                name = f"camera_extrinsics/{self._video(folder).stem}_left"
                extrinsics = np.asarray(seen[name]) if name in seen else None
        except (OSError, KeyError, TypeError) as error:
            raise DataError(
                f"`{path}` must hold observation/robot_state/cartesian_position and gripper_position; it does not "
                f"({error})."
            ) from error
        if hand.ndim != 2 or hand.shape[1] != 6 or len(gripper) != len(hand):
            raise DataError(
                f"`{path}` must hold poses [L, 6] and a gripper [L]; got {list(hand.shape)}, {list(gripper.shape)}."
            )
        poses = np.concatenate([hand, gripper.reshape(-1, 1)], 1)
        if not np.isfinite(poses).all():
            raise DataError(
                f"poses of `{path}` must be finite; row {np.flatnonzero(~np.isfinite(poses).all(1))[0]} is not."
            )
        return poses, extrinsics

    def _about(self, folder: Path) -> dict[str, Any]:
        """The metadata of a trajectory; empty where there are none."""
        path = next(iter(sorted(folder.glob("metadata*.json"))), None)
        return {} if path is None else read_json(path, damaged=lambda why: DataError(f"`{path}` is damaged ({why})."))

    def _video(self, folder: Path) -> Path:
        """The recording of the wanted camera."""
        about, recorded = self._about(folder), sorted((folder / VIDEOS).glob("*.mp4"))
        known = {path.stem: path for path in recorded if not path.stem.endswith("-stereo")}
        for camera in (self.camera,) if self.camera else CAMERAS:
            serial = Path(str(about.get(f"{camera}_mp4_path", ""))).stem or str(
                about.get(f"{camera}_cam_serial", camera)
            )
            if serial in known:
                return known[serial]
        if self.camera is None and known:
            return next(iter(known.values()))
        message = (
            f"`{folder}` must have a recording of {self.camera or 'a camera'}; it has {', '.join(known) or 'none'}."
        )
        raise (ConfigError if self.camera and known else DataError)(message)
