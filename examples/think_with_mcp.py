"""A client without a language model: it imagines, compares and acts through MCP, and reaches a goal in the other room.

    python examples/think_with_mcp.py

`openjepa mcp RUN --allow-act` serves the agent of a run; here the model is the simulator itself, and server and client
share a process. A language model does the same through any MCP client (docs/mcp.md).
"""

import anyio
import numpy as np
from mcp import Client

from openjepa.agent.saved import AgentCard
from openjepa.envs.two_rooms import STEP, TwoRooms, TwoRoomsConfig
from openjepa.eval.acting.floors import StateView, simulator_player
from openjepa.serve.mcp.agent_tools import AgentTools
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.server import make_server

ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
FUTURES = [[[float(np.cos(a)), float(np.sin(a))]] * 6 for a in ANGLES]  # straight on for six steps, sixteen ways


async def think(client: Client) -> int:
    async def call(name: str, **arguments: object) -> dict:
        result = await client.call_tool(name, arguments)
        assert not result.is_error, result.content[0].text
        return result.structured_content

    goal = (await call("observe", seed=4))["state"]  # a state may be a goal; so may a picture, or words
    seen = await call("observe", seed=11)
    left = (await call("distance", first=seen["state"], second=goal))["distance"]
    print(f"the goal is {left:.0f} px away, around a wall")
    while left > STEP and seen["step"] < 100:
        found = await call("compare_futures", state=seen["state"], futures=FUTURES, goal_state=goal)
        best = found["futures"][0]
        steps = min(3, best["nearest_step"] - seen["step"])
        seen = await call("act", state=seen["state"], actions=FUTURES[best["number"]][:steps])
        left = (await call("distance", first=seen["state"], second=goal))["distance"]
    return seen["step"]


async def main() -> None:
    config, limits = TwoRoomsConfig(), Limits()
    bounds = TwoRooms(1, config).bounds
    tools = AgentTools(
        simulator_player(bounds, config),
        AgentCard(bounds, (3, 64, 64), world="two-rooms"),
        Shelf(limits.episodes, limits.states, limits.idle_seconds),
        limits,
        make_world=lambda n: StateView(TwoRooms(n, config)),
        may_act=True,
    )
    async with Client(make_server(tools)) as client:
        print(f"reached in {await think(client)} steps")


if __name__ == "__main__":
    anyio.run(main)
