"""What a state remembers is carried on from the state one model step ago, by the actions that were taken since."""

import numpy as np
import torch

from openjepa.agent.perception import Perception


class Counting:
    """A state is (brightness, memory); the memory halves in a model step and takes up the actions of the step."""

    memory_dim = 1

    def encode(self, frames, proprio=None):
        seen = frames.float().mean((2, 3, 4))
        return torch.stack([seen, torch.zeros_like(seen)], -1).unsqueeze(2)

    def rollout(self, z, actions):
        raise NotImplementedError

    def carry(self, before, actions, now):
        kept = 0.5 * before[..., 1:] + actions.sum(-1)[:, None, None]
        return torch.cat([now[..., :1], kept], -1)


def played(looks, frameskip, rows_at):
    """States of two environments at each look; in step t environment i does t + 10 i, and sees brightness t."""
    eyes = Perception(Counting(), history=2, looks=looks, frameskip=frameskip)
    eyes.start()
    found = []
    for t in range(8):
        if t % (frameskip // looks) == 0:
            frames = np.full((2, 3, 4, 4), t, np.uint8)
            eyes.remember(frames)
            found.append(eyes.state(frames, None, torch.tensor(rows_at(t)))[:, 0])
        eyes.did(torch.tensor([[float(t)], [t + 10.0]]))
    return torch.stack(found) if all(len(z) == 2 for z in found) else found


def test_a_look_in_a_model_step():
    found = played(1, 2, lambda t: [0, 1])  # looks at t = 0, 2, 4, 6
    kept = [0.0, 0 + 1, 0.5 * 1 + 2 + 3, 0.5 * 5.5 + 4 + 5]
    assert found[:, 0, 1].tolist() == kept
    assert found[:, 0, 0].tolist() == [0, 2, 4, 6]
    assert found[1, 1, 1] == 0 + 1 + 20


def test_looks_within_a_step_remember_in_turn():
    found = played(2, 2, lambda t: [0, 1])  # looks at every t; each remembers the one two steps ago
    kept = [0.0, 0.0]
    for t in range(2, 8):
        kept.append(0.5 * kept[t - 2] + (t - 2) + (t - 1))
    assert found[:, 0, 1].tolist() == kept


def test_who_has_finished_is_left_out():
    found = played(1, 2, lambda t: [0, 1] if t < 4 else [1])
    both = played(1, 2, lambda t: [0, 1])
    assert [len(z) for z in found] == [2, 2, 1, 1]
    assert torch.equal(found[3][0], both[3, 1])


def test_a_new_episode_remembers_nothing():
    eyes = Perception(Counting(), frameskip=1)
    frames = np.zeros((1, 3, 4, 4), np.uint8)
    for _ in range(2):
        eyes.start()
        assert eyes.state(frames, None, torch.tensor([0]))[0, 0, 1] == 0
        eyes.did(torch.tensor([[3.0]]))
        assert eyes.state(frames, None, torch.tensor([0]))[0, 0, 1] == 3
