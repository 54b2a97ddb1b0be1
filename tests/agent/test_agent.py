from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentConfig, FailedPlanConfig
from openjepa.agent.memory import FailedPlans
from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.conformance import PointWorld
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import Aggregate, closest, final, mean
from openjepa.protocols import ActionBounds, Plan


class Points:
    """The true world of `PointWorld`: positions in 32nds, shown as grey levels."""

    def __init__(self, positions: list[list[float]]) -> None:
        self.positions = np.array(positions, np.float64)

    def frames(self) -> np.ndarray:
        return (np.rint(self.positions * 32) + 128).astype(np.uint8)[:, :, None, None]

    def step(self, actions: np.ndarray) -> np.ndarray:
        self.positions = self.positions + np.asarray(actions, np.float64) / 4
        return self.frames()


def goal_frames(goals: list[list[float]]) -> np.ndarray:
    return Points(goals).frames()


def make_agent(bounds: ActionBounds, config: AgentConfig | None = None, **options: Any) -> Agent:
    settings = CEMConfig(**({"horizon": 8, "num_samples": 48, "num_elites": 8} | options))
    config = config or AgentConfig()
    planner = CEM(bounds.with_frameskip(config.frameskip), settings)
    return Agent(PointWorld(), planner, PathCost(), bounds, config)


@pytest.mark.parametrize("replan_every", [1, 3])
def test_reaches_goals_and_stays(disc: ActionBounds, replan_every: int) -> None:
    world, goals = Points([[0.0, 0.0], [-1.0, 0.5]]), [[1.0, 1.0], [1.0, -1.0]]
    agent = make_agent(disc, AgentConfig(replan_every=replan_every))
    agent.start(goal_frames(goals))
    frames = world.frames()
    for _ in range(15):
        actions = agent.act(frames)
        assert actions.shape == (2, 2)
        assert actions.dtype == np.float32
        frames = world.step(actions)
    np.testing.assert_allclose(world.positions, goals, atol=0.12)
    assert agent.decisions == 15 // replan_every


def run(agent: Agent, world: Points, goals: list[list[float]], ids: list[int], steps: int = 5, **kw: Any) -> np.ndarray:
    agent.start(goal_frames(goals), env_ids=ids)
    frames, history = world.frames(), []
    for t in range(steps):
        active = kw["active"](t) if "active" in kw else None
        actions = agent.act(frames, active=active)
        frames = world.step(actions)
        history.append(actions)
    return np.stack(history)


@pytest.mark.parametrize("context_len", [1, 2])
def test_an_environment_acts_the_same_alone_in_a_batch_and_after_others_finished(
    disc: ActionBounds, context_len: int
) -> None:
    starts, goals = [[0.0, 0.0], [0.5, -1.0], [1.0, 1.0]], [[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]
    agent = make_agent(disc, AgentConfig(context_len=context_len))
    together = run(agent, Points(starts), goals, [4, 7, 9])
    alone = run(agent, Points(starts[1:2]), goals[1:2], [7])
    np.testing.assert_array_equal(together[:, 1], alone[:, 0])
    dropping = run(agent, Points(starts), goals, [4, 7, 9], active=lambda t: np.array([t < 2, True, t < 3]))
    np.testing.assert_array_equal(together[:, 1], dropping[:, 1])
    assert (dropping[2:, 0] == 0).all()
    assert agent.planned_for.tolist() == [1]
    other_name = run(agent, Points(starts[1:2]), goals[1:2], [8])
    assert not np.array_equal(alone, other_name)


def test_procrastination_is_a_matter_of_the_cost(disc: ActionBounds) -> None:
    def steps_to_arrive(aggregate: Aggregate) -> int:
        world = Points([[0.0, 0.0]])
        # A horizon twice as long as needed. Warm starts would let a lucky first plan be followed.
        planner = CEM(disc, CEMConfig(horizon=10, num_samples=256, num_elites=16, num_iterations=8))
        agent = Agent(PointWorld(), planner, PathCost(aggregate=aggregate), disc, AgentConfig(warm_start=False))
        agent.start(goal_frames([[1.25, 0.0]]))
        frames = world.frames()
        for step in range(20):
            frames = world.step(agent.act(frames))
            if np.linalg.norm(world.positions - [1.25, 0]) < 0.15:
                return step + 1
        return 99

    assert steps_to_arrive(mean) <= 6
    assert steps_to_arrive(final) > 8


def test_closest_approach_arrives_too(disc: ActionBounds) -> None:
    world = Points([[0.0, 0.0]])
    planner = CEM(disc, CEMConfig(horizon=6, num_samples=128))
    agent = Agent(PointWorld(), planner, PathCost(aggregate=closest), disc)
    agent.start(goal_frames([[1.0, 0.0]]))
    nearest, frames = 9.0, world.frames()
    for _ in range(10):
        frames = world.step(agent.act(frames))
        nearest = min(nearest, float(np.linalg.norm(world.positions - [1.0, 0])))
    assert nearest < 0.1


class Spy:
    """A planner that notes how it was called and returns a ramp: action t of plan number p is p + t / 100."""

    def __init__(self, horizon: int, width: int) -> None:
        self.horizon, self.width = horizon, width
        self.calls: list[dict[str, Any]] = []

    def plan(
        self,
        model: Any,
        z: Any,
        cost: Any,
        *,
        generators: Any,
        guess: Any = None,
        context_actions: Any = None,
    ) -> Plan:
        draws = [torch.randint(2**30, (), generator=g).item() for g in generators]
        self.calls.append({"z": z, "guess": guess, "past": context_actions, "draws": draws, "goal": cost.z_goal})
        ramp = len(self.calls) + torch.arange(self.horizon * self.width) / 100
        actions = ramp.view(1, self.horizon, self.width).repeat(len(z), 1, 1)
        return Plan(actions, torch.zeros(len(z)), torch.zeros(len(z), self.horizon, 1, 1), 1)


LINE = ActionBounds(np.array([-99.0], np.float32), np.array([99.0], np.float32))


def spied(**options: Any) -> tuple[Agent, Spy]:
    config = AgentConfig(**options)
    spy = Spy(3, config.frameskip)
    return Agent(PointWorld(), spy, PathCost(), LINE, config), spy


def test_warm_start_shifts_by_what_was_executed() -> None:
    agent, spy = spied(replan_every=2)
    agent.start(goal_frames([[0.0]]))
    taken = [agent.act(goal_frames([[t / 32]])).item() for t in range(5)]
    np.testing.assert_allclose(taken, [1.00, 1.01, 2.00, 2.01, 3.00], rtol=1e-6)
    assert spy.calls[0]["guess"] is None
    torch.testing.assert_close(spy.calls[1]["guess"].flatten(), torch.tensor([1.02, 1.02, 1.02]))
    assert [call["z"].item() * 32 for call in spy.calls] == [0, 2, 4]
    cold, spy = spied(warm_start=False)
    cold.start(goal_frames([[0.0]]))
    cold.act(goal_frames([[0.0]]))
    cold.act(goal_frames([[0.0]]))
    assert spy.calls[1]["guess"] is None


def test_memory_keeps_the_last_states_and_the_actions_between_them() -> None:
    agent, spy = spied(context_len=3)
    agent.start(goal_frames([[0.0]]))
    for t in range(5):
        agent.act(goal_frames([[t / 32]]))
    assert [(call["z"].flatten() * 32).tolist() for call in spy.calls] == [
        [0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4],
    ]  # fmt: skip
    pasts = [None if call["past"] is None else call["past"].flatten().tolist() for call in spy.calls]
    assert pasts == [None, [1], [1, 2], [2, 3], [3, 4]]
    agent.start(goal_frames([[0.0]]))
    agent.act(goal_frames([[0.5]]))
    assert spy.calls[-1]["z"].flatten().tolist() == [0.5]  # forgotten


def test_memory_is_kept_between_plans() -> None:
    agent, spy = spied(context_len=2, replan_every=2)
    agent.start(goal_frames([[0.0]]))
    for t in range(3):
        agent.act(goal_frames([[t / 32]]))
    assert (spy.calls[1]["z"].flatten() * 32).tolist() == [1, 2]
    torch.testing.assert_close(spy.calls[1]["past"].flatten(), torch.tensor([1.01]))


def test_frameskip_executes_a_model_action_in_parts() -> None:
    agent, spy = spied(frameskip=2, context_len=2)
    agent.start(goal_frames([[0.0]]))
    taken = [agent.act(goal_frames([[t / 32]])).item() for t in range(5)]
    np.testing.assert_allclose(taken, [1.00, 1.01, 2.00, 2.01, 3.00], rtol=1e-6)
    assert [(call["z"].flatten() * 32).tolist() for call in spy.calls] == [[0], [0, 2], [2, 4]]
    torch.testing.assert_close(spy.calls[1]["past"], torch.tensor([[[1.00, 1.01]]]))


def test_looks_within_a_model_step_plan_anew_and_shift_by_what_was_executed() -> None:
    agent, spy = spied(frameskip=4, looks=2)
    agent.start(goal_frames([[0.0]]))
    taken = [agent.act(goal_frames([[t / 32]])).item() for t in range(5)]
    np.testing.assert_allclose(taken, [1.00, 1.01, 2.00, 2.01, 3.00], rtol=1e-6)
    assert [call["z"].item() * 32 for call in spy.calls] == [0, 2, 4]
    rest = spy.calls[1]["guess"].flatten()  # 12 primitive actions of which 2 were taken
    torch.testing.assert_close(rest, torch.tensor([*(1 + t / 100 for t in range(2, 12)), 1.11, 1.11]))


def test_frames_of_a_state_lie_a_model_step_apart_however_often_it_looks() -> None:
    class Pairs(PointWorld):
        clips: ClassVar[list[list[float]]] = []

        def encode(self, frames: torch.Tensor, proprio: Any = None) -> torch.Tensor:
            z = super().encode(frames, proprio)
            self.clips.append((z[0].flatten() * 32).tolist())
            return z

    spy = Spy(3, 4)
    agent = Agent(Pairs(), spy, PathCost(), LINE, AgentConfig(frameskip=4, looks=4, history=2))
    agent.start(goal_frames([[0.0]]))
    for t in range(7):
        agent.act(goal_frames([[t / 32]]))
    assert Pairs.clips[1:] == [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [1, 5], [2, 6]]


def test_with_several_looks_what_was_done_in_a_model_step_is_compared_with_what_came(monkeypatch) -> None:
    class Sums(PointWorld):
        def rollout(self, z: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            return z[:, -1:] + actions.sum(-1).cumsum(1)[..., None, None]

    told: list[list[float]] = []
    monkeypatch.setattr(FailedPlans, "compare", lambda _, *states: told.append([z.item() for z in states]))
    config = AgentConfig(frameskip=4, looks=2, failed_plans=FailedPlanConfig())
    agent = Agent(Sums(), Spy(3, 4), PathCost(), LINE, config)
    agent.start(goal_frames([[0.0]]))
    for t in range(7):
        agent.act(goal_frames([[t / 32]]))
    first = 1.00 + 1.01 + 2.00 + 2.01  # two actions of the first plan, two of the second
    second = 2.00 + 2.01 + 3.00 + 3.01
    np.testing.assert_allclose(told, [[0, first, 4 / 32], [2 / 32, 2 / 32 + second, 6 / 32]], rtol=1e-6)


def test_random_numbers_are_keyed_by_seed_environment_and_decision() -> None:
    agent, spy = spied(seed=1)
    agent.start(goal_frames([[0.0], [0.0]]), env_ids=[3, 5])
    agent.act(goal_frames([[0.0], [0.0]]))
    agent.act(goal_frames([[0.0], [0.0]]))
    agent.start(goal_frames([[0.0]]), env_ids=[5])
    agent.act(goal_frames([[0.0]]))
    first, second, alone = (call["draws"] for call in spy.calls)
    assert alone == first[1:]
    assert len({*first, *second}) == 4
    other, spy = spied(seed=2)
    other.start(goal_frames([[0.0]]), env_ids=[5])
    other.act(goal_frames([[0.0]]))
    assert spy.calls[0]["draws"] != alone


def test_the_goal_is_encoded_once() -> None:
    class Counting(PointWorld):
        calls = 0

        def encode(self, frames: torch.Tensor, proprio: torch.Tensor | None = None) -> torch.Tensor:
            self.calls += 1
            return super().encode(frames, proprio)

    model = Counting()
    agent = Agent(model, Spy(3, 1), PathCost(), LINE, AgentConfig(replan_every=3))
    agent.start(goal_frames([[0.0]]))
    for _ in range(6):
        agent.act(goal_frames([[0.0]]))
    assert model.calls == 1 + 2


def test_mistakes_are_named(disc: ActionBounds) -> None:
    agent, _ = spied(replan_every=4)
    with pytest.raises(ConfigError, match="`act` must follow `start`"):
        agent.act(goal_frames([[0.0]]))
    agent.start(goal_frames([[0.0]]))
    with pytest.raises(ConfigError, match=r"`replan_every` must be at most the planner's horizon \(3\); got 4"):
        agent.act(goal_frames([[0.0]]))
    agent, _ = spied()
    agent.start(goal_frames([[0.0], [0.0]]))
    with pytest.raises(ShapeError, match="`frames` must hold 2 environments; got 1"):
        agent.act(goal_frames([[0.0]]))
    with pytest.raises(ShapeError, match=r"`frames` must be uint8 pixels; got torch.float32"):
        agent.act(goal_frames([[0.0], [0.0]]).astype(np.float32))
    agent.act(goal_frames([[0.0], [0.0]]), active=np.array([True, False]))
    with pytest.raises(ConfigError, match="must not revive a finished environment"):
        agent.act(goal_frames([[0.0], [0.0]]), active=np.array([True, True]))
    with pytest.raises(ConfigError, match="`env_ids` must be one number >= 0"):
        agent.start(goal_frames([[0.0]]), env_ids=[-1])
    with pytest.raises(ConfigError, match="must be at least 1"):
        replace(AgentConfig(), frameskip=0)
    with pytest.raises(ConfigError, match=r"`looks` must be a divisor of `frameskip` \(8\); got 3"):
        AgentConfig(frameskip=8, looks=3)
    with pytest.raises(ConfigError, match=r"`looks` above 1 must go with `replan_every` 1"):
        AgentConfig(frameskip=8, looks=2, replan_every=2)

    class Net(torch.nn.Module, PointWorld):
        pass

    with pytest.raises(ConfigError, match=r"`model` must be in evaluation mode to act"):
        Agent(Net(), Spy(3, 1), PathCost(), disc)
