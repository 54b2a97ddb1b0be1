"""What worlds say of their states: the arm's places by hand, and grids on which everything is free."""

import numpy as np
import pytest

from openjepa.envs import make_world
from openjepa.envs.arm import HIGH, LOW
from openjepa.envs.arm_facts import arm_facts
from openjepa.envs.facts import spoken
from openjepa.envs.two_rooms import is_free

NAMES = ("x", "y", "z", "gripper", "scene")


@pytest.mark.parametrize(
    ("hand", "true"),
    [
        ((0.30, 0.20, 0.05), {"close to the base", "left side", "low"}),
        ((0.44, 0.00, 0.165), {"half out", "middle", "half up"}),
        ((0.61, -0.27, 0.31), {"far out", "right side", "high"}),  # a little out of the workspace
        ((0.38, 0.10, 0.115), set()),  # between the quarters of every axis
    ],
)
def test_places_of_a_hand(hand, true):
    facts = arm_facts(LOW, HIGH, NAMES)
    holds = facts.holds(np.array([[*hand, 0, 7]]))[:, 0]
    assert {fact.relation for fact, is_true in zip(facts.all, holds, strict=True) if is_true} == true


def test_an_arm_can_be_anywhere_but_in_its_wall():
    pytest.importorskip("mujoco")
    free, facts = spoken(make_world("arm"))
    free.reset([3])
    places = free.everywhere(free.states()[0].astype(float))
    assert places.shape == (8 * 13 * 7, 5)
    assert (places[:, -1] == 3).all()
    assert facts.holds(places).any(1).all()
    around, _ = spoken(make_world("arm-around"))
    around.reset([3])
    places = around.everywhere(around.states()[0].astype(float))
    beside = abs(places[:, 1]) < 0.03  # the wall stands across y = 0 and is 16 cm high
    assert places[beside, 2].min() > 0.16
    assert places[~beside, 2].min() == pytest.approx(0.05)
    scene = free.unseen(2)
    scene.reset([0, 1])
    assert (scene.states()[:, -1] >= 1 << 20).all()  # near scenes, which no play shows


def test_a_disc_can_be_anywhere_but_in_a_wall():
    rooms, facts = spoken(make_world("object-rooms", 1, layout="random", split="train"))
    rooms = rooms.unseen(1)
    rooms.reset([5])
    state = rooms.states()[0].astype(float)
    places = rooms.everywhere(state)
    assert is_free(places[:, :2], places[:, 2:4]).all()
    assert (places[:, 2:] == state[2:]).all()
    assert facts.holds(places).any(1).mean() > 0.9
    assert rooms.config.split == "held-out"
