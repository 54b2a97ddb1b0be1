"""Folders in the manner of DROID, and poses in one convention."""

import json

import h5py
import numpy as np
import pytest
import torch

from openjepa.data import EpisodeStore
from openjepa.data.robot.convert import is_robot_data, open_robot_data, to_store
from openjepa.data.robot.meaning import RobotSpec, Vector
from openjepa.data.robot.poses import pose_trajectory
from openjepa.errors import ConfigError, DataError
from openjepa.nn.poses import integrate_poses, rotation_matrix
from openjepa.protocols import Episode

from .conftest import encode, pictures

UNITS = ("m",) * 3 + ("rad",) * 3 + ("gripper",)


def random_poses(length, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(length, 7)) * ([0.02] * 3 + [0.1] * 3 + [0.05])
    steps[0] += [0.4, 0.1, 0.3, 0.5, -0.2, 0.3, 0.5]
    poses = np.cumsum(steps, 0)
    poses[:, 6] = poses[:, 6].clip(0, 1)
    return poses


def write(folder, length, *, frames=None, fps=15, seed=0):
    folder.mkdir(parents=True)
    with h5py.File(folder / "trajectory.h5", "w") as file:
        poses = random_poses(length, seed)
        file["observation/robot_state/cartesian_position"] = poses[:, :6]
        file["observation/robot_state/gripper_position"] = poses[:, 6]
        file["observation/camera_extrinsics/222_left"] = np.tile(np.arange(6.0), (length, 1))
    for serial, shift in (("111", 0), ("222", 90)):
        encode(folder / f"recordings/MP4/{serial}.mp4", pictures(frames or length, shift), fps)
    about = {"left_mp4_path": "success/x/recordings/MP4/222.mp4", "ext1_cam_serial": "111", "current_task": "lift it"}
    (folder / "metadata_lab.json").write_text(json.dumps(about))


def test_droid_trajectories_become_a_store(tmp_path):
    for number, length in enumerate((5, 7)):
        write(tmp_path / f"lab/success/day{number}", length, seed=number)
    assert is_robot_data(tmp_path / "lab")
    with open_robot_data(tmp_path / "lab", size=32) as data:
        assert to_store(data, tmp_path / "store") == 2
    store = EpisodeStore.open(tmp_path / "store")
    episode, poses = store.episode(1), random_poses(7, 1)
    np.testing.assert_allclose(episode.proprio, poses, rtol=1e-6)
    # The actions lead from pose to pose.
    start = torch.from_numpy(episode.proprio[:1]).double()
    reached = integrate_poses(start, torch.from_numpy(episode.actions)[None].double())[0]
    np.testing.assert_allclose(reached[:, :3], poses[1:, :3], atol=1e-6)
    np.testing.assert_allclose(
        rotation_matrix(reached[:, 3:6]), rotation_matrix(torch.from_numpy(poses[1:, 3:6])), atol=1e-6
    )
    assert episode.info["task"] == "lift it"
    assert episode.extras["camera_extrinsics"][3].tolist() == [0, 1, 2, 3, 4, 5]
    assert abs(int(episode.frames[2, 0].mean()) - (20 + 90 + 46)) < 6  # the left camera's third frame
    with open_robot_data(tmp_path / "lab", camera="ext1") as data:
        assert abs(int(data.episode(0).frames[0, 0].mean()) - 20) < 6
    with open_robot_data(tmp_path / "lab", camera="left") as data:
        assert data.spec.action.kind == "displacement"
    with pytest.raises(ConfigError, match="must have a recording of 333; it has 111, 222"):
        open_robot_data(tmp_path / "lab", camera="333")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 3}, "222.mp4` must have 6 frames, one per row of trajectory.h5; it has 3"),
        ({"fps": 30}, "222.mp4` must run at 15 frames per second, as the first; it runs at 30"),
    ],
)
def test_droid_faults_are_found(tmp_path, wrong, message):
    write(tmp_path / "a", 6)
    write(tmp_path / "b", 6, **wrong)
    with open_robot_data(tmp_path) as data, pytest.raises(DataError, match=message):
        to_store(data, tmp_path / "store")
    assert len(EpisodeStore.open(tmp_path / "store")) == 1  # what was whole is kept


def as_episode(actions, poses):
    return Episode(
        np.zeros((len(poses), 3, 2, 2), np.uint8), actions.astype(np.float32), proprio=poses.astype(np.float32)
    )


def test_every_kind_of_action_means_the_same_change():
    poses = random_poses(6)
    pose = Vector(units=UNITS, kind="absolute", frame="base", closed=1.0, open=0.0)
    absolute = RobotSpec(10.0, action=pose, proprio=pose)
    wanted_poses, wanted = pose_trajectory(as_episode(poses[1:], poses), absolute)
    np.testing.assert_allclose(wanted_poses, poses, atol=1e-6)
    reached = integrate_poses(torch.tensor(wanted_poses[:1]).double(), torch.tensor(wanted)[None].double())[0]
    np.testing.assert_allclose(reached[-1, :3], poses[-1, :3], atol=1e-6)
    # The same as displacements, as velocities, in the hand's axes, in mm and degrees with a gripper that opens upwards.
    change = Vector(units=UNITS, kind="displacement", frame="base", closed=1.0, open=0.0)
    velocity = Vector(units=UNITS, kind="velocity", frame="base", closed=1.0, open=0.0)
    for vector, actions in ((change, wanted), (velocity, wanted * 10)):
        found = pose_trajectory(as_episode(actions, poses), RobotSpec(10.0, action=vector, proprio=pose))[1]
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    hand = rotation_matrix(torch.from_numpy(poses[:-1, 3:6])).numpy()
    inside = wanted.copy()
    inside[:, :3] = np.einsum("tij,ti->tj", hand, wanted[:, :3])  # R^T x
    in_hand = RobotSpec(10.0, action=Vector(units=UNITS, kind="displacement", frame="hand"), proprio=pose)
    found = pose_trajectory(as_episode(inside, poses), in_hand)[1]
    np.testing.assert_allclose(found[:, :3], wanted[:, :3], atol=1e-6)
    scale = np.array([1000] * 3 + [180 / np.pi] * 3 + [-100])
    odd_units = ("mm",) * 3 + ("deg",) * 3 + ("gripper",)
    odd_pose = Vector(units=odd_units, kind="absolute", frame="base", closed=0.0, open=100.0)
    odd_change = Vector(units=odd_units, kind="displacement", frame="base", closed=0.0, open=100.0)
    odd = RobotSpec(10.0, action=odd_change, proprio=odd_pose)
    shifted = poses * scale + np.array([0] * 6 + [100])
    found_poses, found = pose_trajectory(as_episode(wanted * scale, shifted), odd)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found_poses, poses, atol=1e-5)


def test_an_unknown_meaning_is_not_guessed():
    poses = random_poses(4)
    pose = Vector(units=UNITS, kind="absolute", frame="base")
    with pytest.raises(
        DataError, match=r"`action` must be absolute, a displacement or a velocity .* unknown in unknown"
    ):
        pose_trajectory(as_episode(poses[1:], poses), RobotSpec(10.0, proprio=pose))
    with pytest.raises(DataError, match=r"`observation.state` must be an absolute pose"):
        pose_trajectory(as_episode(poses[1:], poses), RobotSpec(10.0, action=pose))
    joints = Vector(units=("rad",) * 7, kind="absolute", frame="base")
    with pytest.raises(DataError, match="must be xyz in m or mm, three angles in rad or deg, and a gripper"):
        pose_trajectory(as_episode(poses[1:], poses), RobotSpec(10.0, action=pose, proprio=joints))
