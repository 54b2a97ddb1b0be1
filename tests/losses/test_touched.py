"""A block that an agent pushed, in frames drawn by hand: what is the agent's and what was touched."""

import torch
from torch import Tensor

from openjepa.losses.touched import Changes, agent_loss, change_map, touched_loss

CELLS = 4  # 4 x 4 places of 4 px


def frames(agents: list[int], blocks: list[int]) -> Tensor:
    """Frames [1, M, 3, 16, 16] of a grey table with an agent and a block that each fill one place."""
    drawn = torch.full((1, len(agents), 3, 16, 16), 100, dtype=torch.uint8)
    for moment, things in enumerate(zip(agents, blocks, strict=True)):
        for place, level in zip(things, (200, 30), strict=True):
            row, column = 4 * (place // CELLS), 4 * (place % CELLS)
            drawn[0, moment, :, row : row + 4, column : column + 4] = level
    return drawn


def one_hot(places: list[int]) -> Tensor:
    """Log-odds [1, M, P] that are sure of one place at each moment."""
    return torch.where(torch.nn.functional.one_hot(torch.tensor(places), CELLS**2).bool(), 8.0, -8.0).unsqueeze(0)


AGENTS, BLOCKS = [0, 3, 12, 0, 3], [10, 10, 6, 6, 9]


def test_what_changed_is_where_something_was_at_one_of_two_moments() -> None:
    seen = frames(AGENTS, BLOCKS)[0]
    changed = change_map(seen[:1], seen[2:3], CELLS)
    assert changed.nonzero()[:, 1].tolist() == [0, 6, 10, 12]
    assert (changed[changed > 0] == 1).all()
    assert change_map(seen[:1], seen[:1] + 3, CELLS).sum() == 0  # noise


def test_pairs_are_those_of_all_moments() -> None:
    changes = Changes.between(frames(AGENTS, BLOCKS), CELLS)
    assert changes.share.shape == (1, 10, 16)
    assert list(zip(changes.one.tolist(), changes.other.tolist(), strict=True))[:4] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_an_agent_alone_explains_its_own_part() -> None:
    agents = [0, 3, 12, 15, 1]
    changes = Changes.between(frames(agents, [10] * 5), CELLS)
    assert agent_loss(one_hot(agents), changes) < 0.01
    assert agent_loss(one_hot(BLOCKS), changes) > 0.5


def test_the_least_loss_names_agent_and_block() -> None:
    changes = Changes.between(frames(AGENTS, BLOCKS), CELLS)
    usual = torch.logit(torch.full((1, 5, 16), 0.02))  # of the block, somewhere, whatever the agent does
    agent = torch.maximum(one_hot(AGENTS), usual)

    def loss(agents: list[int], blocks: list[int]) -> float:
        return float(touched_loss(torch.stack([one_hot(agents), one_hot(blocks)], 2), agent, changes))

    right = loss(AGENTS, BLOCKS)
    assert right < 0.03
    assert right < loss(BLOCKS, AGENTS) - 0.5  # exchanged
    assert right < loss(AGENTS, [15] * 5) - 0.5  # something that never moves
    assert right < loss(AGENTS, AGENTS) - 0.5
