"""`openjepa compare RUN --llm.url URL`: rows of a language model beside the world model, each played once."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from openjepa import cli
from openjepa.agent.agent import Agent
from openjepa.agent.saved import AgentCard, save_agent
from openjepa.envs import make_world
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.planning import CEM, CEMConfig, PathCost

pytest.importorskip("mcp")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    bounds = make_world("two-rooms").bounds
    planner = CEM(bounds, CEMConfig(horizon=3, num_samples=8, num_elites=2, num_iterations=1))
    agent = Agent(LeWM(LeWMConfig(embed_dim=8)).eval(), planner, PathCost(), bounds, frame_shape=(3, 64, 64))
    save_agent(folder / "agent", agent, AgentCard(bounds, (3, 64, 64), world="two-rooms"))
    return folder


@pytest.fixture
def address():
    """A model that always goes right, and counts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.count += 1
            call = {"id": "1", "function": {"name": "act", "arguments": '{"actions": [[1, 0]]}'}}
            body = {"choices": [{"message": {"content": "", "tool_calls": [call]}}], "usage": {"prompt_tokens": 3}}
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.count = 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def compare(run, out, url, *words):
    options = ["--out", str(out), "--llm.url", url, "--llm.pairs", "2", "--llm.budget", "2", *words]
    return cli.main(["compare", str(run), *options])


def test_four_rows_each_played_once(run, address, tmp_path, capsys):
    server, url = address
    assert compare(run, tmp_path, url, "--llm.sees", "text") == 0
    said = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads((tmp_path / "language.json").read_text())["rows"]}
    assert list(rows) == ["random play", "world model alone", "LLM alone", "LLM with the world model"]
    for name in ("LLM alone", "LLM with the world model"):
        assert rows[name]["use"]["decisions"] > 0
        assert rows[name]["use"]["failures"] == {}
        assert rows[name]["use"]["prompt_tokens"] == 3 * rows[name]["use"]["decisions"]
    assert rows["LLM alone"]["outcomes"] == rows["LLM with the world model"]["outcomes"]  # it used no tool
    assert "tokens and" in said
    asked = server.count
    assert compare(run, tmp_path, url, "--llm.sees", "text") == 0
    assert server.count == asked
    assert compare(run, tmp_path, url, "--llm.sees", "pictures") == 2
    assert "holds rows with other options" in capsys.readouterr().err


def test_an_endpoint_that_is_down_is_one_line_and_keeps_what_is_done(run, tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert compare(run, tmp_path, f"http://127.0.0.1:{port}/v1") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cannot be reached" in err
    kept = json.loads((tmp_path / "language.json").read_text())["rows"]
    assert [row["name"] for row in kept] == ["random play", "world model alone"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a language model must be named: --llm.url"),
        (["--llm.url", "localhost:1"], "must be like http://127.0.0.1:8080/v1"),
        (["--llm.url", "http://x/v1", "--quick"], "`--quick` and `--tune` train the rivals"),
        (["--llm.url", "http://x/v1", "--llm.key-file", "nowhere"], "`nowhere` must be a file that holds the key"),
    ],
)
def test_wrong_options_are_one_line(run, words, said, capsys):
    assert cli.main(["compare", str(run), *words]) == 2
    assert said in capsys.readouterr().err
