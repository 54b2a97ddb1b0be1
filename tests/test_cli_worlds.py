"""`openjepa collect` in environments of other authors: options, sizes, processes, and errors that lose nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from openjepa import cli
from openjepa.data import EpisodeStore

pytest.importorskip("gymnasium")
sys.path.insert(0, str(Path(__file__).parent / "envs"))


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # `main` sets defaults; the fixture puts them back
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")


def collect(capsys, *words):
    status = cli.main(["collect", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def fails(capsys, *words):
    status, out, err = collect(capsys, *words)
    assert (status, out) == (2, ""), (status, out, err)
    complaints = [line for line in err.splitlines() if line.startswith("openjepa: ")]
    assert len(complaints) == 1
    assert "Traceback" not in err
    return complaints[0]


def test_a_store_says_how_its_actions_and_states_are_to_be_read(capsys):
    words = ["gymnasium_toys:Toy-v0", "--episodes", "2", "--steps", "4", "--image-size", "12x20", "--env.size", "9"]
    status, out, _ = collect(capsys, *words)
    assert status == 0
    assert out == "data/gymnasium_toys-Toy-v0: 2 episodes of gymnasium_toys:Toy-v0, played by `drift`\n"
    store = EpisodeStore.open("data/gymnasium_toys-Toy-v0")
    assert store.frames_of(0).shape == (5, 3, 12, 20)
    first = store.episode(0).info
    assert first["env_options"] == {"size": 9}
    assert first["action_bounds"]["high"] == [0.25]
    assert first["state_names"] == ["observation0"]
    assert collect(capsys, *words)[0] == 0  # there is nothing left to do
    assert "its `env_options` is {'size': 9}, wanted {'size': 8}" in fails(capsys, *words[:-1], "8")


def test_an_episode_ends_where_the_environment_ends_it(capsys):
    assert collect(capsys, "gymnasium_toys:Truncated-v0", "--episodes", "3", "--steps", "9")[0] == 0
    assert EpisodeStore.open("data/gymnasium_toys-Truncated-v0").lengths.tolist() == [3, 3, 3]


def test_states_are_left_out_where_there_are_none_or_none_are_wanted(capsys):
    status, _, err = collect(capsys, "gymnasium_toys:Picturing-v0", "--episodes", "1", "--steps", "3")
    assert status == 0
    assert "gymnasium_toys:Picturing-v0 observes no plain vector: recording without states.\n" in err
    status, _, err = collect(capsys, "gymnasium_toys:Toy-v0", "--episodes", "1", "--steps", "3", "--no-states")
    assert status == 0
    assert "recording without" not in err
    for name in ("Picturing", "Toy"):
        columns = EpisodeStore.open(f"data/gymnasium_toys-{name}-v0").columns
        assert [column.name for column in columns] == ["frames", "actions"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Unseen", "cannot be drawn (NotImplementedError)."),
        ("Growing", "must draw pictures of one size; got [40, 80, 3] and then [48, 80, 3]."),
        ("Rambling", "must keep the size of its state (1); got"),
        ("Keyed", "must have Box, Discrete, MultiDiscrete or MultiBinary actions; got a Dict space."),
        ("Crashing", "cannot step (ValueError: the gearbox broke)."),
    ],
)
def test_a_broken_environment_is_one_line_and_nothing_is_lost(capsys, name, message):
    world = f"gymnasium_toys:{name}-v0"
    out = f"data/gymnasium_toys-{name}-v0"
    kept = 0
    if name in ("Growing", "Rambling", "Crashing"):
        assert collect(capsys, world, "--episodes", "2", "--steps", "2", "--num-envs", "1")[0] == 0
        kept = 2
    assert message in fails(capsys, world, "--episodes", "4", "--steps", "2" if kept == 0 else "6", "--out", f"{out}-6")
    if kept:
        store = EpisodeStore.open(out)
        assert store.lengths.tolist() == [2, 2]
        assert np.isfinite(store.column("actions")).all()


def test_wrong_options_are_one_line(capsys):
    assert "`--env.size` needs a value" in fails(capsys, "gymnasium_toys:Toy-v0", "--env.size")
    assert "refuses its options {'colour': 'red'}" in fails(capsys, "gymnasium_toys:Toy-v0", "--env.colour", "red")
    wrong = fails(capsys, "two-rooms", "--env.layuot", "random")
    assert "unknown option `layuot` of this world; did you mean `layout`?" in wrong
    assert "`--image-size` must be a side in px" in fails(capsys, "two-rooms", "--image-size", "big")
    assert "`image_size` of `two-rooms` must be 64" in fails(capsys, "two-rooms", "--image-size", "96")
    assert "`--num-envs` and `--workers` must be at least 1" in fails(capsys, "two-rooms", "--workers", "0")


def test_help_tells_of_the_environments_own_options(capsys):
    assert cli.main(["collect", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--env.NAME VALUE" in said
    assert "hands an option of its own to the environment" in said
