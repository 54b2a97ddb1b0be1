"""`openjepa serve RUN`: a saved agent behind a WebSocket, in the protocol of openpi's policy servers.

A client is told the metadata when it connects. It sends observations, one at a time, and is sent `{"actions": [H, A],
"server_timing": ...}`; a text frame means an error and is one line. RoboArena's `endpoint` (`infer` or `reset`) and
`session_id` are understood. Everything is msgpack (`wire.py`); nothing is unpickled. `GET /healthz` and `GET /metrics`
answer over HTTP.

What a client can do to others is bounded: frames, connections, sessions and waiting requests have largest numbers, a
session belongs to its connection, and one that does not read is cut off. Decisions are made in one thread, in the order
of the requests.
"""

import asyncio
import contextlib
import functools
import hmac
import ipaddress
import logging
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from openjepa.agent.agent import Agent
from openjepa.agent.saved import AgentCard
from openjepa.errors import ConfigError, DataError, OpenJEPAError, require
from openjepa.serve.counters import Counters
from openjepa.serve.deadline import Deadline
from openjepa.serve.sessions import Decision, Session, metadata, milliseconds
from openjepa.serve.wire import pack, unpack

LONGEST_LINE = 1000  # of an error
LOG = logging.getLogger("openjepa.serve")


@dataclass(frozen=True)
class ServerConfig:
    """Where a server listens, and its limits.

    Attributes:
        host: address. Beyond loopback it needs `beyond_loopback` and a token.
        port: 0 takes any that is free.
        beyond_loopback: whether other machines may connect.
        token: what clients must send as `Authorization: Api-Key TOKEN`; None asks for none.
        budget_ms: milliseconds from a request to its answer, which the search keeps (`deadline.py`); None lets it
            finish.
        max_frame_bytes: of a message.
        max_connections: at a time; each waits with one request at most.
        max_sessions: of one connection.
        send_seconds: after which a client that does not read is cut off.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    beyond_loopback: bool = False
    token: str | None = None
    budget_ms: float | None = None
    max_frame_bytes: int = 4 << 20
    max_connections: int = 16
    max_sessions: int = 8
    send_seconds: float = 10.0

    def __post_init__(self) -> None:
        if min(self.max_frame_bytes, self.max_connections, self.max_sessions) < 1 or self.send_seconds <= 0:
            raise ConfigError("the limits of a server must be >= 1.")
        if self.budget_ms is not None and self.budget_ms <= 0:
            raise ConfigError(f"`budget_ms` must be > 0, or None; got {self.budget_ms:g}.")
        if not 0 <= self.port < 1 << 16:
            raise ConfigError(f"`port` must lie in [0, 65535]; got {self.port}.")
        if not _is_loopback(self.host) and not (self.beyond_loopback and self.token):
            raise ConfigError(
                f"`host` must be a loopback address; got {self.host}. To let other machines in, say so with "
                "`--beyond-loopback` and give a secret with `--token-file`."
            )
        if self.token is not None and len(self.token) < 16:
            raise ConfigError("`token` must have 16 characters or more, which nobody can guess.")


class AgentServer:
    """Serves one agent until it is stopped.

    Args:
        agent: that was loaded.
        card: what is known of it.
        config: where, and the limits.

    Attributes:
        counters: what happened so far.
        port: where it listens, once `ready` is set.
        ready: set when clients may connect.
    """

    def __init__(self, agent: Agent, card: AgentCard, config: ServerConfig) -> None:
        self.agent, self.config, self.counters = agent, config, Counters()
        self.deadline = Deadline(None if config.budget_ms is None else config.budget_ms / 1e3)
        self.port = config.port
        self.ready = asyncio.Event()
        self._metadata = pack(metadata(agent, card, config.budget_ms))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decide")
        self._stop = asyncio.Event()
        self._connected = 0

    def stop(self) -> None:
        """Ends `run` after the requests that are being answered."""
        self._stop.set()

    async def run(self) -> None:
        """Listens until `stop`.

        Raises:
            ConfigError: where the address cannot be had.
        """
        websockets = _websockets()
        c = self.config
        try:
            server = await websockets.serve(
                self._serve,
                c.host,
                c.port,
                origins=[None],  # no page in a browser may drive a robot
                compression=None,
                process_request=self._answer_http,
                max_size=c.max_frame_bytes,
                max_queue=2,
                close_timeout=2,
                server_header=None,
                logger=logging.getLogger("openjepa.serve.websockets"),
            )
        except OSError as error:
            raise ConfigError(f"`{c.host}:{c.port}` must be free to listen at; {error.strerror}.") from error
        async with server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self.ready.set()
            await self._stop.wait()
        self._thread.shutdown()

    def _answer_http(self, connection: Any, request: Any) -> Any:
        """Answers what is no WebSocket, and refuses whom nobody knows or for whom there is no room."""
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if not self._is_known(request.headers.get_all("Authorization")):
            self.counters.add("refused", reason="token")
            return connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Api-Key TOKEN\n")
        if request.path == "/metrics":
            self.counters.gauges |= {"connections": self._connected, "margin_ms": 1e3 * self.deadline.margin}
            return connection.respond(HTTPStatus.OK, self.counters.text())
        if self._connected >= self.config.max_connections:
            self.counters.add("refused", reason="full")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "as many clients as may be are connected\n")
        return None

    def _is_known(self, words: list[str]) -> bool:
        if self.config.token is None:
            return True
        given = words[0].removeprefix("Bearer ").removeprefix("Api-Key ") if len(words) == 1 else ""
        return hmac.compare_digest(given.encode(), self.config.token.encode())

    async def _serve(self, connection: Any) -> None:
        """One client, from its first frame to its last."""
        closed = _websockets_closed()
        sessions: dict[str, Session] = {}
        self._connected += 1
        self.counters.add("connections")
        try:
            await self._send(connection, self._metadata)
            async for message in connection:
                began = time.monotonic()
                answer, status = await self._answer(message, sessions, began)
                self.counters.add("requests", status=status)
                self.counters.observe(milliseconds(began))
                await self._send(connection, answer)
        except TimeoutError:
            self.counters.add("cut_off")
            connection.transport.abort()
        except closed as error:
            code = error.sent.code if error.sent is not None else 0
            self.counters.add("closed", code=str(code))
        finally:
            self._connected -= 1

    async def _send(self, connection: Any, answer: bytes | str) -> None:
        async with asyncio.timeout(self.config.send_seconds):
            await connection.send(answer)

    async def _answer(
        self, message: bytes | str, sessions: dict[str, Session], began: float
    ) -> tuple[bytes | str, str]:
        """The answer to a message, and how it is counted."""
        try:
            if isinstance(message, str):
                raise DataError("a message must be a binary frame of msgpack; got text.")
            request = unpack(message)
            if not isinstance(request, dict):
                raise DataError(f"a message must be a dictionary; got a {type(request).__name__}.")
            endpoint, name = request.get("endpoint", "infer"), _session_id(request.get("session_id"))
            if endpoint not in ("infer", "reset"):
                raise DataError(f"`endpoint` must be infer or reset; got {str(endpoint)[:40]!r}.")
            if name not in sessions:
                if len(sessions) >= self.config.max_sessions:
                    raise DataError(f"a connection may have {self.config.max_sessions} sessions; this is one more.")
                sessions[name] = Session(self.agent)
            if endpoint == "reset":
                sessions[name].reset()
                return "reset successful", "reset"
            work = functools.partial(self._decide, sessions[name], request, began)
            self.deadline.wait()
            decision, started, until = await asyncio.get_running_loop().run_in_executor(self._thread, work)
            answer = pack(_reply(decision, began, started))
            if decision.cut_short:
                self.counters.add("cut_short")
                self.deadline.note(until, time.monotonic())
            return answer, "ok"
        except OpenJEPAError as error:
            return " ".join(str(error).split())[:LONGEST_LINE], "bad"
        except Exception as error:
            LOG.exception("a request failed")
            return f"the server failed: {type(error).__name__}; its log says more."[:LONGEST_LINE], "failed"

    def _decide(self, session: Session, request: dict[Any, Any], began: float) -> tuple[Decision, float, float | None]:
        """A decision, when it was begun, and when its search had to end."""
        started = time.monotonic()
        with self.deadline.search(session.planner, began) as until:
            return session.infer(request, until), started, session.planner.until


def _reply(decision: Decision, began: float, started: float) -> dict[str, Any]:
    timing = {
        "infer_ms": milliseconds(started),
        "queue_ms": (started - began) * 1e3,
        "total_ms": milliseconds(began),
        "cut_short": decision.cut_short,
    }
    return {"actions": decision.actions, "plan_cost": decision.plan_cost, "server_timing": timing}


def _session_id(value: Any) -> str:
    """The name of a session: words, a number, or RoboArena's array of one."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or isinstance(value, (str, int, float, bytes)):
        word = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if len(word) <= 200:
            return word
    raise DataError("`session_id` must be a short word or a number.")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _websockets() -> Any:
    try:
        from websockets.asyncio import server
    except ImportError as error:
        raise require("websockets", "serve", "serve an agent") from error
    return server


def _websockets_closed() -> Any:
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


def read_token(path: Path | None) -> str | None:
    """Reads a secret from a file, so that no list of processes shows it.

    Raises:
        ConfigError: where there is no such file, or nothing in it.
    """
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"`{path}` must be a file that holds the token; {error}.") from error
    if not token.isascii() or not token.isprintable() or not token:
        raise ConfigError(f"`{path}` must hold one line of printable ASCII; it does not.")
    return token


@contextmanager
def in_background(agent: Agent, card: AgentCard, config: ServerConfig) -> Iterator[AgentServer]:
    """Serves from a thread of this process until the block ends; yields the server, with its `port`.

    Raises:
        ConfigError: where the address cannot be had.
    """
    started = threading.Event()
    made: list[tuple[AgentServer, asyncio.AbstractEventLoop]] = []
    failed: list[BaseException] = []

    async def main() -> None:
        server = AgentServer(agent, card, config)
        made.append((server, asyncio.get_running_loop()))
        running = asyncio.create_task(server.run())
        waiting = asyncio.create_task(server.ready.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        started.set()
        waiting.cancel()
        await running

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=work, name="serve", daemon=True)
    thread.start()
    started.wait()
    server, loop = made[0]
    try:
        if server.ready.is_set():
            yield server
    finally:
        with contextlib.suppress(RuntimeError):  # its loop may end, of itself, at any moment
            loop.call_soon_threadsafe(server.stop)
        thread.join()
        if failed:
            raise failed[0]


def serve(agent: Agent, card: AgentCard, config: ServerConfig) -> None:
    """Serves until SIGINT or SIGTERM, and says where."""

    async def main() -> None:
        server = AgentServer(agent, card, config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        running = asyncio.create_task(server.run())
        waiting = asyncio.create_task(server.ready.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            shown = f"[{config.host}]" if ":" in config.host else config.host
            print(f"serving at ws://{shown}:{server.port} (health: /healthz, counters: /metrics)", flush=True)
        waiting.cancel()
        await running

    asyncio.run(main())
