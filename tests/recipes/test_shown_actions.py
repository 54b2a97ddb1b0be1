"""A picture that shows the last action: found in the latents, and told apart from the way by imagined other actions."""

from typing import Any

import torch
from torch import Tensor

from openjepa.heads.critic import TemporalDistanceConfig, fit_temporal_distance
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.recipes.remembered_play import Memory
from openjepa.recipes.shown_actions import COPIES, last_action_r2, under_other_actions


class Known:
    """A world model that knows its world: a state is (place, arrow), the arrow is the last action, places drift on."""

    config = LeWMConfig(embed_dim=2)
    states: Any = LeWM(LeWMConfig(embed_dim=2)).states

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([z[..., 0] + 0.1, actions], -1)


def played(shows: bool, episodes: int = 60, steps: int = 40) -> Memory:
    """Episodes at one speed, whose actions are held for ten steps; with or without an arrow in the picture."""
    generator = torch.Generator().manual_seed(0)
    held = torch.randn(episodes, -(-steps // 10), generator=generator).repeat_interleave(10, 1)[:, :steps]
    place = torch.rand(episodes, 1, generator=generator) + 0.1 * torch.arange(steps + 1)
    arrow = torch.cat([torch.zeros(episodes, 1), held], 1)
    arrow = arrow if shows else torch.randn(episodes, steps + 1, generator=generator)
    lengths = torch.full((episodes,), steps + 1)
    lengths[0] = 5
    return Memory(torch.stack([place, arrow], -1).unsqueeze(2), held.unsqueeze(2), lengths)


def test_a_shown_action_is_found() -> None:
    assert last_action_r2(Known(), played(True)) > 0.999  # type: ignore[arg-type]
    assert last_action_r2(Known(), played(False)) < 0.1  # type: ignore[arg-type]


def test_other_actions_leave_places_where_they_were() -> None:
    memory = played(True)
    found = under_other_actions(Known(), memory, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    assert found.latents.shape == (COPIES * 60, 41, 1, 2)
    assert torch.equal(found.lengths, memory.lengths.repeat(COPIES))
    inside = found.latents[1:60]
    torch.testing.assert_close(inside[..., 0], memory.latents[1:, ..., 0])
    drawn, own = inside[:, 1:, 0, 1].flatten(), memory.latents[1:, 1:, 0, 1].flatten()
    assert abs(torch.corrcoef(torch.stack([drawn, own]))[0, 1]) < 0.1
    torch.testing.assert_close(drawn.std(), own.std(), rtol=0.1, atol=0)


def test_a_critic_then_reads_the_way_and_not_the_arrow() -> None:
    memory, options = played(True, 200), TemporalDistanceConfig(form="euclidean", max_gap=10, steps=400)
    other = under_other_actions(Known(), memory, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    goal = torch.tensor([[2.0, 0.0]])
    arrows = torch.stack([torch.full((9,), 2.0), torch.linspace(-1, 1, 9)], -1).unsqueeze(1)
    far = torch.tensor([[3.0, 0.0]])
    shares = []
    for known in (memory, other):
        critic = fit_temporal_distance(
            known.latents, options, generator=torch.Generator().manual_seed(2), lengths=known.lengths
        )
        shares.append(float(critic(arrows, goal).mean() / critic(far, goal)))
    by_play, imagined = shares
    assert by_play > 0.3  # an arrow counts like steps of the way
    assert imagined < 0.5 * by_play
