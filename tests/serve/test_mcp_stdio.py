"""`openjepa mcp RUN` as a process: the official client over its streams, with a saved agent."""

import os
import sys

import anyio
import pytest
import torch

from openjepa import cli
from openjepa.agent.agent import Agent
from openjepa.agent.saved import AgentCard, save_agent
from openjepa.envs import make_world
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.planning import CEM, CEMConfig, PathCost

pytest.importorskip("mcp")
from mcp import Client, StdioServerParameters


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    bounds = make_world("two-rooms").bounds
    planner = CEM(bounds, CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=3000))  # takes its time
    agent = Agent(LeWM(LeWMConfig(embed_dim=16)).eval(), planner, PathCost(), bounds, frame_shape=(3, 64, 64))
    save_agent(folder / "agent", agent, AgentCard(bounds, (3, 64, 64), world="two-rooms"))
    return folder


def test_a_client_lists_calls_and_cancels(run):
    words = ["-m", "openjepa.cli", "mcp", str(run), "--allow-act", "--call-seconds", "3600"]

    async def main():
        async with Client(StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"observe", "imagine", "plan", "act"} <= names
            seen = (await client.call_tool("observe", {"seed": 3})).structured_content
            goal = {"state": seen["state"], "goal_state": seen["state"]}
            with anyio.move_on_after(0.3) as scope:
                await client.call_tool("plan", goal)
            assert scope.cancelled_caught
            after = await client.call_tool("act", {"state": seen["state"], "actions": [[1, 0], [0, 1]]})
            assert after.structured_content["step"] == 2
            assert after.content[2].type == "image"
            doctor = await client.read_resource("openjepa://doctor")
            assert "openjepa doctor" in doctor.contents[0].text

    anyio.run(main)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "`host` must be a loopback address; got 0.0.0.0."),
        (["--client-world", "--allow-act"], "`--client-world` goes without"),
        (["--world", "two-room"], "did you mean `two-rooms`?"),
        (["--world", "fork"], "must take the actions that this agent learned"),
        (["--scale", "0"], "`--scale` must be at least 1"),
        (["--call-seconds", "0"], "`call_seconds` must be at least 1; got 0."),
    ],
)
def test_what_is_wrong_with_the_options_is_one_line(run, words, said, capsys):
    assert cli.main(["mcp", str(run), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    assert cli.main(["mcp", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_sdk_the_remedy_is_said(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert cli.main(["mcp", str(run)]) == 2
    assert "pip install 'openjepa[mcp]'" in capsys.readouterr().err
