"""A layout in the latent: what moves is found where it is, and what one wall teaches holds at every other."""

import numpy as np
import pytest
import torch

from openjepa.envs import Maze
from openjepa.envs.maze import MazeConfig
from openjepa.errors import ConfigError
from openjepa.methods.cell_map import CellMapConfig, CellMapModel, what_moves
from openjepa.models.cell_map import LocalPredictor, Spot
from openjepa.protocols import TrajectoryBatch


def disc(x, y, size=16):
    """A white square of 2 x 2 px whose middle is at (x, y), in px from the middle of a dark picture."""
    frame = torch.full((3, size, size), 40, dtype=torch.uint8)
    column, row = size // 2 + x - 1, size // 2 + y - 1
    frame[:, row : row + 2, column : column + 2] = 250
    return frame


def test_what_moves_is_where_pictures_differ():
    frames = torch.stack([disc(3, -2), disc(-4, 0)]).unsqueeze(0)
    others = torch.stack([disc(5, 5), disc(-4, 0)]).unsqueeze(0)
    place, sure = what_moves(frames, others)
    torch.testing.assert_close(place[0], torch.tensor([3.0, -2.0]))
    assert sure.tolist() == [1, 0]  # the second one has been where it is before


def test_a_spot_is_the_expected_place_of_its_scores():
    spot = Spot(8, 1)
    spot.net = torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.Conv2d(3, 1, 1, bias=False))
    torch.nn.init.constant_(spot.net[1].weight, 100.0)
    frame = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    frame[:, :, 0:2, 4:6] = 255
    torch.testing.assert_close(spot(frame), torch.tensor([[1.0, -3.0]]))


def test_what_is_predicted_moves_with_its_surroundings():
    """The same map and place, both moved by two cells, lead equally far."""
    torch.manual_seed(0)
    predictor = LocalPredictor(32, 2, 2, points=3, spacing=2.0, hidden_dim=8)
    cells = torch.zeros(1, 2, 8, 8)
    cells[:, :, 3, 2] = 1.0
    place, action = torch.tensor([[-5.0, -1.0]]), torch.tensor([[1.0, 0.5]])
    moved = predictor(cells.roll(2, 3), place + torch.tensor([[8.0, 0.0]]), action)
    torch.testing.assert_close(moved - torch.tensor([[8.0, 0.0]]), predictor(cells, place, action))
    path = predictor.rollout(cells, place, action.repeat(1, 3, 1).view(1, 3, 2))
    torch.testing.assert_close(path[:, 1], predictor(cells, predictor(cells, place, action), action))


def test_a_state_is_a_map_and_a_place():
    model = CellMapModel(CellMapConfig(image_size=16)).eval()
    frames = torch.stack([disc(3, -2), disc(-4, 0)]).unsqueeze(0)
    z = model.encode(frames)
    assert z.shape == (1, 2, 1, 4 * 16 + 2)
    assert model.scene_dim == 64
    path = model.rollout(z, torch.randn(1, 3, 2))
    assert path.shape == (1, 2, 1, 66)
    assert torch.equal(path[..., :64], z[:, 1:, :, :64].expand(-1, 2, -1, -1))  # the layout stays


def test_it_learns_where_it_is_and_how_it_moves():
    """A few seconds in open cells: afterwards it knows its place within a pixel, and the way of a step."""
    torch.manual_seed(0)
    model = CellMapModel(CellMapConfig(rollout=2, seed=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    world = Maze(16, MazeConfig(cells=2, layout="random"))
    rng = np.random.default_rng(0)

    def batch(seed):
        frames, actions = [world.reset(range(seed, seed + 16)).copy()], []
        for _ in range(14):
            actions.append(rng.uniform(-0.7, 0.7, (16, 2)).astype(np.float32))
            frames.append(world.step(actions[-1]).copy())
        pictures = torch.from_numpy(np.stack(frames, 1))
        return TrajectoryBatch(
            pictures[:, :3], torch.from_numpy(np.stack(actions, 1))[:, :2], others=pictures[:, [8, 14]]
        )

    batches = [batch(16 * i) for i in range(6)]
    for step in range(60):
        optimizer.zero_grad()
        model.loss(batches[step % 6], step).loss.backward()
        optimizer.step()
    model.eval()
    world.reset(range(500, 516))
    with torch.no_grad():
        found = model.encode(torch.from_numpy(world.render()).unsqueeze(1))[:, 0, 0, -2:].numpy() + 32
    assert np.median(np.linalg.norm(found - world.states()[:, :2], axis=1)) < 2.0


@pytest.mark.parametrize("wrong", [{"image_size": 30}, {"rollout": 0}, {"spacing": 0.0}, {"noise": -1.0}])
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CellMapConfig(**wrong)


def test_it_says_what_a_batch_lacks():
    model = CellMapModel(CellMapConfig(image_size=16, rollout=2))
    frames, actions = torch.zeros(2, 3, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 2, 2)
    with pytest.raises(ConfigError, match="`others`"):
        model.loss(TrajectoryBatch(frames, actions), 0)
    with pytest.raises(ConfigError, match="more than 2 frames"):
        model.loss(TrajectoryBatch(frames[:, :2], actions[:, :1], others=frames[:, :2]), 0)
