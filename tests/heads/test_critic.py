from dataclasses import replace
from typing import Any

import pytest
import torch

from openjepa.errors import ConfigError, DataError
from openjepa.heads.critic import (
    TemporalDistanceConfig,
    TemporalDistanceHead,
    fit_temporal_distance,
)
from openjepa.heads.fitting import sample_pairs


def walks_on_a_ring(episodes: int = 200, steps: int = 30, radius: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles [E, T] that advance by 0 to 0.2 per step, and latents [E, T, 1, 2] on a circle."""
    generator = torch.Generator().manual_seed(0)
    start = 6.283 * torch.rand(episodes, 1, generator=generator)
    angle = start + (0.2 * torch.rand(episodes, steps, generator=generator)).cumsum(1)
    return angle, radius * torch.stack([angle.cos(), angle.sin()], -1).unsqueeze(2)


@pytest.mark.parametrize("form", ["squared", "euclidean", "quasimetric"])
def test_distance_grows_with_time_apart(form: Any) -> None:
    _, latents = walks_on_a_ring()
    config = TemporalDistanceConfig(form=form, max_gap=15, steps=150)
    head = fit_temporal_distance(latents, config, generator=torch.Generator().manual_seed(0))
    angles = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.4])
    ring = torch.stack([angles.cos(), angles.sin()], -1).unsqueeze(1)
    distance = head(ring[:1], ring)
    assert distance.shape == (5,)
    assert (distance.diff() > 0).all()
    assert distance[0] < 1e-5
    assert not head.training
    assert not any(p.requires_grad for p in head.parameters())


def test_quasimetric_tells_there_from_back() -> None:
    _, latents = walks_on_a_ring()
    config = TemporalDistanceConfig(form="quasimetric", max_gap=10, steps=200)
    head = fit_temporal_distance(latents, config, generator=torch.Generator().manual_seed(0))
    angles = torch.arange(0, 6.2, 0.2)
    ring = torch.stack([angles.cos(), angles.sin()], -1).unsqueeze(1)
    ahead, behind = head(ring, ring.roll(-2, 0)), head(ring, ring.roll(2, 0))
    assert ahead.mean() < 0.8 * behind.mean()  # the ring is only walked one way
    far = head.embedding(ring[:1]), head.embedding(ring[8:9]), head.embedding(ring[16:17])
    assert head.between(far[0], far[2]) <= head.between(far[0], far[1]) + head.between(far[1], far[2]) + 1e-5


def test_infonce_by_hand() -> None:
    head = TemporalDistanceHead(1, 1, TemporalDistanceConfig(embed_dim=2))
    head.embed = torch.nn.Linear(1, 2, bias=False)  # type: ignore[assignment]
    head.embed.weight.data = torch.tensor([[1.0], [0.0]])
    z, later = torch.tensor([0.0, 4.0]).view(2, 1, 1), torch.tensor([1.0, 3.0]).view(2, 1, 1)
    # Squared distances [[1, 9], [9, 1]], logits -d / 2.
    expected = -torch.log_softmax(torch.tensor([-0.5, -4.5]), 0)[0]
    torch.testing.assert_close(head.loss(z, later), expected)


@pytest.mark.parametrize("form", ["squared", "euclidean", "quasimetric"])
def test_infonce_sees_the_distance_that_planners_see(form: Any) -> None:
    head = TemporalDistanceHead(1, 3, TemporalDistanceConfig(form=form))
    z, later = torch.randn(2, 5, 1, 3, generator=torch.Generator().manual_seed(0))
    distance = head(z[:, None], later[None])
    logits = -distance / 16
    own = torch.arange(5)
    ce = torch.nn.functional.cross_entropy
    torch.testing.assert_close(head.loss(z, later), (ce(logits, own) + ce(logits.T, own)) / 2)


def test_both_states_are_judged_in_the_scene_of_the_first() -> None:
    head = TemporalDistanceHead(1, 3, TemporalDistanceConfig(scene_dim=2, negatives=2))
    z, goal = torch.randn(2, 4, 1, 3, generator=torch.Generator().manual_seed(0))
    elsewhere = torch.cat([goal[..., :2] + 7, goal[..., 2:]], -1)
    assert torch.equal(head(z, goal), head(z, elsewhere))
    assert (head(z, goal) - head(torch.cat([z[..., :2] + 7, z[..., 2:]], -1), goal)).abs().min() > 0
    assert head(z[:, None], goal[None]).shape == (4, 4)
    # InfoNCE by hand: the own later state and those of the next two pairs, in the scene of the first state.
    rows = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]])
    logits = -head(z[:, None], goal[rows]) / 16
    torch.testing.assert_close(head.loss(z, goal), -logits.log_softmax(1)[:, 0].mean())


def test_pairs_stay_in_their_episode_and_gap() -> None:
    lengths = torch.tensor([2, 5, 40])
    generator = torch.Generator().manual_seed(0)
    episode, now, later = sample_pairs(lengths, 10, 6000, pairs_per_episode=3, generator=generator)
    gap = later - now
    assert (now >= 0).all()
    assert (later < lengths[episode]).all()
    assert set(gap[episode == 2].tolist()) == set(range(1, 11))
    assert set(gap[episode == 1].tolist()) == {1, 2, 3, 4}
    assert torch.equal(episode.view(-1, 3)[:, 0], episode.view(-1, 3)[:, 2])


def test_training_is_a_function_of_the_generator_and_leaves_the_global_stream() -> None:
    _, latents = walks_on_a_ring(20)
    config = TemporalDistanceConfig(steps=3)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = fit_temporal_distance(latents, config, generator=torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    second = fit_temporal_distance(latents, config, generator=torch.Generator().manual_seed(1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_what_lies_beyond_an_episode_is_not_used() -> None:
    _, latents = walks_on_a_ring(20)
    lengths = torch.full((20,), 12)
    poisoned = latents.clone()
    poisoned[:, 12:] = torch.nan
    head = fit_temporal_distance(
        poisoned,
        TemporalDistanceConfig(steps=20),
        generator=torch.Generator().manual_seed(0),
        lengths=lengths,
    )
    assert torch.isfinite(head(latents[:, 0], latents[:, 5])).all()


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="every episode must have from 2 to 1 states"):
        fit_temporal_distance(torch.zeros(3, 1, 1, 2), generator=torch.Generator())
    with pytest.raises(ConfigError, match=r"must be a multiple of `pairs_per_episode` \(3\)"):
        TemporalDistanceConfig(pairs_per_episode=3)
    with pytest.raises(ConfigError, match="`negatives` from 1 to below `batch_size`"):
        TemporalDistanceConfig(scene_dim=1, negatives=256)
    with pytest.raises(ConfigError, match="`embed_dim` must be even"):
        TemporalDistanceConfig(embed_dim=3)
    with pytest.raises(ConfigError, match="`noise` must be 0 or more"):
        TemporalDistanceConfig(noise=-0.1)
    with pytest.raises(ConfigError, match="`latent_weight` must be 0 where `scene_dim` is not"):
        TemporalDistanceConfig(latent_weight=1.0, scene_dim=2)


@pytest.mark.parametrize("form", ["squared", "euclidean", "quasimetric"])
def test_the_distance_of_latents_is_added_and_not_learned(form: str) -> None:
    """With a weight of 3 the distance is that of the same head without, and three times that of the latents."""
    _, ring = walks_on_a_ring(episodes=40)
    plain = TemporalDistanceConfig(form=form, max_gap=15, steps=20)  # type: ignore[arg-type]
    alone = fit_temporal_distance(ring, plain, generator=torch.Generator().manual_seed(0))
    beside = replace(plain, latent_weight=3.0)
    head = fit_temporal_distance(ring, beside, generator=torch.Generator().manual_seed(0))
    z, goal = ring[:, 3], ring[:, 9]
    spread = ring.flatten(0, 1).flatten(1).std(0)
    expected = alone(z, goal) + 3 * ((z - goal).flatten(1) / spread).norm(dim=1)
    assert torch.allclose(head(z, goal), expected, atol=1e-5)
    assert torch.allclose(head.to_embedded(z, head.embed_goal(goal, z)), expected, atol=1e-5)


def test_noise_hides_what_hardly_varies() -> None:
    """Two numbers say where a walk on a ring is, fourteen repeat it in tiny waves: both ways round are as far.

    Without noise they differ by 18 % or by more than half, by how a processor rounds; what holds on each is that noise
    makes latents that are a little off less far, in ways of five steps.
    """

    def seen(angle: torch.Tensor) -> torch.Tensor:
        wave = 3.0 * torch.arange(1, 15)
        return torch.cat([angle.cos(), angle.sin(), 1e-3 * torch.sin(angle * wave + wave)], -1).unsqueeze(-2)

    generator = torch.Generator().manual_seed(0)
    start = 6.283 * torch.rand(200, 1, generator=generator)
    angle = start + 0.3 * (0.05 * torch.randn(200, 40, generator=generator)).cumsum(1).cumsum(1)
    walks, there, goal = seen(angle.unsqueeze(-1)), torch.linspace(0.25, 2.9, 11).unsqueeze(-1), seen(torch.zeros(1, 1))
    beside = walks + 0.05 * walks.flatten(0, 2).std(0) * torch.randn(walks.shape, generator=generator)
    apart, off = [], []
    for noise in (0.0, 0.05):
        config = TemporalDistanceConfig(form="euclidean", max_gap=10, steps=600, noise=noise)
        head = fit_temporal_distance(walks, config, generator=torch.Generator().manual_seed(1))
        left, right = head(seen(there), goal), head(seen(-there), goal)
        apart.append(float(((left - right).abs() / left.maximum(right)).max()))
        off.append(float(head(walks, beside).mean() / head(walks[:, :-5], walks[:, 5:]).mean()))
    assert apart[1] < 0.25
    assert off[1] < off[0]


def test_a_distance_that_does_not_see_the_scene() -> None:
    """It is the distance of what moves alone, to the last bit, in whichever scene a state is judged."""
    _, ring = walks_on_a_ring(episodes=40)
    generator = torch.Generator().manual_seed(1)
    latents = torch.cat([torch.randn(40, 1, 1, 4, generator=generator).expand(-1, 30, -1, -1), ring], -1)
    options = TemporalDistanceConfig(max_gap=15, steps=20)
    blind = TemporalDistanceConfig(max_gap=15, steps=20, scene_dim=4, sees_scene=False)
    alone = fit_temporal_distance(ring, options, generator=torch.Generator().manual_seed(0))
    head = fit_temporal_distance(latents, blind, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(latents[:, 3], latents[:, 9]), alone(ring[:, 3], ring[:, 9]))
    assert torch.equal(head(latents[:, 3], latents[:1, 9]), alone(ring[:, 3], ring[:1, 9]))
    with pytest.raises(ConfigError, match="`sees_scene` must be True where `scene_dim` is 0"):
        TemporalDistanceConfig(sees_scene=False)


def test_a_distance_of_what_is_read_ignores_the_rest_and_is_that_of_the_read_numbers():
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(6, 20, 1, 2, generator=generator).cumsum(1)
    rest = torch.randn(6, 1, 1, 3, generator=generator).expand(-1, 20, -1, -1)  # names the episode
    read = torch.tensor([[1.0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0]])
    config = TemporalDistanceConfig(hidden_dim=16, embed_dim=4, max_gap=5, batch_size=16, steps=5)
    seeds = (torch.Generator().manual_seed(1) for _ in range(2))
    found = fit_temporal_distance(torch.cat([places, rest], -1), config, generator=next(seeds), read=read)
    alone = fit_temporal_distance(places * torch.tensor([1.0, 2.0]), config, generator=next(seeds))
    one, other = places[0, :1], places[1, :1]
    expected = alone(one * torch.tensor([1.0, 2.0]), other * torch.tensor([1.0, 2.0]))
    for elsewhere in (0.0, 100.0):
        z, z_goal = torch.nn.functional.pad(one, (0, 3)), torch.nn.functional.pad(other, (0, 3), value=elsewhere)
        torch.testing.assert_close(found(z, z_goal), expected)
        torch.testing.assert_close(found.to_embedded(z, found.embed_goal(z_goal, z)), expected)
    again = TemporalDistanceHead(1, 2, config, 5)
    again.load_state_dict(found.state_dict())
    torch.testing.assert_close(again(one_and_rest := torch.nn.functional.pad(one, (0, 3)), one_and_rest), expected * 0)
