"""A language model behind an OpenAI-compatible endpoint: one request, one reply, and what it cost.

`POST {url}/chat/completions` is understood by hosted services and by local servers (llama.cpp, vLLM, Ollama) alike. The
standard library is enough for that.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from openjepa.errors import ConfigError, DataError, brief

LARGEST = 4 << 20  # bytes of a reply
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BUSY = (408, 429, 500, 502, 503, 504)  # worth another try


class TooSlow(Exception):
    """No whole reply came in time."""


@dataclass(frozen=True)
class EndpointConfig:
    """Where a language model answers.

    Attributes:
        url: base address, such as `http://127.0.0.1:8080/v1`.
        model: name, as the endpoint knows it.
        key: secret that is sent as `Authorization: Bearer KEY`, or None.
        timeout: seconds of one request, until the last byte.
        tries: of a request that the endpoint is too busy for, >= 1.
        max_tokens: of one reply.
        temperature: 0 is the most likely reply.
        prompt_price: of a million tokens of input, in any currency.
        completion_price: of a million tokens of output.
    """

    url: str
    model: str = "default"
    key: str | None = None
    timeout: float = 60.0
    tries: int = 3
    max_tokens: int = 512
    temperature: float = 0.0
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"the address of a language model must be like http://127.0.0.1:8080/v1; got {brief(self.url)}."
            )
        if self.timeout <= 0 or self.tries < 1 or self.max_tokens < 1 or self.temperature < 0:
            raise ConfigError("`timeout`, `tries` and `max_tokens` must be above 0, `temperature` 0 or more.")
        if min(self.prompt_price, self.completion_price) < 0:
            raise ConfigError("prices must be 0 or more.")


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants to use: `arguments` is the JSON that it wrote, which may be none."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: of the message.
        calls: of tools.
        refusal: whether the model or its filter declined.
        prompt_tokens: read.
        completion_tokens: written.
        seconds: from request to reply.
    """

    text: str
    calls: tuple[ToolCall, ...]
    refusal: bool
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class ChatEndpoint:
    """Asks a language model.

    Args:
        config: where it is.
    """

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        self._address = config.url.rstrip("/") + "/chat/completions"
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if urlsplit(config.url).hostname in LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> Reply:
        """Sends a conversation and returns the reply.

        Args:
            messages: in the form of the chat completions API.
            tools: likewise.

        Raises:
            TooSlow: where no whole reply came in time.
            DataError: for an endpoint that is down, refuses the request, or speaks another language.
        """
        c = self.config
        body: dict[str, Any] = {
            "model": c.model,
            "messages": list(messages),
            "max_tokens": c.max_tokens,
            "temperature": c.temperature,
        }
        if tools:
            body["tools"] = list(tools)
        start = time.monotonic()
        content = self._send(json.dumps(body).encode())
        return _read(content, time.monotonic() - start, self._address)

    def _send(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.config.key is not None:
            headers["Authorization"] = f"Bearer {self.config.key}"
        request = urllib.request.Request(self._address, body, headers, method="POST")
        until = time.monotonic() + self.config.timeout
        for left in reversed(range(self.config.tries)):
            try:
                with self._opener.open(request, timeout=max(until - time.monotonic(), 0.001)) as response:
                    return _drain(response, until)
            except urllib.error.HTTPError as error:
                wait = min(2.0 ** (self.config.tries - left - 1), 8.0) / 4
                if error.code not in BUSY or left == 0 or time.monotonic() + wait > until:
                    raise self._refused(error) from error
                error.close()
                time.sleep(wait)
            except TimeoutError as error:
                raise TooSlow(str(error)) from error
            except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                if isinstance(reason, TimeoutError):
                    raise TooSlow(str(reason)) from error
                raise DataError(
                    f"the language model must answer at {self._address}; it cannot be reached ({brief(reason)}). Start "
                    "it, or check the address."
                ) from error
        raise AssertionError

    def _refused(self, error: urllib.error.HTTPError) -> DataError:
        remedy = {401: "Give its key.", 403: "Give its key.", 404: "Check address and model."}.get(error.code, "")
        with error:
            said = brief(error.read(2000).decode("utf-8", "replace"), 160)
        return DataError(f"the language model at {self._address} refuses: HTTP {error.code} {said}. {remedy}".rstrip())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follows none."""


def _drain(response: Any, until: float) -> bytes:
    """All of a reply, which may come slowly, but not for ever."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise DataError(f"a reply of the language model must have at most {LARGEST} bytes; it has more.")
        if time.monotonic() > until:
            raise TooSlow("the reply drips")
    return b"".join(parts)


def _read(content: bytes, seconds: float, address: str) -> Reply:
    try:
        found = json.loads(content)
        choice = found["choices"][0]
        message = choice["message"]
        usage = found.get("usage") or {}
        calls = tuple(
            ToolCall(str(call.get("id", number)), str(call["function"]["name"]), _text(call["function"]["arguments"]))
            for number, call in enumerate(message.get("tool_calls") or ())
        )
        return Reply(
            _said(message.get("content")),
            calls,
            bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter",
            int(usage.get("prompt_tokens", 0)),
            int(usage.get("completion_tokens", 0)),
            seconds,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        got = brief(content[:200].decode("utf-8", "replace"))
        raise DataError(
            f"{address} must answer like OpenAI's chat completions; got {got} ({type(error).__name__}). Check the "
            "address: it usually ends in /v1."
        ) from error


def _said(content: Any) -> str:
    """The text of a message: a string, nothing, or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
