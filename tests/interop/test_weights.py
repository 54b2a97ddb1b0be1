"""Weights as they arrive: stored types, wrappers, shards, configurations; what is ambiguous is one line."""

import json

import pytest
import safetensors.torch
import torch

from openjepa.errors import CheckpointError, OpenJEPAError
from openjepa.interop import from_pretrained, load, save_pretrained
from openjepa.interop.huggingface import HuggingFaceModel, to_folder
from openjepa.interop.networks import Networks, read_networks, write_meta
from openjepa.interop.traits import Traits
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.vit import VisionTransformer, vit_tiny

FLOATS = [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
TRAITS = Traits("vjepa2", 2, (32, 32), 4, predictor_heads=2)


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def clip():
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def write(folder, config, tensors, *, files=None):
    """A Hugging Face folder; `files` maps a file to the names in it, and an index says so."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    plain = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    if files is None:
        safetensors.torch.save_file(plain, folder / "model.safetensors")
        return folder
    for file, names in files.items():
        safetensors.torch.save_file({name: plain[name] for name in names}, folder / file)
    places = {name: file for file, names in files.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.fixture
def hub_folder(ijepa):
    return to_folder(HuggingFaceModel(ijepa.target_encoder, None, None, "ijepa"))


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(path), "")) < 300


# ------------------------------------------------------------------------------------------------------------
# Types


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@torch.no_grad()
def test_every_floating_type_loads_and_runs(dtype, ijepa, hub_folder, images, tmp_path):
    config, tensors = hub_folder
    rounded = {name: tensor.to(dtype) for name, tensor in ijepa.target_encoder.state_dict().items()}
    encoder = VisionTransformer(ijepa.target_encoder.config)
    encoder.load_state_dict({name: tensor.float() for name, tensor in rounded.items()})
    save_pretrained(ijepa.target_encoder, tmp_path / "ours")
    safetensors.torch.save_file(rounded, tmp_path / "ours" / "model.safetensors")
    theirs = write(tmp_path / "theirs", config, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    for folder in (tmp_path / "ours", theirs):
        found = load(folder)
        assert {p.dtype for p in found.parameters()} == {torch.float32}
        torch.testing.assert_close(found(images), encoder.eval()(images))


@torch.no_grad()
def test_the_type_that_is_asked_for(ijepa, images, tmp_path):
    folder = save_pretrained(ijepa.target_encoder, tmp_path / "ours")
    assert load(folder, dtype=torch.float64)(images.double()).dtype == torch.float64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite_are_named(value, dtype, hub_folder, tmp_path):
    config, tensors = hub_folder
    tensors["encoder.layer.1.output.dense.bias"][3] = value
    folder = write(tmp_path / "hf", config, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    refused(folder, r"`blocks.1.mlp.fc2.bias` must be finite; it holds NaN or infinity")


def test_large_weights_are_finite(hub_folder, tmp_path):
    config, tensors = hub_folder
    tensors["encoder.layer.1.output.dense.bias"] = torch.full((48,), 3e38)  # whose sum is not
    assert load(write(tmp_path / "hf", config, tensors)).blocks[1].mlp.fc2.bias.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_whole_numbers_are_no_weights(dtype, hub_folder, tmp_path):
    config, tensors = hub_folder
    name = "encoder.layer.0.attention.output.dense.weight"
    tensors[name] = torch.ones(tensors[name].shape).to(dtype)
    refused(write(tmp_path / "hf", config, tensors), r"`blocks.0.attn.proj.weight` must be torch.float32; the file has")


def test_what_is_no_tensor_is_named(vjepa2, tmp_path):
    write_meta(Networks(vjepa2.context_encoder), tmp_path / "x.pt")
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    for value, word in ((3, "int"), ([1.0], "list"), (torch.eye(4).to_sparse(), "torch.sparse_coo tensor")):
        content["encoder"]["module.backbone.norm.weight"] = value
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=f"`norm.weight` must be a dense tensor; it is a {word}"):
            read_networks(tmp_path / "x.pt", TRAITS)


# ------------------------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize(
    "wrap",
    [
        lambda n: f"module.{n}",
        lambda n: f"_orig_mod.{n}",
        lambda n: f"module._orig_mod.{n}",
        lambda n: f"_orig_mod.module.backbone.{n}",
        lambda n: f"module.backbone._orig_mod.{n}",
        lambda n: n.replace("blocks.1.", "blocks.1._orig_mod."),
        lambda n: f"_fsdp_wrapped_module.{n}".replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."),
        lambda n: f"module.{n}" if "norm" in n else f"_orig_mod.{n}",
    ],
)
@torch.no_grad()
def test_names_of_wrappers_say_nothing(wrap, vjepa2, ijepa, hub_folder, clip, images, tmp_path):
    state = {wrap(name): tensor for name, tensor in vjepa2.target_encoder.state_dict().items()}
    torch.save({"target_encoder": state}, tmp_path / "x.pt")
    found = read_networks(tmp_path / "x.pt", TRAITS).target_encoder
    assert torch.equal(found(clip), vjepa2.target_encoder(clip))
    config, tensors = hub_folder
    folder = write(tmp_path / "hf", config, {wrap(name): tensor for name, tensor in tensors.items()})
    torch.testing.assert_close(load(folder)(images), ijepa.target_encoder(images))


def test_two_entries_of_one_name_are_refused(vjepa2, hub_folder, tmp_path):
    state = vjepa2.target_encoder.state_dict()
    torch.save({"target_encoder": {**state, "module.norm.bias": state["norm.bias"] + 1}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"`norm.bias` and `module.norm.bias` are both `norm.bias`; which one"):
        read_networks(tmp_path / "x.pt", TRAITS)
    config, tensors = hub_folder
    doubled = {**tensors, "ijepa.layernorm.bias": tensors["layernorm.bias"] + 1}
    refused(write(tmp_path / "hf", config, doubled), "and `.*layernorm.bias` are both `layernorm.bias`")
    fused = {**tensors, "blocks.0.attn.qkv.weight": torch.zeros(144, 48)}
    refused(write(tmp_path / "hf", config, fused), "does not fit to `blocks.0.attn.qkv.weight`")


def test_a_bare_state_dictionary_is_told_how_to_be_saved(vjepa2, tmp_path):
    torch.save(vjepa2.target_encoder.state_dict(), tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"holds 40 tensors without saying of what, as a bare state dictionary does. Save it")
    torch.save({f"key_{i}": i for i in range(300)}, tmp_path / "y.pt")
    refused(tmp_path / "y.pt", r"must hold `encoder`; it has key_0, key_1, key_2, key_3 and 296 more")


# ------------------------------------------------------------------------------------------------------------
# Shards


def halves(tensors):
    names = sorted(tensors)
    return {"a.safetensors": names[::2], "b.safetensors": names[1::2]}


@torch.no_grad()
def test_shards_are_joined_by_their_index(ijepa, hub_folder, images, tmp_path):
    config, tensors = hub_folder
    found = load(write(tmp_path / "hf", config, tensors, files=halves(tensors)))
    torch.testing.assert_close(found(images), ijepa.target_encoder(images))


def test_an_index_and_shards_that_disagree(hub_folder, tmp_path):
    config, tensors = hub_folder
    files = halves(tensors)
    folder = write(tmp_path / "hf", config, tensors, files=files)
    first = files["a.safetensors"][0]
    stale = {name: tensors[name].clone() for name in files["b.safetensors"]} | {first: tensors[first] + 1}
    safetensors.torch.save_file(stale, folder / "b.safetensors")
    refused(folder, rf"b.safetensors holds `{first}`, which `model.safetensors.index.json` does not place there")
    del stale[first], stale[files["b.safetensors"][0]]
    safetensors.torch.save_file(stale, folder / "b.safetensors")
    refused(folder, rf"b.safetensors lacks `{files['b.safetensors'][0]}`")
    (folder / "b.safetensors").unlink()
    refused(folder, "b.safetensors does not exist")
    write(folder, config, tensors)
    refused(folder, "holds `model.safetensors` and `model.safetensors.index.json`; which one counts is not known")


def test_shards_without_an_index_are_refused(hub_folder, tmp_path):
    config, tensors = hub_folder
    folder = write(tmp_path / "hf", config, tensors)  # whole, yet it may be older than the shards beside it
    for stale in (True, False):
        safetensors.torch.save_file({}, folder / "model-00001-of-00002.safetensors")
        refused(folder, r"holds `model-00001-of-00002.safetensors`, but no `model.safetensors.index.json` to say")
        if stale:
            (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("places", [None, [], {}, {"x": 3}, {"x": "../a.safetensors"}, {"x": ""}])
def test_an_index_without_places(places, hub_folder, tmp_path):
    folder = write(tmp_path / "hf", *hub_folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    refused(folder, "must hold a `weight_map` of names to files beside it")


# ------------------------------------------------------------------------------------------------------------
# Configurations


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("hidden_act", "gelu_new"),
        ("num_attention_heads", None),
        ("num_attention_heads", 0),
        ("num_attention_heads", -2),
        ("num_attention_heads", 5),
        ("num_attention_heads", 2.0),
        ("num_attention_heads", "2"),
        ("num_attention_heads", True),
        ("layer_norm_eps", None),
        ("layer_norm_eps", 0),
        ("layer_norm_eps", "1e-6"),
        ("image_size", None),
        ("image_size", 30),
        ("image_size", [32]),
        ("image_size", [32, "32"]),
        ("image_size", 64),
        ("num_hidden_layers", 2),
        ("num_hidden_layers", 4),
        ("num_hidden_layers", []),
        ("hidden_size", 96),
        ("patch_size", 16),
        ("num_channels", 1),
        ("qkv_bias", False),
        ("intermediate_size", 100),
    ],
)
def test_configurations_that_do_not_fit(key, value, hub_folder, tmp_path):
    config, tensors = hub_folder
    told = {
        "image_size": "img_size|pos_embed",
        "num_hidden_layers": "blocks|layer.2",
        "num_attention_heads": "num_heads",
    }
    refused(write(tmp_path / "hf", {**config, key: value}, tensors), f"`{key}`|{told.get(key, key)}")


@pytest.mark.parametrize(
    ("key", "value"), [("crop_size", [32, 64]), ("frames_per_clip", 0), ("tubelet_size", 4), ("mlp_ratio", 2.0)]
)
def test_configurations_of_clips_that_do_not_fit(key, value, vjepa2, tmp_path):
    config, tensors = to_folder(HuggingFaceModel(vjepa2.target_encoder, vjepa2.predictor, None, "vjepa2"))
    load(write(tmp_path / "hf", config, tensors))
    told = {"crop_size": "square pictures"}
    refused(write(tmp_path / "hf", {**config, key: value}, tensors), told.get(key, f"`{key}`"))
    refused(write(tmp_path / "hf", {**config, "pred_num_attention_heads": None}, tensors), "`pred_num_attention_heads`")


@torch.no_grad()
def test_a_missing_key_means_what_transformers_means(hub_folder, images, tmp_path):
    config, tensors = hub_folder
    without = {key: value for key, value in config.items() if key not in ("layer_norm_eps", "num_attention_heads")}
    found = load(write(tmp_path / "a", without, tensors))
    assert (found.config.layer_norm_eps, found.config.num_heads) == (1e-12, 12)
    shown = {"hidden_size", "patch_size", "num_channels", "qkv_bias", "intermediate_size", "hidden_act"}
    less = {key: value for key, value in config.items() if key not in shown}  # the tensors tell
    assert load(write(tmp_path / "b", less, tensors)).config == load(write(tmp_path / "c", config, tensors)).config


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_heads": None}, "`num_heads` of ViTConfig must be int; got None"),
        ({"num_heads": 0}, "`num_heads` must be a whole number from 1; got 0"),
        ({"embed_dim": "48"}, "`embed_dim` of ViTConfig must be int; got '48'"),
        ({"positions": "learned"}, r"`positions` of ViTConfig must be Literal\['rope', 'sincos'\]; got 'learned'"),
        ({"img_size": [32]}, "`img_size` of ViTConfig must be tuple"),
        ({"num_heads": ...}, "`num_heads` is missing from `config`"),
        ({"rope_layout": ...}, "`rope_layout` is missing from `config`"),
    ],
)
def test_our_own_configurations_are_whole_and_typed(change, match, vjepa2, tmp_path):
    folder = save_pretrained(vjepa2.target_encoder, tmp_path / "ours")
    described = json.loads((folder / "openjepa.json").read_text())
    config = {**described["config"], **change}
    described["config"] = {key: value for key, value in config.items() if value is not ...}
    (folder / "openjepa.json").write_text(json.dumps(described))
    refused(folder, match)
    (folder / "openjepa.json").write_text(json.dumps({**described, "config": []}))
    refused(folder, "must hold the `config` of the network")


# What version 0.1.0 wrote for an encoder: it must open for ever.
OLD = {
    **{"img_size": [32, 32], "patch_size": 8, "num_frames": 1, "tubelet_size": 1, "in_chans": 3, "embed_dim": 48},
    **{"depth": 1, "num_heads": 2, "mlp_ratio": 4.0, "qkv_bias": True, "layer_norm_eps": 1e-06, "positions": "rope"},
    **{"sincos_order": "row_first", "rope_layout": "interleaved", "rope_pretrained_grid": None, "class_token": False},
    **{"reg_tokens": 0, "image_tokenizer": False, "level_layers": [], "attention": "full", "init_std": 0.02},
    **{"rescale_residual_init": True, "checkpoint_activations": False},
}


def test_folders_of_version_0_1_0_open(tmp_path):
    network = VisionTransformer(vit_tiny(img_size=(32, 32), patch_size=8, embed_dim=48, depth=1, num_heads=2))
    folder = save_pretrained(network, tmp_path / "old")
    described = {"network": "vision_transformer", "config": OLD, "openjepa": "0.1.0"}
    (folder / "openjepa.json").write_text(json.dumps(described))
    assert load(folder).config == network.config


# ------------------------------------------------------------------------------------------------------------
# Methods


@torch.no_grad()
def test_a_whole_method_is_written_and_reopened(tmp_path):
    method = LeWM(LeWMConfig(embed_dim=8, seed=3)).eval()
    frames = torch.randint(256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    actions = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(1))
    folder = save_pretrained(method, tmp_path / "world")
    found = from_pretrained(folder)
    assert type(found) is LeWM
    assert not found.training
    z = method.encode(frames)
    assert torch.equal(found.encode(frames), z)
    assert torch.equal(found.rollout(z, actions), method.rollout(z, actions))
    assert type(load(folder)) is type(method.context_encoder)  # the network that encodes, as of a run
    half = {name: t.half() if t.is_floating_point() else t for name, t in method.state_dict().items()}
    safetensors.torch.save_file({n: t.clone() for n, t in half.items()}, folder / "model.safetensors")
    torch.testing.assert_close(from_pretrained(folder).encode(frames), z, atol=0.05, rtol=0.05)
    half[next(iter(half))].view(-1)[0] = float("nan")
    safetensors.torch.save_file({n: t.clone() for n, t in half.items()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="must be finite"):
        from_pretrained(folder)


def test_a_run_is_opened_with_its_checksums(vjepa2, clip, tmp_path):
    from openjepa.train.checkpoint import save_checkpoint

    saved = save_checkpoint(tmp_path / "run" / "checkpoints", 7, vjepa2)
    assert torch.equal(load(tmp_path / "run")(clip), vjepa2.target_encoder(clip))
    data = bytearray((saved / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (saved / "model.safetensors").write_bytes(data)
    refused(tmp_path / "run", "its SHA-256 differs from manifest.json")


def test_a_diverged_run_is_named(vjepa2, tmp_path):
    from openjepa.train.checkpoint import save_checkpoint

    with torch.no_grad():
        vjepa2.target_encoder.norm.weight[0] = float("nan")
    save_checkpoint(tmp_path / "run" / "checkpoints", 7, vjepa2)
    refused(tmp_path / "run", "`target_encoder.norm.weight` must be finite")


def test_foreign_modules_are_refused(tmp_path):
    with pytest.raises(OpenJEPAError, match="or a method of ours such as LeWM; got Linear"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path)
