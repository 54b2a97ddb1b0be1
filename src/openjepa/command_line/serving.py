"""`openjepa serve` and `openjepa mcp`: a saved agent for robots and simulators elsewhere, and for language models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from openjepa.command_line.command import OK
from openjepa.errors import CheckpointError, ConfigError, DataError, OpenJEPAError, require

if TYPE_CHECKING:
    from openjepa.protocols import World
    from openjepa.serve.mcp.agent_tools import AgentTools
    from openjepa.serve.mcp.handles import Shelf
    from openjepa.serve.mcp.limits import Limits
    from openjepa.serve.mcp.video_tools import VideoTools


@dataclass(frozen=True)
class ServeOptions:
    """Options of `serve`."""

    run: tyro.conf.Positional[Path]  # a finished run, or the folder of its agent
    host: str = "127.0.0.1"  # address to listen at; beyond loopback needs the next two
    port: int = 8000  # 0 = any that is free
    beyond_loopback: bool = False  # whether other machines may connect
    token_file: Path | None = None  # holds the secret that clients must send; asked for on loopback too
    budget_ms: float | None = (
        None  # milliseconds from request to answer: the best plan so far; None = search to the end
    )
    max_frame_bytes: int = 4 << 20  # of a message
    max_connections: int = 16  # clients at a time
    max_sessions: int = 8  # episodes at a time of one client
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto = a GPU where there is one


def serve_agent(options: ServeOptions) -> int:
    """Serves a saved agent until it is interrupted."""
    from openjepa.agent.saved import load_agent, read_card
    from openjepa.serve.server import ServerConfig, read_token, serve
    from openjepa.train.device import pick_device

    config = ServerConfig(
        options.host,
        options.port,
        options.beyond_loopback,
        read_token(options.token_file),
        options.budget_ms,
        options.max_frame_bytes,
        options.max_connections,
        options.max_sessions,
    )
    card = read_card(options.run)
    serve(load_agent(options.run, device=str(pick_device(options.device))), card, config)
    return OK


@dataclass(frozen=True)
class McpOptions:
    """Options of `mcp`."""

    run: tyro.conf.Positional[str]  # a finished run with an agent; or a video model: a run, a published name, a path
    http: bool = False  # streamable HTTP instead of the streams of this process
    host: str = "127.0.0.1"  # address to listen at; beyond loopback needs the flag and the token
    port: int = 8001  # 0 = any that is free
    beyond_loopback: bool = False  # whether other machines may connect
    token_file: Path | None = None  # holds the secret that clients must send; asked for on loopback too
    allow_act: bool = False  # whether clients may act in the world
    world: str | None = None  # where to look and act; None = where the agent learned
    client_world: bool = False  # clients send the pictures of a world of their own
    video: str | None = None  # a video model beside the agent, for `embed`, `search_moments` and `surprise`
    media: tuple[Path, ...] = ()  # folders whose clips clients may name
    calibration: Path | None = None  # of the video model; None = in its folder
    remembered: int = 256  # pictures of play that show what imagined states look like; 0 = none
    scale: int = 4  # pixels of a shown picture for each pixel of the world
    call_seconds: int = 20  # of computing for one call
    episodes: int = 32  # open at a time
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto = a GPU where there is one
    offline: bool = False  # fetch nothing, fail instead


def serve_mcp(options: McpOptions, env: Mapping[str, Any] | None = None) -> int:
    """Serves the tools of a run to language models until the client leaves, or it is interrupted."""
    try:
        import mcp  # noqa: F401
    except ImportError as error:
        raise require("mcp", "mcp", "serve tools to language models") from error
    from openjepa.serve.mcp.handles import Shelf
    from openjepa.serve.mcp.limits import Limits
    from openjepa.serve.mcp.server import make_server, run_resources, serve_http, serve_stdio
    from openjepa.serve.server import ServerConfig, read_token

    token = read_token(options.token_file)
    config = ServerConfig(options.host, options.port, options.beyond_loopback, token)
    if options.scale < 1 or options.remembered < 0:
        raise ConfigError("`--scale` must be at least 1 and `--remembered` 0 or more.")
    limits = Limits(episodes=options.episodes, call_seconds=options.call_seconds)
    shelf = Shelf(limits.episodes, limits.states, limits.idle_seconds)
    agent, video = agent_tools(options, env, shelf, limits), options.video
    if agent is None and video is not None:
        raise ConfigError(f"`--video` goes beside a run with an agent; `{options.run}` has none. Leave it out.")
    judged = video_tools(options, video or options.run, shelf, limits) if agent is None or video else None
    resources = run_resources(Path(options.run)) if Path(options.run).is_dir() else {}
    server = make_server(agent, judged, resources=resources, scale=options.scale)
    if options.http:
        serve_http(server, config, limits)
    else:
        serve_stdio(server)
    return OK


def agent_tools(
    options: McpOptions, env: Mapping[str, Any] | None, shelf: "Shelf", limits: "Limits"
) -> "AgentTools | None":
    """The tools of the agent of a run; None where there is no agent."""
    from openjepa.agent.saved import find_agent, load_agent, read_card
    from openjepa.envs import make_world
    from openjepa.serve.mcp.agent_tools import AgentTools
    from openjepa.train.device import pick_device

    try:
        folder = find_agent(options.run)
    except CheckpointError:
        return None
    card, name = read_card(folder), ""
    agent = load_agent(folder, device=str(pick_device(options.device)))
    if not options.client_world:
        name = options.world or card.world
        chosen = dict(env) if env else dict(card.world_options) if options.world is None else {}
    if options.client_world and (options.world or env or options.allow_act):
        raise ConfigError("`--client-world` goes without `--world`, `--env` and `--allow-act`.")

    def world(count: int) -> "World":
        return make_world(name, count, image_size=card.frame_shape[1:], env_options=chosen)

    if name:
        with_one = world(1)  # what is wrong with it is said now, not to the first client
        width = with_one.bounds.dim
        with_one.close()
        if width != card.bounds.dim:
            raise ConfigError(
                f"`{name}` must take the actions that this agent learned ({card.bounds.dim} wide); it takes {width}."
            )
    elif options.allow_act:
        raise ConfigError("`--allow-act` needs a world, and this agent knows none. Say where to act: --world NAME.")
    return AgentTools(
        agent,
        card,
        shelf,
        limits,
        make_world=world if name else None,
        may_act=options.allow_act,
        words=_words(folder),
        remembered=options.remembered,
    )


def _words(folder: Path) -> Any:
    """The language of an agent, or in words why there is none."""
    from openjepa.language import load

    try:
        return load(folder)
    except OpenJEPAError as error:
        return str(error)


def video_tools(options: McpOptions, model: str, shelf: "Shelf", limits: "Limits") -> "VideoTools":
    """The tools of a video model: what it can of embedding and being surprised."""
    from openjepa.command_line.seeing import EncoderOptions, native_size, open_encoder
    from openjepa.command_line.surprising import JudgeOptions, open_judge
    from openjepa.eval.plausibility.conformal import load_calibration
    from openjepa.eval.plausibility.energy import CausalEnergy, MaskedEnergy
    from openjepa.eval.probing.frozen_encoder import frozen
    from openjepa.serve.mcp.video_tools import VideoTools

    missing = next((str(folder) for folder in options.media if not folder.is_dir()), None)
    if missing is not None:
        raise ConfigError(f"`--media` must name folders; `{missing}` is none.")
    judge: Any = ""
    calibration: Any = ""
    encoder = None
    try:
        judge, place = open_judge(model, JudgeOptions(device=options.device, offline=options.offline))
    except ConfigError as error:  # an encoder without a predictor still sees
        judge = str(error)
        encoder = open_encoder(model, EncoderOptions(device=options.device, offline=options.offline))
    else:
        if isinstance(judge, MaskedEnergy):
            network = judge.networks[1]
            encoder = frozen(network, device=str(next(network.parameters()).device))
        assert isinstance(judge, (MaskedEnergy, CausalEnergy))
        try:
            calibration = load_calibration(options.calibration or place)
            said = calibration.protocol
            if said.get("window") != judge.window or said.get("rows") != list(judge.rows):
                raise DataError("the calibration must be of this model; it is of another one. Calibrate again.")
        except OpenJEPAError as error:  # the other tools do without; `surprise` says it
            calibration = str(error)
    return VideoTools(
        shelf,
        limits,
        encoder=encoder,
        size=None if encoder is None else native_size(encoder, None),
        judge=judge,
        calibration=calibration,
        media=options.media,
    )
