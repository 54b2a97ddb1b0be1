"""`openjepa serve`: a saved agent for robots and simulators elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from openjepa.command_line.command import OK


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
