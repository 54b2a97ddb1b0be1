from contextlib import contextmanager
from http.client import HTTPConnection

import numpy as np
import pytest

from openjepa import cli
from openjepa.errors import ConfigError, DataError
from openjepa.serve.client import Client
from openjepa.serve.server import ServerConfig, in_background, read_token
from openjepa.serve.sessions import Session
from openjepa.serve.wire import pack, unpack

from .toy import SIZE, make_agent, make_card, picture

pytest.importorskip("msgpack")
connect = pytest.importorskip("websockets.sync.client").connect
TOKEN = "a secret of some length"


@contextmanager
def served(agent=None, **options):
    """A server in a thread of its own; yields it."""
    with in_background(agent or make_agent(), make_card(), ServerConfig(port=0, **options)) as server:
        server.uri = f"ws://127.0.0.1:{server.port}"
        yield server


def get(server, path, **headers):
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def play(infer, start, goal, steps=8):
    """Moves the pixel by what is answered; returns where it was."""
    at, track = np.array(start, float), []
    for step in range(steps):
        x, y = np.clip(np.rint(at), 0, SIZE - 1).astype(int)
        observation = {"observation/image": picture(x, y), **({"goal": picture(*goal)} if step == 0 else {})}
        actions = infer(observation)
        track.append(actions)
        at = np.array([x, y]) + actions.sum(0)
    return np.array(track), at


def test_what_is_served_is_what_the_agent_does():
    def local(agent):
        return lambda observation: Session.infer(agent, observation).actions

    for frameskip in (1, 3):
        expected, at = play(local(Session(make_agent(frameskip))), (1, 1), (6, 5))
        assert np.abs(at - (6, 5)).max() < 1
        with served(make_agent(frameskip)) as server, Client(server.uri) as client:
            found, _ = play(lambda observation: client.infer(observation)["actions"], (1, 1), (6, 5))
        np.testing.assert_array_equal(found, expected)
        assert found.shape == (8, frameskip, 2)
        assert found.dtype == np.float32


def test_metadata_comes_first_with_the_entries_of_roboarena():
    with served(budget_ms=500) as server, Client(server.uri) as client:
        told = client.metadata
    assert told["image_resolution"] == [8, 8]
    assert told["needs_session_id"] is False
    assert told["action_space"] == "pixels to the right and down"
    assert told["budget_ms"] == 500
    np.testing.assert_array_equal(told["action_low"], [-1, -1])


def test_the_answer_has_the_times_of_the_server():
    with served() as server, Client(server.uri) as client:
        answer = client.infer({"observation/image": picture(0, 0), "goal": picture(3, 3)})
    timing = answer["server_timing"]
    assert timing["cut_short"] is False
    assert 0 <= timing["queue_ms"] <= timing["total_ms"]
    assert 0 < timing["infer_ms"] <= timing["total_ms"]


def test_sessions_do_not_hear_each_other():
    goals = {"a": (6, 1), "b": (1, 6)}
    alone = {}
    for name, goal in goals.items():
        session = Session(make_agent())
        alone[name], _ = play(lambda o, s=session: s.infer(o).actions, (3, 3), goal)
    with served() as server, Client(server.uri) as one, Client(server.uri) as two:
        found = {("one", n): [] for n in goals} | {("two", n): [] for n in goals}
        at = {key: np.array((3, 3)) for key in found}
        for step in range(8):
            for key in found:
                client, name = {"one": one, "two": two}[key[0]], key[1]
                x, y = np.clip(np.rint(at[key]), 0, SIZE - 1).astype(int)
                observation = {"observation/image": picture(x, y)}
                if step == 0:
                    observation["goal"] = picture(*goals[name])
                actions = client.infer(observation, session_id=name)["actions"]
                found[key].append(actions)
                at[key] = np.array([x, y]) + actions.sum(0)
    for (_, name), track in found.items():
        np.testing.assert_array_equal(np.array(track), alone[name])


def test_an_episode_ends_with_a_reset_and_a_new_goal_begins_one():
    image = picture(3, 3)
    with served() as server, Client(server.uri) as client:
        right = client.infer({"image": image, "goal": picture(7, 3)})["actions"]
        again = client.infer({"image": image, "goal": picture(7, 3)})["actions"]  # goes on
        left = client.infer({"image": image, "goal": picture(0, 3)})["actions"]
        assert right[0, 0] > 0.5
        assert again[0, 0] > 0.5
        assert left[0, 0] < -0.5
        client.reset()
        with pytest.raises(DataError, match="the server refuses: an episode must begin with a picture `goal`"):
            client.infer({"image": image})
        np.testing.assert_array_equal(client.infer({"image": image, "goal": picture(7, 3)})["actions"], right)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("words", "a message must be a binary frame of msgpack; got text."),
        (b"\xc1", "a message must be msgpack"),
        (pack([1]), "a message must be a dictionary; got a list."),
        (pack({"endpoint": "shutdown"}), "`endpoint` must be infer or reset; got 'shutdown'."),
        (pack({"session_id": "a" * 300}), "`session_id` must be a short word"),
        (pack({"session_id": {"a": 1}}), "`session_id` must be a short word"),
        (pack({"prompt": "pick it up"}), "an observation must hold a picture `observation/image`; got prompt."),
        (pack({"image": picture(0, 0)}), "an episode must begin with a picture `goal`"),
        (pack({"image": "x"}), "`image` must be a picture of uint8 pixels; got str."),
        (pack({"image": picture(0, 0) / 255.0}), "`image` must be a picture of uint8 pixels; got float64."),
        (pack({"image": np.zeros((9, 8, 3), np.uint8)}), "`image` must be [8, 8, 3] like the pictures"),
        (
            pack({"image": picture(0, 0), "goal": picture(0, 0), "observation/proprio": np.array([np.nan])}),
            "must be [P] finite numbers",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_the_connection_stays(message, said):
    with served() as server, connect(server.uri, compression=None) as raw:
        raw.recv()
        raw.send(message)
        answer = raw.recv()
        assert isinstance(answer, str)
        assert said in answer
        assert "\n" not in answer
        raw.send(pack({"image": picture(0, 0), "goal": picture(1, 1)}))
        assert unpack(raw.recv())["actions"].shape == (1, 2)
    assert server.counters.counts['openjepa_requests_total{status="bad"}'] == 1
    assert server.counters.counts['openjepa_requests_total{status="ok"}'] == 1


def test_a_fault_of_ours_is_told_and_survived(caplog):
    agent = make_agent()
    agent.model.encode = lambda frames, proprio=None: 1 / 0
    with served(agent) as server, Client(server.uri) as client:
        for _ in range(2):
            with pytest.raises(DataError, match="the server failed: ZeroDivisionError; its log says more"):
                client.infer({"image": picture(0, 0), "goal": picture(1, 1)})
    assert "a request failed" in caplog.text


def test_frames_connections_and_sessions_have_limits():
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    with served(max_frame_bytes=2000, max_connections=2, max_sessions=2) as server:
        with Client(server.uri) as one, connect(server.uri) as two:
            with pytest.raises(InvalidStatus, match="503"):
                Client(server.uri)
            two.recv()
            two.send(b"\x00" * 3000)
            with pytest.raises(ConnectionClosed) as closed:
                two.recv()
            assert closed.value.rcvd.code == 1009
            observation = {"image": picture(0, 0), "goal": picture(1, 1)}
            one.infer(observation, "a")
            one.infer(observation, "b")
            with pytest.raises(DataError, match="a connection may have 2 sessions"):
                one.infer(observation, "c")
            one.infer(observation, "a")
        assert server.counters.counts['openjepa_refused_total{reason="full"}'] == 1


def test_the_search_keeps_a_budget():
    agent = make_agent(iterations=2000)  # seconds, if it may
    with served(agent, budget_ms=30) as server, Client(server.uri) as client:
        answer = client.infer({"image": picture(1, 1), "goal": picture(6, 6)})
    assert answer["server_timing"]["cut_short"] is True
    assert (answer["actions"] > 0).all()
    assert server.counters.counts["openjepa_cut_short_total"] == 1


def test_health_and_counters():
    with served() as server:
        assert get(server, "/healthz") == (200, "OK\n")
        with Client(server.uri) as client:
            client.infer({"image": picture(0, 0), "goal": picture(1, 1)})
            status, text = get(server, "/metrics")
    assert status == 200
    assert 'openjepa_requests_total{status="ok"} 1' in text.splitlines()
    assert "openjepa_connections 1" in text.splitlines()
    assert 'openjepa_latency_ms_bucket{le="+Inf"} 1' in text.splitlines()
    assert "openjepa_latency_ms_count 1" in text.splitlines()


def test_a_token_is_asked_for():
    from websockets.exceptions import InvalidStatus

    with served(token=TOKEN) as server:
        for token in (None, "another secret, also long", TOKEN[:-1]):
            with pytest.raises(InvalidStatus, match="401"):
                Client(server.uri, token)
        with Client(server.uri, TOKEN) as client:
            client.infer({"image": picture(0, 0), "goal": picture(1, 1)})
        assert get(server, "/healthz")[0] == 200
        assert get(server, "/metrics")[0] == 401
        assert get(server, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_pages_in_a_browser_are_not_let_in():
    from websockets.exceptions import InvalidStatus

    with served() as server, pytest.raises(InvalidStatus, match="403"):  # noqa: SIM117
        with connect(server.uri, origin="http://evil.example"):
            pass


def test_a_port_that_is_taken_is_one_line():
    with served() as server:
        taken = ServerConfig(port=server.port)
        with (
            pytest.raises(ConfigError, match="must be free to listen at"),
            in_background(make_agent(), make_card(), taken),
        ):
            pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0"}, "must be a loopback address; got 0.0.0.0"),
        ({"host": "0.0.0.0", "beyond_loopback": True}, "must be a loopback address"),
        ({"host": "0.0.0.0", "token": TOKEN}, "must be a loopback address"),
        ({"host": "::"}, "must be a loopback address"),
        ({"host": "robot.example"}, "must be a loopback address"),
        ({"token": "short"}, "16 characters or more"),
        ({"budget_ms": 0}, "`budget_ms` must be > 0"),
        ({"port": 70000}, "`port` must lie in"),
        ({"max_connections": 0}, "must be >= 1"),
    ],
)
def test_what_may_not_be_served_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        ServerConfig(**options)
    ServerConfig(host="0.0.0.0", beyond_loopback=True, token=TOKEN)
    ServerConfig(host="::1")


def test_the_token_comes_from_a_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    assert read_token(None) is None
    path.write_text("two\nlines")
    with pytest.raises(ConfigError, match="one line of printable ASCII"):
        read_token(path)
    with pytest.raises(ConfigError, match="must be a file that holds the token"):
        read_token(tmp_path / "none")


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert cli.main(["serve", str(tmp_path / "none")]) == 2
    assert cli.main(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "does not exist" in said[0]
    assert "must be a loopback address; got 0.0.0.0" in said[1]
    assert len(said) == 2
