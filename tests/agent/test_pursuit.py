"""Subgoals are held for some decisions, each environment on its own count."""

import torch

from openjepa.agent.pursuit import Pursuit


class Counter:
    """Upper levels whose subgoals say how often they were asked."""

    hold = 2

    def __init__(self):
        self.asked = []

    def subgoals(self, z, z_goal, generators, levels=None):
        self.asked.append(len(z))
        return torch.full_like(z_goal, float(len(self.asked)))


def test_a_subgoal_is_held_and_can_be_dropped():
    upper, goals = Counter(), torch.zeros(3, 1, 1)
    pursuit = Pursuit(upper, goals)

    def ask(*rows):
        some = list(rows)
        states = torch.zeros(len(some), 1, 1, 1)
        return pursuit.subgoals(some, states, goals[some], [torch.Generator()] * len(some)).flatten().tolist()

    assert ask(0, 1, 2) == [1, 1, 1]
    assert ask(0, 2) == [1, 1]  # environment 1 did something else
    assert ask(0, 1) == [2, 1]
    pursuit.drop([0])
    assert ask(0, 1, 2) == [3, 3, 3]
    assert upper.asked == [3, 1, 3]
