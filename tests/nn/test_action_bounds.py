import json

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.protocols import ActionBounds

BOX = ActionBounds(np.array([-0.1, 0.0]), np.array([0.1, 4.0]), max_norm=1.0)
MIXED = ActionBounds.of_categories([2, 3])


def test_bounds_are_kept_exactly():
    assert BOX.low.dtype == np.float64
    assert BOX.low[0] == -0.1
    low = np.zeros(1)
    bounds = ActionBounds(low, np.ones(1))
    low[0] = 0.5
    assert bounds.low[0] == 0


def test_choices_are_clipped_to_the_nearest_one_hot_vector():
    scores = torch.tensor([[0.2, 0.9, 0.1, 0.3, 0.3], [0.5, 0.5, -1.0, -2.0, -1.0]])
    wanted = [[0.0, 1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0, 0.0]]  # the first of equals
    assert MIXED.clip(scores).tolist() == wanted
    assert torch.equal(MIXED.clip(MIXED.clip(scores)), MIXED.clip(scores))
    assert MIXED.clip(scores[None, None]).shape == (1, 1, 2, 5)
    choice = torch.rand(50, 5, generator=torch.Generator().manual_seed(0))
    every = torch.stack([torch.cat([torch.eye(2)[i], torch.eye(3)[j]]) for i in range(2) for j in range(3)])
    nearest = every[torch.cdist(choice, every).argmin(1)]
    assert torch.equal(MIXED.clip(choice), nearest)


def test_frameskip_repeats_bounds_and_categories():
    twice = MIXED.with_frameskip(2)
    assert (twice.dim, twice.categories, twice.frameskip) == (10, (2, 3, 2, 3), 2)
    scores = torch.rand(7, 10, generator=torch.Generator().manual_seed(0))
    parts = [MIXED.clip(part) for part in scores.split(5, -1)]
    assert torch.equal(twice.clip(scores), torch.cat(parts, -1))
    assert BOX.with_frameskip(3).high.tolist() == [0.1, 4.0] * 3


@pytest.mark.parametrize("bounds", [BOX, BOX.with_frameskip(2), MIXED, MIXED.with_frameskip(2)])
def test_bounds_survive_json(bounds):
    again = ActionBounds.from_dict(json.loads(json.dumps(bounds.to_dict(), allow_nan=False)))
    assert again == bounds
    assert hash(again) == hash(bounds)
    assert again.low.tolist() == bounds.low.tolist()
    assert again != ActionBounds(bounds.low, bounds.high + 1)


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match="low <= high"):
        ActionBounds(np.ones(1), np.zeros(1))
    with pytest.raises(ConfigError, match="must be \\[A\\]"):
        ActionBounds(np.zeros((2, 2)), np.ones((2, 2)))
    for categories, norm in (((2, 2), None), ((0, 3), None), ((3,), 1.0)):
        with pytest.raises(ConfigError, match="`categories` must be sizes >= 1 that sum to the width 3"):
            ActionBounds(np.zeros(3), np.ones(3), norm, categories=categories)
    with pytest.raises(ConfigError, match="`categories` must be"):
        ActionBounds(-np.ones(3), np.ones(3), categories=(3,))
    for wrong in ({"low": [0.0]}, {"low": [0.0], "high": [1.0], "colour": 3}, {"low": ["a"], "high": [1.0]}):
        with pytest.raises(ConfigError, match="bounds of actions must have low, high and known options"):
            ActionBounds.from_dict(wrong)


def test_bounds_that_an_agent_in_inference_clipped_with_serve_training():
    box = ActionBounds(np.array([-0.1]), np.array([0.1]))
    with torch.inference_mode():
        box.clip(torch.ones(2, 1))
    actions = torch.tensor([[0.05], [3.0]], requires_grad=True)
    box.clip(actions).sum().backward()
    assert actions.grad.tolist() == [[1.0], [0.0]]
