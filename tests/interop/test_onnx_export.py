"""Agents as ONNX files: the same numbers in any batch, and actions without PyTorch."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentCard, AgentConfig, ProposalConfig, ProposeVerifyRepair, load_agent, save_agent
from openjepa.cli import main
from openjepa.errors import CheckpointError, ConfigError
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
from openjepa.interop.onnx_export import export_onnx
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import mean, squared_l2
from openjepa.protocols import ActionBounds

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
BOUNDS, SHAPE = ActionBounds([-1.0, -2.0], [1.0, 2.0]), (3, 32, 32)
EXAMPLE = Path(__file__).parents[2] / "examples" / "act_with_onnx.py"


def agent(kind="mlp", *, policy=False, learned=True, state="frame", encoder="conv", proprio=0):
    torch.manual_seed(0)
    wide = BOUNDS.with_frameskip(2)
    context = 1 if kind == "mlp" else 3
    predictor = LatentPredictorConfig(kind, 24, **({} if kind == "mlp" else {"context_len": context}))
    config = LeWMConfig(
        action_dim=4,
        embed_dim=8,
        predictor=predictor,
        state=state,
        encoder=FrameEncoderConfig(encoder, image_size=32, **({"patch_size": 8} if encoder == "vit" else {})),
        proprio_dim=proprio,
    )
    model = LeWM(config).eval()
    for parameter in model.predictor.parameters():  # else nothing moves
        torch.nn.init.normal_(parameter, std=0.3)
    model.set_action_statistics(torch.full((4,), 0.1), torch.full((4,), 0.7))
    width = model.states.dim
    cost = PathCost(
        TemporalDistanceHead(1, width, TemporalDistanceConfig(hidden_dim=16)) if learned else squared_l2, mean
    )
    planner = CEM(wide, CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=2))
    if policy:
        planner = make_policy(wide, width)
    options = AgentConfig(frameskip=2, context_len=context, history=2 if state == "pair" else 1)
    return Agent(model, planner, cost, BOUNDS, options, SHAPE)


def export(tmp_path, one, **options):
    save_agent(tmp_path / "run/agent", one, AgentCard(BOUNDS, SHAPE, "two-rooms", choices=("why",)))
    return export_onnx(tmp_path / "run", tmp_path / "out", **options)


def make_policy(wide, width):
    policy = GoalPolicy(1, width, wide, 2, GoalPolicyConfig(hidden_dim=16))
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    search = CEMConfig(horizon=4, knot_steps=2, num_samples=16, num_elites=4, num_iterations=2)
    return ProposeVerifyRepair(policy.eval(), wide, ProposalConfig(), repair=search)


KINDS = {
    "conv": {},
    "policy and plain distance": {"policy": True, "learned": False},
    "keypoints, two frames a state": {"encoder": "keypoints", "state": "pair"},
    "transformers": {"encoder": "vit", "kind": "transformer"},
    "attention over places": {"encoder": "attn"},
    "own measurements": {"proprio": 3},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_every_part_gives_what_pytorch_gives_in_any_batch(tmp_path, options):
    one = agent(**options)
    parts = export(tmp_path, one)
    assert set(parts) == {"encoder", "predictor", "critic", *(["actor"] if options.get("policy") else [])}
    assert all(0 <= part.largest_difference < 1e-4 for part in parts.values())
    draws = torch.Generator().manual_seed(3)
    frames = torch.randint(256, (7, one.config.history, *SHAPE), generator=draws, dtype=torch.uint8)
    own = torch.randn(7, 1, 3, generator=draws) if options.get("proprio") else None
    run = {name: onnxruntime.InferenceSession(tmp_path / "out" / part.file) for name, part in parts.items()}
    given = {"frames": frames.numpy()} | ({} if own is None else {"proprio": own.numpy()})
    with torch.no_grad():
        z = one.model.encode(frames, own)[:, -1]  # [7, N, D]
        context = one.config.context_len
        states, actions = z[:, None].repeat(1, context, 1, 1), 0.5 * torch.randn(7, context, 4, generator=draws)
        after = one.model.rollout(states, actions)[:, -1]
        cost = one.cost.distance(after, z.flip(0))
    np.testing.assert_allclose(run["encoder"].run(None, given)[0], z, atol=1e-4)
    found = run["predictor"].run(None, {"states": states.numpy(), "actions": actions.numpy()})[0]
    np.testing.assert_allclose(found, after, atol=1e-4)
    found = run["critic"].run(None, {"state": after.numpy(), "goal": z.flip(0).numpy()})[0]
    np.testing.assert_allclose(found, cost, atol=1e-4, rtol=1e-4)
    if "actor" in run:
        found = run["actor"].run(None, {"state": z.numpy(), "goal": z.flip(0).numpy()})[0]
        np.testing.assert_allclose(found, one.planner.policy(z, z.flip(0)).detach(), atol=1e-4)


def test_the_command_says_how_far_each_part_is_and_the_example_acts(tmp_path, capsys, monkeypatch):
    save_agent(tmp_path / "run/agent", agent(), AgentCard(BOUNDS, SHAPE, "two-rooms", choices=("why",)))
    assert main(["export", str(tmp_path / "run"), "--to", "onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("encoder.onnx: frames [B, 1, 3, 32, 32] -> state [B, 1, 8]; largest difference ")
    assert all("(tolerance 1e-04)" in line for line in lines[:3])
    card = json.loads((tmp_path / "run/onnx/export.json").read_text())
    assert (card["world"], card["choices"], card["options"]["frameskip"]) == ("two-rooms", ["why"], 2)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path / "run/onnx")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert capsys.readouterr().out.startswith("encoder, predictor, critic | action [")


def test_the_example_searches_like_the_agent(tmp_path):
    """With many plans both find the action of least cost, one by PyTorch and one by ONNX Runtime."""
    one = agent(learned=False)
    export(tmp_path, one)
    space = runpy.run_path(str(EXAMPLE))
    frames = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    found = space["OnnxAgent"](tmp_path / "out").act(frames[0], frames[1], plans=2000, horizon=1)
    z, z_goal = one.model.encode(torch.from_numpy(frames)[:, None]).split(1)
    tried = torch.from_numpy(np.random.default_rng(1).uniform([-1, -2] * 2, [1, 2] * 2, (4000, 4)).astype(np.float32))
    tried = torch.cat([tried, torch.from_numpy(found.astype(np.float32))[None]])
    costs = one.cost.distance(one.model.rollout(z.repeat(4001, 1, 1, 1), tried[:, None])[:, 0], z_goal[0])
    assert costs[-1] <= costs[:-1].min() + 0.02 * (costs.max() - costs.min())


def test_what_cannot_be_exported_is_said(tmp_path, capsys):
    with pytest.raises(CheckpointError, match=r"encoder.onnx must give what PyTorch gives within 1e-20; it differs by"):
        export(tmp_path, agent(), tolerance=1e-20)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="`tolerance` must be above 0"):
        export(tmp_path, agent(), tolerance=0.0)
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="must be a new folder"):
        export(tmp_path, agent())
    for words in (["export", str(tmp_path / "none")], ["export", str(tmp_path / "run"), "--to", "tflite"]):
        assert main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert load_agent(tmp_path / "run").config.frameskip == 2
