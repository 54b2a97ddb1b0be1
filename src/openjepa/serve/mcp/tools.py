"""The tools as the protocol shows them: names, descriptions, schemas from annotations, pictures beside results."""

import base64
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import Field, ValidationError

from openjepa.data.images import to_png
from openjepa.errors import DataError, OpenJEPAError, brief, did_you_mean
from openjepa.serve.mcp import answers
from openjepa.serve.mcp.agent_tools import AgentTools
from openjepa.serve.mcp.answers import Shown
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.video_tools import VideoTools
from openjepa.serve.mcp.work import Job, Worker

LONGEST_LINE = 1000  # of an error
MOST = Limits()  # what schemas say; `limits` of a server are checked by the tools themselves
Handle = Annotated[str, Field(min_length=1, max_length=64)]
Said = Annotated[str, Field(min_length=1, max_length=MOST.text)]
Picture = Annotated[
    str,
    Field(min_length=1, max_length=MOST.picture_bytes * 4 // 3 + 64, description="PNG, JPEG or WebP in Base64."),
]
Pictures = Annotated[list[Picture], Field(max_length=MOST.clip_frames)]
Actions = Annotated[
    list[list[float]],
    Field(max_length=MOST.steps, description="One list of numbers for each step of the world."),
]
Futures = Annotated[list[Actions], Field(max_length=MOST.futures)]
GoalWords = Annotated[Said | None, Field(description="The goal in words.")]
GoalState = Annotated[Handle | None, Field(description="The goal as the handle of a state.")]
Clip = Annotated[Said | None, Field(description="Path in the shared folder.")]
Seed = Annotated[int, Field(ge=0, lt=1 << 31)]
Steps = Annotated[int, Field(ge=1, le=MOST.steps)]
LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)


class Server(MCPServer):
    """The SDK's server, whose complaints about arguments are one line, and which ignores none of them."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """See `MCPServer.call_tool`."""
        schemas = {tool.name: tool.input_schema.get("properties", {}) for tool in await self.list_tools()}
        if name not in schemas:
            raise ToolError(f"unknown tool `{brief(name, 40)}`{did_you_mean(name, schemas)}")
        if stray := [key for key in arguments if key not in schemas[name]]:
            known = schemas[name]
            raise ToolError(f"`{name}` has no argument `{brief(stray[0], 40)}`{did_you_mean(stray[0], known)}")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(_complaint(name, cause)) from cause
            if isinstance(cause, ToolError) and not isinstance(error, UnexpectedToolError):
                raise ToolError(str(cause)) from cause  # without the words that the SDK puts before it
            raise


def _complaint(tool: str, error: ValidationError) -> str:
    """The first thing that is wrong with the arguments of a tool."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "arguments"
    return f"`{brief(where, 60)}` of `{tool}` is wrong: {brief(first['msg'], 200)}."


class Desk:
    """Takes calls: hands them to the worker, and makes results of the answers.

    Args:
        worker: computes.
        scale: pixels of a shown picture for each pixel of the world.
    """

    def __init__(self, worker: Worker, scale: int) -> None:
        self.worker, self.scale = worker, scale

    async def call(self, context: Context, work: Callable[[Job], Shown[Any]]) -> CallToolResult:
        """One call.

        Raises:
            ToolError: one line, where the answer is an error.
        """
        try:
            shown = await self.worker.run(work, context.report_progress)
        except OpenJEPAError as error:
            raise ToolError(" ".join(str(error).split())[:LONGEST_LINE]) from error
        plain = asdict(shown.answer)
        content: list[Any] = [TextContent(text=json.dumps(plain))]
        if shown.picture is not None:
            scale = self.scale if shown.picture.shape[1] * self.scale <= 512 else 1
            data = base64.b64encode(to_png(shown.picture, scale)).decode()
            content += [TextContent(text=f"Picture: {shown.caption}."), ImageContent(data=data, mime_type="image/png")]
        return CallToolResult(content=content, structured_content=plain)


def add_agent_tools(server: MCPServer, desk: Desk, tools: AgentTools) -> None:
    """Adds what needs an acting agent: `act` only where it is allowed and there is a world."""

    @server.tool(annotations=LOOKS)
    async def observe(
        ctx: Context,
        episode: Handle | None = None,
        picture: Picture | None = None,
        actions: Actions | None = None,
        proprio: list[float] | None = None,
        seed: Seed | None = None,
    ) -> Annotated[CallToolResult, answers.Seen]:
        """Begins an episode, or looks again at one.

        Without `episode` a new one begins: in the server's own world (from `seed`), or with the `picture` that you
        send where the server has none. With `episode` you see its present, or send the next `picture` and the
        `actions` that led to it.
        """
        return await desk.call(ctx, lambda job: tools.observe(job, episode, picture, actions, proprio, seed))

    @server.tool(annotations=LOOKS)
    async def imagine(
        ctx: Context,
        state: Handle,
        actions: Actions,
    ) -> Annotated[CallToolResult, answers.Imagined]:
        """Imagines what would follow from a state if these actions were taken. Nothing moves in the world."""
        return await desk.call(ctx, lambda job: tools.imagine(job, state, actions))

    @server.tool(annotations=LOOKS)
    async def compare_futures(
        ctx: Context,
        state: Handle,
        futures: Futures,
        goal: GoalWords = None,
        goal_state: GoalState = None,
        goal_picture: Picture | None = None,
    ) -> Annotated[CallToolResult, answers.Compared]:
        """Imagines several sequences of actions and ranks them by how well they lead to a goal."""
        work = (state, futures, goal, goal_state, goal_picture)
        return await desk.call(ctx, lambda job: tools.compare_futures(job, *work))

    @server.tool(annotations=LOOKS)
    async def plan(
        ctx: Context,
        state: Handle,
        goal: GoalWords = None,
        goal_state: GoalState = None,
        goal_picture: Picture | None = None,
    ) -> Annotated[CallToolResult, answers.Planned]:
        """Searches for actions that lead from a state to a goal: words, a picture, or another state."""
        return await desk.call(ctx, lambda job: tools.plan(job, state, goal, goal_state, goal_picture))

    @server.tool(annotations=LOOKS)
    async def describe(
        ctx: Context,
        state: Handle,
    ) -> Annotated[CallToolResult, answers.Words]:
        """Says in words what a state, seen or imagined, is like."""
        return await desk.call(ctx, lambda job: tools.describe(job, state))

    @server.tool(annotations=LOOKS)
    async def ask(
        ctx: Context,
        state: Handle,
        question: Said,
        choices: Annotated[list[Said], Field(max_length=32)] | None = None,
    ) -> Annotated[CallToolResult, answers.Words]:
        """Answers a question about a state, seen or imagined; with `choices`, by choosing one of them."""
        return await desk.call(ctx, lambda job: tools.ask(job, state, question, choices))

    if tools.may_act and tools.scenes.make_world is not None:

        @server.tool(annotations=ACTS)
        async def act(
            ctx: Context,
            state: Handle,
            actions: Actions | None = None,
            plan: Handle | None = None,
            steps: Steps | None = None,
        ) -> Annotated[CallToolResult, answers.Seen]:
            """Acts in the world: `actions`, or the first `steps` of a `plan`. `state` must be the present one."""
            return await desk.call(ctx, lambda job: tools.act(job, state, actions, plan, steps))


def add_video_tools(server: MCPServer, desk: Desk, tools: VideoTools) -> None:
    """Adds what needs an encoder of pictures or clips."""

    @server.tool(annotations=LOOKS)
    async def embed(
        ctx: Context,
        clip: Clip = None,
        pictures: Pictures | None = None,
        every: Annotated[float, Field(description="Seconds of a moment.")] = 1.0,
        cursor: Handle | None = None,
    ) -> Annotated[CallToolResult, answers.Embedded]:
        """Embeds the moments of a video. Of a long one some are done at a time: call again with the `cursor`."""
        return await desk.call(ctx, lambda job: tools.embed(job, clip, pictures, every, cursor))

    @server.tool(annotations=LOOKS)
    async def search_moments(
        ctx: Context,
        embeddings: Annotated[list[Handle], Field(max_length=MOST.episodes)],
        picture: Picture | None = None,
        embedding: Handle | None = None,
        second: float | None = None,
        k: int = 5,
    ) -> Annotated[CallToolResult, answers.Found]:
        """Finds moments of embedded videos like a `picture`, or like an `embedding` (at a `second` of it)."""
        work = (embeddings, picture, embedding, second, k)
        return await desk.call(ctx, lambda job: tools.search_moments(job, *work))


def add_judging_tools(
    server: MCPServer, desk: Desk, shelf: Shelf, agent: AgentTools | None, video: VideoTools | None
) -> None:
    """Adds what states and videos share: `surprise`, `distance`, `forget`."""

    def strange(job: Job, state: str | None, clip: Any, pictures: Any, cursor: str | None) -> Shown[answers.Surprise]:
        if sum(x is not None for x in (state, clip, pictures, cursor)) != 1:
            raise DataError("exactly one of `state`, `clip`, `pictures` and `cursor` must be given.")
        if state is not None:
            if agent is None:
                raise DataError("`state` needs an acting agent, and this server has none. Give a `clip`.")
            return agent.surprise(job, state)
        if video is None:
            raise DataError("this server has no video model. Start it with `--video MODEL`, or give a `state`.")
        return video.surprise(job, clip, pictures, cursor)

    def apart(job: Job, first: str, second: str) -> Shown[answers.Distance]:
        if video is not None and first.startswith("embedding"):
            return video.distance(job, first, second)
        if agent is None:
            raise DataError("`first` must be the handle of an embedding; call `embed` first.")
        return agent.distance(job, first, second)

    @server.tool(annotations=LOOKS)
    async def surprise(
        ctx: Context,
        state: Handle | None = None,
        clip: Clip = None,
        pictures: Pictures | None = None,
        cursor: Handle | None = None,
    ) -> Annotated[CallToolResult, answers.Surprise]:
        """Says how strange the step to a `state` was, or a clip, as a p-value. A long clip goes on with `cursor`."""
        return await desk.call(ctx, lambda job: strange(job, state, clip, pictures, cursor))

    @server.tool(annotations=LOOKS)
    async def distance(
        ctx: Context,
        first: Handle,
        second: Handle,
    ) -> Annotated[CallToolResult, answers.Distance]:
        """Says how far it is from one state, or embedding, to another."""
        return await desk.call(ctx, lambda job: apart(job, first, second))

    @server.tool(annotations=LOOKS)
    async def forget(
        ctx: Context,
        handle: Handle,
    ) -> Annotated[CallToolResult, answers.Forgotten]:
        """Closes the episode or embedding that a handle belongs to, with all its handles."""
        return await desk.call(ctx, lambda job: Shown(answers.Forgotten(shelf.forget(handle))))
