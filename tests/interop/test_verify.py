import json
import shutil

import pytest
import safetensors.torch
import torch

from openjepa.errors import CheckpointError
from openjepa.interop.verify import run, verify

from .conftest import cases


@pytest.mark.parametrize("name", cases())
def test_recorded_case(golden, name):
    report = verify(golden / name)
    assert report.passed, report.table()
    recorded = json.loads((golden / name / "case.json").read_text())["outputs"]
    assert set(recorded) <= {row.name for row in report.rows}
    assert report.largest < 1e-5


def test_twelve_cases_hold_weights():
    assert len(cases()) == 12


def copy(golden, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(golden / name, folder)
    return folder


def test_a_changed_output_is_found(golden, tmp_path, capsys):
    folder = copy(golden, tmp_path, "probe_v1")
    outputs = safetensors.torch.load_file(folder / "outputs.safetensors")
    outputs["logits"][1, 2] += 1e-3
    safetensors.torch.save_file(outputs, folder / "outputs.safetensors")
    assert run(str(folder)) == 1
    table = capsys.readouterr().out
    assert "1 beyond tolerance" in table
    line = next(line for line in table.splitlines() if line.startswith("logits "))
    assert "1.00e-03" in line
    assert line.endswith("FAILED")
    assert run(str(golden / "probe_v1")) == 0


def test_an_output_that_nothing_computes_fails(golden, tmp_path):
    folder = copy(golden, tmp_path, "probe_v1")
    case = json.loads((folder / "case.json").read_text())
    case["outputs"]["mystery"] = {"shape": [1], "atol": 1.0, "rtol": 1.0}
    (folder / "case.json").write_text(json.dumps(case))
    outputs = safetensors.torch.load_file(folder / "outputs.safetensors")
    safetensors.torch.save_file({**outputs, "mystery": torch.zeros(1)}, folder / "outputs.safetensors")
    report = verify(folder)
    assert [row.name for row in report.rows if not row.passed] == ["mystery"]
    assert "not recomputed" in report.table()


def test_wrong_heads_do_not_pass(golden, tmp_path):
    folder = copy(golden, tmp_path, "vjepa2_meta")
    case = json.loads((folder / "case.json").read_text())
    case["architecture"]["num_heads"] = 1
    (folder / "case.json").write_text(json.dumps(case))
    assert not verify(folder).passed


def test_a_wrong_gradient_is_found(golden, tmp_path):
    folder = copy(golden, tmp_path, "train_step")
    outputs = safetensors.torch.load_file(folder / "outputs.safetensors")
    outputs["grad.predictor.mask_tokens.0"] *= 1.01
    safetensors.torch.save_file(outputs, folder / "outputs.safetensors")
    assert [r.name for r in verify(folder).rows if not r.passed] == ["grad.predictor.mask_tokens.0"]


def test_a_wrong_moving_average_is_found(golden, tmp_path):
    folder = copy(golden, tmp_path, "train_step")
    case = json.loads((folder / "case.json").read_text())
    case["optimisation"]["ema"] = [0.9, 0.9]
    (folder / "case.json").write_text(json.dumps(case))
    failed = {r.name for r in verify(folder).rows if not r.passed}
    assert "target_encoder after one update" in failed
    assert "encoder after one update" not in failed


def test_folders_that_are_no_case(golden, tmp_path):
    with pytest.raises(CheckpointError, match="Give a folder that holds `case"):
        verify(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"case\.json does not exist"):
        verify(tmp_path)
    with pytest.raises(CheckpointError, match="nothing to compare"):
        verify(golden / "masks")
    with pytest.raises(CheckpointError, match="is not one of"):
        verify(golden / "cem")
