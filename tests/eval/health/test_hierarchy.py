"""The failures of a hierarchy by name, on data that have them and data that have not."""

import numpy as np
import pytest
import torch

from openjepa.agent.experience import Experience
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.command_line.runs import CheckUp
from openjepa.eval.health.doctor import Diagnosis
from openjepa.eval.health.hierarchy import (
    AWAY,
    LevelHealth,
    between_episodes,
    examine,
    false_edges,
    leads_away,
    monotone,
    near_pairs,
    off_support,
    rank_correlation,
)
from openjepa.methods.hjepa import HJEPA, HJEPAConfig, hwm
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEMConfig
from openjepa.planning.costs import squared_l2
from openjepa.planning.hierarchical import Hierarchy, UpperConfig, UpperPlan


def l2(z, z_goal):
    return (z - z_goal).flatten(-2).norm(dim=-1)


def test_ranks_are_correlated_as_by_hand():
    assert rank_correlation(torch.tensor([1.0, 5, 9, 100]), torch.arange(4)) == pytest.approx(1)
    assert rank_correlation(torch.tensor([3.0, 2, 1]), torch.arange(3)) == pytest.approx(-1)
    x, y = torch.tensor([1.0, 2, 2, 4]), torch.tensor([1, 3, 2, 4])
    expected = np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1]
    assert rank_correlation(x, y) == pytest.approx(expected)


def test_a_distance_that_turns_back_is_not_monotone():
    straight = torch.arange(6.0).view(1, 6, 1, 1)
    back = torch.tensor([0.0, 3, 6, 4, 2, 1]).view(1, 6, 1, 1)
    mean, worst = monotone(squared_l2, torch.cat([straight, back]), torch.tensor([6, 6]))
    assert worst < 0.8 < 1
    assert mean == pytest.approx((1 + worst) / 2)


def test_features_that_never_change_within_an_episode_are_slow():
    lengths = torch.tensor([5, 3])
    names = torch.tensor([1.0, 4.0]).view(2, 1, 1, 1).expand(2, 5, 1, 1)
    assert between_episodes(names, lengths) == pytest.approx(1)
    walk = torch.tensor([0.0, 1, 2, 3, 4]).view(1, 5, 1, 1).expand(2, 5, 1, 1)
    assert between_episodes(walk, torch.tensor([5, 5])) == pytest.approx(0)


def test_macro_actions_beyond_what_was_seen_are_off_the_support():
    seen = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    again = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    assert off_support(again, seen) < 0.05
    assert off_support(again + 6, seen) == 1


def test_complaints_have_names():
    well = LevelHealth(2, 1.0, 0.3, 0.0, 0.0, 0.95, 0.8)
    assert well.complaints == ()
    ill = LevelHealth(3, 0.1, 0.95, 0.6, 0.4, 0.5, -0.2).complaints
    names = (
        "starved level",
        "slow features",
        "macro-actions off support",
        "subgoals that lead away",
        "non-monotone cost",
    )
    assert all(line.startswith(f"level 3: {name}") for line, name in zip(ill, names, strict=True))


def test_naive_macro_actions_leave_the_support_and_a_codebook_does_not():
    """A level whose macro-actions stay small in the data, and a search that may choose any."""
    encoder = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    base = LeWM(LeWMConfig(embed_dim=2, encoder=encoder))
    model = HJEPA(
        HJEPAConfig(levels=hwm(stride=2, rollout=2, macro_dim=2, hidden_dim=4), level1_dim=2, frozen=True), base
    )
    model = model.eval()
    actions = torch.randn(30, 8, 2, generator=torch.Generator().manual_seed(2))
    latents = torch.cat([torch.zeros(30, 1, 2), actions.cumsum(1)], 1).unsqueeze(2)
    macros = model.levels[0].pool(model.standardised(actions)).flatten(0, 1).detach()
    states, search = latents.flatten(0, 1), CEMConfig(2, num_samples=16, num_elites=4, num_iterations=1)
    found = {}
    for support, values in (("codebook", macros), ("box", 40 * macros)):  # statistics of another level
        upper = UpperPlan(model.levels[0], squared_l2, values, states, 1.0, UpperConfig(search, support=support))
        found[support] = examine(model, Hierarchy([upper], states), latents, actions)[0]
    assert found["codebook"].off_support < 0.1 < found["box"].off_support
    assert any("off support" in line for line in found["box"].complaints)
    assert found["box"].clips == 1


class Plane(torch.nn.Module):
    """A level on a plane whose macro-actions are ways."""

    def lift(self, z):
        return z

    def rollout(self, z, actions):
        return z[:, -1:] + actions.cumsum(1).unsqueeze(2)


@pytest.mark.parametrize(("aggregate", "ill"), [("mean", False), ("final", True)])
def test_a_final_cost_above_leads_away_from_near_goals(aggregate, ill):
    """A path of four steps may end at a goal two steps away after any detour, and only its end is paid for."""
    drawn = torch.Generator().manual_seed(4)
    angle = torch.rand(64, generator=drawn) * 2 * torch.pi
    ways = torch.stack([angle.cos(), angle.sin()], 1) * torch.rand(64, 1, generator=drawn).sqrt()
    places = 4 * torch.rand(400, 1, 2, generator=drawn)
    search = CEMConfig(4, num_samples=64, num_elites=8, num_iterations=3)
    upper = UpperPlan(Plane(), l2, ways, places, 1.0, UpperConfig(search, aggregate=aggregate, ahead=1))
    pairs = near_pairs(upper, places.view(20, 20, 1, 2), torch.full((20,), 20), seed=0)
    away = upper.distance(*pairs)
    assert len(away) == 64
    assert 1 < away.min() <= away.max() <= 2
    share = leads_away(upper, *pairs, [keyed_generator(0, i) for i in range(64)])
    assert (share > AWAY) == ill
    words = LevelHealth(2, 1.0, 0.3, 0.0, share, 0.95, 0.8).complaints
    assert words == (
        (f"level 2: subgoals that lead away: {share:.0%} near a goal; take `aggregate` mean",) if ill else ()
    )


def test_a_level_that_starves_is_named():
    """Three levels of stride 2 and roll-outs of 4: the third needs 17 states, and episodes have 9."""
    encoder = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    levels = hwm(3, stride=2, rollout=4, macro_dim=2, hidden_dim=4)
    model = HJEPA(HJEPAConfig(levels=levels, level1_dim=2, frozen=True), LeWM(LeWMConfig(embed_dim=2, encoder=encoder)))
    drawn = torch.Generator().manual_seed(5)
    actions, latents = torch.randn(30, 8, 2, generator=drawn), torch.randn(30, 9, 1, 2, generator=drawn)
    states, search = latents.flatten(0, 1), CEMConfig(1, num_samples=4, num_elites=2, num_iterations=1)
    macros = torch.randn(4, 2, generator=drawn)
    uppers = [UpperPlan(level, squared_l2, macros, states, 1.0, UpperConfig(search)) for level in model.levels]
    second, third = examine(model.eval(), Hierarchy(uppers, states), latents, actions)
    assert (second.clips, third.clips) == (1, 0)
    assert not any("starved" in line for line in second.complaints)
    assert "level 3: starved level: 0% of the episodes are long enough; lower `stride`" in third.complaints


def test_ways_that_failed_are_counted_against_the_map():
    x = torch.arange(5.0)
    walk = torch.stack([x, 0 * x], -1).view(1, 5, 1, 2)
    places = fit_landmarks(walk, LandmarkConfig(reversible=True))
    once = Experience(walk[0, :2], torch.arange(2), walk[:, 1:3])
    share, words = false_edges(places, [once, once])
    assert share == pytest.approx(1 / 4)
    assert words is not None
    assert words.startswith("false edges: 25% of the map's ways failed")
    assert false_edges(places, []) == (0.0, None)


def test_a_check_up_says_what_ails_upper_levels():
    verdict = Diagnosis("healthy", True, ("a fact.",), ())
    well, ill = LevelHealth(2, 1.0, 0.3, 0.0, 0.0, 0.95, 0.8), LevelHealth(3, 0.1, 0.3, None, None, 0.95, 0.8)
    alone, good, bad = (CheckUp(verdict, None, None, levels=levels) for levels in ((), (well,), (well, ill)))
    assert alone.text() == verdict.text()
    assert [one.healthy for one in (alone, good, bad)] == [True, True, False]
    assert good.text().endswith("healthy: nothing was found")
    assert bad.text().splitlines()[-1].startswith("  sick: level 3: starved level: 10% of the episodes")
