"""`openjepa train WORLD_OR_STORE` at toy size: what is read from the data, what is never written, what is judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openjepa import load_agent
from openjepa.agent import read_card
from openjepa.cli import main
from openjepa.command_line.training import robot_store, train_options
from openjepa.data import EpisodeStore
from openjepa.data.robot.lerobot_writer import LeRobotOptions, write_lerobot
from openjepa.data.robot.meaning import StatedMeaning, StatedVector
from openjepa.envs import collect, make_policy, make_world
from openjepa.errors import ConfigError
from openjepa.protocols import ActionBounds, Episode
from openjepa.recipes.acting import recorded_bounds
from openjepa.recipes.judge_world import _offset
from openjepa.recipes.measured_choices import change_by_lag, choose_frameskip, choose_looks, choose_window
from openjepa.recipes.world import WorldConfig, resolve

QUICK = ["--train.steps", "2", "--train.warmup-steps", "0", "--train.device", "cpu", "--train.precision", "fp32"]
QUICK += ["--fit-steps", "5"]


def square(length: int, speed: float, seed: int, size: int = 48) -> Episode:
    """A bright square of 8 px that moves to the right and back; actions are noise in 7 columns of several units."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((length + 1, 3, size, size), np.uint8)
    way, span = rng.uniform(0, size), size - 8
    for frame in frames:
        x = round(abs((way + span) % (2 * span) - span))
        frame[:, 20:28, x : x + 8] = 250
        way += speed
    return Episode(frames, rng.uniform(-1, 1, (length, 7)).astype(np.float32) * np.arange(1, 8, dtype=np.float32))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Episodes of 1 to 30 steps by a program that knows nothing but `EpisodeStore`."""
    monkeypatch.chdir(tmp_path)
    with EpisodeStore.create(tmp_path / "robot") as store:
        for i in range(14):
            store.append(square([1, 3, 12, 30][i % 4], 2.0, i))
    return tmp_path / "robot"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_episodes_is_learned_from_and_left_as_it_was(store, capsys):
    before = everything(store)
    assert main(["train", "robot", *QUICK]) == 0
    assert everything(store) == before
    card = read_card("runs/robot")
    assert (card.frame_shape, card.bounds.dim, card.world) == ((3, 48, 48), 7, "")
    assert card.trained_on["episodes"] == 13
    assert card.trained_on["steps"] + sum(store_lengths(store, 1)) == 14 // 4 * 46 + 4
    agent = load_agent("runs/robot")
    agent.start(np.zeros((1, 3, 48, 48), np.uint8))
    assert agent.act(np.zeros((1, 3, 48, 48), np.uint8)).shape == (1, 7)
    assert "of all steps lie in episodes that hold one" in capsys.readouterr().out

    assert main(["eval", "runs/robot"]) == 0
    results = json.loads(Path("runs/robot/results.json").read_text())
    assert {"1", "2"} <= set(results["offline"]["rollout_error_over_copying"])
    assert main(["plan", "runs/robot"]) == 2
    assert "Say where to play: --world ID" in capsys.readouterr().err
    assert everything(store) == before

    learned = json.loads(Path("runs/robot/config.json").read_text())["recipe"]
    main(["doctor", "runs/robot", "--data", "robot", "--json"])
    counted = json.loads(capsys.readouterr().out)["data"]
    assert counted["window_steps"] == (learned["window"] - 1) * learned["frameskip"] > 1  # of the run's own windows
    assert counted["short_episodes"] == sum(length < counted["window_steps"] for length in [1, 3, 12, 30] * 3 + [1, 3])


def store_lengths(path: Path, held_out: int) -> list[int]:
    """Steps of the episodes that are held out of a store."""
    from openjepa.data import split

    store = EpisodeStore.open(path)
    return store.lengths[split(store, 0.1, 0)[1][:held_out]].tolist()


def test_a_world_is_played_learned_and_judged(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    play = ["--episodes", "20", "--episode-steps", "10", "--num-envs", "10", "--held-out", "0.3", "--pairs", "4"]
    assert main(["train", "four-rooms", *play, *QUICK]) == 0
    card = read_card("runs/four-rooms")
    assert (card.world, card.frame_shape) == ("four-rooms", (3, 64, 64))
    assert main(["eval", "runs/four-rooms"]) == 0
    results = json.loads(Path("runs/four-rooms/results.json").read_text())
    page = Path("runs/four-rooms/evaluation.html").read_text("utf-8")
    assert page.count('<tr class="best"') == 2
    assert page.count("<canvas") == 2 * results["near"]["pairs"] == 8
    assert results["near"]["recorded way"]["success"] == 1.0
    assert set(results["near"]) >= {"openjepa", "random", "play", "behaviour cloning", "floor_is_high"}
    assert results["far"]["pairs"] == 4
    assert read_card("runs/four-rooms").judged["eval"]["near"]["recorded way"] == 1.0

    assert main(["plan", "runs/four-rooms", "--steps", "3"]) == 0
    assert Path("runs/four-rooms/plan.gif").is_file()
    goal = make_world("four-rooms").reset([3])[0]
    Image.fromarray(goal.transpose(1, 2, 0)).save("goal.png")
    capsys.readouterr()
    assert main(["plan", "runs/four-rooms", "--goal", "goal.png", "--steps", "3", "--out", "way.png"]) == 0
    assert capsys.readouterr().out.startswith("played 3 steps towards the picture")
    assert main(["plan", "runs/four-rooms", "--steps", "3", "--out", "why.html"]) == 0
    page = Path("why.html").read_text("utf-8")
    assert page.count('<img class="plot"') == 2  # how far it was, and where it went
    assert "How it thought" not in page  # there is no configurator

    Image.fromarray(goal.transpose(1, 2, 0)[:, :40]).save("narrow.png")
    assert main(["plan", "runs/four-rooms", "--goal", "narrow.png"]) == 2
    assert "must be 64 x 64 px" in capsys.readouterr().err
    assert main(["plan", "runs/four-rooms", "--world", "bridge"]) == 2
    assert "must take the actions that this agent learned" in capsys.readouterr().err


def test_a_robots_data_are_learned_from_through_a_store_beside_the_run(store):
    stated = StatedMeaning(StatedVector(kind="displacement", frame="base", units=("px",)))
    write_lerobot(EpisodeStore.open("robot"), "arm", LeRobotOptions(fps=5, codec="png", stated=stated))
    before = everything(Path("arm"))
    word = train_options(["arm"])
    assert word.__name__ == "TrainOptions"
    made = robot_store(Path("arm"), Path("runs/arm"), 32)
    assert made == Path("runs/arm-episodes")
    assert len(EpisodeStore.open(made)) == len(EpisodeStore.open("robot"))
    resolved = resolve(WorldConfig(data=made), "", {})
    assert resolved.choices[0].endswith("numbers; displacement in base, unit px; 5 a second, unknown")
    assert robot_store(Path("arm"), Path("runs/arm"), 32) == made  # a second start finds it
    assert everything(Path("arm")) == before


def test_training_again_changes_nothing(store):
    assert main(["train", "robot", *QUICK]) == 0
    before = everything(Path("runs/robot/agent"))
    assert main(["train", "robot", *QUICK]) == 0
    assert everything(Path("runs/robot/agent")) == before


def test_words_that_mean_nothing_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for words, message in [
        (["train", "empty"], "must be a store of episodes"),
        (["train", "for-rooms"], "did you mean `four-rooms`?"),
        (["train", "No/Such-v0", *QUICK], "unknown environment"),
        (["train", "four-rooms", "--env.layuot", "1", *QUICK], "layout"),
        (["train", "two-rooms", "--env.layout", "random"], "`--env.` options are for worlds"),
        (["eval", "empty"], "config.json"),
    ]:
        assert main(words) == 2
        error = capsys.readouterr().err
        own = [line for line in error.splitlines() if line.startswith("openjepa: ")]  # others announce their news
        assert len(own) == 1
        assert message in own[0]


def test_frames_of_two_sizes_are_refused(tmp_path):
    with EpisodeStore.create(tmp_path / "mixed") as store:
        store.append(square(4, 1.0, 0, size=48))
        with pytest.raises(Exception, match="frames") as error:
            store.append(square(4, 1.0, 1, size=64))
        assert "\n" not in str(error.value)
        assert len(store) == 1


@pytest.mark.parametrize(("speed", "expected"), [(8.0, 1), (1.0, 1), (0.5, 2), (0.25, 4)])
def test_the_frameskip_follows_how_far_things_move(tmp_path, speed, expected):
    """A square of 8 px that moved by s px has changed s / 8 of what it changes in the long run; 12 % are 0.96 px."""
    with EpisodeStore.create(tmp_path / "store") as store:
        for i in range(6):
            store.append(square(40, speed, i))
        skip, line = choose_frameskip(store)
        change = change_by_lag(store, (1, 2))
    assert skip == expected
    assert line.startswith(f"frameskip {expected}: ")
    assert change[2] > change[1] > 0


def test_the_window_leaves_hardly_a_step_out():
    assert choose_window(np.full(100, 40), 1)[0] == 9
    assert choose_window(np.full(100, 40), 2)[0] == 5
    assert choose_window(np.array([*[3] * 50, *[4] * 50]), 1)[0] == 4
    few_short = np.array([*[2] * 10, *[40] * 90])
    window, line = choose_window(few_short, 1)
    assert window == 9
    assert "99.4% of all steps" in line
    assert "10 of 100 episodes are shorter" in line


def test_what_has_inertia_is_looked_at_several_times_in_a_model_step():
    assert [choose_looks(skip) for skip in (1, 2, 3, 4, 5, 6, 8)] == [1, 2, 3, 4, 1, 3, 4]


def test_looks_that_do_not_fit_are_refused_before_anything_is_learned(store):
    with pytest.raises(ConfigError, match="`looks` must be a divisor of the frameskip, 4; got 3"):
        resolve(WorldConfig(data=store, frameskip=4, looks=3), "", {})


def test_near_pairs_lie_so_far_apart_that_doing_nothing_seldom_reaches_them():
    """On a line walked at one unit a step, a radius of 30 holds all pairs 25 steps apart, and none 50 apart."""

    class Line:
        def is_success(self, states, goals):
            return np.abs(states - goals)[:, 0] < 30

    walked = {0: np.arange(101.0)[:, None]}
    assert _offset(Line(), walked, 25, 99) == 50
    assert _offset(Line(), walked, 25, 40) == 25  # the episodes are too short
    assert _offset(Line(), walked, 32, 99) == 32


def test_bounds_of_recorded_actions():
    assert recorded_bounds(np.eye(4)[[0, 1, 2, 3, 1]]) == ActionBounds.of_categories([4])
    box = recorded_bounds(np.array([[-1.0, 5.0, 0.0], [3.0, 5.0, 0.5]]))
    assert box.low.tolist() == [-1.0, 4.5, 0.0]
    assert box.high.tolist() == [3.0, 5.5, 0.5]


def test_bounds_of_a_recorded_ball():
    angle = np.linspace(0, 2 * np.pi, 100)
    disc = np.stack([np.cos(angle), np.sin(angle)], 1)
    found = recorded_bounds(disc)
    assert found.max_norm == pytest.approx(1.0, abs=0.01)
    assert recorded_bounds(np.concatenate([disc, [[0.9, 0.9]]])).max_norm is None
    assert recorded_bounds(disc + 2).max_norm is None


def test_a_radius_is_for_worlds_without_a_rule(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "missing", "--radius", "1"]) == 2
    world = make_world("two-rooms", 2)
    with pytest.raises(ConfigError):
        make_policy("unifrom", world.bounds)
    assert callable(collect)
