import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig

SMALL = {"embed_dim": 24, "predictor_dim": 32, "depth": 2, "num_heads": 2, "native_rows": 3}


def make(**options):
    config = PoseActionPredictorConfig(**{**SMALL, **options})
    return PoseActionPredictor(config, generator=torch.Generator().manual_seed(0)).eval()


def test_published_parameter_count():
    with torch.device("meta"):
        predictor = PoseActionPredictor(
            PoseActionPredictorConfig(embed_dim=1408, predictor_dim=1024, depth=24, num_heads=16)
        )
    assert sum(p.numel() for p in predictor.parameters()) == 305_220_992


def test_a_frame_never_sees_the_future():
    predictor = make()
    z, actions, poses = torch.randn(2, 4, 9, 24), torch.randn(2, 4, 7), torch.randn(2, 4, 7)
    before = predictor(z, actions, poses)
    for changed in (z, actions, poses):
        keep = changed.clone()
        changed[:, 2] += 1.0
        after = predictor(z, actions, poses)
        assert torch.equal(after[:, :2], before[:, :2])
        assert (after[:, 2:] - before[:, 2:]).abs().max() > 1e-4
        changed.copy_(keep)
    torch.testing.assert_close(predictor(z[:, :2], actions[:, :2], poses[:, :2]), before[:, :2], atol=1e-5, rtol=1e-5)


def test_a_rollout_of_one_step_is_a_prediction():
    predictor = make()
    z, actions, poses = torch.randn(1, 2, 9, 24), torch.randn(1, 4, 7), torch.randn(1, 4, 7)
    rolled = predictor.rollout(z, actions, poses)
    assert rolled.shape == (1, 3, 9, 24)
    one = torch.nn.functional.layer_norm(predictor(z, actions[:, :2], poses[:, :2])[:, -1], (24,))
    torch.testing.assert_close(rolled[:, 0], one)


def recomputed(predictor, z, actions, poses, cameras=None, grid=None):
    """The roll-out in so many words: all frames anew at every step."""
    context = z.shape[1]
    for step in range(context, actions.shape[1] + 1):
        seen = None if cameras is None else cameras[:, :step]
        after = predictor(z, actions[:, :step], poses[:, :step], seen, grid=grid)[:, -1:]
        z = torch.cat((z, torch.nn.functional.layer_norm(after, after.shape[-1:])), 1)
    return z[:, context:]


@pytest.mark.parametrize("context", [1, 2, 4])
@pytest.mark.parametrize(("use_camera", "layout", "grid"), [(False, "tiled", None), (True, "interleaved", (2, 4))])
def test_a_rollout_that_remembers_equals_one_that_recomputes(context, use_camera, layout, grid):
    predictor = make(use_camera=use_camera, rope_layout=layout)
    steps, tokens = context + 4, 8 if grid else 9
    z = torch.randn(2, context, tokens, 24)
    actions, poses, cameras = (torch.randn(2, steps, n) for n in (7, 7, 6))
    cameras = cameras if use_camera else None
    wanted = recomputed(predictor, z, actions, poses, cameras, grid)
    found = predictor.rollout(z, actions, poses, cameras, grid=grid)
    assert found.shape == (2, 5, tokens, 24)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_gradients_of_a_rollout_are_those_of_recomputing():
    predictor = make().train()
    z, actions, poses = torch.randn(2, 1, 9, 24), torch.randn(2, 3, 7, requires_grad=True), torch.randn(2, 3, 7)
    found = []
    for roll in (predictor.rollout, lambda *inputs: recomputed(predictor, *inputs)):
        loss = roll(z, actions, poses).square().mean()
        found.append(torch.autograd.grad(loss, (actions, predictor.blocks[0].attn.qkv.weight)))
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("context", [1, 3])
def test_candidates_share_what_their_actions_do_not_touch(context):
    predictor, plans, horizon = make(), 4, 3
    z, past = torch.randn(2, context, 9, 24), torch.randn(2, context - 1, 7)
    before = torch.randn(2, context, 7)
    actions, after = torch.randn(2 * plans, horizon, 7), torch.randn(2 * plans, horizon - 1, 7)
    begun = predictor.begin(z, past, before)
    found = begun.rollout(actions, after)
    repeated = [x.repeat_interleave(plans, 0) for x in (z, past, before)]
    whole = torch.cat((repeated[1], actions), 1), torch.cat((repeated[2], after), 1)
    torch.testing.assert_close(found, recomputed(predictor, repeated[0], *whole), atol=1e-5, rtol=0)
    torch.testing.assert_close(begun.rollout(actions[::plans], after[::plans]), found[::plans], atol=1e-5, rtol=0)
    with pytest.raises(ShapeError, match="`actions` must be those of plans of 2 environments"):
        begun.rollout(actions[:3], after[:3])


def test_weights_of_half_width_give_nearly_the_same():
    predictor = make()
    z, actions, poses = torch.randn(1, 2, 9, 24), torch.randn(1, 4, 7), torch.randn(1, 4, 7)
    wanted = predictor.rollout(z, actions, poses)
    found = predictor.to(torch.bfloat16).rollout(z, actions, poses)
    assert found.dtype == torch.float32
    assert 0 < (found - wanted).abs().mean() < 0.05


def test_cameras_are_wanted_or_not():
    z, actions, poses = torch.randn(1, 1, 9, 24), torch.randn(1, 1, 7), torch.randn(1, 1, 7)
    assert make(use_camera=True)(z, actions, poses, torch.randn(1, 1, 6)).shape == z.shape
    with pytest.raises(ConfigError, match="`cameras` must be given exactly where"):
        make(use_camera=True)(z, actions, poses)
    with pytest.raises(ShapeError, match="no square frame"):
        make()(torch.randn(1, 1, 8, 24), actions, poses)
    with pytest.raises(ShapeError, match="`actions`"):
        make()(z, torch.randn(1, 2, 7), poses)
