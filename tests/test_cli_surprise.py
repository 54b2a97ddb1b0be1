"""`openjepa surprise` from calibration to alarm, its exit statuses, and its one-line errors."""

import json
import shutil

import numpy as np
import pytest
import torch

from openjepa.cli import main
from openjepa.envs.physics import render_possible, render_quadruple
from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig
from openjepa.methods.lejepa import LeJEPA, LeJEPAConfig
from openjepa.train import save_checkpoint

SMALL = {"image_size": 32, "width": 4, "embed_dim": 4, "predictor_dim": 12, "num_heads": 2, "depth": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An untrained run, clips, and a calibration."""
    folder = tmp_path_factory.mktemp("surprise")
    with torch.random.fork_rng(devices=[]):
        save_checkpoint(folder / "run" / "checkpoints", 1, CausalJEPA(CausalJEPAConfig(**SMALL)), training={})
        save_checkpoint(folder / "blind" / "checkpoints", 1, LeJEPA(LeJEPAConfig()), training={})
    np.save(folder / "possible.npy", render_possible(range(39), length=16, size=32))
    clips = folder / "clips"
    clips.mkdir()
    for name, clip in zip(("AA", "BB"), render_quadruple("solidity", 9, length=16, size=32).clips[:2], strict=True):
        np.save(clips / f"{name}.npy", clip)
    noise = np.random.default_rng(0).integers(0, 255, (16, 3, 32, 32), np.uint8)
    np.save(folder / "noise.npy", noise)
    np.save(folder / "short.npy", noise[:3])
    (folder / "damaged.mp4").write_bytes(b"no video")
    assert main(["surprise", str(folder / "run"), "--calibrate", str(folder / "possible.npy"), "--untrained", "2"]) == 0
    return folder


def test_plausible_is_0_and_surprising_is_1(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["surprise", str(made / "run"), str(made / "clips" / "AA.npy"), "--level", "0.03"]) == 0
    out = capsys.readouterr().out
    for line in ("copy last frame", "pixel difference", "untrained networks", "colours exchanged"):
        assert line in out
    assert (tmp_path / "surprise.png").stat().st_size > 1000
    both = [str(made / "clips" / "AA.npy"), str(made / "noise.npy")]
    assert main(["surprise", str(made / "run"), *both, "--level", "0.03", "--json", "--out", "none"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["surprising"], second["surprising"]) == (False, True)
    assert second["p_value"] == 1 / 40
    assert len(second["energy"]) == 15
    assert second["untrained_networks"] == 2


def test_a_folder_is_watched(made, tmp_path, capsys):
    live = tmp_path / "live"
    shutil.copytree(made / "clips", live)
    command = ["surprise", str(made / "run"), "--live", str(live), "--idle", "0.3", "--level", "0.03"]
    assert main(command) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["AA.npy", "BB.npy"]
    shutil.copy(made / "noise.npy", live / "ZZ.npy")
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "ZZ.npy"


def test_a_public_test_is_judged(made, tmp_path, capsys):
    for kind, role in (("P", 0), ("IP", 2)):
        folder = tmp_path / "level2" / f"{kind}_Solidity"
        folder.mkdir(parents=True)
        for seed in (1, 2):
            np.save(folder / f"{seed}.npy", render_quadruple("solidity", seed, length=16, size=32).clips[role])
    command = ["surprise", str(made / "run"), str(tmp_path), "--benchmark", "grasp", "--untrained", "2"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Solidity: " in out
    assert "of 2 pairs" in out
    assert "untrained networks" in out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["all"]["pairs"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "short.npy"], "must have at least 5 frames for this model; it has 3. Take a longer clip"),
        (["run", "damaged.mp4"], "must be a video that FFmpeg decodes"),
        (["run", "nothing.mp4"], "it does not exist"),
        (["run"], "a clip must be named; got none"),
        (["run", "noise.npy", "--frame-step", "2"], "`--frame-step` must be 1 as in the calibration; got 2"),
        (
            ["run", "noise.npy", "--level", "0.001"],
            "must be in [0.025, 1) with 39 calibration clips; got 0.001",
        ),
        (["run", "noise.npy", "--calibration", "clips"], "must hold `calibration.json`; it has none"),
        (["blind", "noise.npy"], "must have a predictor of coming frames to be surprised; LeJEPA has none"),
        (["run", "--live", "nowhere"], "must name a folder or a camera"),
        (["run", "--live", "clips", "--calibrate", "clips"], "can be asked for at a time"),
        (["run", "clips", "--benchmark", "intphys"], "must have the layout of intphys"),
        (["run", "noise.npy", "--lebel", "1"], "did you mean `--level`"),
    ],
)
def test_one_line_errors(made, monkeypatch, capsys, words, said):
    pytest.importorskip("av")
    monkeypatch.chdir(made)
    assert main(["surprise", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_calibration_of_another_model_is_refused(made, tmp_path, capsys):
    with torch.random.fork_rng(devices=[]):
        method = CausalJEPA(CausalJEPAConfig(**SMALL, horizons=(1,)))
        save_checkpoint(tmp_path / "other" / "checkpoints", 1, method, training={})
    shutil.copy(made / "run" / "calibration.json", tmp_path / "other")
    assert main(["surprise", str(tmp_path / "other"), str(made / "noise.npy")]) == 2
    assert "the calibration must be of this model" in capsys.readouterr().err


def test_the_help_states_the_exit_statuses(capsys):
    assert main(["surprise", "--help"]) == 0
    assert "0 none, 1 some, 2 error" in " ".join(capsys.readouterr().out.split())
