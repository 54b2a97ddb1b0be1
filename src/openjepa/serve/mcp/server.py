"""`openjepa mcp RUN`: the tools of a run over stdio, or over HTTP on loopback."""

import hmac
import json
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import ClientDisconnect

from openjepa.agent.saved import AgentCard
from openjepa.errors import ConfigError
from openjepa.nn.written_actions import spoken_form
from openjepa.serve.mcp.agent_tools import AgentTools
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.tools import Desk, Server, add_agent_tools, add_judging_tools, add_video_tools
from openjepa.serve.mcp.video_tools import VideoTools
from openjepa.serve.mcp.work import Worker
from openjepa.serve.server import ServerConfig
from openjepa.version import __version__

PATH = "/mcp"
LONGEST_TEXT = 50_000  # characters of a resource


def make_server(
    agent: AgentTools | None = None,
    video: VideoTools | None = None,
    *,
    resources: Mapping[str, Callable[[], str]] | None = None,
    scale: int = 4,
) -> Server:
    """Makes the server of an agent's tools, a video model's, or both; they share shelf and limits.

    Args:
        agent: an acting agent.
        video: an encoder or judge of video.
        resources: texts by name, read as `openjepa://NAME`.
        scale: pixels of a shown picture for each pixel of the world.

    Raises:
        ConfigError: for neither.
    """
    tools = agent or video
    if tools is None:
        raise ConfigError("a server needs an acting agent or a video model; got neither.")
    limits: Limits = tools.limits
    server = Server("openjepa", version=__version__, instructions=_instructions(agent, video), log_level="WARNING")
    desk = Desk(Worker(limits.waiting, limits.call_seconds), scale)
    if agent is not None:
        add_agent_tools(server, desk, agent)
    if video is not None:
        add_video_tools(server, desk, video)
    add_judging_tools(server, desk, tools.shelf, agent, video)
    texts = dict(resources or {})
    if agent is not None:
        texts.setdefault("card", lambda: json.dumps(_card(agent.card), indent=2))
    if video is not None:
        texts.setdefault("clips", lambda: "\n".join(video.clips()))
    for name, read in texts.items():
        server.resource(f"openjepa://{name}", name=name)(read)
    return server


def run_resources(run: Path) -> dict[str, Callable[[], str]]:
    """What a run directory tells: its report and its diagnosis, or which command makes them."""
    run = run.parent if run.name == "agent" else run

    def text(file: str, command: str) -> Callable[[], str]:
        def read() -> str:
            path = run / file
            if not path.is_file():
                return f"there is no {file} yet. Make it: openjepa {command}"
            content = path.read_text()
            return page_text(content) if path.suffix == ".html" else content[:LONGEST_TEXT]

        return read

    return {
        "doctor": text("diagnosis.json", f"doctor {run.name} --json"),
        "results": text("results.json", f"eval {run.name}"),
        "report": text("report.html", f"train {run.name}"),
    }


class _Words(HTMLParser):
    """Collects the text of a page, a line for each row and paragraph, without scripts, styles and pictures."""

    SILENT, ROWS = {"script", "style", "svg"}, {"p", "tr", "h1", "h2", "h3", "li", "div", "figcaption"}

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """A part begins."""
        self.silent += tag in self.SILENT
        self.parts.append("\n" if tag in self.ROWS else " ")

    def handle_endtag(self, tag: str) -> None:
        """A part ends."""
        self.silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        """Words."""
        if not self.silent:
            self.parts.append(data)


def page_text(html: str) -> str:
    """The words of a page, at most `LONGEST_TEXT` characters, a line for each row."""
    words = _Words()
    words.feed(html)
    lines = (" ".join(line.split()) for line in "".join(words.parts).splitlines())
    return "\n".join(line for line in lines if line)[:LONGEST_TEXT]


def serve_stdio(server: Server) -> None:
    """Serves one client over the streams of this process, until it leaves."""
    server.run("stdio")


def serve_http(server: Server, config: ServerConfig, limits: Limits) -> None:
    """Serves over streamable HTTP until it is interrupted, and says where.

    Raises:
        ConfigError: where the address cannot be had.
    """
    import uvicorn

    taken = listen(config)
    shown = f"[{config.host}]" if ":" in config.host else config.host
    print(f"serving at http://{shown}:{taken.getsockname()[1]}{PATH}", file=sys.stdout, flush=True)
    app = http_app(server, config, limits)
    options = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
    uvicorn.Server(options).run(sockets=[taken])


def listen(config: ServerConfig) -> socket.socket:
    """A socket that listens where the options say.

    Raises:
        ConfigError: where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    taken = socket.socket(family)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((config.host, config.port))
        taken.listen()
    except OSError as error:
        taken.close()
        raise ConfigError(f"`{config.host}:{config.port}` must be free to listen at; {error.strerror}.") from error
    return taken


def http_app(server: Server, config: ServerConfig, limits: Limits) -> Any:
    """The ASGI application, behind the token where there is one."""
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False) if config.beyond_loopback else None
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=limits.message_bytes,
        max_sessions=limits.episodes,
        session_idle_timeout=limits.idle_seconds,
        transport_security=security,  # None on loopback: foreign hosts and origins are refused
        host=config.host,
    )
    return _left_alone(app if config.token is None else _behind_token(app, config.token))


def _left_alone(app: Any) -> Any:
    """A client that hangs up in the middle of its request is no failure of ours."""

    async def calm(scope: Any, receive: Any, send: Any) -> None:
        with suppress(ClientDisconnect):
            await app(scope, receive, send)

    return calm


def _behind_token(app: Any, token: str) -> Any:
    """Lets requests through that carry `Authorization: Bearer TOKEN`."""
    wanted = f"Bearer {token}".encode()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        words = [value for name, value in scope.get("headers", ()) if name == b"authorization"]
        if scope["type"] != "http" or (len(words) == 1 and hmac.compare_digest(words[0], wanted)):
            return await app(scope, receive, send)
        await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
        return await send({"type": "http.response.body", "body": b"a token is needed: Authorization: Bearer TOKEN\n"})

    return guarded


def _card(card: AgentCard) -> dict[str, Any]:
    return {**vars(card), "bounds": card.bounds.to_dict()}


def _instructions(agent: AgentTools | None, video: VideoTools | None) -> str:
    """What a language model is told first."""
    lines = ["A world model as tools. Latents stay in the server; you hold handles, which expire when they lie idle."]
    if agent is not None:
        skip, card = agent.agent.config.frameskip, agent.card
        lines += [
            f"World: {card.world or 'unknown'}. An action is {spoken_form(agent.agent.bounds)}: {card.action_meaning}. "
            f"Pictures are {card.frame_shape[1]} x {card.frame_shape[2]} px, or a whole multiple.",
            "Call `observe` first; it gives the `state` that the other tools take. `imagine` and `compare_futures` "
            "cost nothing in the world. `plan` searches for you. Imagination strays: look again after a few steps.",
        ]
        if skip > 1:
            lines.append(f"The model's step is {skip} actions: give a multiple of {skip}.")
        if not agent.may_act or agent.scenes.make_world is None:
            lines.append("This server does not act.")
    if video is not None:
        lines.append("`embed` a clip, then `search_moments` in it; `surprise` says how strange a clip is (p-value).")
    return "\n".join(lines)
