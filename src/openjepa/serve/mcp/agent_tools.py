"""What a language model can do with an acting agent: observe, imagine, compare, plan, act, judge.

Nothing here knows of the protocol: values come in, answers (`answers.py`) go out, and all is called from one thread.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.actor import cost_of_standing_still
from openjepa.agent.agent import Agent
from openjepa.agent.landmarks import Landmarks
from openjepa.agent.saved import AgentCard
from openjepa.errors import ConfigError, DataError
from openjepa.heads.critic import TemporalDistanceHead
from openjepa.language import Description, Language
from openjepa.nn.random import keyed_generator
from openjepa.nn.written_actions import read_actions, write_actions
from openjepa.planning.budget import Budgeted
from openjepa.planning.costs import GoalCost, PathCost, bind, squared_l2
from openjepa.protocols import PathCost as BoundPathCost
from openjepa.serve.mcp import answers, moments
from openjepa.serve.mcp.answers import Shown
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.moments import Episode, Galleries, KeptPlan, MakeWorld, Moment, Pictures
from openjepa.serve.mcp.pictures import from_base64, strip
from openjepa.serve.mcp.scenes import Scenes
from openjepa.serve.mcp.work import Job

SHOWN = 8  # futures whose ends are drawn
SAID = 4  # statements about a state that stand beside other answers
ALARM = 0.05


@dataclass(frozen=True)
class Aim:
    """A goal, bound: what a path towards it costs, and how far a state is from it.

    Attributes:
        cost: of paths [1, S, H, N, D].
        away: distances [S] of states [S, N, D].
        unit: of distances.
        holds: probability that the words hold in a state [1, N, D]; None for a goal without words.
    """

    cost: BoundPathCost
    away: Callable[[Tensor], Tensor]
    unit: str
    holds: Callable[[Tensor], float] | None = None

    def probability(self, z: Tensor) -> float | None:
        """See `holds`."""
        return None if self.holds is None else self.holds(z)


class AgentTools:
    """The tools of one agent, for all clients.

    Args:
        agent: whose weights, planner and cost are used; it is not changed.
        card: what is known of it.
        shelf: where handles live.
        limits: of every client.
        make_world: the world to act in, or None where clients send pictures.
        may_act: whether `act` is allowed.
        words: the language head, or why there is none.
        remembered: pictures of play that show what imagined states look like; 0 for none.
        pictures: that are remembered where there is no world.
    """

    def __init__(
        self,
        agent: Agent,
        card: AgentCard,
        shelf: Shelf,
        limits: Limits,
        *,
        make_world: MakeWorld | None = None,
        may_act: bool = False,
        words: Language | str = "",
        remembered: int = 256,
        pictures: Pictures | None = None,
    ) -> None:
        self.agent, self.card, self.shelf, self.limits = agent, card, shelf, limits
        self.make_world, self.may_act, self.words = make_world, may_act, words
        self._pictures = pictures
        self._galleries: Galleries | None = None
        if make_world is not None and remembered:
            self._galleries = Galleries(agent, make_world, remembered, math.prod(card.frame_shape))
        self.scenes = Scenes(agent, shelf, make_world)

    # ------------------------------------------------------------------------------------------------ seeing

    @torch.no_grad()
    def observe(
        self,
        job: Job,
        episode: str | None = None,
        picture: str | None = None,
        actions: Sequence[Sequence[float]] | None = None,
        proprio: Sequence[float] | None = None,
        seed: int | None = None,
    ) -> Shown[answers.Seen]:
        """Begins an episode, or looks again."""
        if self.make_world is not None and (picture or actions or proprio):
            raise DataError("`picture` must be left out: this server looks into a world of its own.")
        if self.make_world is None and picture is None:
            raise DataError("`picture` must be given: this server has no world of its own to look into.")
        frame = None if picture is None else self._picture(picture, "picture")
        if episode is None:
            if actions:
                raise DataError("`actions` must be left out of the first picture of an episode.")
            owner = self.scenes.begin(frame, proprio, seed)
        else:
            if seed is not None:
                raise DataError("`seed` must be left out for an episode that has begun.")
            owner = episode
            self.shelf.get(owner, Episode, "episode")
            if frame is not None:
                self.scenes.see(owner, frame, proprio, None if actions is None else self._actions(actions))
        return self._seen(owner)

    def _seen(self, owner: str) -> Shown[answers.Seen]:
        episode, moment = self.scenes.present(owner)
        ended = episode.world is not None and bool(episode.world.ended()[0])
        answer = answers.Seen(episode.now, owner, moment.step, ended, self._say(moment))
        return Shown(answer, moment.frame, f"what is seen at step {moment.step}")

    # --------------------------------------------------------------------------------------------- imagining

    @torch.no_grad()
    def imagine(self, job: Job, state: str, actions: Sequence[Sequence[float]]) -> Shown[answers.Imagined]:
        """What would follow from actions."""
        moment, owner = self._state(state)
        path, blocks = self._roll(moment, self._actions(actions))
        job.check()
        handles, last = self._keep_path(owner, moment, path, blocks)
        away, unit = self._between(last.now)
        near = self._remembered(owner, last)
        answer = answers.Imagined(
            handles[-1],
            handles,
            float(away(moment.now)[0]),
            unit,
            None if near is None else near[1],
            None if near is None else near[2],
            self._say(last),
        )
        return Shown(answer, None if near is None else near[0], "the remembered picture most like the imagined end")

    @torch.no_grad()
    def compare_futures(
        self,
        job: Job,
        state: str,
        futures: Sequence[Sequence[Sequence[float]]],
        goal: str | None = None,
        goal_state: str | None = None,
        goal_picture: str | None = None,
    ) -> Shown[answers.Compared]:
        """Which of some sequences of actions leads best towards a goal."""
        moment, owner = self._state(state)
        if not 1 <= len(futures) <= self.limits.futures:
            raise DataError(f"`futures` must be 1 to {self.limits.futures} sequences of actions; got {len(futures)}.")
        aim = self._aim(moment, goal, goal_state, goal_picture)
        costs, ends, handles, nearest = [], [], [], []
        for number, actions in enumerate(futures):
            job.progress(number, len(futures), f"future {number + 1} of {len(futures)}")
            path, blocks = self._roll(moment, self._actions(actions))
            costs.append(float(aim.cost(path[:, None])[0, 0]))
            away = aim.away(path[0])
            nearest.append((float(away.min()), moment.step + (int(away.argmin()) + 1) * self.agent.config.frameskip))
            ends.append(moment.follow(path, blocks, self.agent.config.context_len, len(actions), None))
            handles.append(self.shelf.keep("state", ends[-1], owner))
        order = sorted(range(len(costs)), key=lambda i: costs[i])
        table = torch.cat([end.now.flatten(1) for end in ends])
        longest = max(len(actions) for actions in futures) // self.agent.config.frameskip
        answer = answers.Compared(
            [
                answers.Future(i, rank + 1, costs[i], *nearest[i], aim.probability(ends[i].now), handles[i])
                for rank, i in enumerate(order)
            ],
            float(cost_of_standing_still(moment.z, aim.cost, longest)[0]),
            [[round(x, 4) for x in row] for row in torch.cdist(table, table).tolist()],
            aim.unit,
        )
        shown = [near[0] for i in order[:SHOWN] if (near := self._remembered(owner, ends[i])) is not None]
        return Shown(answer, strip(shown) if shown else None, "the ends of the best futures, best first")

    @torch.no_grad()
    def plan(
        self,
        job: Job,
        state: str,
        goal: str | None = None,
        goal_state: str | None = None,
        goal_picture: str | None = None,
    ) -> Shown[answers.Planned]:
        """Searches for actions that lead to a goal."""
        moment, owner = self._state(state)
        episode, _ = self.scenes.present(owner)
        aim = self._aim(moment, goal, goal_state, goal_picture)
        search = Budgeted(self.agent.planner, job.clock)
        search.until = job.until
        options = {"context_actions": moment.actions} if moment.actions.shape[1] else {}
        key = (self.agent.config.seed, episode.seed, episode.plans)
        found = search.plan(self.agent.model, moment.z, aim.cost, generators=[keyed_generator(*key)], **options)
        job.check()
        episode.plans += 1
        skip = self.agent.config.frameskip
        handles, last = self._keep_path(owner, moment, found.z_path, found.actions)
        actions = moments.chosen(found, self.agent.bounds, skip)
        near = self._remembered(owner, last)
        answer = answers.Planned(
            self.shelf.keep("plan", KeptPlan(state, actions), owner),
            write_actions(actions, self.agent.bounds),
            float(found.cost[0]),
            float(cost_of_standing_still(moment.z, aim.cost, found.actions.shape[1])[0]),
            aim.probability(last.now),
            search.cut_short > 0,
            handles[-1],
            handles,
            self._say(last),
        )
        return Shown(answer, None if near is None else near[0], "the remembered picture most like the planned end")

    # ------------------------------------------------------------------------------------------------ acting

    @torch.no_grad()
    def act(
        self,
        job: Job,
        state: str,
        actions: Sequence[Sequence[float]] | None = None,
        plan: str | None = None,
        steps: int | None = None,
    ) -> Shown[answers.Seen]:
        """Takes actions in the world, in steps of the model."""
        if not self.may_act:
            raise DataError("`act` is not allowed on this server. Start it with `--allow-act` to let clients act.")
        moment, owner = self._state(state)
        episode, _ = self.scenes.present(owner)
        if episode.world is None:
            raise DataError("`act` needs a world, and this server has none: act yourself, then send what is seen.")
        if state != episode.now:
            kind = "imagined" if moment.frame is None else "of the past"
            raise DataError(f"`state` must be the present one, {episode.now}; the one given is {kind}.")
        if (actions is None) == (plan is None):
            raise DataError("`act` must be given either `actions` or `plan`.")
        skip = self.agent.config.frameskip
        if plan is not None:
            kept = self.shelf.get(plan, KeptPlan, "plan")
            if kept.state != state:
                raise DataError("`plan` must begin in the present state; this one was made in another. Plan again.")
            known, due = kept.actions, self.agent.config.replan_every
        else:
            known, due = self._actions(actions or []), self.limits.steps
        count = min(due if steps is None else steps, len(known) // skip)
        for number, part in enumerate(known[: count * skip].reshape(count, skip, -1)):
            job.progress(number, count, f"step {number + 1} of {count}")
            if not self.scenes.take(owner, part):
                break
        return self._seen(owner)

    # ----------------------------------------------------------------------------------------------- judging

    @torch.no_grad()
    def distance(self, job: Job, first: str, second: str) -> Shown[answers.Distance]:
        """How far it is from one state to another."""
        one, other = self.shelf.get(first, Moment, "first"), self.shelf.get(second, Moment, "second")
        away, unit = self._between(other.now)
        latent = float((one.now - other.now).flatten().norm())
        return Shown(answers.Distance(float(away(one.now)[0]), unit, latent))

    @torch.no_grad()
    def surprise(self, job: Job, state: str) -> Shown[answers.Surprise]:
        """How strange it is what was seen after the last step."""
        moment = self.shelf.get(state, Moment, "state")
        p, known = self.scenes.p_value(moment)
        assert moment.surprise is not None
        return Shown(answers.Surprise(p, p <= ALARM, moment.surprise, known), moment.frame, "what was seen")

    @torch.no_grad()
    def describe(self, job: Job, state: str) -> Shown[answers.Words]:
        """Says in words what a state is like."""
        moment = self.shelf.get(state, Moment, "state")
        return self._spoken(moment, self._language().describe(moment.now[0]))

    @torch.no_grad()
    def ask(self, job: Job, state: str, question: str, choices: Sequence[str] | None = None) -> Shown[answers.Words]:
        """Answers a question about a state."""
        moment = self.shelf.get(state, Moment, "state")
        return self._spoken(moment, self._language().ask(moment.now[0], question, choices))

    @staticmethod
    def _spoken(moment: Moment, found: Sequence[Description]) -> Shown[answers.Words]:
        said = [answers.Said(one.text, one.score) for one in found]
        about = "seen" if moment.frame is not None else "imagined"
        return Shown(answers.Words(said[0].text, said, about), moment.frame, "the state")

    # ------------------------------------------------------------------------------------------------- parts

    def _state(self, handle: str) -> tuple[Moment, str]:
        """A state, and the handle of its episode; asked for first, as new handles may take the place of this one."""
        return self.shelf.get(handle, Moment, "state"), self.shelf.owner(handle)

    def _language(self) -> Language:
        if isinstance(self.words, str):
            raise DataError(self.words or "this agent has no words. Teach it: openjepa train language RUN")
        return self.words

    def _say(self, moment: Moment) -> str | None:
        if isinstance(self.words, str):
            return None
        return "; ".join(one.text for one in self.words.describe(moment.now[0], top=SAID))

    def _actions(self, values: Sequence[Sequence[float]]) -> np.ndarray:
        return read_actions(values, self.agent.bounds, self.limits.steps, self.agent.config.frameskip)

    def _picture(self, text: str | None, name: str) -> np.ndarray:
        assert text is not None
        height, width = self.card.frame_shape[1:]
        return from_base64(text, name, max_bytes=self.limits.picture_bytes, size=(height, width))

    def _roll(self, moment: Moment, actions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Imagined states [1, H, N, D] and the model actions [1, H, A] that lead to them."""
        blocks = torch.from_numpy(actions).reshape(1, -1, self.agent.bounds.dim * self.agent.config.frameskip)
        blocks = blocks.to(moment.z)
        return self.agent.model.rollout(moment.z, torch.cat([moment.actions, blocks], 1)), blocks

    def _keep_path(self, owner: str, moment: Moment, path: Tensor, blocks: Tensor) -> tuple[list[str], Moment]:
        """Handles of the states of a path, and the last of them."""
        length, skip = self.agent.config.context_len, self.agent.config.frameskip
        ends = range(1, path.shape[1] + 1)
        found = [moment.follow(path[:, :end], blocks[:, :end], length, end * skip, None) for end in ends]
        return [self.shelf.keep("state", one, owner) for one in found], found[-1]

    def _remembered(self, owner: str, moment: Moment) -> tuple[np.ndarray, float, float] | None:
        """The picture that is most like a state, its distance, and the ordinary distance of neighbours."""
        pictures = self._pictures
        if self._galleries is not None:
            pictures = self._galleries.of(self.shelf.get(owner, Episode, "state").seed)
        return None if pictures is None else (*pictures.nearest(moment.now), pictures.spacing)

    def _between(self, z_goal: Tensor) -> tuple[Callable[[Tensor], Tensor], str]:
        """The distance [S] of states [S, N, D] from a goal [1, N, D], and its unit."""
        cost = self.agent.cost
        if isinstance(cost, PathCost):
            is_steps = isinstance(cost.distance, (TemporalDistanceHead, Landmarks))
            return lambda z: cost.between(z, z_goal.expand_as(z)), "steps" if is_steps else "latent"
        return lambda z: squared_l2(z, z_goal.expand_as(z)), "latent"

    def _aim(self, moment: Moment, words: str | None, state: str | None, picture: str | None) -> Aim:
        """What a client wants, in exactly one of three ways."""
        if sum(x is not None for x in (words, state, picture)) != 1:
            raise DataError("exactly one of `goal` (words), `goal_state` and `goal_picture` must be given.")
        if words is not None:
            return self._aim_by_words(moment, words)
        if state is not None:
            z_goal = self.shelf.get(state, Moment, "goal_state").now
        else:
            z_goal = moments.perception_of(self.agent).goal(self._picture(picture, "goal_picture")[None])
        if z_goal.shape != moment.now.shape:
            raise ConfigError("the goal must be a state of the same agent.")
        away, unit = self._between(z_goal)
        return Aim(bind(self.agent.cost, self._towards(moment, z_goal), moment.now), away, unit)

    def _aim_by_words(self, moment: Moment, words: str) -> Aim:
        language = self._language()
        if why := language.refuses(words):
            raise DataError(f"{why}. Say it another way.")
        cost = language.cost(words)
        aimed: GoalCost = cost.aim(moment.now)
        towards = self._towards(moment, aimed.z_goal)
        here = aimed if torch.equal(towards, aimed.z_goal) else bind(self.agent.cost, towards, moment.now)
        return Aim(
            here,
            lambda z: aimed(z[None, :, None])[0],
            "cost of the words",
            lambda z: float(torch.sigmoid(cost.energy(z))[0]),
        )

    def _towards(self, moment: Moment, z_goal: Tensor) -> Tensor:
        """What to head for: the goal, or a remembered place on the way to a far one."""
        if self.agent.landmarks is None:
            return z_goal
        return self.agent.landmarks.subgoals(moment.now, z_goal, self.agent.config.reach)
