"""The commands of perception, from outside, on a tiny encoder with random weights."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa import cli
from openjepa.command_line import seeing
from openjepa.interop import load, save_pretrained
from openjepa.models.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from openjepa.models.vit import VisionTransformer, ViTConfig

GOLDEN = Path(__file__).parent / "golden"
TINY = ViTConfig(img_size=(32, 32), patch_size=8, embed_dim=32, depth=1, num_heads=2)


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")


@pytest.fixture
def tiny():
    network = VisionTransformer(TINY)
    network.init_weights(torch.Generator().manual_seed(0))
    save_pretrained(network, "tiny")
    return network


def draw(path, seed):
    """A picture [40, 48] of noise, enlarged so that its crops keep structure."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), np.uint8)
    Image.fromarray(noise.repeat(8, 0).repeat(8, 1)).save(path)


def run(capsys, *words):
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out, said.err


def fails(capsys, *words):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, ""), (status, out, err)
    assert err.startswith("openjepa: ")
    assert err.count("\n") == 1
    return err.removeprefix("openjepa: ").strip()


def test_verify_shows_every_output(capsys):
    status, out, _ = run(capsys, "verify", str(GOLDEN / "ijepa_meta"))
    outputs = json.loads((GOLDEN / "ijepa_meta" / "case.json").read_text())["outputs"]
    assert status == 0
    assert all(name in out for name in outputs)
    assert "all within tolerance" in out


def test_verify_has_status_1_beyond_tolerance(capsys, tmp_path):
    case = tmp_path / "case"
    case.mkdir()
    for file in (GOLDEN / "ijepa_meta").iterdir():
        (case / file.name).write_bytes(file.read_bytes())
    content = json.loads((case / "case.json").read_text())
    for limit in content["outputs"].values():
        limit.update(atol=1e-30, rtol=0.0)
    (case / "case.json").write_text(json.dumps(content))
    status, out, _ = run(capsys, "verify", "case")
    assert status == 1
    assert "FAILED" in out
    assert fails(capsys, "verify", "nowhere").startswith("`nowhere` must be a folder; there is none.")


def test_convert_there_and_back_keeps_every_weight(capsys):
    source = GOLDEN / "vjepa2_hf"
    status, out, _ = run(capsys, "convert", str(source), "ours", "--to", "openjepa")
    assert (status, out) == (0, "ours: context_encoder, predictor, layout openjepa\n")
    assert run(capsys, "convert", "ours", "theirs", "--to", "huggingface")[0] == 0
    before, after = load(source).state_dict(), load("theirs").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert fails(capsys, "convert", str(source), "ours", "--to", "openjepa").startswith("ours exists")
    assert fails(capsys, "convert", str(source), "x", "--to", "mata").endswith("did you mean `meta`?")


def test_embed_then_search(capsys, tiny):
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        draw(f"pictures/{name}.png", seed)
    words = ["embed", "pictures", "--model", "tiny", "--out", "found", "--format", "numpy"]
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert out.startswith("3 of 3 files embedded (0 of them earlier)")
    assert "(3 of them earlier)" in run(capsys, *words)[1]
    with np.load(next(Path("found").glob("*.npz"))) as part:
        assert part["embedding"].shape == (3, 32)
    assert json.loads(Path("found/_manifest.json").read_text())["options"]["size"] == 32  # as trained

    status, out, _ = run(capsys, "search", "found", "pictures/a.png")
    assert status == 0
    assert [line.split()[-1] for line in out.splitlines()] == ["pictures/c.png", "pictures/b.png"]
    assert out.startswith(" 1.0000")
    draw("other.png", 2)
    assert "the model is needed" in fails(capsys, "search", "found", "other.png")
    status, out, _ = run(capsys, "search", "found", "other.png", "--model", "tiny", "--k", "1")
    assert (status, out.split()) == (0, ["1.0000", "0.00", "s", "pictures/b.png"])
    assert "need a model to load" in fails(capsys, "search", "found", "other.png", "--offline")


def test_features_are_drawn_beside_the_picture(capsys, tiny):
    draw("a.png", 1)
    status, out, _ = run(capsys, "features", "a.png", "--model", "tiny", "--size", "64", "--out", "seen.png")
    assert status == 0
    assert out.startswith("seen.png: 1x8x8 tokens, ")
    with Image.open("seen.png") as picture:
        assert picture.size == (128, 64)
    assert run(capsys, "features", "a.png", "--model", "tiny")[1].startswith("a_features.png: 1x4x4 tokens")


def test_probe_prints_the_control_beside_every_number(capsys, tiny):
    for label in range(2):
        for i in range(5):
            Path(f"train/{label}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (250 * label, i, 90)).save(f"train/{label}/{i}.png")
    status, out, err = run(capsys, "probe", "train", "--model", "tiny", "--probes", "knn", "--seed", "3")
    assert status == 0
    head, columns, row = out.splitlines()
    assert head == "8 training and 2 test files; commonest class 50.0%"
    assert "random init" in columns
    assert row.split()[0] == "knn"
    assert "random init: knn probe" in err


@pytest.mark.parametrize("command", ["embed", "features", "probe"])
def test_wrong_words_are_one_line(capsys, tiny, command):
    assert fails(capsys, command, "a.png") == f"`openjepa {command}` needs --model. See openjepa {command} --help."
    assert fails(capsys, command, "nowhere", "--model", "tiny").startswith("`nowhere` must be a file or a folder")
    draw("a.png", 1)
    near = fails(capsys, command, "a.png", "--model", "vjepa2-vit-larg-256")
    assert near.endswith("did you mean `vjepa2-vit-large-256`?")
    near = fails(capsys, command, "a.png", "--model", "tiny", "--devise", "cpu")
    assert near == "unknown option `--devise`; did you mean `--device`?"


def test_options_that_do_not_fit_the_model_are_refused(capsys, tiny):
    draw("a.png", 1)
    said = fails(capsys, "embed", "a.png", "--model", "tiny", "--size", "20", "--out", "found")
    assert said == "`--size` must be a multiple of the patch of 8 pixels; got 20."
    assert not Path("found").exists()
    assert fails(capsys, "embed", "a.png", "--model", "tiny", "--weights", "x.pt").startswith("`--weights` goes with")


def test_a_network_that_is_no_encoder_is_refused(capsys):
    config = MaskedPredictorConfig()
    save_pretrained(MaskedPredictor(config), "predictor")
    draw("a.png", 1)
    said = fails(capsys, "embed", "a.png", "--model", "predictor")
    assert said.startswith("`--model` must be an encoder of pictures or clips; `predictor` holds MaskedPredictor.")


def test_a_wrong_path_is_noticed_before_a_model_is_fetched(capsys, monkeypatch):
    monkeypatch.setattr(seeing, "open_encoder", lambda *_: pytest.fail("it was opened"))
    fails(capsys, "embed", "nowhere", "--model", "vjepa2-vit-large-256")


def test_defaults_are_those_of_the_library():
    from openjepa.eval.embedding.embed import EmbedConfig
    from openjepa.eval.embedding.search import SearchConfig
    from openjepa.eval.probing.features import FeaturesConfig
    from openjepa.eval.probing.frozen_probes import FrozenProbeConfig

    pairs = {
        seeing.EmbedOptions: EmbedConfig,
        seeing.FeaturesOptions: FeaturesConfig,
        seeing.ProbeOptions: FrozenProbeConfig,
        seeing.SearchOptions: SearchConfig,
    }
    own = {"path", "train", "query", "embeddings", "size"}  # asked for, or known from the encoder
    for options, config in pairs.items():
        library = {f.name: f.default for f in dataclasses.fields(config)}
        shared = [f for f in dataclasses.fields(options) if f.name in library and f.name not in own]
        assert shared
        assert {f.name: f.default for f in shared} == {f.name: library[f.name] for f in shared}
