"""Against `transformers` on random weights, in both directions."""

import json

import pytest
import torch

from openjepa.errors import CheckpointError
from openjepa.interop import huggingface
from openjepa.interop.convert import convert
from openjepa.interop.networks import Networks, write_meta
from openjepa.nn.tokens import gather_tokens

from .conftest import randomise

transformers = pytest.importorskip("transformers")


@pytest.fixture
def vjepa2_folder(tmp_path):
    config = transformers.VJEPA2Config(
        crop_size=64,
        patch_size=16,
        frames_per_clip=8,
        hidden_size=128,
        num_attention_heads=4,
        num_hidden_layers=3,
        pred_hidden_size=64,
        pred_num_attention_heads=4,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=10,
        attn_implementation="eager",
    )
    model = randomise(transformers.VJEPA2Model(config)).eval()
    model.save_pretrained(tmp_path / "hf")
    return model, tmp_path / "hf"


@torch.no_grad()
def test_vjepa2_encoder_and_predictor(vjepa2_folder):
    theirs, folder = vjepa2_folder
    ours = huggingface.load_folder(folder)
    clip = torch.randn(2, 8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    order = torch.stack([torch.randperm(64, generator=generator) for _ in range(2)])
    context_idx, target_idx = order[:, :20].sort(1).values, order[:, 20:50]
    out = theirs(clip, context_mask=[context_idx], target_mask=[target_idx])
    z = ours.encoder(clip)
    torch.testing.assert_close(z, out.last_hidden_state, atol=1e-5, rtol=1e-5)
    seen = gather_tokens(z, context_idx)
    z_pred = ours.predictor(seen, context_idx, target_idx, mask_token=1)
    torch.testing.assert_close(z_pred, out.predictor_output.last_hidden_state, atol=1e-5, rtol=1e-5)
    other = ours.predictor(seen, context_idx, target_idx, mask_token=0)
    assert (other - z_pred).abs().max() > 0.01


@torch.no_grad()
def test_vjepa2_classifier(tmp_path):
    config = transformers.VJEPA2Config(
        crop_size=32,
        patch_size=16,
        frames_per_clip=4,
        hidden_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        num_pooler_layers=2,
        pred_hidden_size=48,
        pred_num_attention_heads=4,
        pred_num_hidden_layers=1,
        id2label={i: str(i) for i in range(5)},
    )
    theirs = randomise(transformers.VJEPA2ForVideoClassification(config)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    ours = huggingface.load_folder(tmp_path / "hf")
    clip = torch.randn(2, 4, 3, 32, 32)
    torch.testing.assert_close(ours.probe(ours.encoder(clip))[0], theirs(clip).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_ijepa_encoder(tmp_path):
    config = transformers.IJepaConfig(
        image_size=64,
        patch_size=16,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        layer_norm_eps=1e-6,
    )
    theirs = randomise(transformers.IJepaModel(config)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    ours = huggingface.load_folder(tmp_path / "hf")
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours.encoder(images), theirs(images).last_hidden_state, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_transformers_reads_what_we_write(vjepa2, ijepa, tmp_path):
    write_meta(Networks(vjepa2.context_encoder, vjepa2.target_encoder, vjepa2.predictor), tmp_path / "v.pt")
    config, tensors = huggingface.to_folder(
        huggingface.HuggingFaceModel(vjepa2.target_encoder, vjepa2.predictor, None, "vjepa2")
    )
    folder = tmp_path / "vjepa2"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    huggingface_save(tensors, folder)
    theirs, report = transformers.VJEPA2Model.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    clip = torch.randn(2, 4, 3, 32, 32)
    out = theirs.eval()(clip)
    torch.testing.assert_close(vjepa2.target_encoder(clip), out.last_hidden_state, atol=1e-5, rtol=1e-5)

    config, tensors = huggingface.to_folder(huggingface.HuggingFaceModel(ijepa.target_encoder, None, None, "ijepa"))
    folder = tmp_path / "ijepa"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    huggingface_save(tensors, folder)
    theirs, report = transformers.IJepaModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not any(report.values())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        ijepa.target_encoder(images), theirs.eval()(images).last_hidden_state, atol=1e-5, rtol=1e-5
    )


def huggingface_save(tensors, folder):
    import safetensors.torch

    plain = {n: t.detach().contiguous().clone() for n, t in tensors.items()}
    safetensors.torch.save_file(plain, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_recorded_folder_survives_the_round_trip(golden, tmp_path):
    convert(golden / "vjepa2_hf", tmp_path / "ours", "openjepa")
    convert(tmp_path / "ours", tmp_path / "hf", "huggingface")
    before = huggingface.read_folder(golden / "vjepa2_hf")
    after = huggingface.read_folder(tmp_path / "hf")
    assert before[1].keys() == after[1].keys()
    assert all(torch.equal(after[1][name], tensor) for name, tensor in before[1].items())
    for key in (
        "num_attention_heads",
        "pred_num_attention_heads",
        "crop_size",
        "frames_per_clip",
        "mlp_ratio",
    ):
        assert before[0][key] == after[0][key]


def test_a_missing_projection_is_named(golden, tmp_path):
    config, state = huggingface.read_folder(golden / "ijepa_hf")
    del state["encoder.layer.1.attention.attention.key.bias"]
    huggingface_save(state, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"`blocks.1.attn.key.bias` is missing"):
        huggingface.load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="must be ijepa or vjepa2; got bert"):
        huggingface.load_folder(tmp_path)


def test_positions_that_transformers_does_not_have(vjepa21):
    model = huggingface.HuggingFaceModel(vjepa21.target_encoder, None, None, "vjepa2")
    with pytest.raises(CheckpointError):
        huggingface.to_folder(model)
