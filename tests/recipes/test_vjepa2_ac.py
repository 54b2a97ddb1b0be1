"""V-JEPA 2-AC from play to a judged agent at toy size, with an encoder of its own, of a run, and of a transformer."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.agent import load_agent
from openjepa.config import override
from openjepa.data import EpisodeStore, WindowConfig, WindowSource
from openjepa.errors import ConfigError, DataError
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.frozen_tokens import FrozenTokens
from openjepa.models.vit import ViTConfig
from openjepa.protocols import Episode
from openjepa.recipes.frozen_features import cached_features
from openjepa.recipes.vjepa2_ac import VJEPA2_AC
from openjepa.recipes.world_model import open_store
from openjepa.train import train
from openjepa.train.checkpoint import save_checkpoint

pytest.importorskip("mujoco")

SMALL = {"train.steps": 2, "train.checkpoint_every": 2, "train.device": "cpu", "act.pairs": 2, "act.budget": 2}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return override(VJEPA2_AC.config, {**VJEPA2_AC.toy, **SMALL})


def test_from_play_to_a_judged_agent_that_needs_its_pose(config, tmp_path) -> None:
    experiment = VJEPA2_AC.build(config)
    result = train(
        experiment.method, experiment.source, config.train, tmp_path / "run", diagnostics=experiment.diagnostics
    )
    assert {"rollout_1", "rollout_2"} <= set(result.metrics)
    VJEPA2_AC.finish(config, tmp_path / "run")
    found = json.loads(json.dumps(VJEPA2_AC.judge(config, tmp_path / "run")))
    assert len(found["rollout"]["share"]) == 2
    assert found["far"]["pairs"] == 2
    assert VJEPA2_AC.replay(config, tmp_path / "run", 5).frames.shape[1:] == (3, 64, 64)
    agent = load_agent(tmp_path / "run")
    frames = np.zeros((1, 3, 64, 64), np.uint8)
    agent.start(frames)
    with pytest.raises(ConfigError, match="`proprio` must be given where a plan begins"):
        agent.act(frames)
    assert agent.act(frames, np.zeros((1, 4), np.float32)).shape == (1, 3)
    again = VJEPA2_AC.build(
        replace(config, encoder=replace(config.encoder, run=str(next(tmp_path.glob("runs/features/encoder-*")))))
    )
    first, second = (e.method.encoder.state_dict() for e in (experiment, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_transformer_of_a_run_can_be_the_encoder(config, tmp_path) -> None:
    shape = ViTConfig(img_size=(32, 32), num_frames=2, tubelet_size=2, embed_dim=24, depth=1, num_heads=1)
    seeing = VJEPA2(VJEPA2Config(encoder=shape, predictor_dim=12, predictor_depth=1, predictor_heads=1))
    save_checkpoint(tmp_path / "vit" / "checkpoints", 1, seeing)
    method = VJEPA2_AC.build(replace(config, encoder=replace(config.encoder, run=str(tmp_path / "vit")))).method
    assert torch.equal(method.encoder.network.state_dict()["norm.weight"], seeing.target_encoder.norm.weight)
    assert method.config.predictor.embed_dim == 24
    assert method.config.encoder.grid == (2, 2)


def test_every_frame_is_seen_once_and_kept(config, tmp_path, monkeypatch) -> None:
    store = open_store(config)
    encoder = VJEPA2_AC.build(config).method.encoder
    kept = cached_features(store, encoder, tmp_path / "kept")
    frames = np.array(store.column("frames"))
    np.testing.assert_allclose(kept[::7], encoder(torch.from_numpy(frames[::7])).numpy(), atol=2e-3)
    source = WindowSource(store, None, WindowConfig(3), instead={"frames": kept})
    assert torch.equal(source.windows(np.array([1])).frames[0], torch.from_numpy(np.array(kept[1:4])))
    monkeypatch.setattr(FrozenTokens, "forward", None)  # it is not asked again
    assert np.array_equal(cached_features(store, encoder, tmp_path / "kept"), kept)


def test_play_without_poses_is_refused_with_the_way_out(config) -> None:
    with pytest.raises(ConfigError, match="has no poses"):
        VJEPA2_AC.build(replace(config, play=replace(config.play, options={})))


def test_frames_that_the_encoder_cannot_take_are_named(config, tmp_path) -> None:
    encoder = VJEPA2_AC.build(config).method.encoder
    with EpisodeStore.create(tmp_path / "wide") as store:
        store.append(Episode(np.zeros((3, 3, 32, 48), np.uint8), np.zeros((2, 3), np.float32)))
        with pytest.raises(DataError, match=r"frames of .* are \[3, 32, 48\], which this encoder cannot take"):
            cached_features(store, encoder, tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_recorded_episodes_of_unknown_origin_are_learned_from_and_judged(config, tmp_path) -> None:
    encoder = _encoder_run(config, tmp_path)
    store = open_store(config).path
    play = replace(config.play, world="", options={}, data=store, read_only=True)
    own = replace(config, play=play, encoder=replace(config.encoder, run=str(encoder)))
    experiment = VJEPA2_AC.build(own)
    train(experiment.method, experiment.source, own.train, tmp_path / "own")
    VJEPA2_AC.finish(own, tmp_path / "own")
    assert set(VJEPA2_AC.judge(own, tmp_path / "own")) == {"rollout"}
    assert load_agent(tmp_path / "own").bounds.dim == 3
    assert len(experiment.held_out().frames) >= 2


def _encoder_run(config, tmp_path):
    VJEPA2_AC.build(config)
    return next(tmp_path.glob("runs/features/encoder-*"))
