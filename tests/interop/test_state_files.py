import pickle

import pytest
import safetensors.torch
import torch

from openjepa.errors import CheckpointError
from openjepa.interop import meta_files
from openjepa.interop.networks import Networks, read_networks, write_meta
from openjepa.interop.probes import load_probe
from openjepa.interop.state_files import read_file, unwrap
from openjepa.interop.traits import Traits


@pytest.fixture
def saved(vjepa2, tmp_path):
    path = tmp_path / "model.pt"
    write_meta(Networks(vjepa2.context_encoder, vjepa2.target_encoder, vjepa2.predictor), path)
    return path


TRAITS = Traits("vjepa2", 2, (32, 32), 4, predictor_heads=2)


def load(path, edit):
    content = read_file(path)
    edit(content)
    return meta_files.load_encoder(content, TRAITS, source="model.pt")


def test_names_of_wrappers_go_at_any_depth_and_the_backbone_in_front():
    names = {
        "module.backbone.norm.weight": "norm.weight",
        "_orig_mod.module.a": "a",
        "module._orig_mod.backbone.b": "b",
        "backbone._orig_mod.c": "c",
        "module.module.d": "d",
        "blocks.0._orig_mod.attn._fsdp_wrapped_module.e": "blocks.0.attn.e",
        "_fsdp_wrapped_module.blocks.1._checkpoint_wrapped_module.f": "blocks.1.f",
        "module.norm.backbone.bias": "norm.backbone.bias",
        "modules.g": "modules.g",
    }
    assert list(unwrap({name: torch.zeros(1) for name in names}, source="x")) == list(names.values())


def test_the_target_encoder_is_the_default(saved, vjepa2):
    networks = read_networks(saved, TRAITS)
    clip = torch.randn(1, 4, 3, 32, 32)
    assert torch.equal(networks.target_encoder(clip), vjepa2.target_encoder(clip))
    assert torch.equal(networks.context_encoder(clip), vjepa2.context_encoder(clip))
    _, report = meta_files.load_encoder(read_file(saved), TRAITS, source="x")
    assert report.key == "target_encoder"
    assert report.ignored == []


def test_old_position_tables_are_ignored_by_name(saved):
    def add(content):
        content["target_encoder"]["module.backbone.pos_embed"] = torch.zeros(1, 32, 48)

    _, report = load(saved, add)
    assert report.ignored == ["pos_embed"]


def test_a_missing_key_is_named(saved):
    def remove(content):
        del content["target_encoder"]["module.backbone.blocks.1.attn.qkv.weight"]

    with pytest.raises(CheckpointError, match=r"`blocks.1.attn.qkv.weight` is missing \(1 of 40 tensors are\)"):
        load(saved, remove)


def test_an_unexpected_key_is_named(saved):
    def add(content):
        content["target_encoder"]["module.backbone.blocks.0.ls1.gamma"] = torch.zeros(48)

    with pytest.raises(CheckpointError, match=r"`blocks.0.ls1.gamma` is unexpected"):
        load(saved, add)


def test_a_wrong_shape_is_named_with_both_shapes(saved):
    def change(content):
        content["target_encoder"]["module.backbone.blocks.2.mlp.fc2.weight"] = torch.zeros(48, 100)

    expected = r"`blocks.2.mlp.fc2.weight` must be \[48, 192\]; the file has \[48, 100\]"
    with pytest.raises(CheckpointError, match=expected):
        load(saved, change)


def test_another_family_is_refused(saved, vjepa21, tmp_path):
    path = tmp_path / "other.pt"
    write_meta(Networks(vjepa21.context_encoder, vjepa21.target_encoder, vjepa21.predictor), path)
    with pytest.raises(CheckpointError, match=r"is missing|is unexpected"):
        meta_files.load_encoder(read_file(path), TRAITS, source="other.pt")
    with pytest.raises(CheckpointError, match="must hold `classifiers` or `classifier`"):
        load_probe(read_file(path), source="other.pt")
    content = {k: v for k, v in read_file(saved).items() if k in ("epoch", "encoder")}
    encoder, _ = meta_files.load_encoder(content, TRAITS, part="context_encoder", source="x")
    with pytest.raises(CheckpointError, match="`predictor`; it has epoch, encoder"):
        meta_files.load_predictor(content, TRAITS, encoder, source="x")
    with pytest.raises(CheckpointError, match="Ask for `context_encoder`"):
        meta_files.load_encoder(content, TRAITS, source="x")


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_file(tmp_path / "none.pt")
    text = tmp_path / "text.pt"
    text.write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.pt"):
        read_file(text)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_file(tmp_path / "text.safetensors")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="must hold a dictionary; it holds a list"):
        read_file(tmp_path / "list.pt")


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


def test_code_in_a_file_is_not_executed(tmp_path, capsys):
    path = tmp_path / "bad.pt"
    torch.save({"encoder": Harmful()}, path)
    with pytest.raises(CheckpointError, match="must hold tensors and plain values only"):
        read_file(path)
    path.write_bytes(pickle.dumps({"encoder": Harmful()}))
    with pytest.raises(CheckpointError):
        read_file(path)
    assert "executed" not in capsys.readouterr().out


def test_a_truncated_file(saved, tmp_path):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(saved.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        read_file(cut)
    whole = tmp_path / "whole.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(100)}, whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_file(cut)
