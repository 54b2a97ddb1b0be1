"""The command line, from outside: what is typed, what is said, and the exit status."""

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from openjepa import cli
from openjepa.command_line import listing
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import JEPALoss, TrajectoryBatch
from openjepa.recipes import RECIPES, Experiment, Recipe
from openjepa.train import TrainConfig


@dataclass(frozen=True)
class LineConfig:
    gain: float = 1.0  # pixels to latent


class Line(torch.nn.Module):
    """A world on a line whose first pixel is the position; its action is the change of the position."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.gain = torch.nn.Parameter(torch.tensor(config.gain))
        self.effect = torch.nn.Parameter(torch.tensor(0.5))

    def encode(self, frames, proprio=None):
        return (frames[:, :, 0, 0, 0].float() / 64 * self.gain)[..., None, None]

    def rollout(self, z, actions):
        moves = actions[:, z.shape[1] - 1 :].cumsum(1)[..., None]
        return z[:, -1:] + moves / 64 * self.effect * self.gain

    def loss(self, batch, step):
        z = self.encode(batch.frames)
        error = (self.rollout(z[:, :1], batch.actions) - z[:, 1:].detach()).square().mean()
        return JEPALoss(error, {"prediction": error.detach()})

    def after_step(self, step):
        pass


def episodes(count=12, steps=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(-5, 6, (count, steps, 1), generator=generator).float()
    start = torch.randint(60, 180, (count, 1), generator=generator).float()
    x = torch.cat([start, start + actions[..., 0].cumsum(1)], 1)
    frames = x.to(torch.uint8)[:, :, None, None, None].expand(-1, -1, 3, 4, 4).contiguous()
    return TrajectoryBatch(frames, actions, states=x[..., None])


class Episodes:
    def batch(self, step, *, rank=0, world_size=1):
        batch = episodes(seed=step)
        return TrajectoryBatch(batch.frames, batch.actions)


@dataclass(frozen=True)
class ToyConfig:
    """The toy's options."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=4, warmup_steps=0, device="cpu"))
    method: LineConfig = field(default_factory=LineConfig)
    seed: int = 0  # of everything
    speed: Literal["slow", "fast"] = "slow"
    verbose: bool = False
    out: Path | None = None


def replay(config, run_dir, seed):
    from openjepa.eval.pages.animation import Replay

    frames = np.zeros((4, 3, 16, 16), np.uint8)
    return Replay(frames, frames[0], success=seed == 0)


TOY = Recipe(
    "a point on a line",
    ToyConfig(),
    lambda config: Experiment(Line(config.method), Episodes(), held_out=lambda: episodes(seed=99), state_names=("x",)),
    judge=lambda config, run_dir: {"success_rate": 0.975, "seed": config.seed, "ms": {"plan": 3}},
    replay=replay,
)


def load_toy():
    """a point on a line"""
    return TOY


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    from openjepa.methods import METHODS

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # `main` sets defaults; the fixture puts them back
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    monkeypatch.setitem(RECIPES, "toy-line", load_toy)
    monkeypatch.setitem(METHODS, "Line", lambda: (Line, LineConfig))


def run(capsys, *words):
    """Returns (exit status, standard output, standard error) of `openjepa WORDS`."""
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out, said.err


def fails(capsys, *words):
    """Returns the one line that a refused command prints."""
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, ""), (status, out, err)
    assert err.startswith("openjepa: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("openjepa: ").strip()


def trained(capsys, *words):
    status, _, err = run(capsys, "train", "toy-line", *words)
    assert status == 0, err
    return Path("runs/toy-line")


# ----------------------------------------------------------------------------------------------------------
# Words that do not exist


def test_unknown_names_get_the_nearest_one(capsys):
    assert fails(capsys, "tran") == "unknown command `tran`; did you mean `train`?"
    assert fails(capsys, "train", "toy-lin") == "unknown recipe `toy-lin`; did you mean `toy-line`?"
    assert fails(capsys, "collect", "two-roms") == "unknown environment `two-roms`; did you mean `two-rooms`?"
    assert fails(capsys, "collect", "two-rooms", "--policy", "smoth").startswith("unknown policy `smoth`; did you")
    assert fails(capsys, "xyzzy").startswith("unknown command `xyzzy`; the nearest are `")


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("--train.setps", "--train.steps"),
        ("--train.log_evry", "--train.log_every"),
        ("--train.log-evry", "--train.log-every"),
        ("--steps", "--train.steps"),
        ("--method.gian=3", "--method.gain"),
        ("--rundir", "--run-dir"),
    ],
)
def test_unknown_options_get_the_nearest_one(capsys, option, near):
    shown = option.split("=")[0]
    assert fails(capsys, "train", "toy-line", option, "3") == f"unknown option `{shown}`; did you mean `{near}`?"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.steps", "abc"], "`--train.steps` must be a whole number; got `abc`."),
        (["--train.steps=1.5"], "`--train.steps` must be a whole number; got `1.5`."),
        (["--method.gain", "much"], "`--method.gain` must be a number; got `much`."),
        (["--method.gain", "nan"], "`--method.gain` must be a finite number; got `nan`."),
        (["--method.gain=-inf"], "`--method.gain` must be a finite number; got `-inf`."),
        (["--train.steps", "0"], "`steps` must be at least 1; got 0."),
        (["--train.steps"], "`--train.steps` needs a value. See openjepa train --help."),
        (["--speed", "fst"], "`--speed` must be one of slow, fast; got `fst`; did you mean `fast`?"),
        (["--speed", "warp"], "`--speed` must be one of slow, fast; got `warp`."),
        (["5"], "`5` is not expected here. See openjepa train --help."),
        (["-x"], "`-x` is not expected here. See openjepa train --help."),
    ],
)
def test_wrong_values_are_one_line(capsys, words, message):
    assert fails(capsys, "train", "toy-line", *words) == message


def test_missing_words_are_asked_for(capsys):
    assert fails(capsys, "train").startswith("`train` needs a recipe, a world or a store: openjepa train WHAT.")
    assert fails(capsys, "collect") == "`openjepa collect` needs WORLD. See openjepa collect --help."
    assert fails(capsys, "data", "info") == "`openjepa data info` needs PATH. See openjepa data info --help."
    assert fails(capsys, "data", "merge", "a") == "`openjepa data merge` needs --out. See openjepa data merge --help."
    assert fails(capsys, "data").startswith(
        "`openjepa data` needs one of info, check, repair, preview, merge, convert."
    )
    assert fails(capsys, "data", "nfo") == "unknown command of `openjepa data` `nfo`; did you mean `info`?"
    assert fails(capsys, "data", "--pth").startswith("unknown option `--pth`. Known: check, convert, ")


def test_errors_of_the_library_are_one_line(capsys, monkeypatch):
    def broken(message, kind):
        def run(options):
            raise kind(message)

        monkeypatch.setitem(cli.COMMANDS, "list", dataclasses.replace(cli.COMMANDS["list"], run=run))

    broken("two\nlines", DataError)
    assert fails(capsys, "list") == "two lines"
    broken(13, lambda n: PermissionError(n, "Permission denied", "/a/b"))
    assert fails(capsys, "list") == "Permission denied: /a/b"
    broken(28, lambda n: OSError(n, "No space left on device"))  # a write that does not say where
    assert fails(capsys, "list") == "No space left on device. Free some space and run the same command again"
    broken("ours", ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):  # a bug of ours keeps its traceback
        cli.main(["list"])


@pytest.mark.parametrize(("command", "hint"), [("collect", "; run the same command again to go on"), ("list", "")])
def test_an_interruption_says_how_to_go_on(capsys, monkeypatch, command, hint):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, command, dataclasses.replace(cli.COMMANDS[command], run=interrupted))
    words = ["two-rooms"] if command == "collect" else []
    assert run(capsys, command, *words) == (130, "", f"\nopenjepa: interrupted{hint}.\n")


# ----------------------------------------------------------------------------------------------------------
# Help


def test_help_names_every_command(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert all(f"  {name} " in out for name in cli.COMMANDS)
    assert run(capsys)[1] == out
    assert run(capsys, "--version") == (0, f"openjepa {cli.__version__}\n", "")


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "demo"])
def test_every_command_explains_itself(capsys, command):
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert f"usage: openjepa {command}" in out


def test_a_recipes_options_are_explained(capsys):
    _, out, _ = run(capsys, "train", "toy-line", "--help")
    assert "--train.log-every" in out
    assert "peak learning rate" in out
    assert "--run-dir" in out


def test_light_commands_do_not_import_torch():
    code = (
        "import sys; from openjepa import cli\n"
        "status = [cli.main(words) for words in (['--help'], ['list'], ['tran'], ['--complete', ''])]\n"
        "assert status == [0, 0, 2, 0], status\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'PIL', 'gymnasium'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_waiting_threads_sleep_before_torch_is_imported(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cli.main(["--version"])
    import os

    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == "7"  # the user's word stands
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


# ----------------------------------------------------------------------------------------------------------
# What commands do


def test_list_shows_every_table(capsys):
    _, out, _ = run(capsys, "list")
    assert "toy-line" in out
    assert "a point on a line" in out
    assert "random-doors" in out


def test_the_worlds_of_the_list_are_those_that_can_be_made():
    from openjepa.envs import WORLDS

    assert sorted(listing.WORLDS) == sorted(WORLDS)


def test_methods_and_planners_are_found_by_their_verbs(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "PACKAGE", tmp_path)
    (tmp_path / "planning").mkdir()
    (tmp_path / "planning" / "cem.py").write_text(
        '"""Finds plans by trying\nmany. Slowly.\n\nMore."""\n\n'
        "class Planner(Protocol):\n    def plan(self): ...\n\nclass CEM:\n"
        "    def plan(self):\n        pass\n\nclass _Hidden:\n    def plan(self): ...\n"
    )
    (tmp_path / "planning" / "costs.py").write_text("class Cost:\n    def cost(self): ...\n")
    assert listing.files_with("planning", {"plan"}) == {"cem": "Finds plans by trying many"}


def test_what_is_inherited_is_found_too():
    tables = listing.tables()
    assert {"cem", "icem", "mppi", "mean_cem", "gradient", "exhaustive", "budget"} == set(tables["Planners"])
    assert {"ijepa", "vjepa2", "vjepa2_1", "lewm", "cell_map"} <= set(tables["Methods"])
    assert {"next_token", "pixel_prediction", "inverse_dynamics"} <= set(tables["Rivals"])


def test_collect_then_look_at_the_store(capsys):
    status, out, _ = run(capsys, "collect", "two-rooms", "--episodes", "3", "--steps", "5", "--num-envs", "2")
    assert (status, out) == (0, "data/two-rooms: 3 episodes of two-rooms, played by `smooth`\n")
    status, out, _ = run(capsys, "data", "info", "data/two-rooms")
    assert status == 0
    assert "episodes: 3" in out
    status, out, _ = run(capsys, "data", "check", "data/two-rooms")
    assert status == 0
    assert "all sound" in out
    again = run(capsys, "collect", "two-rooms", "--episodes", "4", "--steps", "5")
    assert again[1].startswith("data/two-rooms: 4 episodes")
    assert "must hold the beginning of this collection" in fails(capsys, "collect", "two-rooms", "--seed", "1")


def test_a_damaged_store_has_status_1(capsys):
    run(capsys, "collect", "two-rooms", "--episodes", "2", "--steps", "5")
    file = Path("data/two-rooms/frames.bin")
    content = bytearray(file.read_bytes())
    content[100] ^= 255
    file.write_bytes(content)
    status, out, _ = run(capsys, "data", "check", "data/two-rooms")
    assert status == 1
    assert "1 damaged" in out


def test_train_writes_a_run_and_a_report(capsys):
    status, out, _ = run(capsys, "train", "toy-line", "--train.steps", "3", "--train.log_every=1", "--verbose", "True")
    assert status == 0
    run_dir = Path("runs/toy-line")
    config = json.loads((run_dir / "config.json").read_text())
    assert config["recipe"]["recipe"] == "toy-line"
    assert config["recipe"]["train"]["steps"] == 3
    assert config["recipe"]["verbose"] is True
    assert "finished 3 steps" in out
    assert "healthy" in out
    assert json.loads((run_dir / "diagnosis.json").read_text())["kind"] == "healthy"
    assert "Run: toy-line" in (run_dir / "report.html").read_text()


def test_a_run_directory_is_not_reused_for_other_options(capsys):
    trained(capsys)
    assert "gain` must be 1.0 as in the run" in fails(capsys, "train", "toy-line", "--method.gain", "2")
    assert run(capsys, "train", "toy-line", "--run-dir", "elsewhere", "--method.gain", "2")[0] == 0
    assert Path("elsewhere/report.html").is_file()


def test_eval_writes_what_the_recipe_measures(capsys):
    run_dir = trained(capsys, "--seed", "7")
    status, out, _ = run(capsys, "eval", str(run_dir))
    assert status == 0
    assert out.splitlines()[:3] == ["success_rate: 0.975", "seed: 7", "ms.plan: 3"]
    assert json.loads((run_dir / "results.json").read_text())["success_rate"] == 0.975


def test_plan_draws_an_episode(capsys):
    run_dir = trained(capsys)
    assert run(capsys, "plan", str(run_dir))[1] == f"reached the goal in 3 steps: {run_dir}/plan.gif\n"
    assert run(capsys, "plan", str(run_dir), "--seed", "1", "--out", "a.png")[1].startswith("did not reach the goal")
    assert Path("a.png").is_file()
    assert fails(capsys, "plan", str(run_dir), "--out", "a.avi").startswith("`out` must end in .gif")


def test_the_doctor_says_healthy_or_sick(capsys):
    run_dir = trained(capsys)
    status, out, _ = run(capsys, "doctor", str(run_dir))
    assert status == 0
    assert out.startswith("healthy: no sign of collapse")
    status, out, _ = run(capsys, "doctor", str(run_dir), "--json")
    assert json.loads(out)["state_names"] == ["x"]
    run(capsys, "train", "toy-line", "--run-dir", "flat", "--method.gain", "0")
    status, out, _ = run(capsys, "doctor", "flat")
    assert status == 1
    assert out.startswith("sick: complete collapse")
    assert "What to change" in out


def test_the_doctor_looks_at_other_data(capsys):
    from openjepa.data import EpisodeStore
    from openjepa.protocols import Episode

    run_dir = trained(capsys)
    batch = episodes(count=6)
    with EpisodeStore.create("store") as store:
        for i in range(6):
            store.append(Episode(batch.frames[i].numpy(), batch.actions[i].numpy(), batch.states[i].numpy()))
    status, out, _ = run(capsys, "doctor", str(run_dir), "--data", "store")
    assert (status, out.splitlines()[0]) == (0, "healthy: no sign of collapse")
    assert fails(capsys, "doctor", str(run_dir), "--data", "nowhere").startswith("no episode store at `nowhere`")


def record_squares(path, lengths):
    """Episodes of a square that wanders; the toy sees its first pixel only, which never changes."""
    from openjepa.data import EpisodeStore
    from openjepa.protocols import Episode

    draws = np.random.default_rng(0)
    with EpisodeStore.create(path) as store:
        for steps in lengths:
            x = np.concatenate([[8], 8 + draws.integers(-1, 2, steps).cumsum()]).clip(3, 13)
            frames = np.full((steps + 1, 3, 16, 16), 40, np.uint8)
            for t, at in enumerate(x):
                frames[t, 0, 6:10, at - 2 : at + 2] = 220
            store.append(Episode(frames, np.diff(x)[:, None].astype(np.float32)))


def test_the_doctor_counts_lost_data_and_draws_where_the_model_is_blind(capsys):
    from PIL import Image

    run_dir = trained(capsys)
    record_squares("store", [1, 2, 3, *[30] * 21])
    status, out, _ = run(capsys, "doctor", str(run_dir), "--data", "store", "--out", "out/blind.png")
    assert status == 1
    assert out.startswith("sick: complete collapse")
    assert "24 episodes are from 1 to 30 steps" in out
    assert out.splitlines()[-1] == "picture: out/blind.png"
    with Image.open("out/blind.png") as picture:
        assert picture.width > 500
    _, out, _ = run(capsys, "doctor", str(run_dir), "--data", "store", "--window", "3", "--frameskip=4", "--json")
    found = json.loads(out)
    assert found["data"] | {"lengths": None} == {
        "episodes": 24, "steps": 636, "lengths": None, "window_steps": 8, "short_episodes": 3, "unused_steps": 6,
    }  # fmt: skip
    assert found["frames"] == 21 * 8  # of every episode that has a model step, seven of four steps each
    _, out, _ = run(capsys, "doctor", str(run_dir), "--data", "store", "--json")  # enough steps to foretell the square
    assert [thing["size_px"] for thing in json.loads(out)["sight"]["things"]] == [pytest.approx(4)]


def test_the_run_of_a_demonstration_is_named(capsys, tmp_path):
    (tmp_path / "run").mkdir()
    for folder in (tmp_path, tmp_path / "run"):
        (folder / "config.json").write_text('{"play": {}}')
    assert f"Its run is `{tmp_path / 'run'}`." in fails(capsys, "plan", str(tmp_path))


def test_what_the_doctor_cannot_do_is_one_line(capsys):
    run_dir = str(trained(capsys))
    assert (
        fails(capsys, "doctor", run_dir, "--out", "blind.doc") == "`--out` must end in .png, .svg, .pdf; got blind.doc."
    )
    status, out, err = run(capsys, "doctor", run_dir, "--out", "blind.png")  # a world that is one number moves nowhere
    assert status == 2
    assert out.startswith("healthy")  # what was computed is said
    assert err.startswith("openjepa: blind.png was not drawn: nothing was found that moves")
    record_squares("short", [2, 2, 9])
    assert "at least 2 episodes of 4 steps or more; `short` has 1 among 3" in fails(
        capsys, "doctor", run_dir, "--data", "short", "--frameskip", "4"
    )
    assert "`window` must be >= 2" in fails(capsys, "doctor", run_dir, "--data", "short", "--window", "1")


def test_runs_that_cannot_be_judged_say_why(capsys):
    assert fails(capsys, "eval", "nowhere").startswith("`nowhere` must be a run directory")
    assert fails(capsys, "doctor", "nowhere").startswith("nowhere does not exist")
    run_dir = trained(capsys)
    file = run_dir / "config.json"
    file.write_text(json.dumps({"recipe": None}))
    assert "names no recipe" in fails(capsys, "eval", str(run_dir))
    file.write_text("{")
    assert "is damaged" in fails(capsys, "plan", str(run_dir))


def test_a_truncated_checkpoint_is_one_line(capsys):
    run_dir = trained(capsys)
    file = next(run_dir.glob("checkpoints/step_*/model.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])
    assert "it is damaged" in fails(capsys, "doctor", str(run_dir))


def test_recipes_without_judge_or_actor(capsys, monkeypatch):
    run_dir = trained(capsys)
    monkeypatch.setitem(RECIPES, "toy-line", lambda: dataclasses.replace(TOY, judge=None, replay=None))
    assert fails(capsys, "eval", str(run_dir)).startswith("the recipe `toy-line` has no evaluation")
    assert fails(capsys, "plan", str(run_dir)).startswith("the recipe `toy-line` has no actor")


def test_completions_offer_commands_names_and_options(capsys):
    def offers(*words):
        return run(capsys, "--complete", *words)[1].split()

    assert {"demo", "train", "--help"} <= set(offers(""))
    assert "toy-line" in offers("train", "")
    assert {"--train.log-every", "--run-dir"} <= set(offers("train", "toy-line", "--tr"))
    assert {"two-rooms", "--num-envs"} <= set(offers("collect", ""))
    assert offers("nonsense", "") == []
    for shell in ("bash", "zsh", "fish"):
        assert "openjepa --complete" in run(capsys, "completions", shell)[1]


def test_flags_can_be_spelled_out(capsys):
    from openjepa.command_line.options import option_types, parse, with_config

    kind = with_config("Options", [], ToyConfig())
    assert option_types(kind)["train.compile"] is bool

    def compiled(*words):
        return parse(kind, words, program="x", summary="y").config.train.compile

    assert compiled("--train.compile") is True
    assert compiled("--train.compile", "True") is True
    assert compiled("--train.compile", "false") is False
    assert compiled("--train.no-compile") is False
    with pytest.raises(ConfigError, match=r"unknown option `--train.no-steps`"):
        compiled("--train.no-steps")
