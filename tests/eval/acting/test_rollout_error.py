import pytest
import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.eval.acting.rollout_error import rollout_error


class Walker:
    """z' = z + a, with a drift of .1 that the world does not have."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        steps = torch.arange(1, actions.shape[1] + 1)[:, None, None]
        return z[:, -1:] + actions.cumsum(1).unsqueeze(2) + torch.tensor([0.1, 0.0]) * steps


def test_errors_of_a_drifting_model_grow_by_its_drift():
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(4, 8, 2, generator=generator)
    truth = torch.cat([torch.zeros(4, 1, 2), actions.cumsum(1)], 1)
    found = rollout_error(Walker(), lambda x: x, truth.unsqueeze(2), actions, truth, horizon=4, starts=(0, 3))
    torch.testing.assert_close(torch.tensor(found.predicted), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert found.floor == (0.0, 0.0, 0.0, 0.0)
    moved = torch.cat([(truth[:, s + 1 : s + 5] - truth[:, s : s + 1]).norm(dim=-1) for s in (0, 3)]).mean(0)
    torch.testing.assert_close(torch.tensor(found.copied), moved)
    assert min(found.shuffled) > max(found.predicted)


def test_a_horizon_beyond_the_episode_is_an_error():
    with pytest.raises(ConfigError, match="`horizon` must end within 5 states"):
        rollout_error(Walker(), lambda x: x, torch.zeros(1, 5, 1, 2), torch.zeros(1, 4, 2), torch.zeros(1, 5, 2))


def test_a_short_episode_is_judged_as_far_as_it_goes():
    actions = torch.ones(2, 6, 2)
    truth = torch.cat([torch.zeros(2, 1, 2), actions.cumsum(1)], 1)
    truth[1, 3:] = float("inf")  # beyond the end
    lengths = torch.tensor([7, 3])
    found = rollout_error(Walker(), lambda x: x, truth.unsqueeze(2), actions, truth, horizon=4, lengths=lengths)
    torch.testing.assert_close(torch.tensor(found.predicted), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert found.copied == pytest.approx([2**0.5 * h for h in (1, 2, 3, 4)])
    with pytest.raises(ConfigError, match="`horizon` must end within 3 states"):
        rollout_error(
            Walker(), lambda x: x, truth.unsqueeze(2), actions, truth, horizon=4, lengths=torch.tensor([3, 3])
        )
