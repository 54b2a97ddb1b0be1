import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig

SMALL = {"image_size": 32, "width": 4, "hidden_dim": 8, "num_keypoints": 3}
CONFIGS = {
    "conv": FrameEncoderConfig("conv", **SMALL),
    "keypoints": FrameEncoderConfig("keypoints", **SMALL),
    "split": FrameEncoderConfig("split", **SMALL),
    "context": FrameEncoderConfig("context", **SMALL),
    "attn": FrameEncoderConfig("attn", 32, 4, num_keypoints=3, patch_size=5),
    "vit": FrameEncoderConfig("vit", image_size=28, patch_size=14, depth=1),
}


def make(kind, embed_dim=5):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FrameEncoder(CONFIGS[kind], embed_dim, scene_dim=2 if kind == "split" else 0).eval()


def pictures(kind, batch=3):
    size = CONFIGS[kind].image_size
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", CONFIGS)
def test_each_picture_has_its_own_latent(kind):
    encoder, frames = make(kind), pictures(kind)
    kept = frames.clone()
    z = encoder(frames)
    assert z.shape == (3, 5)
    assert z.dtype == torch.float32
    assert torch.equal(frames, kept)
    torch.testing.assert_close(encoder(frames[1:2]), z[1:2], atol=1e-5, rtol=1e-4)
    assert (z[0] - z[1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_parameter_learns(kind):
    encoder = make(kind).train()
    encoder(pictures(kind)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_last_layer_stays_in_float32(kind):
    encoder, seen = make(kind), []
    encoder.head.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        z = encoder(pictures(kind))
    assert z.dtype == seen[0] == torch.float32
    torch.testing.assert_close(z, encoder(pictures(kind)), atol=0.05, rtol=0.05)


def test_light_and_contrast_of_a_picture_do_not_matter_to_context():
    """Brighter, of another cast, and with twice the contrast: the same picture."""
    encoder, frames = make("context"), pictures("context").float() / 4
    cast = torch.tensor([10.0, 40.0, 90.0]).view(3, 1, 1)
    other = 2 * frames + cast
    plain, changed = (encoder.pixels(x) for x in (frames, other))
    torch.testing.assert_close(plain, changed, atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(plain.mean((2, 3)), torch.zeros(3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.square().mean((1, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)
    assert encoder.pixels(torch.full((1, 3, 32, 32), 7.0)).abs().max() == 0  # nothing to see, and no division by it


def test_a_keypoint_of_context_sees_the_whole_picture():
    """A far corner moves the keypoints of `context`, and not those of `keypoints`' local path."""
    for kind, sees in (("context", True), ("split", False)):
        encoder = make(kind)
        trunk = encoder.trunk.moving if kind == "split" else encoder.trunk
        seen = []
        trunk.maps.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out))
        pixels = torch.zeros(1, 3, 32, 32)
        trunk(pixels)
        pixels[..., -4:, -4:] = 3.0
        trunk(pixels)
        assert bool((seen[0][..., 0, 0] != seen[1][..., 0, 0]).any()) is sees


def test_pixels_are_centred():
    encoder, seen = make("conv"), []
    encoder.trunk.stem.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    frames = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    frames[0, 1], frames[0, 2] = 255, 51
    encoder(frames)
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_sizes_of_the_convolutions():
    """Cells of 16 px; the published width of three convolutions, a dense layer and the latent."""
    config = FrameEncoderConfig()
    convolutions = (3 * 4 * 4 * 32 + 32) + (32 * 9 * 32 + 32) + (32 * 9 * 64 + 64)
    expected = convolutions + (64 * 4 * 4 * 128 + 128) + (128 * 16 + 16)
    assert sum(p.numel() for p in FrameEncoder(config, 16).parameters()) == expected
    assert FrameEncoder(FrameEncoderConfig("conv", 80, 2, 4), 3)(pictures("conv").new_zeros(1, 3, 80, 80)).shape == (
        1,
        3,
    )


def test_keypoints_are_the_positions_of_features():
    """Weights by hand: brightness passes through every layer, and a soft-maximum finds the only white cell."""
    encoder, seen = make("keypoints"), []
    trunk = encoder.trunk
    with torch.no_grad():
        for layer in (trunk.conv.stem, trunk.local, trunk.maps):
            layer.weight.zero_(), layer.bias.zero_()
        trunk.conv.stem.weight[0] = 1 / 48
        trunk.local.weight[0, 0, 1, 1] = 1.0
        trunk.maps.weight[:, 0] = 20.0
    encoder.head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    frames = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    frames[:, :, 4:8, 24:28] = 255  # row 1, column 6 of 8 cells, whose centres are (2 i + 1) / 8 - 1
    encoder(frames)
    expected = torch.tensor([[13 / 8 - 1] * 3 + [3 / 8 - 1] * 3])
    torch.testing.assert_close(seen[0][:, -6:], expected, atol=1e-5, rtol=0)


def brightest_cell(trunk):
    """Weights by hand: channel 0 is a cell's brightness, channel 1 its red, and every map finds the brightest cell."""
    with torch.no_grad():
        for layer in (trunk.stem, trunk.local, trunk.maps):
            layer.weight.zero_(), layer.bias.zero_()
        trunk.stem.weight[0], trunk.stem.weight[1, 0] = 1 / 75, 1 / 25
        trunk.local.weight[0, 0, 1, 1] = trunk.local.weight[1, 1, 1, 1] = 1.0
        trunk.maps.weight[:, 0] = 50.0


def test_attn_tells_where_something_is_and_what():
    """A frame of 20 x 33 px in cells of 5 px, the last column of which is filled up."""
    config = FrameEncoderConfig("attn", 20, 4, num_keypoints=3, patch_size=5, image_width=33, gain=1.0)
    encoder = FrameEncoder(config, 5)
    brightest_cell(encoder.trunk)
    encoder.pixels.measure(torch.zeros(3, 20, 33), 255.0)
    frames = torch.zeros(2, 3, 20, 33, dtype=torch.uint8)
    frames[0, :, 5:10, 15:20] = 255  # row 1 of 4, column 3 of 7
    frames[1, 0, 15:20, 30:] = 255  # row 3, the column of which 3 px are seen
    points = encoder.trunk(encoder.pixels(frames))
    assert points.shape == (2, 3 * (2 + 4))
    torch.testing.assert_close(points[:, :3], torch.tensor([[7 / 7 - 1] * 3, [13 / 7 - 1] * 3]), atol=1e-4, rtol=0)
    torch.testing.assert_close(points[:, 3:6], torch.tensor([[3 / 4 - 1] * 3, [7 / 4 - 1] * 3]), atol=1e-4, rtol=0)
    seen = torch.tensor([[1.0, 1, 0, 0], [0.2, 0.6, 0, 0]])  # a third of the second cell's brightness is red
    torch.testing.assert_close(points[:, 6:].view(2, 3, 4), seen[:, None].expand(-1, 3, -1), atol=1e-3, rtol=0)


def test_gain_sees_what_differs_from_the_mean_frame():
    encoder = FrameEncoder(FrameEncoderConfig("conv", 16, 4, gain=0.5), 3)
    frames = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder.pixels(frames), frames / 127.5 - 1)  # until it is told
    mean = frames.float().mean(0)
    rest = frames - mean
    encoder.pixels.measure(mean, float(rest.square().mean().sqrt()))
    seen = encoder.pixels(frames)
    assert seen.square().mean().sqrt().item() == pytest.approx(0.5)
    torch.testing.assert_close(seen / seen[0, 0, 0, 0], rest / rest[0, 0, 0, 0], atol=1e-4, rtol=1e-4)


def test_split_reads_scene_and_motion_from_their_own_keypoints_linearly():
    encoder, frames = make("split"), pictures("split")
    points = encoder.trunk(encoder.pixels(frames))
    assert points.shape == (3, 2 * 6)
    assert points.abs().max() < 1  # positions in the picture
    z = encoder(frames)
    assert z.shape == (3, 5)
    torch.testing.assert_close(z[:, :2], encoder.head.scene(points[:, :6]))
    torch.testing.assert_close(z[:, 2:], encoder.head.moving(points[:, 6:]))


def test_two_conv_reads_scene_and_motion_from_convolutions_of_their_own():
    encoder = FrameEncoder(FrameEncoderConfig("two-conv", **SMALL), 5, 2)
    encoder(pictures("split"))[:, :2].sum().backward()
    learned = {name for name, weight in encoder.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {name.split(".")[1] for name in learned} == {"scene"}
    with pytest.raises(ConfigError, match="from 1 to below 5 for a `two-conv` encoder; got 0"):
        FrameEncoder(FrameEncoderConfig("two-conv", **SMALL), 5)


def test_split_needs_a_scene():
    with pytest.raises(ConfigError, match="`scene_dim` must be from 1 to below 5 for a `split` encoder; got 0"):
        FrameEncoder(CONFIGS["split"], 5)


def test_vit_projects_its_class_token():
    encoder, frames = make("vit"), pictures("vit")
    trunk = encoder.trunk
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (frames / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    token = trunk.vit(pixels)[:, 0]
    assert trunk.vit(pixels).shape == (3, 5, 192)  # the class token and 2 x 2 patches
    linear, norm, gelu = trunk.project
    hidden = gelu(linear(token) / (1 + norm.eps) ** 0.5)  # fresh running statistics: mean 0, variance 1
    torch.testing.assert_close(encoder(frames), encoder.head(hidden), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "resnet"}, "`kind` must be one of conv, two-conv, keypoints, .*, vit; got resnet"),
        ({"image_size": 40}, "`image_size` must be a multiple of 16; got 40"),
        ({"kind": "vit", "image_size": 64}, "`image_size` must be a multiple of 14; got 64"),
        ({"width": 0}, "must be at least 1"),
        ({"gain": 0.0}, "`gain` must be above 0, or None; got 0.0"),
        ({"image_width": 32}, "`image_width` must be `image_size` .64. for `kind` conv; got 32. Use attn"),
    ],
)
def test_impossible_configs(options, message):
    with pytest.raises(ConfigError, match=message):
        FrameEncoderConfig(**options)


def test_a_wrong_picture():
    with pytest.raises(ShapeError, match=r"`frames` must be \[B C=3 H=32 W=32\] with C = 3; got \[2, 1, 32, 32\]"):
        make("conv")(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
