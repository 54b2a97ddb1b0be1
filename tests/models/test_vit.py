import copy

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.models.vit import (
    VisionTransformer,
    ViTConfig,
    vit_base,
    vit_giant,
    vit_gigantic,
    vit_huge,
    vit_large,
    vit_small,
    vit_tiny,
)
from openjepa.nn.tokens import gather_tokens

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 2, "patch_size": 8}


def video(**options):
    config = ViTConfig(**{**SMALL, "img_size": (32, 32), "num_frames": 4, "tubelet_size": 2, **options})
    return VisionTransformer(config, generator=torch.Generator().manual_seed(0)).eval()


def image(**options):
    config = ViTConfig(**{**SMALL, "img_size": (32, 32), "positions": "sincos", **options})
    return VisionTransformer(config, generator=torch.Generator().manual_seed(0)).eval()


def count(config):
    with torch.device("meta"):
        network = VisionTransformer(config)
    return sum(p.numel() for p in network.parameters())


V2 = {"img_size": (256, 256), "num_frames": 16, "tubelet_size": 2}
V2_224 = {**V2, "img_size": (224, 224)}
V21 = {**V2, "image_tokenizer": True}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (vit_tiny(**V2), 5_633_856),
        (vit_small(**V2), 21_884_544),
        (vit_base(**V2), 86_236_416),
        (vit_large(**V2), 303_885_312),
        (vit_huge(**V2), 631_648_000),
        (vit_giant(**V2), 1_012_173_952),
        (vit_base(**V21, level_layers=(2, 5, 8, 11)), 86_833_152),
        (vit_large(**V21, level_layers=(5, 11, 17, 23)), 304_680_960),
        (vit_giant(**V21, level_layers=(9, 19, 29, 39)), 1_013_267_968),
        (vit_gigantic(**V21, level_layers=(11, 23, 37, 47)), 1_845_216_768),
        (vit_large(**V2_224, positions="sincos"), 303_885_312),
        (vit_base(positions="sincos"), 85_646_592),
        (vit_huge(positions="sincos", patch_size=14), 630_434_560),
        (vit_giant(positions="sincos", num_heads=16), 1_011_092_608),
        (vit_tiny(num_frames=16, class_token=True), 5_486_592),
        (vit_large(num_frames=16, class_token=True), 303_099_904),
    ],
)
def test_published_parameter_counts(config, expected):
    assert count(config) == expected


def test_published_position_tables():
    with torch.device("meta"):
        clip = VisionTransformer(vit_large(**V2_224, positions="sincos"))
        picture = VisionTransformer(vit_base(positions="sincos"))
    assert clip.pos_embed.numel() == 305_490_944 - 303_885_312
    assert picture.pos_embed.numel() == 85_797_120 - 85_646_592


def test_gathered_tokens_keep_their_positions():
    network, clip = video(), torch.randn(2, 4, 3, 32, 32)
    everything = torch.arange(32).expand(2, -1)
    torch.testing.assert_close(network(clip, everything), network(clip), atol=1e-5, rtol=1e-5)
    shuffled = torch.stack([torch.randperm(32), torch.randperm(32)])
    torch.testing.assert_close(network(clip, shuffled), gather_tokens(network(clip), shuffled), atol=1e-5, rtol=1e-5)
    few = shuffled[:, :10]
    kept = network(clip, few)
    assert kept.shape == (2, 10, 48)
    assert (kept - gather_tokens(network(clip), few)).abs().max() > 1e-3  # hidden tokens are really hidden


def test_hidden_tokens_leave_no_trace():
    network, clip = video(), torch.randn(1, 4, 3, 32, 32)
    context = torch.tensor([[0, 1, 5, 20]])
    other = clip.clone()
    other[:, :, :, 24:, 24:] = 9.0  # token 15 and 31, both hidden
    assert torch.equal(network(clip, context), network(other, context))


def test_tokens_are_embedded_once_for_several_masks():
    network, clip = video(), torch.randn(2, 4, 3, 32, 32)
    tokens = network.tokenize(clip)
    for ids in (torch.tensor([[0, 3], [1, 2]]), torch.tensor([[7, 8, 9], [4, 5, 6]])):
        assert torch.equal(network.encode(tokens, ids), network(clip, ids))


def test_any_shape_of_clip_and_a_single_picture():
    network = video()
    assert network(torch.randn(1, 8, 3, 48, 32)).shape == (1, 4 * 6 * 4, 48)
    picture = torch.randn(2, 3, 32, 32)
    doubled = picture[:, None].expand(-1, 2, -1, -1, -1)
    assert torch.equal(network(picture), network(doubled))
    assert torch.equal(network(picture[:, None]), network(doubled))


def test_picture_model_at_another_resolution():
    network = image()
    assert network(torch.randn(1, 3, 64, 48)).shape == (1, 48, 48)
    assert network.pos_embed is not None
    assert "pos_embed" in network.state_dict()


def test_picture_tokenizer():
    network = video(image_tokenizer=True, level_layers=(0, 2))
    network.video_modality.data.fill_(3.0)
    tokens = network.tokenize(torch.randn(2, 3, 32, 32))
    assert tokens.is_image
    assert tokens.grid == (1, 4, 4)
    assert not network.tokenize(torch.randn(2, 2, 3, 32, 32)).is_image


def test_levels():
    clip = torch.randn(1, 4, 3, 32, 32)
    network = video(level_layers=(0, 2))
    first, last = network.levels(network.tokenize(clip))
    assert torch.equal(last, network(clip))
    x = network.blocks[0](network.tokenize(clip).x, network.rope.table((2, 4, 4), clip.device))
    torch.testing.assert_close(first, network.level_norms[0](x), atol=1e-6, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"among \(0, 2\), which have norms; got \(1,\)"):
        network.levels(network.tokenize(clip), layers=(1,))
    plain = video()
    both = plain.levels(plain.tokenize(clip), layers=(2, 1))
    assert torch.equal(both[0], plain(clip))
    with pytest.raises(ConfigError, match="block numbers from 0 to 2"):
        plain.levels(plain.tokenize(clip), layers=(3,))


def test_class_token_and_registers():
    clip = torch.randn(2, 4, 3, 32, 32)
    network = video(class_token=True, reg_tokens=2)
    assert network(clip).shape == (2, 33, 48)
    assert network(clip, torch.tensor([[3, 4], [0, 1]])).shape == (2, 3, 48)


def test_frame_causal_attention_never_sees_the_future():
    network = video(attention="frame_causal", class_token=True)
    clip = torch.randn(1, 4, 3, 32, 32)
    later = clip.clone()
    later[:, 2:] += 1.0  # the second latent frame
    a, b = network(clip), network(later)
    assert torch.equal(a[:, 1:17], b[:, 1:17])
    assert (a[:, 17:] - b[:, 17:]).abs().max() > 1e-3
    assert (a[:, 0] - b[:, 0]).abs().max() > 1e-4  # the class token sees everything
    ids = torch.tensor([[0, 5, 9, 18, 30]])
    a, b = network(clip, ids), network(later, ids)
    assert torch.equal(a[:, 1:4], b[:, 1:4])
    torch.testing.assert_close(network(clip, torch.arange(32)[None]), network(clip), atol=1e-5, rtol=1e-5)


def test_initial_weights_are_a_function_of_the_seed():
    assert torch.equal(video().blocks[2].mlp.fc1.weight, video().blocks[2].mlp.fc1.weight)


def test_bfloat16_stays_close():
    network, clip = video(), torch.randn(2, 4, 3, 32, 32)
    low = copy.deepcopy(network).bfloat16()(clip.bfloat16()).float()
    cosine = torch.nn.functional.cosine_similarity(low, network(clip), dim=-1)
    assert cosine.min() > 0.999


def test_training_after_inference_mode():
    network, clip = video(), torch.randn(1, 4, 3, 32, 32)
    with torch.inference_mode():
        network(clip)
    network(clip).sum().backward()
    assert network.patch_embed.proj.weight.grad is not None


def test_activation_checkpointing_changes_no_gradient():
    clip, grads = torch.randn(1, 4, 3, 32, 32), []
    for on in (False, True):
        network = video(checkpoint_activations=on).train()
        network(clip, torch.tensor([[0, 3, 9]])).square().sum().backward()
        grads.append(network.patch_embed.proj.weight.grad)
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": (30, 32)}, r"`img_size` must be multiples of `patch_size` 8; got \(30, 32\)"),
        ({"num_frames": 3}, "multiple of `tubelet_size` 2; got 3"),
        ({"num_heads": 5}, "must divide `embed_dim` 48; got 5"),
        ({"level_layers": (1,)}, "must rise and end at 2"),
    ],
)
def test_impossible_configs(options, message):
    with pytest.raises(ConfigError, match=message):
        video(**options)


def test_pixels_of_the_wrong_kind():
    with pytest.raises(ShapeError, match=r"must be \[B, C, H, W\]; got \[1, 4, 3, 32, 32\]"):
        image()(torch.zeros(1, 4, 3, 32, 32))
    with pytest.raises(ShapeError, match="divisible by the tubelet of 2; got 3"):
        video()(torch.zeros(1, 3, 3, 32, 32))


@pytest.mark.parametrize("options", [{}, {"positions": "sincos"}, {"class_token": True, "reg_tokens": 2}])
def test_packed_sequences_equal_separate_passes(options):
    config = ViTConfig(
        img_size=(32, 32), patch_size=8, num_frames=4, tubelet_size=2, embed_dim=24, depth=2, num_heads=2, **options
    )
    encoder = VisionTransformer(config, generator=torch.Generator().manual_seed(0)).eval()
    generator = torch.Generator().manual_seed(1)
    clips, images = (torch.randn(n, t, 3, 32, 32, generator=generator) for n, t in ((3, 4), (2, 1)))
    ids = torch.stack([torch.randperm(32, generator=generator)[:5] for _ in range(3)])
    parts = [(encoder.tokenize(clips), None), (encoder.tokenize(images), None), (encoder.tokenize(clips), ids)]
    for packed, (tokens, kept) in zip(encoder.encode_packed(parts), parts, strict=True):
        torch.testing.assert_close(packed, encoder.encode(tokens, kept), atol=2e-6, rtol=1e-5)
    # A sequence never sees its neighbours.
    changed = [parts[0], (encoder.tokenize(images + 1), None), parts[2]]
    for a, b in zip(encoder.encode_packed(parts)[::2], encoder.encode_packed(changed)[::2], strict=True):
        assert torch.equal(a, b)


def test_packed_gradients_equal_those_of_separate_passes():
    config = ViTConfig(
        img_size=(16, 16),
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        embed_dim=12,
        depth=2,
        num_heads=2,
        checkpoint_activations=True,
    )
    encoder = VisionTransformer(config, generator=torch.Generator().manual_seed(0))
    tokens = encoder.tokenize(torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    short, long = torch.arange(3).expand(2, -1), torch.arange(2, 8).expand(2, -1)
    found = []
    for outputs in (
        encoder.encode_packed([(tokens, short), (tokens, long)]),
        [encoder.encode(tokens, short), encoder.encode(tokens, long)],
    ):
        loss = sum(z.square().mean() for z in outputs)
        found.append(torch.autograd.grad(loss, list(encoder.blocks.parameters()), retain_graph=True))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_packing_needs_full_attention():
    config = ViTConfig(
        img_size=(16, 16),
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        embed_dim=12,
        depth=1,
        num_heads=2,
        attention="block_causal",
    )
    encoder = VisionTransformer(config)
    with pytest.raises(ConfigError, match="`attention` must be full for packed sequences"):
        encoder.encode_packed([(encoder.tokenize(torch.zeros(1, 4, 3, 16, 16)), None)])
