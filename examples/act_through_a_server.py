"""Drives a simulator through a policy server: here both run in one program, usually they are two machines.

    python examples/act_through_a_server.py

`openjepa serve RUN` serves the agent of a run; this file serves an untrained one, which goes where it likes. Any client
of openpi's protocol fits in the place of `Client`.
"""

import numpy as np
import torch

from openjepa.agent import Agent
from openjepa.agent.saved import AgentCard
from openjepa.envs import make_world
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.serve.client import Client
from openjepa.serve.server import ServerConfig, in_background


def main() -> None:
    world = make_world("two-rooms", num_envs=1)
    planner = CEM(world.bounds, CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=2))
    torch.manual_seed(0)
    agent = Agent(LeWM(LeWMConfig()).eval(), planner, PathCost(), world.bounds, frame_shape=(3, 64, 64))
    card = AgentCard(world.bounds, (3, 64, 64), world="two-rooms")
    with (
        in_background(agent, card, ServerConfig(port=0, budget_ms=500)) as server,
        Client(f"ws://127.0.0.1:{server.port}") as client,
    ):
        print("pictures of", client.metadata["image_resolution"], "pixels for", client.metadata["world"])
        goal = world.reset(seeds=[1])[0].transpose(1, 2, 0)  # [H, W, 3] uint8
        frames = world.reset(seeds=[2])
        observation = {"goal": goal}  # once, with the first picture of the episode
        for _ in range(5):
            answer = client.infer({"observation/image": frames[0].transpose(1, 2, 0), **observation})
            for action in answer["actions"]:  # [H, A], one after the other
                frames = world.step(action[None])
            observation = {}
        assert np.abs(answer["actions"]).max() <= 1
        print("server timing:", sorted(answer["server_timing"]))


if __name__ == "__main__":
    main()
