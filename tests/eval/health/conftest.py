"""Small drawn worlds whose truth is known: a moving dot, one with inertia, and an agent that pushes a block."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openjepa.protocols import TrajectoryBatch

SIZE, EPISODES, STEPS = 32, 48, 30
RED, BLUE, FLOOR = (230, 80, 60), (90, 180, 250), (30, 30, 40)


def draw(things, size=SIZE):
    """Squares with soft edges: (places [E, T, 2], half side, colour), the last on top; frames [E, T, 3, S, S]."""
    shape = things[0][0].shape[:2]
    frames = np.broadcast_to(np.array(FLOOR, np.float32)[:, None, None], (*shape, 3, size, size))
    grid = np.arange(size) + 0.5
    for places, half, colour in things:
        x, y = (np.clip(half + 0.5 - np.abs(grid - places[..., i : i + 1]), 0, 1) for i in (0, 1))
        mask = (y[..., :, None] * x[..., None, :])[:, :, None].astype(np.float32)
        frames = frames * (1 - mask) + mask * np.array(colour, np.float32)[:, None, None]
    return torch.from_numpy(frames.round().astype(np.uint8))


def play(rng, width=2):
    """Actions [E, T - 1, width] that drift, as those of a person do."""
    actions, now = np.zeros((EPISODES, STEPS - 1, width)), rng.standard_normal((EPISODES, width))
    for t in range(STEPS - 1):
        now = 0.8 * now + 0.6 * rng.standard_normal(now.shape)
        actions[:, t] = now.clip(-2, 2)
    return actions


def batch(frames, actions, states):
    floats = (torch.from_numpy(x).float() for x in (actions, states))
    actions, states = floats
    return TrajectoryBatch(frames, actions, states=states)


@functools.cache
def dot(half=2.0):
    """It goes where the action says: states (x, y)."""
    rng = np.random.default_rng(0)
    actions, places = play(rng), np.zeros((EPISODES, STEPS, 2))
    places[:, 0] = rng.uniform(half, SIZE - half, (EPISODES, 2))
    for t in range(STEPS - 1):
        places[:, t + 1] = (places[:, t] + 1.2 * actions[:, t]).clip(half, SIZE - half)
    return batch(draw([(places, half, RED)]), actions, places)


@functools.cache
def sliding_dot(half=2.0):
    """It is pushed by the action and slides on: states (x, y, and their velocities)."""
    rng = np.random.default_rng(1)
    actions, places, speeds = play(rng), np.zeros((EPISODES, STEPS, 2)), np.zeros((EPISODES, STEPS, 2))
    places[:, 0] = rng.uniform(half, SIZE - half, (EPISODES, 2))
    speeds[:, 0] = rng.uniform(-1.5, 1.5, (EPISODES, 2))
    for t in range(STEPS - 1):
        speed = 0.95 * speeds[:, t] + 0.25 * actions[:, t]
        place = places[:, t] + speed
        out = (place < half) | (place > SIZE - half)
        places[:, t + 1], speeds[:, t + 1] = place.clip(half, SIZE - half), np.where(out, -speed, speed)
    return batch(draw([(places, half, RED)]), actions, np.concatenate([places, speeds], -1))


@functools.cache
def pusher(half=1.5, block=3.5, colour=BLUE):
    """An agent pushes a block: states (agent's x, y, block's x, y)."""
    rng = np.random.default_rng(2)
    agent, other = np.zeros((EPISODES, STEPS, 2)), np.zeros((EPISODES, STEPS, 2))
    agent[:, 0] = rng.uniform(half, SIZE - half, (EPISODES, 2))
    other[:, 0] = rng.uniform(block + 2, SIZE - block - 2, (EPISODES, 2))
    actions, rows, reach = play(rng), np.arange(EPISODES), half + block
    for t in range(STEPS - 1):
        way = other[:, t] - agent[:, t]
        actions[:, t] = (actions[:, t] + 0.5 * way / np.linalg.norm(way, axis=1, keepdims=True)).clip(-2, 2)
        place = (agent[:, t] + 1.3 * actions[:, t]).clip(half, SIZE - half)
        gap = place - other[:, t]
        touches, axis = (np.abs(gap) < reach).all(1), np.abs(gap).argmax(1)
        push = np.zeros((EPISODES, 2))
        push[rows, axis] = -np.sign(gap[rows, axis]) * (reach - np.abs(gap[rows, axis]))
        other[:, t + 1] = (other[:, t] + push * touches[:, None]).clip(block, SIZE - block)
        beside = place.copy()  # a block at the wall stops the agent
        beside[rows, axis] = other[rows, t + 1, axis] + np.sign(gap[rows, axis]) * reach
        agent[:, t + 1] = np.where(touches[:, None], beside, place).clip(half, SIZE - half)
    frames = draw([(other, block, colour), (agent, half, RED)])
    return batch(frames, actions, np.concatenate([agent, other], -1))


def lift(x, width=16, noise=0.0):
    """A fixed, mildly bent map of states [E, T, P] into a wide latent of standard deviation 1."""
    draws = torch.Generator().manual_seed(3)
    x = (x - x.mean((0, 1))) / x.std((0, 1)).clamp_min(1e-9)
    z = x @ torch.randn(x.shape[-1], width, generator=draws)
    z = z + 0.5 * torch.tanh(z.flip(-1))
    z = (z - z.mean((0, 1))) / z.std((0, 1)).clamp_min(1e-9)
    return z + noise * torch.randn(z.shape, generator=draws)


class Onlooker(torch.nn.Module):
    """A world model that finds some colours in the picture, and adds actions to the place of the first."""

    def __init__(self, *colours, gain=1.3):
        super().__init__()
        self.colours, self.gain = torch.tensor(colours).float(), gain

    def encode(self, frames, proprio=None):
        near = (frames.float()[:, :, None] - self.colours[:, :, None, None]).norm(dim=3) < 60  # [B, T, K, H, W]
        mask = near.float()
        grid = torch.arange(frames.shape[-1]) + 0.5
        area = mask.sum((-1, -2)).clamp_min(1)
        places = torch.stack([(mask.sum(-2) * grid).sum(-1), (mask.sum(-1) * grid).sum(-1)], -1) / area[..., None]
        return ((places - SIZE / 2) / SIZE * 4).flatten(2).unsqueeze(2)  # [B, T, 1, 2 K]

    def rollout(self, z, actions):
        moves = torch.nn.functional.pad(actions[:, z.shape[1] - 1 :], (0, z.shape[-1] - actions.shape[-1]))
        return z[:, -1:] + (4 * self.gain / SIZE * moves.cumsum(1)).unsqueeze(2)


@pytest.fixture(scope="session")
def drawn():
    """The worlds, what lifts their states into latents, and a model that looks at their pictures."""
    return SimpleNamespace(
        dot=dot, sliding_dot=sliding_dot, pusher=pusher, lift=lift, draw=draw, Onlooker=Onlooker, RED=RED, BLUE=BLUE
    )
