"""The margin of a deadline, on numbers worked out by hand and on a clock that the test moves."""

import numpy as np
import pytest

from openjepa.planning.budget import Budgeted
from openjepa.serve.deadline import Deadline


def until_of(deadline, arrived):
    """When the search for a request that arrived just now, alone, must end."""
    deadline.clock = lambda: arrived
    deadline.wait()
    with deadline.search(Budgeted(None), arrived) as until:
        return until


def test_without_a_budget_there_is_no_deadline():
    deadline = Deadline(None)
    deadline.note(until_of(deadline, 3.0), 9.0)
    assert until_of(deadline, 3.0) is None
    assert deadline.margin == 0


def test_who_searches_leaves_time_to_those_who_wait():
    now = [10.0]
    deadline = Deadline(0.1, lambda: now[0])
    planner = Budgeted(None)
    for _ in range(3):
        deadline.wait()
    with deadline.search(planner, 10.0) as until:
        assert until == planner.until == pytest.approx(10.085 - 2 / 3 * 0.085)  # two others wait
        now[0] = 10.01
        deadline.wait()
        assert planner.until == pytest.approx(10.01 + (until - 10.01) / 2)
        now[0] = 10.05
        deadline.wait()  # it is out of time already
        assert planner.until == pytest.approx(10.01 + (until - 10.01) / 2)
    now[0] = 10.2
    with deadline.search(planner, 10.05) as until:
        assert until == 10.2  # too late: the first look alone


def test_the_margin_is_the_largest_of_few_overruns():
    deadline = Deadline(0.1)
    assert until_of(deadline, 5.0) == pytest.approx(5.085)  # 15 % of the budget, before anything is known
    deadline.note(7.0, 7.025)
    assert deadline.margin == pytest.approx(0.025)
    deadline.note(8.0, 7.9)  # too early by 100 ms: no reason for another margin
    assert deadline.margin == pytest.approx(0.025)
    deadline.note(9.0, 10.0)
    assert deadline.margin == pytest.approx(0.06)  # 40 % of the budget are left to the search


def test_of_many_overruns_half_a_percent_may_be_larger_and_old_ones_are_forgotten():
    deadline = Deadline(0.1)
    for overrun in (0.05, 0.04, *[0.01] * 398):
        deadline.note(1.0, 1.0 + overrun)
    assert deadline.margin == pytest.approx(0.04)  # 2 of 401
    deadline.note(1.0, 1.01)
    assert deadline.margin == pytest.approx(0.01)  # the one of 50 ms was the 401st


def test_few_answers_are_late_whatever_the_load():
    rng = np.random.default_rng(0)
    deadline, late = Deadline(0.1), []
    for load in (0.002, 0.02, 0.005):  # mean overrun in s, drawn from a long tail
        taken = []
        for arrived in range(3000):
            until = until_of(deadline, float(arrived))
            answered = until + rng.exponential(load)
            deadline.note(until, answered)
            taken.append(answered > arrived + 0.1)
        late.append(np.mean(taken))
    assert late[0] < 0.01
    assert late[2] < 0.01
    assert late[1] < 0.15  # an overrun of more than 60 ms has 5 %: the margin has its limit
