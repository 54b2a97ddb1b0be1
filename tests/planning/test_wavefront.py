"""A wave through a grid with a wall, whose ways a breadth-first search by hand knows."""

import torch

from openjepa.planning.wavefront import wavefront

MOVES = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
CELLS = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)).unsqueeze(1)


def step(z, macros):
    return (z + macros.unsqueeze(1)).clamp(0, 4)


def around(z, z_goal):
    """Straight distance, and 10 more across the wall between x = 1 and x = 2, which is open at y = 4."""
    across = (z[..., 0] < 1.5) != (z_goal[..., 0] < 1.5)
    open_ = (z[..., 1] > 3.5) & (z_goal[..., 1] > 3.5)
    return ((z - z_goal).abs().sum(-1) + 10 * (across & ~open_)).squeeze(-1)


def go(starts, goals, horizon):
    z, z_goal = (torch.tensor(rows).float().unsqueeze(1) for rows in (starts, goals))
    return wavefront(step, around, z, z_goal, MOVES, CELLS, horizon=horizon, limit=1.0)


def test_the_way_leads_around_the_wall():
    found = go([[1, 0], [4, 4]], [[2, 0], [4, 2]], 9)
    expected = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 4], [2, 3], [2, 2], [2, 1], [2, 0]]
    assert found.path[0, :, 0].tolist() == expected
    assert found.path[1, :, 0].tolist() == [[4, 3]] + 8 * [[4, 2]]
    assert found.first.tolist() == [2, 3]
    # Every one of 25 cells is entered at most once, and left by four moves.
    assert found.steps <= 2 * 25 * 4


def test_where_nothing_is_nearer_it_stays():
    found = go([[1, 0]], [[2, 0]], 3)  # all that three steps reach is farther away
    assert found.first.tolist() == [-1]
    assert found.path[0, :, 0].tolist() == 3 * [[1, 0]]
    alone = go([[0, 3]], [[3, 3]], 8)
    assert torch.equal(alone.path[0], go([[2, 2], [0, 3]], [[0, 0], [3, 3]], 8).path[1])
