"""How a decision is thought about: a table of situations, and an agent that does as the table says."""

import math

import pytest

from openjepa.agent.configurator import ConfiguratorConfig, Means, Situation, configure
from openjepa.errors import ConfigError

FLAT, TWO = Means(12, 64, 3), Means(12, 64, 3, levels=2, remembers_failures=True)
OPTIONS = ConfiguratorConfig(patience=2, step_us=1.0)


def chosen(distance, means=FLAT, **situation):
    return configure(Situation(distance, **situation), means, OPTIONS, reach=6.0)


@pytest.mark.parametrize(
    ("distance", "means", "mode", "levels", "samples"),
    [
        (0.0, FLAT, "direct", 1, 64),
        (6.0, TWO, "direct", 1, 64),
        (6.5, FLAT, "retrieval", 1, 64),
        (80.0, TWO, "retrieval", 1, 64),
        (math.inf, FLAT, "search", 1, 256),
        (math.inf, TWO, "search", 2, 64),
        (None, FLAT, "direct", 1, 64),
        (None, TWO, "search", 2, 64),
    ],
)
def test_what_is_near_goes_flat_what_is_known_by_the_map_and_what_is_unknown_by_search(
    distance, means, mode, levels, samples
):
    setup, why = chosen(distance, means)
    assert (setup.mode, setup.levels, setup.num_samples) == (mode, levels, samples)
    assert (setup.horizon, setup.num_iterations) == (12, 3)
    assert "\n" not in why
    assert len(why) < 100
    assert dict(setup.weights) == ({"goal": 1, "failed_plans": 1} if means is TWO else {"goal": 1})


def test_it_is_a_pure_function():
    assert chosen(40.0, TWO, failed_edges=2) == chosen(40.0, TWO, failed_edges=2)
    assert chosen(40.0)[0] == chosen(41.0)[0]  # the words alone differ
    assert "failed_edges" in chosen(40.0, failed_edges=1)[0].constraints


def test_a_distilled_policy_acts_as_long_as_the_goal_comes_nearer():
    reflex = Means(12, 64, 3, reflex=True)
    setup, why = chosen(80.0, reflex)
    assert (setup.mode, setup.num_samples, setup.num_iterations) == ("reflex", 1, 1)
    assert "verifies" in why
    assert [chosen(d, reflex)[0].mode for d in (None, 2.0, math.inf)] == ["reflex", "reflex", "search"]
    assert chosen(80.0, reflex, stalled=1)[0] == chosen(80.0)[0]
    assert chosen(80.0, reflex, idle=2, stalled=2)[0].mode == "wander"


def test_standing_still_it_wanders_for_one_plan_and_tries_again():
    modes = [chosen(40.0, idle=idle)[0].mode for idle in range(5)]
    assert modes == ["retrieval", "retrieval", "wander", "retrieval", "wander"]
    assert chosen(0.0, idle=4)[0].mode == "direct"  # it is where it should be


def test_a_limit_of_time_is_kept():
    """A microsecond a step: 12 x 64 x 3 steps take 2.3 ms."""
    assert chosen(2.0, time_ms=3.0)[0] == chosen(2.0)[0]
    for limit in (2.0, 1.0, 0.4):
        setup, why = chosen(2.0, time_ms=limit)
        assert setup.steps <= 1000 * limit
        assert f"{limit:g} ms allow {setup.num_iterations} rounds of {setup.num_samples} samples" in why
    assert chosen(2.0, time_ms=0.01)[0].num_samples == OPTIONS.fewest_samples  # no plan is worse than a late one


@pytest.mark.parametrize(
    "wrong", [{"search_factor": 0.5}, {"patience": 0}, {"time_ms": 0.0}, {"fewest_samples": 2}, {"step_us": 0.0}]
)
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ConfiguratorConfig(**wrong)


def test_situations_are_checked():
    with pytest.raises(ConfigError, match="`distance`"):
        Situation(math.nan)
    with pytest.raises(ConfigError, match="`time_ms`"):
        Situation(1.0, time_ms=-1.0)
