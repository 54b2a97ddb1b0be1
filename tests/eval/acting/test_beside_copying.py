"""Errors of imagined states beside copying, for models whose errors are known."""

import pytest
import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.eval.acting.beside_copying import beside_copying


class Adds:
    """z moves by a share of every action."""

    def __init__(self, share: float) -> None:
        self.share = share

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        return z + self.share * actions.cumsum(1).unsqueeze(2)


def episode() -> tuple[Tensor, Tensor]:
    actions = torch.full((5, 3, 2), 2.0) * torch.tensor([1.0, -1, 1, 1, 1])[:, None, None]
    path = torch.cat([torch.zeros(5, 1, 2), actions.cumsum(1)], 1)
    return path.unsqueeze(2), actions


def test_errors_are_those_of_each_step() -> None:
    z, actions = episode()
    found = beside_copying(Adds(0.75), z, actions, batch_size=2)
    assert found.copied == (2.0, 4.0, 6.0)
    assert found.predicted == (0.5, 1.0, 1.5)
    assert found.share == (0.25, 0.25, 0.25)
    # Rows 1 and 2 are told the opposite way, so they miss by 1.75 of a step, three others by a quarter.
    assert found.shuffled[0] == pytest.approx(2 * (2 * 1.75 + 3 * 0.25) / 5)


def test_only_leading_dimensions_count_and_a_state_alone_is_refused() -> None:
    z, actions = episode()
    spoilt = torch.cat([z, torch.rand(5, 4, 1, 2)], -1)
    wide = torch.cat([actions, torch.zeros(5, 3, 2)], -1)
    assert beside_copying(Adds(0.75), spoilt, wide, dim=2).predicted == (0.5, 1.0, 1.5)
    with pytest.raises(ConfigError, match="at least one row of 2 states"):
        beside_copying(Adds(1.0), z[:, :1], actions[:, :0])
