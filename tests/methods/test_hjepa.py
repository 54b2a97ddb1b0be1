"""Upper levels: shapes and terms by hand, a budget of data, and a world whose macro-steps are known."""

import pytest
import torch

from openjepa.errors import ConfigError, DataError, ShapeError
from openjepa.methods.hjepa import (
    HJEPA,
    HJEPAConfig,
    check_budget,
    data_budget,
    h_jepa,
    hwm,
    normal_information,
)
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.upper_level import LevelConfig, UpperLevel
from openjepa.protocols import LatentBatch, TrajectoryBatch

SMALL = {"hidden_dim": 8, "macro_dim": 2, "rollout": 2}


def level1(dim=2):
    encoder = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    return LeWM(LeWMConfig(embed_dim=dim, encoder=encoder))


def walks(batch=64, steps=8, seed=0):
    """A point in the plane that moves by its action: z' = z + a."""
    actions = torch.randn(batch, steps, 2, generator=torch.Generator().manual_seed(seed))
    z = torch.cat([torch.zeros(batch, 1, 2), actions.cumsum(1)], 1)
    return LatentBatch(z.unsqueeze(2), actions)


def test_a_window_of_latents_below_ends_at_the_present_one():
    level = UpperLevel(LevelConfig(2, window=2, embed_dim=3, hidden_dim=4), below_dim=1, action_dim=2)
    z = torch.randn(1, 5, 1, 1)
    up = level.lift(z)
    assert up.shape == (1, 5, 1, 3)
    pair = torch.cat([z[:, 2, 0], z[:, 3, 0]], -1)
    torch.testing.assert_close(up[:, 3, 0], level.encoder(pair))
    torch.testing.assert_close(up[:, 0, 0], level.encoder(z[:, [0, 0], 0, 0]))  # nothing came before
    shared = UpperLevel(LevelConfig(2, embed_dim=0), below_dim=1, action_dim=2)
    assert shared.lift(z) is z
    assert shared.dim == 1


def test_macro_actions_are_pooled_from_whole_strides():
    level = UpperLevel(LevelConfig(3, **SMALL), below_dim=2, action_dim=2)
    actions = torch.randn(2, 8, 2)
    macros = level.pool(actions)
    assert macros.shape == (2, 2, 2)
    torch.testing.assert_close(macros[:, 1], level.pooler(actions[:, 3:6].flatten(1)))
    assert level.rollout(torch.zeros(2, 1, 1, 8), macros).shape == (2, 2, 1, 8)


def test_the_information_of_macro_actions_is_their_divergence_from_standard_ones():
    numbers = torch.randn(512, 2, 3, generator=torch.Generator().manual_seed(0))
    white = numbers.flatten(0, 1)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(white.T @ white / len(white)).T)
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(1.0, 2.0), torch.distributions.Normal(0.0, 1.0)
    )
    assert float(normal_information(white.view(512, 2, 3))) == pytest.approx(0, abs=1e-4)
    assert float(normal_information(1 + 2 * white.view(512, 2, 3))) == pytest.approx(float(known), rel=1e-3)
    assert float(normal_information(torch.zeros(512, 2, 3))) > 3  # nothing is said


def test_a_level_that_shares_the_latent_learns_where_macro_steps_lead():
    model = HJEPA(HJEPAConfig(levels=hwm(stride=4, **SMALL), level1_dim=2, frozen=True), level1())
    optimizer = torch.optim.Adam(model.levels.parameters(), 1e-2, foreach=True)
    for step in range(150):
        optimizer.zero_grad()
        model.loss(walks(seed=step), step).loss.backward()
        optimizer.step()
    seen = walks(seed=999)
    level = model.eval().levels[0]
    with torch.no_grad():
        found = level.rollout(seen.z[:, :1], level.pool(model.standardised(seen.actions)))
    error = (found - seen.z[:, 4::4]).square().mean().sqrt()
    assert float(error) < 0.3 * float(seen.z[:, 4::4].square().mean().sqrt())


def test_levels_stand_on_one_another():
    model = HJEPA(HJEPAConfig(levels=h_jepa(3, embed_dim=3, **{**SMALL, "stride": 2}), level1_dim=2), level1())
    assert [options.stride for options in model.config.levels] == [2, 2]
    assert [model.stride(number) for number in (0, 1)] == [1, 2]
    terms = model.loss(walks(), 0).terms
    assert {"level2_prediction", "level2_variance", "level3_prediction", "level3_information"} <= terms.keys()
    assert [up.shape for up in model.lift(torch.zeros(2, 5, 1, 2))] == [(2, 5, 1, 3)] * 2
    with pytest.raises(ShapeError, match="at least 3 states for level 3; got 2"):
        model.loss(walks(steps=3), 0)


def test_a_window_of_a_third_level_skips_as_its_stride_does():
    model = HJEPA(
        HJEPAConfig(levels=h_jepa(3, window=2, embed_dim=3, **{**SMALL, "stride": 2}), level1_dim=2), level1()
    )
    z = torch.randn(1, 7, 1, 2)
    second, third = model.lift(z)
    expected = model.levels[1].encoder(torch.cat([second[:, 4], second[:, 6]], -1))
    torch.testing.assert_close(third[:, 6], expected)


def test_a_frozen_level_1_stays_and_a_free_one_learns():
    frames = torch.randint(0, 256, (4, 5, 3, 16, 16), dtype=torch.uint8)
    batch = TrajectoryBatch(frames, torch.randn(4, 4, 2))
    for frozen in (True, False):
        options = HJEPAConfig(levels=h_jepa(embed_dim=3, **{**SMALL, "stride": 2}), level1_dim=4, frozen=frozen)
        model = HJEPA(options, level1(4))
        found = model.loss(batch, 0)
        found.loss.backward()
        assert all(p.grad is None for p in model.level1.parameters()) == frozen
        assert any(name.startswith("level1_") for name in found.terms) != frozen
        assert all(torch.isfinite(value) for value in found.terms.values())


def test_the_budget_of_every_level_by_hand():
    second, third = data_budget([10, 40, 80], (LevelConfig(8, rollout=4), LevelConfig(2, rollout=4)))
    assert (second.steps, second.clips, second.windows) == (32, 2, 8 + 48)
    assert (third.level, third.steps, third.clips, third.windows) == (3, 64, 1, 16)
    check_budget([second], min_share=0.6, min_clips=2)
    with pytest.raises(DataError, match=r"level 3 must have .* of more than 64 steps; 1 \(33%\) are so long"):
        check_budget([second, third], min_share=0.5, min_clips=1)
    with pytest.raises(DataError, match="at least 3 episodes"):
        check_budget([second], min_share=0.1, min_clips=3)


@pytest.mark.parametrize("wrong", [{"stride": 1}, {"window": 0}, {"decay": 0.0}, {"noise": -1.0}])
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LevelConfig(**wrong)
    with pytest.raises(ConfigError, match="takes none"):
        HJEPA(HJEPAConfig("ijepa"))
