"""States that remember: against a cell written out by hand, and where pictures do not show what must be known."""

from dataclasses import replace

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.memory import learn_memory
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.models.latent_memory import MemoryPredictor, MemoryState, carried_on
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.models.latent_states import PairState
from openjepa.protocols import RememberingModel

EPISODES, STEPS, PERIOD = 60, 20, 4  # a light shines in every fourth frame; two dark frames in a row tell not which


def light():
    """Poses [E, T, 1, 1] of lights that shine in turns of their own, and actions that do nothing."""
    drawn = torch.Generator().manual_seed(0)
    first = torch.randint(PERIOD, (EPISODES, 1), generator=drawn)
    poses = ((torch.arange(STEPS) + first) % PERIOD == 0).float()
    return poses[..., None, None], torch.randn(EPISODES, STEPS - 1, 1, generator=drawn)


def pairs(poses):
    return PairState(1).of(poses)


def plain():
    predictor = LatentPredictorConfig("mlp", 64, scaled=True)
    model = LeWM(LeWMConfig(action_dim=1, embed_dim=1, state="pair", predictor=predictor)).eval()
    model.set_action_statistics(torch.zeros(1), torch.ones(1))
    return model, predictor


def test_a_state_is_a_pair_that_remembers_nothing_yet():
    state = MemoryState(2, 3)
    poses = torch.arange(12.0).view(1, 3, 1, 4)[..., :2]
    assert state.dim == 7
    assert torch.equal(state.of(poses)[..., :4], PairState(2).of(poses))
    assert torch.equal(state.of(poses)[..., 4:], torch.zeros(1, 3, 1, 3))


def test_the_memory_is_that_of_a_gru_cell_along_what_was_seen():
    torch.manual_seed(0)
    net = MemoryPredictor(LatentPredictorConfig("mlp", 8), 2, 1, 3)
    z, actions = torch.randn(4, 5, 7), torch.randn(4, 4, 1)
    z[..., 4:] = 0
    kept = torch.zeros(4, 3)
    for t in range(4):
        seen = torch.cat([z[:, t, :2], 4 * z[:, t, 2:4], actions[:, t]], -1)
        gates, memory = seen @ net.cell.weight_ih.T + net.cell.bias_ih, kept @ net.cell.weight_hh.T + net.cell.bias_hh
        (r, u, n), (hr, hu, hn) = gates.chunk(3, -1), memory.chunk(3, -1)
        r, u = (r + hr).sigmoid(), (u + hu).sigmoid()
        kept = (1 - u) * (n + r * hn).tanh() + u * kept

    def carry(before, action, now):
        return torch.cat([now[..., :4], net.carried(before, action)], -1)

    found = carried_on(z, actions, carry)
    assert torch.allclose(found[:, -1, 4:], kept, atol=1e-6)
    assert torch.equal(found[..., :4], z[..., :4])


def test_imagination_carries_on_what_it_foretells():
    torch.manual_seed(1)
    net = MemoryPredictor(LatentPredictorConfig("mlp", 8), 2, 1, 3)
    torch.nn.init.normal_(net.change[-1].weight)
    z, actions = torch.randn(4, 7), torch.randn(4, 3, 1)
    path, state = net.rollout(z, actions), z
    for t in range(3):
        following = net(state, actions[:, t])
        assert torch.allclose(following[:, 2:4], following[:, :2] - state[:, :2], atol=1e-6)
        assert torch.equal(following[:, 4:], net.carried(state, actions[:, t]))
        state = following
        assert torch.allclose(path[:, t], state, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_two_frames_do_not_tell_is_foretold_from_those_before(seed):
    poses, actions = light()
    model, predictor = plain()
    options = RefineConfig(steps=300, rollout=4, lr=3e-3, predictor=predictor)
    drawn = torch.Generator().manual_seed
    z = pairs(poses)
    former = refine_predictor(model, z[:40], actions[:40], options, generator=drawn(seed))
    found = learn_memory(model, z[:40], actions[:40], replace(options, memory_dim=8), generator=drawn(seed))
    assert isinstance(found, RememberingModel)
    assert found.memory_dim == 8
    kept = carried_on(torch.cat([z, torch.zeros(*z.shape[:-1], 8)], -1), actions, found.carry)
    known = slice(PERIOD, -1)  # a whole period was seen
    dark = (z[40:, known, 0] == 0).all(-1)  # two frames in a row, after which it shines in every second case

    def errors(one, states):
        following = one.rollout(states[40:, known].flatten(0, 1).unsqueeze(1), actions[40:, PERIOD:].reshape(-1, 1, 1))
        return (following[:, 0, 0, 0].view(20, -1) - poses[40:, PERIOD + 1 :, 0, 0]).abs()

    assert errors(former, z)[dark].mean() > 0.4
    assert errors(found, kept)[dark].mean() < 0.1
    imagined = found.rollout(kept[40:, PERIOD : PERIOD + 1], actions[40:, PERIOD:])[:, :8, 0, 0]
    assert (imagined - poses[40:, PERIOD + 1 : PERIOD + 9, 0, 0]).abs().mean() < 0.15  # two periods ahead


def test_impossible_options():
    _, predictor = plain()
    poses, actions = light()
    drawn = torch.Generator().manual_seed(0)
    with pytest.raises(ConfigError, match="`memory_dim` must be 0, or above it for `state` pair"):
        LeWMConfig(memory_dim=4)
    with pytest.raises(ConfigError, match="`memory_dim` must be 0, or above it with a new `predictor`"):
        RefineConfig(memory_dim=4)
    with pytest.raises(ConfigError, match="must be mlp for states with a memory"):
        MemoryPredictor(LatentPredictorConfig("gru"), 2, 1, 3)
    options = RefineConfig(steps=2, memory_dim=4, predictor=predictor)
    frame = LeWM(LeWMConfig(action_dim=1, embed_dim=1))
    with pytest.raises(ConfigError, match="by a model of `state` pair"):
        learn_memory(frame, poses, actions, options, generator=drawn)
