"""A language model with the world model as tools: a stand-in imagines, compares and acts, and reaches its goal."""

import json
import re

import numpy as np
import pytest

from openjepa.baselines.chat_endpoint import EndpointConfig, Reply, ToolCall
from openjepa.baselines.llm_player import LLMPlayer, LLMPlayerConfig

pytest.importorskip("mcp")
from openjepa.serve.mcp.agent_tools import AgentTools
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.server import make_server
from openjepa.serve.mcp.toolbox import McpToolkit

from .toy import BOUNDS, PixelWorld, drawn, make_agent, make_card

MOVES = [[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]]


class Comparing:
    """Compares five moves and takes the best; knows nothing of the world."""

    config = EndpointConfig("http://stand-in")

    def ask(self, messages, tools=()):
        last = messages[-1]
        if last["role"] == "user" and not isinstance(last["content"], str):
            said = " ".join(part.get("text", "") for part in last["content"])
            if found := re.search(r"present state is (\S+); the goal is the state (\S+)\.", said):
                arguments = {"state": found[1], "goal_state": found[2], "futures": [[move] for move in MOVES]}
                return self.reply("compare_futures", arguments)
        told = next(part for part in reversed(messages) if part["role"] == "tool")
        best = json.loads(told["content"])["futures"][0]["number"]
        return self.reply("act", {"actions": [MOVES[best]]})

    @staticmethod
    def reply(name, arguments):
        return Reply("", (ToolCall("1", name, json.dumps(arguments)),), False, 10, 1, 0.0)


@pytest.fixture
def kit():
    shelf, limits = Shelf(16, 64, 100), Limits()
    server = make_server(AgentTools(make_agent(), make_card(), shelf, limits))
    with McpToolkit(server, BOUNDS) as kit:
        kit.shelf = shelf
        yield kit


def test_imagining_comparing_and_acting_reaches_the_goal_in_the_fewest_steps(kit):
    player = LLMPlayer(Comparing(), BOUNDS, LLMPlayerConfig(), make_toolbox=kit.episode)
    world = PixelWorld(2)
    frames = world.reset([0, 7])  # at (1, 1) and (3, 2)
    player.start(np.stack([drawn(5, 2), drawn(0, 2)]))
    for _ in range(5):
        frames = world.step(player.act(frames))
    np.testing.assert_array_equal(world.at, [[5, 2], [0, 2]])  # five steps, and three
    assert player.use.tools == {"compare_futures": 10}
    assert player.use.requests == 20
    assert player.use.decisions == player.decisions == 10
    assert not player.use.failures
    player.close()
    assert len(kit.shelf) == 0  # every handle was given back


def test_what_is_offered_and_what_is_wrong_is_told(kit):
    assert {schema["function"]["name"] for schema in kit.schemas} == {
        "imagine",
        "compare_futures",
        "plan",
        "distance",
    }
    box = kit.episode(drawn(1, 1))
    said = box.look(drawn(2, 2), None)
    state = re.search(r"present state is (\S+);", said)[1]
    assert box.call("act", "{}")[0].startswith("there is no tool `act`")
    assert box.call("imagine", "[[[")[0] == "the arguments of `imagine` must be a JSON object."
    assert "each action must be 2 numbers" in box.call("imagine", json.dumps({"state": state, "actions": [[1]]}))[0]
    text, _ = box.call("imagine", json.dumps({"state": state, "actions": [[1, 0]]}))
    assert json.loads(text)["moved"] == pytest.approx(1, abs=0.05)


def test_a_model_that_never_acts_is_a_failure_of_its_kind(kit):
    class Dreaming(Comparing):
        def ask(self, messages, tools=()):
            return self.reply("plan", {})

    player = LLMPlayer(Dreaming(), BOUNDS, LLMPlayerConfig(rounds=3), make_toolbox=kit.episode)
    frames = PixelWorld().reset([0])
    player.start(frames)
    assert player.act(frames).tolist() == [[0, 0]]
    assert dict(player.use.failures) == {"no_action": 1}
    assert dict(player.use.tools) == {"plan": 3}
