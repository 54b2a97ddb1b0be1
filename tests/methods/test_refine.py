from dataclasses import replace

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.models.latent_predictor import LatentPredictorConfig


def corridor(*, episodes=200, steps=20):
    """States [E, T, 1, 2] of a constant scene and a place that moves by its action and stops at 0.8, and actions."""
    generator = torch.Generator().manual_seed(0)
    actions = 0.2 * (torch.rand(episodes, steps, 1, generator=generator) - 0.4)
    place, path = torch.rand(episodes, 1, generator=generator), []
    for t in range(steps + 1):
        path.append(place)
        if t < steps:
            place = (place + actions[:, t]).clamp(0, 0.8)
    places = torch.stack(path, 1)
    return torch.stack([torch.ones_like(places), places], -1), actions


@pytest.fixture(scope="module")
def refined():
    latents, actions = corridor()
    model = LeWM(LeWMConfig(action_dim=1, embed_dim=2, scene_dim=1))
    options = RefineConfig(
        steps=400, rollout=4, batch_size=128, hard_share=0.5, noise=0.1, predictor=LatentPredictorConfig("mlp", 32)
    )
    return refine_predictor(model, latents, actions, options, generator=torch.Generator().manual_seed(0))


def test_a_refined_predictor_stops_where_the_world_does(refined):
    start = torch.tensor([[[[1.0, 0.5]]]])
    path = refined.rollout(start, torch.full((1, 20, 1), 0.08))[0, :, 0]
    torch.testing.assert_close(path[:3, 1], torch.tensor([0.58, 0.66, 0.74]), atol=0.03, rtol=0)
    torch.testing.assert_close(path[4:, 1], torch.full((16,), 0.8), atol=0.05, rtol=0)
    assert torch.equal(path[:, 0], torch.ones(20))  # the scene stays


def test_a_state_that_has_strayed_into_the_wall_is_led_back(refined):
    path = refined.rollout(torch.tensor([[[[1.0, 0.9]]]]), torch.zeros(1, 6, 1))[0, :, 0]
    assert path[0, 1] < 0.87
    torch.testing.assert_close(path[-1, 1], torch.tensor(0.8), atol=0.05, rtol=0)


def test_no_steps_leave_the_predictor_as_it_is():
    latents, actions = corridor(episodes=2)
    model = LeWM(LeWMConfig(action_dim=1, embed_dim=2, scene_dim=1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refine_predictor(model, latents, actions, RefineConfig(steps=0), generator=torch.Generator())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("options", "words"), [({"noise": -1.0}, "noise"), ({"hard_share": 1.0}, "hard_share")])
def test_options_out_of_range_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        RefineConfig(**options)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_predictor_that_does_not_see_the_scene(scaled):
    generator = torch.Generator().manual_seed(0)
    latents, actions = corridor(episodes=20)
    latents = torch.cat([torch.randn(20, 1, 1, 1, generator=generator).expand(-1, 21, -1, -1), latents[..., 1:]], -1)
    options = RefineConfig(steps=20, rollout=4, batch_size=32, hard_share=0.5, sees_scene=False)
    options = replace(options, predictor=LatentPredictorConfig("mlp", 32, scaled=scaled))
    model = LeWM(LeWMConfig(action_dim=1, embed_dim=2, scene_dim=1))
    refined = refine_predictor(model, latents, actions, options, generator=generator)
    starts = torch.tensor([[[[-1.0, 0.5]]], [[[2.0, 0.5]]]])
    path = refined.rollout(starts, torch.full((2, 5, 1), 0.08))
    torch.testing.assert_close(path[0, ..., 1], path[1, ..., 1])
    assert path[0, -1, 0, 1] != 0.5  # it did learn to move
    none = LeWM(LeWMConfig(action_dim=1, embed_dim=2))
    with pytest.raises(ConfigError, match="`sees_scene` must be True but for an MLP"):
        refine_predictor(none, latents, actions, options, generator=torch.Generator())
