"""A client of thirty lines; openpi's own fits as well."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from openjepa.errors import DataError, require
from openjepa.serve.wire import pack, unpack


class Client:
    """Asks a policy server for actions; close it with `with`.

    Args:
        uri: such as `ws://127.0.0.1:8000`.
        token: where the server wants one.

    Attributes:
        metadata: what the server told.
    """

    def __init__(self, uri: str, token: str | None = None) -> None:
        try:
            from websockets.sync.client import connect
        except ImportError as error:
            raise require("websockets", "serve", "talk to a server") from error
        headers = None if token is None else {"Authorization": f"Api-Key {token}"}
        with ExitStack() as stack:
            connecting = connect(uri, compression=None, additional_headers=headers, max_size=None)
            self._connection = stack.enter_context(connecting)
            self.metadata: dict[str, Any] = unpack(self._connection.recv(decode=False))
            self._stack = stack.pop_all()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def infer(self, observation: Mapping[str, Any], session_id: str = "") -> dict[str, Any]:
        """Sends an observation; returns `actions` [H, A], `plan_cost` and `server_timing`.

        Raises:
            DataError: with the words of the server, where it refuses.
        """
        self._connection.send(pack({**observation, "endpoint": "infer", "session_id": session_id}))
        answer = self._connection.recv()
        if isinstance(answer, str):
            raise DataError(f"the server refuses: {answer}")
        return unpack(answer)

    def reset(self, session_id: str = "") -> None:
        """Ends the episode of a session."""
        self._connection.send(pack({"endpoint": "reset", "session_id": session_id}))
        self._connection.recv()
