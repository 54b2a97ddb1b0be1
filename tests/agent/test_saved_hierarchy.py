"""An agent with upper levels on disk: reopened it acts bit for bit as before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentCard, AgentConfig, load_agent, save_agent
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.config import to_dict
from openjepa.errors import CheckpointError, ConfigError
from openjepa.heads.critic import TemporalDistanceConfig
from openjepa.methods.hjepa import HJEPA
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.models.upper_level import LevelConfig
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import squared_l2
from openjepa.planning.hierarchical import UpperConfig
from openjepa.protocols import ActionBounds
from openjepa.recipes.hierarchy import HierarchyConfig, assemble, stacked
from openjepa.recipes.remembered_play import Memory

BOX = ActionBounds([-1.0, -1.0], [1.0, 1.0])
SHAPE = (3, 16, 16)
SMALL = HierarchyConfig(
    num_levels=3,
    level=LevelConfig(2, embed_dim=3, hidden_dim=8, macro_dim=2, rollout=1, predictor=LatentPredictorConfig("mlp", 8)),
    upper=UpperConfig(CEMConfig(2, num_samples=8, num_elites=2, num_iterations=1)),
    temporal=TemporalDistanceConfig(hidden_dim=8, batch_size=8, steps=2),
    macros=5,
    anchors=20,
)


def player(distance, levels=3):
    model = LeWM(LeWMConfig(embed_dim=4, encoder=FrameEncoderConfig(image_size=16, width=4, hidden_dim=8), seed=1))
    drawn = torch.Generator().manual_seed(2)
    memory = Memory(
        torch.randn(20, 9, 1, 4, generator=drawn), torch.randn(20, 8, 2, generator=drawn), torch.full((20,), 9)
    )
    places = fit_landmarks(memory.latents, LandmarkConfig(reversible=True))

    config = replace(SMALL, distance=distance, num_levels=levels)
    whole, source = stacked(model.eval(), memory, config, seed=0)
    assert torch.equal(source.batch(3).z, source.batch(3).z)
    assert torch.equal(source.batch(3, rank=1, world_size=2).z, source.batch(3).z[1::2])
    hierarchy = assemble(whole.eval(), memory, places, config, 0)
    search = CEM(BOX, CEMConfig(4, num_samples=16, num_elites=4, num_iterations=2))
    options = AgentConfig(replan_every=2, configurator=ConfiguratorConfig(), seed=5)
    return Agent(whole, search, PathCost(squared_l2), BOX, options, SHAPE, None, hierarchy)


def actions(one, steps=5):
    frames = np.random.default_rng(1).integers(256, size=(steps + 1, 2, *SHAPE), dtype=np.uint8)
    one.start(frames[0], env_ids=[4, 9])
    return np.stack([one.act(frame) for frame in frames[1:]])


@pytest.mark.parametrize("distance", ["stitched", "within"])
def test_upper_levels_are_reopened(tmp_path, distance):
    before = player(distance)
    expected = actions(before)
    assert [setup.levels for setup, _ in before.thoughts] == [3, 3]
    save_agent(tmp_path / "agent", before, AgentCard(BOX, SHAPE))
    again = load_agent(tmp_path)
    assert isinstance(again.model, HJEPA)
    assert to_dict(again.hierarchy.uppers[1].config) == to_dict(SMALL.upper)
    assert torch.equal(again.hierarchy.anchors, before.hierarchy.anchors)
    np.testing.assert_array_equal(actions(again), expected)


def test_what_does_not_belong_together_is_named(tmp_path):
    before = player("within")
    before.hierarchy.uppers[0].distance = torch.nn.Identity()
    with pytest.raises(ConfigError, match="distance of a saved upper level"):
        save_agent(tmp_path / "agent", before, AgentCard(BOX, SHAPE))
    other = player("within", levels=2)
    before.hierarchy = other.hierarchy
    save_agent(tmp_path / "agent", before, AgentCard(BOX, SHAPE))
    with pytest.raises(CheckpointError, match="upper levels that are described are not those of the world model"):
        load_agent(tmp_path)
