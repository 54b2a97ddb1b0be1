"""An agent on disk: reopened it acts bit for bit as before, and what is not whole is named in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentCard, AgentConfig, FailedPlanConfig, load_agent, read_card, save_agent
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.agent.saved import note_judged
from openjepa.agent.saved_parts import CARD
from openjepa.errors import CheckpointError, ConfigError, ShapeError
from openjepa.files import SEAL
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEM, CEMConfig, Exhaustive, ExhaustiveConfig, PathCost
from openjepa.planning.costs import closest, mean, squared_l2
from openjepa.protocols import ActionBounds

BOX = ActionBounds([-1.0, -2.0], [1.0, 2.0], max_norm=1.5)
SHAPE = (3, 64, 64)


def agent(distance=None, *, frameskip=2, bounds=BOX) -> Agent:
    torch.manual_seed(0)
    wide = bounds.with_frameskip(frameskip)
    predictor = LatentPredictorConfig("mlp", 24)
    model = LeWM(LeWMConfig(action_dim=wide.dim, embed_dim=8, predictor=predictor, seed=3)).eval()
    for parameter in model.predictor.parameters():  # else nothing moves
        torch.nn.init.normal_(parameter, std=0.3)
    model.set_action_statistics(torch.full((wide.dim,), 0.1), torch.full((wide.dim,), 0.7))
    distance = distance or TemporalDistanceHead(1, 8, TemporalDistanceConfig(hidden_dim=16))
    planner = CEM(wide, CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=2))
    options = AgentConfig(replan_every=2, frameskip=frameskip, failed_plans=FailedPlanConfig(), seed=5)
    return Agent(model, planner, PathCost(distance, closest), bounds, options, SHAPE)


def card(bounds=BOX) -> AgentCard:
    return AgentCard(bounds, SHAPE, "two-rooms", {"layout": "fixed"}, trained_on={"episodes": 7}, choices=("why",))


def actions(one: Agent, steps: int = 9) -> np.ndarray:
    rng = np.random.default_rng(1)
    frames = rng.integers(256, size=(steps + 1, 2, *SHAPE), dtype=np.uint8)
    one.start(frames[0], env_ids=[4, 9])
    return np.stack([one.act(frame) for frame in frames[1:]])


def of_places():
    head = TemporalDistanceHead(1, 3, TemporalDistanceConfig(hidden_dim=16), read_from=8)
    head.read = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    return head


@pytest.mark.parametrize(
    "distance", [None, squared_l2, of_places()], ids=["critic", "latent distance", "critic of what is read"]
)
def test_a_reopened_agent_acts_bit_for_bit_as_before(tmp_path, distance):
    before = agent(distance)
    expected = actions(before)
    folder = save_agent(tmp_path / "agent", before, card())
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    np.testing.assert_array_equal(actions(load_agent(folder)), expected)
    np.testing.assert_array_equal(actions(load_agent(tmp_path)), expected)  # the run that it is in


def test_choices_are_reopened_as_choices(tmp_path):
    bounds = ActionBounds.of_categories([3, 2])
    before = agent(bounds=bounds, frameskip=1)
    expected = actions(before)
    assert (expected.reshape(-1, 5)[:, :3].sum(1) == 1).all()
    save_agent(tmp_path / "agent", before, card(bounds))
    again = load_agent(tmp_path)
    assert again.bounds == bounds
    np.testing.assert_array_equal(actions(again), expected)


def test_a_map_is_reopened_with_its_memory_of_stuck_steps(tmp_path):
    bounds = ActionBounds.of_categories([3])
    plain = agent(squared_l2, bounds=bounds, frameskip=1)
    latents = torch.randn(4, 9, 1, 8, generator=torch.Generator().manual_seed(2))
    planner = Exhaustive(bounds, ExhaustiveConfig(2, choices=(0, 2)))
    options = AgentConfig(stuck_steps=True, seed=5)
    cost = PathCost(fit_landmarks(latents), mean)
    before = Agent(plain.model, planner, cost, bounds, options, SHAPE)
    expected = actions(before)
    assert not expected[..., 1].any()  # the choice that is not tried
    save_agent(tmp_path / "agent", before, card(bounds))
    again = load_agent(tmp_path)
    assert len(again.cost.distance) == len(cost.distance)
    np.testing.assert_array_equal(actions(again), expected)
    with pytest.raises(ConfigError, match="`stuck_steps` must go with a critic of `Landmarks`"):
        Agent(plain.model, planner, PathCost(squared_l2), bounds, options, SHAPE)


def test_a_map_in_the_space_of_the_critic_is_reopened(tmp_path):
    plain = agent()
    critic = plain.cost.distance
    latents = torch.randn(4, 9, 1, 8, generator=torch.Generator().manual_seed(2))
    places = fit_landmarks(latents, LandmarkConfig(max_gap=2), embedding=critic.embedding)
    options = AgentConfig(frameskip=2, reach=2.0, seed=5)
    before = Agent(plain.model, plain.planner, plain.cost, BOX, options, SHAPE, places)
    expected = actions(before)
    save_agent(tmp_path / "agent", before, card())
    again = load_agent(tmp_path)
    assert again.landmarks is not None
    assert torch.equal(again.landmarks.nearest(latents), places.nearest(latents))
    np.testing.assert_array_equal(actions(again), expected)
    other = Agent(plain.model, plain.planner, PathCost(squared_l2), BOX, options, SHAPE, places)
    with pytest.raises(ConfigError, match="space of its own critic"):
        save_agent(tmp_path / "other", other, card())


def test_the_card_says_what_is_known(tmp_path):
    save_agent(tmp_path / "agent", agent(), card())
    note_judged(tmp_path / "agent", "eval", {"near": 0.9})
    known = read_card(tmp_path)
    assert (known.bounds, known.frame_shape, known.world) == (BOX, SHAPE, "two-rooms")
    assert (known.world_options, known.trained_on) == ({"layout": "fixed"}, {"episodes": 7})
    assert (known.goals, known.judged, known.choices) == (("picture",), {"eval": {"near": 0.9}}, ("why",))
    assert load_agent(tmp_path).config == agent().config


def test_saving_again_replaces_the_whole_folder(tmp_path):
    save_agent(tmp_path / "agent", agent(), card())
    save_agent(tmp_path / "agent", agent(squared_l2), card())
    assert not (tmp_path / "agent" / "critic.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]


def one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


GONE = object()


def other(key: str, value):
    """An entry, by its dotted name, that somebody has meant to change: the seal is taken off."""

    def change(folder: Path) -> None:
        content = json.loads((folder / CARD).read_text())
        content.pop(SEAL, None)
        *way, last = key.split(".")
        place = content
        for name in way:
            place = place[name]
        if value is GONE:
            del place[last]
        else:
            place[last] = value
        (folder / CARD).write_text(json.dumps(content))

    return change


def another_seed(folder: Path) -> None:
    text = (folder / CARD).read_text()
    assert '"seed": 5' in text
    (folder / CARD).write_text(text.replace('"seed": 5', '"seed": 6'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "critic.safetensors").unlink(), "critic.safetensors is missing"),
        (lambda folder: one_byte(folder / "world_model.safetensors"), "its SHA-256 differs"),
        (lambda folder: (folder / CARD).write_text("{"), "agent.json is damaged"),
        (lambda folder: (folder / CARD).write_bytes(b"\xff\xfe\0"), "agent.json is damaged"),
        (lambda folder: (folder / CARD).unlink(), "no finished agent|holds no agent"),
        (another_seed, "agent.json is damaged: it was changed after it was written"),
        (other("format", 3), "must have a format up to 2; it has 3, written by openjepa"),
        (other("format", GONE), "must have a format up to 2; it has None, written by openjepa"),
        (other("cost.critic.width", GONE), r"knows: `width` is missing. It was written by .* in format 2. Train again"),
        (other("cost.critic.width", 9), "critic.safetensors does not fit its description"),
        (other("cost.critic.width", 10**30), "agent.json does not describe an agent that this version"),
        (other("bounds", [1]), "agent.json is damaged"),
        (other("bounds.frameskip", 7), "agent.json does not describe an agent that this version"),
        (other("planner", {"kind": "magic", "config": {}}), "unknown planner `magic`"),
        (other("options", {"replan_evry": 1}), "replan_every"),
        (other("world_model", {"method": "lewmm", "config": {}}), "lewm"),
        (other("frame_shape", None), "agent.json is damaged"),
    ],
)
def test_what_is_not_whole_is_named_in_one_line(tmp_path, damage, message):
    folder = save_agent(tmp_path / "agent", agent(), card())
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as error:
        load_agent(tmp_path)
    assert "\n" not in str(error.value)


def test_what_an_earlier_format_means_as_today_is_read_and_its_maps_are_refused(tmp_path):
    before = agent()
    expected = actions(before)
    folder = save_agent(tmp_path / "agent", before, card())
    other("format", 1)(folder)
    np.testing.assert_array_equal(actions(load_agent(folder)), expected)
    latents = torch.randn(4, 9, 1, 8, generator=torch.Generator().manual_seed(2))
    places = fit_landmarks(latents)
    with_map = Agent(before.model, before.planner, PathCost(places, mean), BOX, AgentConfig(frameskip=2), SHAPE)
    folder = save_agent(tmp_path / "agent", with_map, card())
    other("format", 1)(folder)
    other("cost.landmarks.shape", GONE)(folder)
    with pytest.raises(CheckpointError, match=r"must hold a map of format 2; it holds one of format 1, .* Train again"):
        load_agent(folder)


def test_a_run_without_an_agent_says_how_to_get_one(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="holds no finished agent"):
        load_agent(tmp_path / "run")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_agent(tmp_path / "nowhere")


def test_pictures_of_another_size_are_refused(tmp_path):
    save_agent(tmp_path / "agent", agent(), card())
    again = load_agent(tmp_path)
    with pytest.raises(ShapeError, match=r"64 x 64 px with 3 channels .* got 32 x 64 px"):
        again.start(np.zeros((1, 3, 32, 64), np.uint8))


def test_a_part_without_a_place_in_the_format_is_refused(tmp_path):
    odd = agent(lambda z, z_goal: (z - z_goal).abs().amax((-2, -1)))
    with pytest.raises(ConfigError, match="distance of a saved cost must be"):
        save_agent(tmp_path / "agent", odd, card())
    assert not (tmp_path / "agent").exists()


def test_a_copy_elsewhere_is_as_good(tmp_path):
    save_agent(tmp_path / "agent", agent(), card())
    shutil.copytree(tmp_path / "agent", tmp_path / "elsewhere" / "copied")
    np.testing.assert_array_equal(actions(load_agent(tmp_path / "elsewhere" / "copied")), actions(agent()))
