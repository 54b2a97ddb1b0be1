"""The tools of a server for a language model that plays: the official client, in this process, without a loop of yours.

with McpToolkit(make_server(tools)) as kit:
    player = LLMPlayer(endpoint, bounds, make_toolbox=kit.episode)
"""

import base64
import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from mcp_types import CallToolResult, ImageContent, TextContent

from openjepa.data.images import to_png
from openjepa.errors import DataError
from openjepa.nn.action_bounds import ActionBounds
from openjepa.nn.written_actions import write_actions
from openjepa.serve.mcp.tools import Server

OFFERED = ("imagine", "compare_futures", "plan", "distance")


class McpToolkit:
    """A client whose episodes are the toolboxes of `baselines.llm_player`; use it with `with`.

    Args:
        server: of an agent without a world of its own: the player shows it what it sees.
        bounds: of an action of the world.
        frameskip: actions of one step of the model.
        offered: names of the tools that the language model is shown.
    """

    def __init__(
        self, server: Server, bounds: ActionBounds, frameskip: int = 1, offered: Sequence[str] = OFFERED
    ) -> None:
        self.server, self.bounds, self.frameskip, self.offered = server, bounds, frameskip, tuple(offered)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> "McpToolkit":
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            self._client = stack.enter_context(self._portal.wrap_async_context_manager(Client(self.server)))
            tools = self._portal.call(self._client.list_tools).tools
            self.schemas = [_as_function(tool) for tool in tools if tool.name in self.offered]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._portal = None

    def episode(self, goal_frame: np.ndarray) -> "McpToolbox":
        """The tools of an episode towards a goal picture [3, H, W]."""
        return McpToolbox(self, goal_frame)

    def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Calls a tool and waits."""
        assert self._portal is not None
        return self._portal.call(self._client.call_tool, name, arguments)

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Calls a tool that must succeed.

        Raises:
            DataError: with what the tool says, where it does not.
        """
        result = self.call(name, {key: value for key, value in arguments.items() if value is not None})
        if result.is_error or result.structured_content is None:
            raise DataError(_text(result))
        return result.structured_content


class McpToolbox:
    """See `baselines.llm_player.Toolbox`."""

    def __init__(self, kit: McpToolkit, goal_frame: np.ndarray) -> None:
        self.kit = kit
        self._goal = kit.ask("observe", picture=_base64(goal_frame))
        self._episode: str | None = None

    def schemas(self) -> list[dict[str, Any]]:
        """What the language model is offered."""
        return self.kit.schemas

    def look(self, frame: np.ndarray, taken: np.ndarray | None) -> str:
        """Shows the server the present picture; returns the handles of present and goal.

        What was done since the last one is told where it is one step of the model; else a new episode begins.
        """
        actions = None
        if self._episode is not None and taken is not None and len(taken) == self.kit.frameskip:
            actions = write_actions(taken, self.kit.bounds)
        elif self._episode is not None:
            self.kit.ask("forget", handle=self._episode)
            self._episode = None
        seen = self.kit.ask("observe", episode=self._episode, picture=_base64(frame), actions=actions)
        self._episode = seen["episode"]
        return f"The present state is {seen['state']}; the goal is the state {self._goal['state']}."

    def call(self, name: str, arguments: str) -> tuple[str, list[bytes]]:
        """Uses a tool; what is wrong is told to the model as the server says it."""
        if name not in self.kit.offered:
            return f"there is no tool `{name[:40]}`; there are {', '.join(self.kit.offered)} and act.", []
        try:
            found = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            return f"the arguments of `{name}` must be a JSON object.", []
        result = self.kit.call(name, found)
        pictures = [base64.b64decode(part.data) for part in result.content if isinstance(part, ImageContent)]
        return _text(result), pictures

    def close(self) -> None:
        """Forgets the episode."""
        for handle in (self._episode, self._goal["episode"]):
            if handle is not None:
                self.kit.ask("forget", handle=handle)


def _as_function(tool: Any) -> dict[str, Any]:
    """A tool in the form of the chat completions API."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def _text(result: CallToolResult) -> str:
    return next((part.text for part in result.content if isinstance(part, TextContent)), "")


def _base64(frame: np.ndarray) -> str:
    return base64.b64encode(to_png(np.asarray(frame))).decode()
