"""V-JEPA 2-AC as a method: its loss against ten lines, causality, a roll-out that remembers, and poses in states."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError
from openjepa.methods.vjepa2_ac import VJEPA2AC, VJEPA2ACConfig
from openjepa.models.action_predictor import PoseActionPredictorConfig
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.frozen_tokens import FrozenTokens, FrozenTokensConfig
from openjepa.models.vit import VisionTransformer, ViTConfig
from openjepa.nn.patch_embed import normalize_pixels
from openjepa.nn.poses import integrate_poses
from openjepa.protocols import TrajectoryBatch

CELLS = FrozenTokensConfig(frames=FrameEncoderConfig("context", image_size=32, width=4, hidden_dim=8), rows=2)
SIZES = {"predictor_dim": 24, "depth": 2, "num_heads": 2, "embed_dim": 8, "native_rows": 2}
HAND = PoseActionPredictorConfig(**SIZES, action_dim=3, pose_dim=4)


def method(**options) -> VJEPA2AC:
    model = VJEPA2AC(VJEPA2ACConfig(**{"encoder": CELLS, "predictor": HAND, "poses": "sum", **options}))
    width = model.config.predictor.action_dim
    model.set_action_statistics(torch.zeros(width), torch.full((width,), 0.02))
    torch.nn.init.normal_(model.predictor.proj.weight, generator=torch.Generator().manual_seed(3))
    return model


def batch(actions: int = 3, poses: int = 4) -> TrajectoryBatch:
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (2, 5, 3, 32, 32), generator=g, dtype=torch.uint8)
    return TrajectoryBatch(frames, 0.04 * torch.randn(2, 4, actions, generator=g), torch.rand(2, 5, poses, generator=g))


def straight(model: VJEPA2AC, data: TrajectoryBatch, steps: int, released: bool) -> Tensor:
    """The loss as the paper and the published code write it, all frames anew at every step."""
    z, a, s = model.features(data.frames), data.actions / model.action_std, data.proprio[:, :-1]

    def told(frames: Tensor, count: int) -> Tensor:
        found = model.predictor(frames, a[:, :count], s[:, :count])
        return functional.layer_norm(found, found.shape[-1:])

    forced = told(z[:, :-1], 4)
    rolled = forced[:, 1:2] if released else forced[:, :1]
    for count in range(2, steps + 1):
        rolled = torch.cat((rolled, told(torch.cat((z[:, :1], rolled), 1), count)[:, -1:]), 1)
    return (forced - z[:, 1:]).abs().mean() + (rolled - z[:, 1 : steps + 1]).abs().mean()


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_loss_is_that_of_ten_lines(steps: int, residual: bool, released: bool) -> None:
    model = method(predictor=replace(HAND, residual=residual), rollout_steps=steps, released=released)
    found = model.loss(batch(), 0)
    torch.testing.assert_close(found.loss, straight(model, batch(), steps, released), rtol=1e-5, atol=1e-6)
    assert set(found.terms) == {"teacher_forcing", "rollout"}


def test_only_the_predictor_learns_and_tokens_that_were_kept_give_the_same_loss() -> None:
    model, data = method(), batch()
    seen = replace(data, frames=model.features(data.frames))
    loss = model.loss(seen, 0).loss
    torch.testing.assert_close(loss, model.loss(data, 0).loss, rtol=0, atol=0)
    loss.backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning == {"predictor"}


def test_a_changed_future_changes_nothing_before_it() -> None:
    model, data = method().eval(), batch()
    z, changed = model.features(data.frames), model.features(data.frames).clone()
    changed[:, 3:] += 1
    with torch.no_grad():
        before, after = (model.predictor(x, data.actions, data.proprio[:, :-1]) for x in (z[:, :-1], changed[:, :-1]))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


@pytest.mark.parametrize("residual", [False, True])
def test_a_plan_is_rolled_out_as_all_frames_anew_would_be_and_poses_add_up(residual: bool) -> None:
    model, data = method(predictor=replace(HAND, residual=residual)).eval(), batch()
    with torch.no_grad():
        z = model.encode(data.frames[:, :2], data.proprio[:, :2])
        path = model.rollout(z, data.actions)  # one action within the context, three imagined
        tokens, poses = z[..., :8], data.proprio[:, :2]
        for step in range(3):
            new = model.predictor(tokens, data.actions[:, : step + 2] / model.action_std, poses)[:, -1:]
            tokens = torch.cat((tokens, functional.layer_norm(new, (8,))), 1)
            moved = functional.pad(data.actions[:, step + 1 : step + 2], (0, 1))
            poses = torch.cat((poses, poses[:, -1:] + moved), 1)
    torch.testing.assert_close(path[..., :8], tokens[:, 2:], rtol=1e-5, atol=1e-5)
    wanted = data.proprio[:, 1:2, :3] + data.actions[:, 1:].cumsum(1)
    torch.testing.assert_close(path[:, :, 0, 8:11], wanted)
    torch.testing.assert_close(path[:, :, 3, 11], data.proprio[:, 1:2, 3].expand(-1, 3))


def test_seven_numbers_turn_as_published() -> None:
    rigid = replace(HAND, action_dim=7, pose_dim=7)
    model, data = method(predictor=rigid, poses="rigid").eval(), batch(7, 7)
    with torch.no_grad():
        path = model.rollout(model.encode(data.frames[:, :1], data.proprio[:, :1]), data.actions)
    torch.testing.assert_close(path[:, :, 0, 8:], integrate_poses(data.proprio[:, 0], data.actions))


def test_a_goal_needs_no_pose_and_a_start_does() -> None:
    model, data = method().eval(), batch()
    goal = model.encode(data.frames[:, :1])
    assert goal[..., :8].isfinite().all()
    assert goal[..., 8:].isnan().all()
    with pytest.raises(ConfigError, match="`proprio` must be given where a plan begins"):
        model.rollout(goal, data.actions[:, :1])
    with pytest.raises(ConfigError, match="`proprio` must be given: this model reads poses"):
        model.loss(replace(data, proprio=None), 0)
    without = method(poses="none").eval()
    assert without.rollout(without.encode(data.frames[:, :1]), data.actions).shape == (2, 4, 4, 8)


def test_frozen_tokens_are_of_the_network_that_it_is_filled_with() -> None:
    frames = batch().frames[:, 0]
    cells, encoder = FrameEncoder(CELLS.frames, 5).eval(), FrozenTokens(CELLS)
    encoder.fill(cells)
    told = cells.trunk.told(cells.pixels(frames))[2]  # [B, 8, 4, 4]
    pooled = told.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean((3, 5))
    expected = functional.layer_norm(pooled.flatten(2).mT, (8,))
    torch.testing.assert_close(encoder(frames), expected)
    shape = ViTConfig(
        img_size=(32, 32), patch_size=16, num_frames=2, tubelet_size=2, embed_dim=24, depth=1, num_heads=1
    )
    vit, encoder = VisionTransformer(shape).eval(), FrozenTokens(FrozenTokensConfig(vit=shape))
    encoder.fill(vit)
    still = frames[:, None].repeat(1, 2, 1, 1, 1)  # a still clip
    torch.testing.assert_close(encoder(frames), functional.layer_norm(vit(normalize_pixels(still)), (24,)))
    assert encoder(torch.zeros(1, 3, 48, 48, dtype=torch.uint8)).shape == (1, 4, 24)  # shrunk to what the encoder sees


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`predictor.embed_dim` and `predictor.native_rows` must be 8 and 2"):
        VJEPA2ACConfig(CELLS, replace(HAND, embed_dim=16), "sum")
    with pytest.raises(ConfigError, match="`poses` must be sum or none unless"):
        VJEPA2ACConfig(CELLS, HAND, "rigid")
    with pytest.raises(ConfigError, match="`poses` sum needs poses of at least 3 numbers"):
        VJEPA2ACConfig(CELLS, replace(HAND, pose_dim=2), "sum")
    with pytest.raises(ConfigError, match=r"exactly one of `vit` and `frames`"):
        FrozenTokensConfig()
    with pytest.raises(ConfigError, match=r"`frames.kind` must be context and `rows` divide"):
        replace(CELLS, rows=3)
