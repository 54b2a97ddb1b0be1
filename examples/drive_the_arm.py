"""Drives the simulated arm through a policy server, as a robot's computer would: pictures out, displacements in.

    openjepa train arm
    openjepa serve runs/arm
    python examples/drive_the_arm.py ws://127.0.0.1:8000 [EPISODES]

Scenes are new to the agent. Needs `openjepa[mujoco,serve]`.
"""

import sys

import numpy as np

from openjepa.envs import make_world
from openjepa.serve.client import Client

STEPS = 15  # of 0.2 s


def episode(client: Client, number: int) -> float:
    """Plays one episode; distance of the hand to its goal at the end, in cm."""
    world = make_world("arm", 1, split="near")
    states = []
    for role in (0, 1):
        world.reset([2 * number + role])
        states.append(world.states())
    start, goal = states
    goal[:, -1] = start[:, -1]  # in the same scene
    picture = world.reset_to(goal)[0].transpose(1, 2, 0)  # [H, W, 3] uint8
    frames, taken = world.reset_to(start), 0
    observation = {"goal": picture}  # once, with the first picture of the episode
    while taken < STEPS:
        answer = client.infer({"observation/image": frames[0].transpose(1, 2, 0), **observation})
        observation = {}
        for action in answer["actions"][: STEPS - taken]:
            frames = world.step(action[None])
            taken += 1
    client.reset()
    return 100 * float(world.distance(world.states(), goal)[0])


def main() -> None:
    if len(sys.argv) < 2:
        print("Give an address: openjepa train arm; openjepa serve runs/arm; then ws://127.0.0.1:8000")
        return
    episodes = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with Client(sys.argv[1]) as client:
        ends = [episode(client, number) for number in range(episodes)]
    print("distance at the end, cm:", np.round(ends, 1).tolist())
    print(f"within 3 cm: {np.mean(np.array(ends) < 3):.0%} of {episodes}")


if __name__ == "__main__":
    main()
