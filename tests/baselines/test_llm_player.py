import json
import re
import socket

import numpy as np
import pytest

from openjepa.baselines.chat_endpoint import ChatEndpoint, EndpointConfig, TooSlow
from openjepa.baselines.llm_player import LLMPlayer, LLMPlayerConfig
from openjepa.envs.two_rooms import STEP, TwoRooms, TwoRoomsConfig
from openjepa.errors import ConfigError, DataError
from openjepa.eval.acting.floors import StateView, StraightLinePlayer
from openjepa.eval.acting.manifest import draw_two_rooms_pairs
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.nn.action_bounds import ActionBounds
from openjepa.nn.written_actions import read_actions, spoken_form, write_actions

from .stub_endpoint import endpoint, message

WORLD = TwoRoomsConfig()
PAIRS = draw_two_rooms_pairs(WORLD, 6, seed=3, cross_share=0.5)
JUDGED = JudgeConfig(budget=20, batch_size=6, latency_pairs=0)
BOX = ActionBounds([-1.0, -1.0], [1.0, 1.0])


def straight(request, headers=None):
    """What a model says that goes straight to the goal: written from the text of the last message alone."""
    said = request["messages"][-1]["content"]
    now, goal = (np.array(re.findall(r"[xy] = (-?[\d.]+)", part)[:2], float) for part in said.split("Goal:"))
    way = (goal - now) / STEP
    way /= max(1.0, float(np.linalg.norm(way)))
    return message("", ("act", json.dumps({"actions": [way.round(6).tolist()]})))


def texts(url, **options):
    config = LLMPlayerConfig(sees="text", **options)
    names = TwoRooms(1, WORLD).state_names
    return LLMPlayer(ChatEndpoint(EndpointConfig(url)), TwoRooms(1, WORLD).bounds, config, state_names=names)


def judged(player):
    return evaluate(player, lambda n: StateView(TwoRooms(n, WORLD)), PAIRS, JUDGED)


def test_the_stub_scores_exactly_what_a_straight_line_does():
    known = judged(StraightLinePlayer())
    with endpoint(straight) as (url, requests):
        player = texts(url)
        found = judged(player)
    assert [o.steps for o in found.outcomes] == [o.steps for o in known.outcomes]
    assert 0 < found.success.estimate < 1  # the other room is behind a wall
    decisions = sum(o.steps or JUDGED.budget for o in known.outcomes)
    used = player.use.as_json(prompt_price=2.0, completion_price=10.0)
    assert (used["decisions"], used["requests"], used["failures"]) == (decisions, decisions, {})
    assert (used["prompt_tokens"], used["completion_tokens"]) == (100 * decisions, 7 * decisions)
    assert used["tokens_per_decision"] == 107
    assert used["cost"] == pytest.approx(decisions * (100 * 2 + 7 * 10) / 1e6)
    assert used["seconds_per_decision"] > 0
    assert {path for path, _ in requests} == {"/v1/chat/completions"}
    body = requests[0][1]
    assert body["model"] == "default"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["act"]
    assert spoken_form(player.bounds) in body["messages"][0]["content"]


def test_plain_text_scores_the_same():
    def plain(request, headers):
        call = straight(request)["choices"][0]["message"]["tool_calls"][0]
        assert "tools" not in request
        return message(f"I go straight.\n```json\n{call['function']['arguments']}\n```")

    with endpoint(plain) as (url, _):
        found = judged(texts(url, answers="plain"))
    assert [o.steps for o in found.outcomes] == [o.steps for o in judged(StraightLinePlayer()).outcomes]


def test_failures_are_counted_by_kind_and_are_idle_steps():
    replies = [
        message("", refusal="I must not."),
        message("", finish="content_filter"),
        message("I would go left."),
        message("", ("act", "{")),
        message("", ("act", '{"actions": "left"}')),
        message("", ("act", '{"actions": [[0.5]]}')),
        message("", ("act", '{"actions": [[3, 4]]}')),
        message("", ("act", '{"actions": [[1, 0], [1, 0]]}')),  # one was asked for
        message("", ("act", '{"actions": [[0.6, 0.8]]}')),
    ]
    left = list(replies)
    with endpoint(lambda request, headers: left.pop(0)) as (url, requests):
        player = texts(url)
        world = StateView(TwoRooms(1, WORLD))
        goal = world.reset([1])
        player.start(goal, goal_proprio=world.proprio())
        frames = world.reset([2])
        actions = [player.act(frames, world.proprio())[0] for _ in replies]
    assert dict(player.use.failures) == {"refusal": 2, "malformed": 3, "illegal": 3}
    assert player.use.decisions == player.decisions == 9
    np.testing.assert_array_equal(actions[:-1], np.zeros((8, 2)))
    np.testing.assert_allclose(actions[-1], [0.6, 0.8])
    reminded = [part["content"] for part in requests[-1][1]["messages"] if part["role"] == "assistant"]
    assert len(reminded) == 4  # the latest decisions
    assert "must lie between" in reminded[2]


def test_several_actions_are_taken_without_asking():
    with endpoint(lambda *_: message("", ("act", '{"actions": [[1, 0], [0, 1], [-1, 0]]}'))) as (url, requests):
        player = LLMPlayer(ChatEndpoint(EndpointConfig(url)), BOX, LLMPlayerConfig(actions=3))
        frames = np.zeros((2, 3, 8, 8), np.uint8)
        player.start(frames)
        found = np.stack([player.act(frames, active=np.array([True, step < 3])) for step in range(4)])
    assert found[:, 0].tolist() == [[1, 0], [0, 1], [-1, 0], [1, 0]]
    assert found[3, 1].tolist() == [0, 0]  # no longer active
    assert len(requests) == player.decisions == 3


def test_pictures_are_sent_and_left_out_of_memory():
    with endpoint(lambda *_: message("", ("act", '{"actions": [[0, 0]]}'))) as (url, requests):
        player = LLMPlayer(ChatEndpoint(EndpointConfig(url)), BOX)
        frames = np.zeros((1, 3, 8, 8), np.uint8)
        player.start(frames)
        player.act(frames)
        player.act(frames)
    last = requests[1][1]["messages"]
    kinds = [part["type"] for part in last[-1]["content"]]
    assert kinds == ["text", "image_url", "text", "image_url"]
    assert last[-1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert [type(part["content"]) for part in last[:-1]] == [str] * 3


# ---------------------------------------------------------------------------------------------------- endpoint


def ask(url, **options):
    return ChatEndpoint(EndpointConfig(url, **options)).ask([{"role": "user", "content": "hello"}])


def test_an_endpoint_that_is_down_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"cannot be reached .* Start it, or check the address\."):
        ask(f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, b'{"error": "no key"}'), r"refuses: HTTP 401 .*no key.* Give its key"),
        ((404, b""), "HTTP 404 .*Check address and model"),
        ((302, b""), "HTTP 302"),
        ((500, b"out of memory"), "HTTP 500 out of memory"),
        ((200, b"<html>"), r"must answer like OpenAI's chat completions; got <html> \(JSONDecodeError\)"),
        ((200, b'{"choices": []}'), r"IndexError"),
        ((200, b"[" * 100_000), "chat completions"),
    ],
)
def test_what_an_endpoint_may_not_say_is_one_line(answer, said):
    with endpoint(lambda *_: answer) as (url, _), pytest.raises(DataError, match=said) as error:
        ask(url, tries=1)
    assert "\n" not in str(error.value)


def test_a_busy_endpoint_is_asked_again_with_the_key():
    answers = [(503, b"busy"), (429, b"busy"), message("hello")]
    seen = []

    def reply(request, headers):
        seen.append(headers["Authorization"])
        return answers.pop(0)

    with endpoint(reply) as (url, _):
        assert ask(url, key="secret", tries=3).text == "hello"
    assert seen == ["Bearer secret"] * 3


def test_a_slow_endpoint_is_a_timeout_and_three_in_a_row_are_one_line():
    with endpoint(lambda *_: None) as (url, _):
        with pytest.raises(TooSlow):
            ask(url, timeout=0.05)
        player = LLMPlayer(ChatEndpoint(EndpointConfig(url, timeout=0.05)), BOX)
        frames = np.zeros((1, 3, 8, 8), np.uint8)
        player.start(frames)
        player.act(frames)
        player.act(frames)
        assert dict(player.use.failures) == {"timeout": 2}
        with pytest.raises(DataError, match=r"must answer within 0\.05 s; it did not, 3 times in a row"):
            player.act(frames)


def test_options_are_checked():
    for url in ("127.0.0.1:8080", "ftp://x/v1", ""):
        with pytest.raises(ConfigError, match="must be like http"):
            EndpointConfig(url)
    with pytest.raises(ConfigError, match="prices"):
        EndpointConfig("http://x", prompt_price=-1)
    with pytest.raises(ConfigError, match="at least 1"):
        LLMPlayerConfig(actions=0)
    player = LLMPlayer(ChatEndpoint(EndpointConfig("http://x")), BOX, LLMPlayerConfig(sees="text"))
    with pytest.raises(ConfigError, match="Wrap the world in `StateView`"):
        player.start(np.zeros((1, 3, 8, 8), np.uint8))


def test_choices_are_whole_numbers():
    bounds = ActionBounds.of_categories([2, 3])
    read = read_actions([[1, 2], [0, 0.0]], bounds, most=4)
    assert read.tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert write_actions(read, bounds) == [[1, 2], [0, 0]]
    for wrong in ([[1, 3]], [[0.5, 0]], [[0, -1]], [[1]], [[float("nan"), 0]]):
        with pytest.raises(DataError, match="2 whole numbers from 0 to 1, 2"):
            read_actions(wrong, bounds, most=4)
    with pytest.raises(DataError, match="finite"):
        read_actions([[float("nan"), 0]], BOX, most=4)
    with pytest.raises(DataError, match="multiple of 2"):
        read_actions([[0, 0]], BOX, most=4, multiple=2)
