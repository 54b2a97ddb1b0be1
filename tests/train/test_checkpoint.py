"""Checkpoints are whole, verified, strict, and kept by policy; a full disk loses nothing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from training_toy import TOYS, Toy, ToyConfig, ToySource, quick

from openjepa.errors import CheckpointError, ConfigError, TrainingError
from openjepa.train import checkpoint as disk
from openjepa.train import load_method, save_checkpoint, train
from openjepa.train.log import read_metrics
from openjepa.train.state import load_method_state


@pytest.fixture
def run(tmp_path):
    train(Toy(ToyConfig()), ToySource(), quick(keep_checkpoints=3), tmp_path / "run")
    return tmp_path / "run"


def test_reopens_by_run_folder_and_file(run):
    newest = run / "checkpoints/step_00000012"
    for path in (run, run / "checkpoints", newest, newest / "model.safetensors", str(run)):
        method = load_method(path, methods=TOYS)
        assert not method.training
    early = load_method(run / "checkpoints/step_00000004", methods=TOYS)
    assert not torch.equal(early.target_encoder[0].weight, method.target_encoder[0].weight)


def with_counter(folder, counter):
    """Rewrites a checkpoint as version 0.1.0 wrote it: the method counted its steps in a buffer `step`."""
    save_file({**load_file(folder / "model.safetensors"), "step": counter}, folder / "model.safetensors")
    (folder / "manifest.json").unlink()
    disk._write_manifest(folder, disk.step_of(folder))


def test_a_run_of_version_0_1_reopens_and_goes_on_to_the_same_weights(run):
    whole = load_method(run, methods=TOYS).state_dict()
    shutil.rmtree(run / "checkpoints/step_00000012")
    with_counter(run / "checkpoints/step_00000008", torch.tensor(8))
    assert "step" not in load_method(run / "checkpoints/step_00000008", methods=TOYS).state_dict()
    resumed = train(Toy(ToyConfig()), ToySource(), quick(keep_checkpoints=3), run).method.state_dict()
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.parametrize("other", [torch.tensor(8.0), torch.tensor([8]), torch.tensor(8, dtype=torch.int32)])
def test_only_the_counter_of_version_0_1_is_dropped(run, other):
    with_counter(run / "checkpoints/step_00000012", other)
    with pytest.raises(CheckpointError, match=r"`step` in .* is not part of Toy"):
        load_method(run, methods=TOYS)


def test_holds_tensors_and_plain_values_only(run):
    folder = run / "checkpoints/step_00000012"
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "method.json",
        "model.safetensors",
        "training.pt",
    ]
    described = json.loads((folder / "method.json").read_text())
    assert described["method"] == "Toy"
    assert described["config"]["width"] == 8
    training = torch.load(folder / "training.pt", weights_only=True)
    assert training["step"] == 12
    assert "context_encoder.0.weight" in training["optimizer"]


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "method.json", "manifest.json"])
def test_truncated_files_are_named(run, name):
    file = run / "checkpoints/step_00000012" / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CheckpointError) as error:
        load_method(run, methods=TOYS)
    message = str(error.value)
    assert str(file) in message
    assert "damaged" in message
    assert f"Use {run / 'checkpoints/step_00000008'} instead" in message


def test_one_flipped_bit_is_noticed(run):
    file = run / "checkpoints/step_00000012/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_method(run, methods=TOYS)


def test_missing_things_are_named(run, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_method(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="must hold a checkpoint; it has none"):
        load_method(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="unknown method `Toy`"):
        load_method(run)
    (run / "checkpoints/step_00000012/training.pt").unlink()
    with pytest.raises(CheckpointError, match=r"training.pt is missing"):
        load_method(run, methods=TOYS)


def test_state_is_loaded_strictly():
    method = nn.Sequential(nn.Linear(3, 2))
    good = method.state_dict()
    with pytest.raises(CheckpointError) as error:
        load_method_state(method, {**good, "0.weight": torch.zeros(4, 3)}, source="F")
    assert str(error.value).startswith("`0.weight` must be [2, 3]; the file has [4, 3].")
    with pytest.raises(CheckpointError, match=r"`0.bias` must be in F; it is missing"):
        load_method_state(method, {"0.weight": good["0.weight"]}, source="F")
    with pytest.raises(CheckpointError, match=r"`0.wieght` in F is not part of Sequential; did you mean `0.weight`"):
        load_method_state(method, {**good, "0.wieght": good["0.weight"]}, source="F")
    with pytest.raises(CheckpointError, match=r"must be torch.float32; the file has torch.float16"):
        load_method_state(method, {**good, "0.bias": good["0.bias"].half()}, source="F")


def test_a_file_of_another_size_names_the_key(run):
    folder = run / "checkpoints/step_00000012"
    state = load_file(folder / "model.safetensors")
    state["predictor.blocks.0.weight"] = torch.zeros(3, 8)
    save_file(state, folder / "model.safetensors")
    (folder / "manifest.json").unlink()
    disk._write_manifest(folder, 12)
    with pytest.raises(CheckpointError, match=r"`predictor.blocks.0.weight` must be \[8, 8\]; the file has \[3, 8\]"):
        load_method(run, methods=TOYS)


def test_policy_keeps_the_last_and_every_nth(tmp_path):
    train(
        Toy(ToyConfig()),
        ToySource(),
        quick(steps=11, checkpoint_every=1, keep_checkpoints=2, keep_every=4),
        tmp_path,
    )
    names = [p.name for p in disk.list_checkpoints(tmp_path / "checkpoints")]
    assert names == ["step_00000011", "step_00000010", "step_00000008", "step_00000004"]
    assert (tmp_path / "checkpoints/latest").read_text().strip() == "step_00000011"


def test_leftovers_are_removed_at_the_next_start(run):
    left = run / "checkpoints/.writing-step_00000016"
    shutil.copytree(run / "checkpoints/step_00000012", left)
    train(Toy(ToyConfig()), ToySource(), quick(keep_checkpoints=3), run)
    assert not left.exists()


def full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def silent_short_write(*args, **kwargs):
    raise RuntimeError("PytorchStreamWriter failed writing file data/3: No space left on device")


@pytest.mark.parametrize(
    ("module", "name", "failure"),
    [
        (disk.safetensors.torch, "save_file", full_disk),
        (disk.torch, "save", silent_short_write),
        (disk, "_write_manifest", full_disk),
    ],
)
def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, monkeypatch, module, name, failure):
    config = quick(steps=8, checkpoint_every=4)
    real = getattr(module, name)
    calls = []

    def second_fails(*args, **kwargs):
        calls.append(1)
        return (failure if len(calls) == 2 else real)(*args, **kwargs)

    monkeypatch.setattr(module, name, second_fails)
    with pytest.raises(TrainingError) as error:
        train(Toy(ToyConfig()), ToySource(), config, tmp_path / "run")
    checkpoints = tmp_path / "run/checkpoints"
    assert "the checkpoint of step 8 cannot be written" in str(error.value)
    assert "the disk is full" in str(error.value)
    assert f"The last good checkpoint is {checkpoints / 'step_00000004'}." in str(error.value)
    assert sorted(p.name for p in checkpoints.iterdir()) == ["latest", "step_00000004"]

    monkeypatch.setattr(module, name, real)
    resumed = train(Toy(ToyConfig()), ToySource(), config, tmp_path / "run").method
    whole = train(Toy(ToyConfig()), ToySource(), config, tmp_path / "whole").method
    for (key, a), b in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_save_checkpoint_works_without_a_run(tmp_path):
    folder = save_checkpoint(tmp_path, 7, Toy(ToyConfig(width=4)))
    assert folder.name == "step_00000007"
    assert load_method(folder, methods=TOYS).config.width == 4
    with pytest.raises(CheckpointError, match="holds weights only"):
        disk.load_training(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"../../elsewhere", b"step_12x", "step_\u00b2".encode()])
def test_a_pointer_with_foreign_bytes_is_one_line_and_training_mends_it(run, content):
    latest = run / "checkpoints/latest"
    latest.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"latest must name a checkpoint beside it; it is damaged. Remove latest"):
        load_method(run, methods=TOYS)
    load_method(run / "checkpoints/step_00000008", methods=TOYS)  # named itself, it needs no pointer
    train(Toy(ToyConfig()), ToySource(), quick(keep_checkpoints=3), run)
    assert latest.read_text() == "step_00000012\n"
    load_method(run, methods=TOYS)


def test_a_pointer_to_what_was_not_copied_is_one_line(run):
    shutil.rmtree(run / "checkpoints/step_00000012")
    with pytest.raises(CheckpointError, match=r"latest names step_00000012, which is not there"):
        load_method(run, methods=TOYS)
    (run / "checkpoints/latest").unlink()
    newest = load_method(run / "checkpoints/step_00000008", methods=TOYS).state_dict()
    found = load_method(run, methods=TOYS).state_dict()
    assert all(torch.equal(found[name], newest[name]) for name in newest)


def test_a_pointer_that_lags_behind_means_the_newest_checkpoint(run):
    """A process that died between its last two steps has not pointed to its last checkpoint yet."""
    newest = load_method(run, methods=TOYS).state_dict()
    (run / "checkpoints/latest").write_text("step_00000004\n")
    found = load_method(run, methods=TOYS).state_dict()
    assert all(torch.equal(found[name], newest[name]) for name in newest)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"files": 3}',
        '{"files": {}}',
        '{"files": {"model.safetensors": 1, "method.json": 2}}',
        "[" * 100_000,
    ],
)
def test_a_manifest_of_something_else_is_damage(run, content):
    (run / "checkpoints/step_00000012/manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest.json is damaged .*Use .*step_00000008 instead"):
        load_method(run, methods=TOYS)


def test_a_run_without_an_intact_checkpoint_does_not_start_anew_by_itself(run):
    for folder in (run / "checkpoints").glob("step_*"):
        (folder / "model.safetensors").write_bytes(b"")
    metrics = (run / "metrics.jsonl").read_bytes()
    for _ in range(2):  # the second start finds them put aside
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is intact"):
            train(Toy(ToyConfig()), ToySource(), quick(keep_checkpoints=3), run)
    assert (run / "metrics.jsonl").read_bytes() == metrics
    assert len(list((run / "checkpoints").glob("damaged_step_*"))) == 3


def test_a_changed_record_of_a_run_is_one_line(run):
    record = run / "config.json"
    text = record.read_text()
    assert '"lr": ' in text
    for changed in (text.replace('"lr": ', '"lr": 1'), text[:-20], "", "[]"):
        record.write_text(changed)
        with pytest.raises(ConfigError, match=r"config.json is damaged .*Restore it, or remove it"):
            train(Toy(ToyConfig()), ToySource(), quick(keep_checkpoints=3), run)


@pytest.mark.parametrize("line", ["[]", "3", '{"loss": 1}', '{"step": "4"}', "[" * 100_000, "\x00"])
def test_a_damaged_line_of_metrics_is_named(run, line):
    file = run / "metrics.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(TrainingError, match=r"metrics.jsonl is damaged at line \d+"):
        read_metrics(file)
