import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from openjepa.errors import CheckpointError
from openjepa.parity.verify import run, verify

GOLDEN = Path(__file__).parents[1] / "golden"


def cases():
    """Folders of recorded cases that hold weights."""
    return sorted(p.parent.name for p in GOLDEN.glob("*/case.json") if "checkpoint" in json.loads(p.read_text()))


@pytest.mark.parametrize("name", cases())
def test_recorded_case(golden, name):
    report = verify(golden / name)
    assert report.passed, report.table()
    recorded = json.loads((golden / name / "case.json").read_text())["outputs"]
    assert set(recorded) <= {row.name for row in report.rows}
    assert report.largest < 1e-5


def test_twelve_cases_hold_weights():
    assert len(cases()) == 12


@pytest.mark.parametrize(("name", "rows"), [("cem", 15), ("schedules", 17), ("masks", 45)])
def test_a_case_without_weights(golden, name, rows):
    report = verify(golden / name)
    assert report.passed, report.table()
    assert len(report.rows) == rows


def test_a_wrong_momentum_of_the_planner_is_found(golden, tmp_path):
    folder = copy(golden, tmp_path, "cem")
    recorded = json.loads((folder / "planner.json").read_text())
    recorded["exact"]["two_steps"]["parameters"]["momentum_std"] = 0.9
    (folder / "planner.json").write_text(json.dumps(recorded))
    assert {r.name for r in verify(folder).rows if not r.passed} == {"two_steps.samples", "two_steps.action"}


def test_a_wrong_pose_is_found(golden, tmp_path):
    folder = copy(golden, tmp_path, "cem")
    recorded = json.loads((folder / "poses.json").read_text())
    recorded["difference"]["action"][3][4] += 1e-6
    (folder / "poses.json").write_text(json.dumps(recorded))
    assert [r.name for r in verify(folder).rows if not r.passed] == ["pose difference"]


def test_a_wrong_schedule_and_a_wrong_draw_are_found(golden, tmp_path):
    folder = copy(golden, tmp_path, "schedules")
    recorded = json.loads((folder / "schedules.json").read_text())
    recorded["schedules"][0]["values"][3]["lr"] *= 1 + 1e-8
    (folder / "schedules.json").write_text(json.dumps(recorded))
    assert [r.name for r in verify(folder).rows if not r.passed] == ["ijepa_vith14_in1k_300: lr"]
    folder = copy(golden, tmp_path, "masks")
    recorded = json.loads((folder / "exact_draws.json").read_text())
    recorded["vjepa2_long"]["batches"][0]["target_indices"][0][0] += 1
    (folder / "exact_draws.json").write_text(json.dumps(recorded))
    assert [r.name for r in verify(folder).rows if not r.passed] == ["vjepa2_long: draws that differ"]


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


def test_a_folder_of_cases_gets_a_line_each(golden, tmp_path, capsys):
    for name in ("probe_v1", "schedules"):
        copy(golden, tmp_path, name)
    assert run(str(tmp_path)) == 0
    first, second, verdict = capsys.readouterr().out.splitlines()
    assert first.startswith("probe_v1 ")
    assert second.split()[:3] == ["schedules", "17", "outputs"]
    assert verdict == "2 cases, all within tolerance"
    recorded = json.loads((tmp_path / "schedules" / "schedules.json").read_text())
    recorded["schedules"][0]["values"][0]["ema"] += 1e-6
    (tmp_path / "schedules" / "schedules.json").write_text(json.dumps(recorded))
    assert run(str(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines()[1].endswith("FAILED")


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
    with pytest.raises(CheckpointError, match=r"must hold `case\.json`; there is none"):
        verify(tmp_path)
    folder = copy(golden, tmp_path, "vjepa2_meta")
    case = json.loads((folder / "case.json").read_text())
    del case["architecture"]["num_heads"]
    (folder / "case.json").write_text(json.dumps(case))
    with pytest.raises(CheckpointError, match="must state 'num_heads' in its files"):
        verify(folder)
    (tmp_path / "case.json").write_text('{"summary": "not a case"}')
    with pytest.raises(CheckpointError, match="no recorded case"):
        verify(tmp_path)
    (tmp_path / "case.json").write_text('{"case": "unheard of", "family": "BERT"}')
    with pytest.raises(CheckpointError, match="is not one of"):
        verify(tmp_path)
