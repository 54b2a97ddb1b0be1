"""A language model that plays: it sees pictures or states, and answers with actions, alone or with tools.

It has the verbs of an agent (`start`, `act`), so it plays the same manifests as every other method and is scored by the
same judge. What a decision costs is counted (tokens, seconds, money), and what goes wrong is counted by kind; a
decision that fails is an idle step, not an excuse.
"""

import base64
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch

from openjepa.baselines.chat_endpoint import ChatEndpoint, Reply, ToolCall, TooSlow
from openjepa.data.images import to_png
from openjepa.errors import ConfigError, DataError, brief
from openjepa.nn.host import Array, to_host
from openjepa.nn.written_actions import read_actions, spoken_form, write_actions
from openjepa.protocols import ActionBounds

Failure = Literal["refusal", "malformed", "illegal", "timeout", "no_action"]
ACT = "act"
MOST_TIMEOUTS = 3  # in a row, after which the endpoint is called too slow
LISTS = re.compile(r"\[\s*\[[^\[\]]*\](?:\s*,\s*\[[^\[\]]*\])*\s*\]|\[[^\[\]]*\]")  # [[1, 2], ...], else [1, 2]


class Toolbox(Protocol):
    """Tools that a model may use on the way to a decision, of one episode."""

    def schemas(self) -> list[dict[str, Any]]:
        """What there is, in the form of the chat completions API."""
        ...

    def look(self, frame: np.ndarray, taken: np.ndarray | None) -> str:
        """Shows the tools what is seen now [3, H, W], after actions [n, A]; returns words about it for the model."""
        ...

    def call(self, name: str, arguments: str) -> tuple[str, list[bytes]]:
        """Uses a tool; returns what it says, and PNG pictures."""
        ...

    def close(self) -> None:
        """Ends the episode."""
        ...


@dataclass(frozen=True)
class LLMPlayerConfig:
    """How a language model plays.

    Attributes:
        sees: pictures of now and of the goal, or the numbers of both states (which needs a `StateView`).
        answers: with a call of the tool `act`, or with plain text that holds the actions.
        actions: of the world that one decision may bring, >= 1; the rest of them are taken without asking.
        memory: latest decisions that the model is reminded of, >= 0.
        rounds: replies of one decision, those that use tools among them, >= 1.
        scale: pixels of a shown picture for each pixel of the world.
    """

    sees: Literal["pictures", "text"] = "pictures"
    answers: Literal["tool", "plain"] = "tool"
    actions: int = 1
    memory: int = 4
    rounds: int = 8
    scale: int = 4

    def __post_init__(self) -> None:
        if min(self.actions, self.rounds, self.scale) < 1 or self.memory < 0:
            raise ConfigError("`actions`, `rounds` and `scale` must be at least 1, `memory` 0 or more.")


@dataclass
class LLMUse:
    """What a model has cost, and what went wrong; of all episodes.

    Attributes:
        decisions: that were asked for, failed ones among them.
        requests: to the endpoint; more than one for a decision with tools.
        prompt_tokens: read.
        completion_tokens: written.
        seconds: waited.
        failures: decisions by kind of failure.
        tools: calls by name.
    """

    decisions: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)

    def add(self, reply: Reply) -> None:
        """Counts a reply."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.seconds += reply.seconds

    def as_json(self, prompt_price: float = 0.0, completion_price: float = 0.0) -> dict[str, Any]:
        """Plain values, with the price of all of it for prices of a million tokens."""
        each = max(self.decisions, 1)
        return {
            "decisions": self.decisions,
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "tokens_per_decision": (self.prompt_tokens + self.completion_tokens) / each,
            "seconds_per_decision": self.seconds / each,
            "cost": (self.prompt_tokens * prompt_price + self.completion_tokens * completion_price) / 1e6,
            "failures": dict(self.failures),
            "tools": dict(self.tools),
        }


class LLMPlayer:
    """Plays by asking a language model.

    Args:
        endpoint: the model.
        bounds: of an action of the world.
        config: how it plays.
        world: what it is told of the world and of what an action means.
        state_names: of the columns of a state, for a model that sees numbers.
        make_toolbox: the tools of an episode towards a goal picture [3, H, W]; None plays alone.

    Attributes:
        use: what it has cost.
        decisions: since `start`.
    """

    def __init__(
        self,
        endpoint: ChatEndpoint,
        bounds: ActionBounds,
        config: LLMPlayerConfig | None = None,
        *,
        world: str = "",
        state_names: Sequence[str] = (),
        make_toolbox: Callable[[np.ndarray], Toolbox] | None = None,
    ) -> None:
        self.endpoint, self.bounds, self.config = endpoint, bounds, config or LLMPlayerConfig()
        self.world, self.state_names, self.make_toolbox = world, tuple(state_names), make_toolbox
        self.use, self.decisions, self._timeouts = LLMUse(), 0, 0
        self._episodes: list[_Episode] = []

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Begins an episode in every environment; see `agent.Agent.start`."""
        if self.config.sees == "text" and goal_proprio is None:
            raise ConfigError("a model that sees text must be shown states. Wrap the world in `StateView`.")
        self.close()
        frames = np.asarray(goal_frames)
        goals = [None] * len(frames) if goal_proprio is None else list(np.asarray(goal_proprio))
        self._episodes = [_Episode(frame, goal, self.config.memory) for frame, goal in zip(frames, goals, strict=True)]
        self.decisions = 0

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns actions [B, A]; see `agent.Agent.act`."""
        if len(frames) != len(self._episodes):
            raise ConfigError("`act` must follow `start`, with as many environments.")
        chosen = np.ones(len(frames), bool) if active is None else np.asarray(active, bool)
        actions = np.zeros((len(frames), self.bounds.dim), np.float32) + self._idle()
        states = None if proprio is None else np.asarray(proprio)
        for i in np.flatnonzero(chosen):
            episode = self._episodes[i]
            if not episode.due:
                self._decide(episode, np.asarray(frames[i]), None if states is None else states[i])
            actions[i] = episode.due.popleft()
            episode.taken.append(actions[i])
        return actions

    def close(self) -> None:
        """Ends the episodes of the tools."""
        for episode in self._episodes:
            if episode.toolbox is not None:
                episode.toolbox.close()
        self._episodes = []

    # ---------------------------------------------------------------------------------------------- deciding

    def _decide(self, episode: "_Episode", frame: np.ndarray, state: np.ndarray | None) -> None:
        """Fills `episode.due`: with what the model wants, or one idle action where it fails."""
        if self.make_toolbox is not None and episode.toolbox is None:
            episode.toolbox = self.make_toolbox(episode.goal_frame)
        now = self._shown(episode, frame, state)
        found = self._ask([{"role": "system", "content": self._rules()}, *episode.past, *now], episode.toolbox)
        self.decisions += 1
        self.use.decisions += 1
        if isinstance(found, _Failed):
            self.use.failures[found.kind] += 1
            episode.remember(now[-1], f"(no valid action: {found.why})")
            episode.due.append(self._idle())
        else:
            episode.remember(now[-1], json.dumps({"actions": write_actions(found, self.bounds)}))
            episode.due.extend(found)
        episode.taken.clear()

    def _ask(self, messages: list[dict[str, Any]], toolbox: Toolbox | None) -> "np.ndarray | _Failed":
        """Talks with the model until it acts; returns actions [n, A]."""
        own = [] if toolbox is None else toolbox.schemas()
        tools = [*own, self._act_schema()] if self.config.answers == "tool" else own
        for _ in range(self.config.rounds):
            try:
                reply = self.endpoint.ask(messages, tools)
                self._timeouts = 0
            except TooSlow:
                return self._too_slow()
            self.use.add(reply)
            if reply.refusal:
                return _Failed("refusal", "you declined")
            acting = next((call for call in reply.calls if call.name == ACT and self.config.answers == "tool"), None)
            if acting is not None:
                return self._parse(acting.arguments)
            if not reply.calls or toolbox is None:
                if self.config.answers == "plain" and not reply.calls:
                    return self._parse(reply.text)
                return _Failed("malformed", "call `act`")
            messages = [*messages, _calling(reply), *self._use_tools(reply.calls, toolbox)]
        return _Failed("no_action", f"no action within {self.config.rounds} replies")

    def _too_slow(self) -> "_Failed":
        self._timeouts += 1
        if self._timeouts >= MOST_TIMEOUTS:
            raise DataError(
                f"the language model must answer within {self.endpoint.config.timeout:g} s; it did not, "
                f"{MOST_TIMEOUTS} times in a row. Give it more time, or a smaller model."
            )
        self.use.requests += 1
        self.use.seconds += self.endpoint.config.timeout
        return _Failed("timeout", "too slow")

    def _use_tools(self, calls: Sequence[ToolCall], toolbox: Toolbox) -> list[dict[str, Any]]:
        """The answers of tools, and after them what they show."""
        said, shown = [], list[dict[str, Any]]()
        for call in calls:
            self.use.tools[call.name] += 1
            text, pictures = toolbox.call(call.name, call.arguments)
            said.append({"role": "tool", "tool_call_id": call.id, "content": text})
            if self.config.sees == "pictures":
                shown += [_image(picture) for picture in pictures]
        return [*said, {"role": "user", "content": shown}] if shown else said

    def _parse(self, text: str) -> "np.ndarray | _Failed":
        """Actions [n, A] out of JSON, or of the last list of numbers in a text."""
        try:
            found = json.loads(text)
            values = found["actions"] if isinstance(found, dict) else found
        except (ValueError, KeyError, RecursionError):
            lists = LISTS.findall(text)
            try:
                values = json.loads(lists[-1]) if lists else None
            except ValueError:
                values = None
        if isinstance(values, list) and values and not isinstance(values[0], list):
            values = [values]
        if not isinstance(values, list) or not values or not all(_is_numbers(row) for row in values):
            return _Failed("malformed", f"`actions` must be a list of lists of numbers, not {brief(text, 60)}")
        try:
            return read_actions(values, self.bounds, self.config.actions)
        except DataError as error:
            return _Failed("illegal", str(error))

    # ----------------------------------------------------------------------------------------------- showing

    def _rules(self) -> str:
        """What the model is told first."""
        count = self.config.actions
        many = "one action" if count == 1 else f"up to {count} actions, one after the other"
        how = (
            f"Call the tool `{ACT}` with {many}."
            if self.config.answers == "tool"
            else f'Answer with {many}, as JSON and nothing else: {{"actions": [[...]]}}.'
        )
        tools = "" if self.make_toolbox is None else "Other tools imagine and judge what would happen; use them first. "
        task = f"You act in a world and must reach the goal that you are shown. {self.world}".rstrip()
        return f"{task} An action is {spoken_form(self.bounds)}. {tools}{how}"

    def _shown(self, episode: "_Episode", frame: np.ndarray, state: np.ndarray | None) -> list[dict[str, Any]]:
        """The message about this moment."""
        parts: list[dict[str, Any]] = []
        if self.config.sees == "text":
            parts.append({"type": "text", "text": f"Now: {self._numbers(state)}. Goal: {self._numbers(episode.goal)}."})
        else:
            scale = self.config.scale
            parts += [{"type": "text", "text": "The goal:"}, _image(to_png(episode.goal_frame, scale))]
            parts += [{"type": "text", "text": "Now:"}, _image(to_png(frame, scale))]
        if episode.toolbox is not None:
            taken = np.stack(episode.taken) if episode.taken else None
            parts.append({"type": "text", "text": episode.toolbox.look(frame, taken)})
        text_only = all(part["type"] == "text" for part in parts)
        content: Any = " ".join(part["text"] for part in parts) if text_only else parts
        return [{"role": "user", "content": content}]

    def _numbers(self, state: np.ndarray | None) -> str:
        if state is None:
            raise ConfigError("a model that sees text must be shown states. Wrap the world in `StateView`.")
        names = self.state_names or [f"s{i}" for i in range(len(state))]
        return ", ".join(f"{name} = {value:.3f}" for name, value in zip(names, state.tolist(), strict=True))

    def _act_schema(self) -> dict[str, Any]:
        width = len(self.bounds.categories) or self.bounds.dim
        row = {"type": "array", "items": {"type": "number"}, "minItems": width, "maxItems": width}
        actions = {"type": "array", "items": row, "minItems": 1, "maxItems": self.config.actions}
        return {
            "type": "function",
            "function": {
                "name": ACT,
                "description": "Acts in the world.",
                "parameters": {"type": "object", "properties": {"actions": actions}, "required": ["actions"]},
            },
        }

    def _idle(self) -> np.ndarray:
        """What a failed decision does: the middle of the bounds, or the first choices."""
        middle = torch.from_numpy((self.bounds.low + self.bounds.high) / 2)
        return to_host(self.bounds.clip(middle)).numpy().astype(np.float32)


@dataclass(frozen=True)
class _Failed:
    """A decision without an action."""

    kind: Failure
    why: str


class _Episode:
    """What a model knows of one environment."""

    def __init__(self, goal_frame: np.ndarray, goal: np.ndarray | None, memory: int) -> None:
        self.goal_frame, self.goal, self.memory = goal_frame.copy(), goal, memory
        self.toolbox: Toolbox | None = None
        self.due: deque[np.ndarray] = deque()
        self.taken: list[np.ndarray] = []  # since the last decision
        self.past: list[dict[str, Any]] = []

    def remember(self, shown: dict[str, Any], answer: str) -> None:
        """Keeps a decision in the conversation; pictures of the past are left out."""
        content = shown["content"]
        if not isinstance(content, str):
            content = " ".join(part["text"] for part in content if part["type"] == "text")
        pair = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        self.past = [*self.past, *pair][-2 * self.memory :] if self.memory else []


def _calling(reply: Reply) -> dict[str, Any]:
    """The reply as a message of the conversation."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.calls
    ]
    return {"role": "assistant", "content": reply.text, "tool_calls": calls}


def _is_numbers(row: Any) -> bool:
    return isinstance(row, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in row)


def _image(png: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}
