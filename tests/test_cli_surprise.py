"""`openjepa surprise` from calibration to alarm, its exit statuses, and its one-line errors."""

import json
import shutil

import numpy as np
import pytest
import torch

from openjepa.cli import main
from openjepa.envs.physics.clips import render_possible, render_quadruple
from openjepa.envs.physics.source import PhysicsConfig, PhysicsSource
from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig
from openjepa.methods.lejepa import LeJEPA, LeJEPAConfig
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.vit import ViTConfig
from openjepa.train import TrainConfig, save_checkpoint, train

SMALL = {
    "encoder": FrameEncoderConfig("keypoints", image_size=32, width=4, hidden_dim=8, num_keypoints=2),
    "embed_dim": 4,
    "trait_dim": 1,
    "predictor_dim": 12,
    "num_heads": 2,
    "depth": 1,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a few steps, clips, and a calibration."""
    folder = tmp_path_factory.mktemp("surprise")
    train(
        CausalJEPA(CausalJEPAConfig(**SMALL)),
        PhysicsSource(PhysicsConfig(length=16, size=32, batch_size=8)),
        TrainConfig(steps=60, lr=1e-2, warmup_steps=0, device="cpu", precision="fp32"),
        folder / "run",
    )
    with torch.random.fork_rng(devices=[]):
        save_checkpoint(folder / "blind" / "checkpoints", 1, LeJEPA(LeJEPAConfig()), training={})
    still = render_possible(range(40), length=16, size=32)[:, :1].repeat(16, 1)  # pictures in which nothing happens
    np.save(folder / "possible.npy", still[:39])
    (folder / "clips").mkdir()
    for name in ("a", "b"):
        np.save(folder / "clips" / f"{name}.npy", still[39 - (name == "b")])
    odd = still[0].copy()
    odd[6:8] = 255 - odd[6:8]
    odd[6:8, :, :, 16:] = 0
    np.save(folder / "odd.npy", odd)
    np.save(folder / "short.npy", odd[:3])
    (folder / "damaged.mp4").write_bytes(b"no video")
    assert main(["surprise", str(folder / "run"), "--calibrate", str(folder / "possible.npy"), "--untrained", "2"]) == 0
    return folder


def test_plausible_is_0_and_surprising_is_1(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["surprise", str(made / "run"), str(made / "clips" / "a.npy"), "--level", "0.03"]) == 0
    out = capsys.readouterr().out
    for line in ("copy last frame", "pixel difference", "untrained networks", "light changes colour"):
        assert line in out
    assert (tmp_path / "surprise.png").stat().st_size > 1000
    both = [str(made / "clips" / "a.npy"), str(made / "odd.npy")]
    assert main(["surprise", str(made / "run"), *both, "--level", "0.03", "--json", "--out", "none"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["surprising"], second["surprising"]) == (False, True)
    assert second["p_value"] == 1 / 40
    assert len(second["energy"]) == 12  # from frame 4 on
    assert second["untrained_networks"] == 2


def test_a_folder_is_watched(made, tmp_path, capsys):
    live = tmp_path / "live"
    shutil.copytree(made / "clips", live)
    command = ["surprise", str(made / "run"), "--live", str(live), "--idle", "0.3", "--level", "0.03"]
    assert main(command) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["a.npy", "b.npy"]
    shutil.copy(made / "odd.npy", live / "z.npy")
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "z.npy"


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
        (["run", "short.npy"], "must have at least 7 frames for this model; it has 3. Take a longer clip"),
        (["run", "damaged.mp4"], "must be a video that FFmpeg decodes"),
        (["run", "nothing.mp4"], "it does not exist"),
        (["run"], "a clip must be named; got none"),
        (["run", "odd.npy", "--frame-step", "2"], "`--frame-step` must be 1 as in the calibration; got 2"),
        (
            ["run", "odd.npy", "--level", "0.001"],
            "must be in [0.025, 1) with 39 calibration clips; got 0.001",
        ),
        (["run", "odd.npy", "--calibration", "clips"], "must hold `calibration.json`; it has none"),
        (["blind", "odd.npy"], "must have a predictor of coming frames to be surprised; LeJEPA has none"),
        (["run", "--live", "nowhere"], "must name a folder or a camera"),
        (["run", "--live", "clips", "--calibrate", "clips"], "can be asked for at a time"),
        (["run", "clips", "--benchmark", "intphys"], "must have the layout of intphys"),
        (["run", "odd.npy", "--lebel", "1"], "did you mean `--level`"),
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
    assert main(["surprise", str(tmp_path / "other"), str(made / "odd.npy")]) == 2
    assert "the calibration must be of this model" in capsys.readouterr().err


def test_the_help_states_the_exit_statuses(capsys):
    assert main(["surprise", "--help"]) == 0
    assert "0 none, 1 some, 2 error" in " ".join(capsys.readouterr().out.split())


def test_masked_predictors_in_a_run_and_in_our_layout(tmp_path, capsys):
    encoder = ViTConfig(
        img_size=(16, 16), patch_size=8, embed_dim=24, depth=1, num_heads=2, num_frames=8, tubelet_size=2
    )
    config = VJEPA2Config(encoder=encoder, predictor_dim=12, predictor_depth=1, predictor_heads=1)
    save_checkpoint(tmp_path / "run" / "checkpoints", 1, VJEPA2(config), training={})
    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "ours"), "--to", "openjepa"]) == 0
    np.save(tmp_path / "possible.npy", np.random.default_rng(0).integers(0, 255, (20, 9, 3, 24, 20), np.uint8))
    np.save(tmp_path / "clip.npy", np.zeros((9, 3, 24, 20), np.uint8))
    found = []
    for folder in ("run", "ours"):
        command = ["surprise", str(tmp_path / folder)]
        assert main([*command, "--calibrate", str(tmp_path / "possible.npy"), "--untrained", "1"]) == 0
        capsys.readouterr()
        assert main([*command, str(tmp_path / "clip.npy"), "--json", "--out", "none"]) in (0, 1)
        found.append(json.loads(capsys.readouterr().out)[0])
    assert found[0] == found[1]  # the same networks, whatever the layout
    assert list(found[0]["rows"]) == ["context 2", "context 4"]
    assert main(["surprise", str(tmp_path / "ours" / "target_encoder"), str(tmp_path / "clip.npy")]) == 2
    assert "must have a predictor of coming frames to be surprised" in capsys.readouterr().err
