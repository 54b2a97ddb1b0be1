"""Words as costs, on a state of which everything is known: one number, and texts about its halves."""

import math

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.heads.language import Reading, SetEnergy, TextHeadConfig
from openjepa.language.costs import Places, TextCost, join
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import PathCost, SelfAimed, bind, squared_l2
from openjepa.planning.set_cost import distances, nearest_of
from openjepa.protocols import ActionBounds


class Halves(torch.nn.Module):
    """A head that looks at one number: a text with code +1 holds above 0.5, one with code -1 below -0.5."""

    def forward(self, reading, z):
        return 20 * (reading.codes[:, 0, :1] * z.flatten(2).sum(-1) - 0.5)


class Walk:
    """z' = z + a / 4."""

    def encode(self, frames, proprio=None):
        raise NotImplementedError

    def rollout(self, z, actions):
        return z[:, -1:] + actions.unsqueeze(2).cumsum(1) / 4


def cost_of(*signs, places=(-1.0, -0.6, 0.0, 0.7, 1.0, 3.0), distance=None):
    reading = Reading(torch.zeros(len(signs), 1, 1, 1), torch.tensor(signs).view(-1, 1, 1), torch.ones(len(signs)))
    return TextCost(Halves(), reading, Places(torch.tensor(places).view(-1, 1, 1)), distance or PathCost(squared_l2))


def test_the_goal_is_the_nearest_state_that_fits():
    aimed = cost_of(1.0, -1.0).aim(torch.zeros(2, 1, 1))
    assert aimed.z_goal.flatten().tolist() == pytest.approx([0.7, -0.6])
    assert isinstance(cost_of(1.0), SelfAimed)


def test_within_the_set_nothing_is_left_to_pay_and_outside_it_is_the_distance():
    aimed = cost_of(1.0).aim(torch.zeros(1, 1, 1))
    path = torch.tensor([2.0, 0.0, -1.0]).view(1, 3, 1, 1, 1)  # three candidates of one step
    assert aimed(path)[0].tolist() == pytest.approx([0.0, 0.49, 1.7**2], abs=1e-3)


def test_any_planner_takes_it():
    z = torch.zeros(2, 1, 1, 1)
    bounds = ActionBounds([-1.0], [1.0])
    planner = CEM(bounds, CEMConfig(horizon=4, num_samples=64, num_elites=8, num_iterations=4))
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    words = cost_of(1.0, -1.0)
    plan = planner.plan(Walk(), z, bind(words, z[:, 0], z[:, 0]), generators=generators)
    ends = plan.z_path[:, -1].flatten()
    assert ends[0] > 0.5
    assert ends[1] < -0.5
    assert words.energy(plan.z_path[:, -1]).gt(0).all()


def test_environments_keep_their_texts():
    both = join([cost_of(1.0), cost_of(-1.0)])
    later = both.select(torch.tensor([1])).aim(torch.zeros(1, 1, 1))
    assert later.z_goal.item() == pytest.approx(-0.6)
    one = both.aim(torch.zeros(2, 1, 1)).select(torch.tensor([False, True]))
    assert one(torch.zeros(1, 1, 1, 1, 1)).item() == pytest.approx(0.36, abs=1e-3)
    with pytest.raises(ConfigError, match="one text, or one for each of 3 environments; got 2"):
        both.aim(torch.zeros(3, 1, 1))


def test_the_scene_of_a_place_is_that_of_the_moment():
    places = Places(torch.tensor([[[5.0, 1.0]], [[7.0, 2.0]]]), scene_dim=1)
    assert places.around(torch.tensor([[[9.0, 0.0]]])).tolist() == [[[[9.0, 1.0]], [[9.0, 2.0]]]]


def test_fewer_goals_than_asked_for_are_repeated():
    cost, z = PathCost(squared_l2), torch.zeros(1, 1, 1)
    places = torch.tensor([3.0, 1.0, 2.0]).view(1, 3, 1, 1)
    goals, embedded = nearest_of(cost, z, places, torch.tensor([[True, False, True]]), 3)
    assert goals.flatten().tolist() == [2.0, 3.0, 3.0]
    assert embedded is None
    assert distances(cost, z[:, None], goals).tolist() == [[4.0, 9.0, 9.0]]


def test_all_clauses_must_hold():
    """The head joins clauses by a soft minimum: log-probabilities of independent clauses that both hold add up."""
    head = SetEnergy(4, 2, TextHeadConfig(width=8, clauses=2))
    head.eval()
    reading = head.read(torch.randn(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
    z = torch.randn(1, 6, 1, 2)
    both = head(reading, z)
    sure = torch.ones(3)
    alone = [head(Reading(reading.maps[:, i : i + 1], reading.codes[:, i : i + 1], sure), z) for i in range(2)]
    assert both.shape == (3, 6)
    expected = math.log(2) - torch.logsumexp(-torch.stack(alone), 0)
    torch.testing.assert_close(both, expected * reading.sign[:, None])
