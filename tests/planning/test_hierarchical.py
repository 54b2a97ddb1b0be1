"""Upper levels that plan in a world on a line, where every subgoal is known."""

from dataclasses import dataclass

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEMConfig
from openjepa.planning.hierarchical import Hierarchy, UpperConfig, UpperPlan, codebook

SEARCH = CEMConfig(horizon=4, num_samples=64, num_elites=8, num_iterations=3, init_std=1.0)


@dataclass
class Line(torch.nn.Module):
    """A level whose latent is the one below and whose macro-action is the way; `scale` is what lifting does."""

    scale: float = 1.0

    def __post_init__(self):
        super().__init__()

    def __hash__(self):
        return id(self)

    def lift(self, z):
        return self.scale * z

    def rollout(self, z, actions):
        return z[:, -1:] + actions.cumsum(1).unsqueeze(2)


def points(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1)


def gap(z, z_goal):
    return (z - z_goal).abs().sum((-2, -1))


ANCHORS = torch.arange(0.0, 20.0).view(-1, 1, 1)


def upper(scale=1.0, step=2.0, macros=(-2.0, -1.0, 1.0, 2.0), **options):
    config = UpperConfig(SEARCH, **options)
    book = scale * torch.tensor(macros).unsqueeze(1)
    return UpperPlan(Line(scale), gap, book, scale * ANCHORS, scale * step, config)


def subgoals(hierarchy, starts, goals, ids=None, **options):
    luck = [keyed_generator(3, i) for i in (ids or range(len(starts)))]
    found = hierarchy.subgoals(points(*starts).unsqueeze(1), points(*goals), luck, **options)
    return found.flatten().tolist()


@pytest.mark.parametrize(("ahead", "expected"), [(1, [2, 13, 6]), (2, [4, 11, 6])])
def test_the_subgoal_is_the_early_part_of_the_cheapest_way(ahead, expected):
    hierarchy = Hierarchy([upper(ahead=ahead)], ANCHORS)
    assert subgoals(hierarchy, [0, 15, 5], [12, 1, 6]) == expected  # the third goal is within a macro-step


def test_imagined_states_are_replaced_by_observed_ones():
    kept = torch.tensor([0.0, 3.0, 5.0, 19.0]).view(-1, 1, 1)
    level = UpperPlan(Line(), gap, torch.tensor([[2.0]]), kept, 3.0, UpperConfig(SEARCH, ahead=1))
    assert subgoals(Hierarchy([level], kept), [0.0], [19.0]) == [3]


def test_a_neighbour_behind_a_wall_is_no_subgoal():
    """The nearest observed state to what is imagined, 3.9, lies behind a wall at 3.5."""
    kept = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).view(-1, 1, 1)

    def around(z, z_goal):
        return gap(z, z_goal) + 20.0 * ((z > 3.5) != (z_goal > 3.5)).sum((-2, -1))

    level = UpperPlan(Line(), around, torch.tensor([[1.0]]), kept, 2.0, UpperConfig(SEARCH, ahead=2))
    assert level.snap(points(3.9, 3.9, 4.9), points(1, 4, 0), points(3, 4, 3)).tolist() == [3, 4, 3]


def test_imagination_halts_before_a_step_that_is_too_long():
    """A step across the wall at 3.5 is longer than steps are."""
    kept = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(-1, 1, 1)

    def around(z, z_goal):
        return gap(z, z_goal) + 20.0 * ((z > 3.5) != (z_goal > 3.5)).sum((-2, -1))

    search = CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=2)
    level = UpperPlan(Line(), around, torch.tensor([[1.0]]), kept, 2.0, UpperConfig(search, ahead=4))
    luck = [keyed_generator(0, i) for i in range(2)]
    assert level.search(points(0, 4), points(6, 9), luck).flatten().tolist() == [3, 7]


def test_a_third_level_gives_goals_to_the_second():
    """The third takes steps of 8 in a latent ten times as large, the second goes two of its own towards that."""
    levels = [upper(ahead=2), upper(10.0, 8.0, (-8.0, 8.0), ahead=1)]
    hierarchy = Hierarchy(levels, ANCHORS)
    assert len(hierarchy) == 2
    assert subgoals(hierarchy, [0], [18]) == [4]
    assert subgoals(hierarchy, [0], [18], levels=2) == [4]
    assert subgoals(hierarchy, [0], [18], levels=1) == [18]
    # Eight away is one step of the third level, which leaves the goal to the second.
    assert subgoals(hierarchy, [0], [8]) == [4]


def test_environments_are_planned_for_independently():
    hierarchy = Hierarchy([upper(macros=(-1.7, -0.4, 0.6, 1.3))], ANCHORS)
    together = subgoals(hierarchy, [0, 15, 7], [12, 1, 19])
    for i, pair in enumerate([(0, 12), (15, 1), (7, 19)]):
        assert subgoals(hierarchy, [pair[0]], [pair[1]], ids=[i]) == [together[i]]


def test_horizons_shrink_as_the_goal_comes_near():
    level = upper()
    assert level.horizons(points(0, 0, 0), points(1, 5, 19)).tolist() == [1, 3, 4]
    assert level.near(points(0, 0), points(2, 3)).tolist() == [True, False]


def test_a_box_lies_between_quantiles_and_a_codebook_holds_what_was_seen():
    box = upper(macros=tuple(range(101)), support="box").bounds
    assert box.low.tolist() == [2]
    assert box.high.tolist() == [98]
    assert upper().bounds.categories == (4,)
    seen = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    book = codebook(seen, 16, generator=torch.Generator().manual_seed(1))
    assert book.shape == (16, 3)
    assert bool((torch.cdist(book, seen).amin(1) == 0).all())
    spread = torch.cdist(seen, book).amin(1).mean()
    assert spread < torch.cdist(seen, seen[:16]).amin(1).mean()
    assert len(codebook(seen[:5], 16, generator=torch.Generator().manual_seed(1))) == 5


def test_options_are_checked():
    with pytest.raises(ConfigError, match="`ahead`"):
        UpperConfig(ahead=0)
    with pytest.raises(ConfigError, match="`step` must be above 0"):
        upper(step=0.0)
    with pytest.raises(ConfigError, match="with 3 anchors"):
        Hierarchy([upper()], ANCHORS[:3])
