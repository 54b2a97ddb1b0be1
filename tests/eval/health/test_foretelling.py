import pytest
import torch

from openjepa.data.whole_episodes import recorded
from openjepa.eval.health.foretelling import foretell
from openjepa.eval.probing.probes import ProbeConfig

QUICK = ProbeConfig(mlp_steps=150)


def everything(z):
    return recorded(None, *z.shape[:2])


def test_a_place_without_its_velocity_misses_half_of_what_comes(drawn):
    batch = drawn.sliding_dot()
    pose, both = drawn.lift(batch.states[..., :2]), drawn.lift(batch.states)
    alone = foretell(pose, batch.actions, everything(pose), QUICK)
    complete = foretell(both, batch.actions, everything(both), QUICK)
    assert alone.with_past - alone.from_state > 0.3
    assert complete.with_past - complete.from_state < 0.05


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_nothing_is_missed_where_the_action_alone_moves(drawn, noise):
    for batch in (drawn.dot(), drawn.pusher()):
        z = drawn.lift(batch.states, noise=noise)
        found = foretell(z, batch.actions, everything(z), QUICK)
        assert found.with_past - found.from_state < 0.1
        assert found.permutation_ratio > 1.2


def test_actions_of_another_episode_change_nothing(drawn):
    batch = drawn.dot()
    z = drawn.lift(batch.states)
    assert foretell(z, batch.actions.roll(7, 0), everything(z), QUICK).permutation_ratio == pytest.approx(1, abs=0.05)


def test_what_a_linear_law_says_is_foretold_and_padding_is_not_asked():
    draws = torch.Generator().manual_seed(0)
    actions = torch.randn(20, 29, 2, generator=draws)
    z = torch.cat([torch.zeros(20, 1, 2), actions.cumsum(1)], 1)
    lengths = torch.randint(10, 31, (20,), generator=draws)
    valid = recorded(lengths, 20, 30)
    dirty = torch.where(valid[..., None], z, 1e4 * torch.randn(z.shape, generator=draws))
    found = foretell(dirty, actions, valid, QUICK)
    assert found.from_state == pytest.approx(1, abs=1e-4)
    assert found.permutation_ratio > 1000


def test_wide_latents_and_too_little_data():
    draws = torch.Generator().manual_seed(0)
    actions = torch.randn(20, 29, 2, generator=draws)
    z = torch.cat([torch.zeros(20, 1, 2), actions.cumsum(1)], 1) @ torch.randn(2, 200, generator=draws)
    assert foretell(z, actions, everything(z), QUICK).from_state == pytest.approx(1, abs=1e-3)
    assert foretell(z[:7], actions[:7], everything(z[:7]), QUICK) is None
    assert foretell(z[:, :6], actions[:, :5], everything(z[:, :6]), QUICK) is None
