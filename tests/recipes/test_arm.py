"""The arm's recipe end to end at toy size, its pairs, and the players beside it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.agent import load_agent
from openjepa.config import override
from openjepa.envs.arm import ArmConfig, beside_wall, wall_of
from openjepa.errors import ConfigError
from openjepa.eval.acting.arm_pairs import draw_arm_pairs
from openjepa.eval.acting.arm_players import ArmOracle, DirectController
from openjepa.heads.language_fitting import TextFitConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.protocols import ActionBounds
from openjepa.recipes.arm import ARM, ARM_AROUND, ARM_FELT, ARM_PUSH, arm, arm_around, arm_push, draw_pairs, judge_split
from openjepa.recipes.worded_tasks import by_cost, by_picture, draw_tasks, play_tasks
from openjepa.recipes.words import WordsConfig, learn_words
from openjepa.recipes.world_model import with_seed, world_of
from openjepa.train import train

pytest.importorskip("mujoco")

SMALL = {
    "train.steps": 2,
    "train.warmup_steps": 0,
    "train.checkpoint_every": 2,
    "train.device": "cpu",
    "act.refine.steps": 2,
    "act.distance.steps": 2,
    "act.pairs": 2,
    "act.budget": 2,
}


@pytest.mark.parametrize("recipe", [ARM, ARM_AROUND, ARM_PUSH], ids=["reach", "around", "push"])
def test_from_play_to_a_judged_agent(recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = {**recipe.toy, **SMALL, **({"act.policy.steps": 2} if recipe is ARM_PUSH else {})}
    config = with_seed(override(recipe.config, small))
    experiment = recipe.build(config)
    result = train(experiment.method, experiment.source, config.train, tmp_path / "run", recipe_config={})
    assert {"displacement", "prediction"} <= set(result.method.loss(experiment.source.batch(0), 0).terms)
    recipe.finish(config, tmp_path / "run")
    found = recipe.judge(config, tmp_path / "run")
    assert set(found) == {"near", "far"}
    assert json.loads(json.dumps(found))["far"]["pairs"] == 2
    assert recipe.replay(config, tmp_path / "run", 5).frames.shape[1:] == (3, 64, 64)
    agent = load_agent(tmp_path / "run")
    pairs = draw_pairs(config, "near")
    direct = DirectController(agent.model, agent.bounds)
    assert judge_split(direct, config, pairs, "direct")["pairs"] == 2


def test_an_arm_takes_goals_in_words(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_seed(override(ARM_FELT.config, {**ARM_FELT.toy, **SMALL}))
    experiment = ARM_FELT.build(config)
    train(experiment.method, experiment.source, config.train, tmp_path / "run", recipe_config={})
    ARM_FELT.finish(config, tmp_path / "run")
    words = WordsConfig("hashed", texts=80, frames=4, places=16, fit=TextFitConfig(steps=2, said_steps=2))
    language = learn_words(config, tmp_path / "run", words, say=list.append.__get__([]))
    agent, world = load_agent(tmp_path / "run"), world_of(config.play)
    tasks = draw_tasks(world, 3, seed=1, joined=False)
    assert all(len(facts) == 2 for facts in tasks.facts)  # what training never joins
    assert tasks.holds(world.facts, tasks.goals).all()
    assert not tasks.holds(world.facts, tasks.starts).any()
    texts = ["go to the left, high above the table"] * 3
    assert play_tasks(tasks, world, by_cost(agent, language.cost(texts)), budget=2).at_end.shape == (3,)
    assert play_tasks(tasks, world, by_picture(agent), budget=2).ever.shape == (3,)
    seen = torch.from_numpy(world.reset([0]))[None]
    said = language.describe(agent.model.encode(seen)[0])
    assert said[0].text.startswith("the gripper is ")
    assert len(language.ask(agent.model.encode(seen)[0], "how high is it?", ["low", "high"])) == 2


@pytest.mark.parametrize(("config", "within"), [(arm(), 1.0), (arm_around(), 0.9), (arm_push(), 0.7)])
def test_the_oracle_solves_what_is_asked(config, within: float) -> None:
    config = replace(config, act=replace(config.act, pairs=10))
    pairs = draw_pairs(config, "near")
    row = judge_split(ArmOracle(ArmConfig(task=pairs.protocol["world"]["task"], split="near")), config, pairs)
    assert row["within_5_cm"] >= within


def test_pairs_lie_apart_each_in_its_own_scene_and_where_wanted_behind_a_wall() -> None:
    for task in ("reach", "around", "push"):
        config = ArmConfig(task=task, split="far", wall="drawn")
        pairs = draw_arm_pairs(config, 20, first_scene=7)
        assert pairs.sha256 == draw_arm_pairs(config, 20, first_scene=7).sha256
        assert pairs.sha256 != draw_arm_pairs(config, 20, seed=1, first_scene=7).sha256
        assert (pairs.starts[:, -1] == (2 << 20) + 7 + np.arange(20)).all()
        assert (pairs.goals[:, -1] == pairs.starts[:, -1]).all()
        assert min(pair.distance for pair in pairs.pairs) >= 0.1
        if task == "around":
            for start, goal in zip(pairs.starts, pairs.goals, strict=True):
                wall = wall_of(config, int(start[-1]))
                assert beside_wall(start[:3], wall) * beside_wall(goal[:3], wall) < 0
                assert max(start[2], goal[2]) < wall[1]


def test_the_direct_controller_goes_where_the_latents_differ() -> None:
    """With a read-out that is known, the action is the read way in metres, cut to the bounds."""
    seeing = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    model = LeWM(LeWMConfig(action_dim=3, encoder=seeing, embed_dim=6, displacement_weight=1.0, displacement_dim=3))
    model.set_action_statistics(torch.zeros(3), torch.full((3,), 0.01))
    bounds = ActionBounds(-np.full(3, 0.04), np.full(3, 0.04))
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    player = DirectController(model, bounds)
    player.start(frames[:2])
    z = model.encode(torch.from_numpy(frames)[:, None])[:, 0, 0]
    wanted = ((z[:2] - z[2:]) @ model.displacement.weight.T * 5 * 0.01).detach().clamp(-0.04, 0.04)
    np.testing.assert_allclose(player.act(frames[2:]), wanted.numpy(), atol=1e-6)
    with pytest.raises(ConfigError, match="must have learned to read displacements"):
        DirectController(LeWM(LeWMConfig(action_dim=3, encoder=seeing)), bounds)
