"""Keyword options of an environment, `--env.NAME VALUE`: nobody but the environment knows their names and types."""

import json
import re
from collections.abc import Sequence
from typing import Any

from openjepa.errors import ConfigError

PREFIX = "--env."
HELP = (
    "`--env.NAME VALUE` hands an option of its own to the environment, as often as you like: a number, true or false, "
    "null, JSON such as '[1, 2]' or '{\"distance\": 2}', or else text, as in `--env.layout random`."
)


def split_env_options(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Takes the options of an environment out of the words of a command.

    Args:
        words: what the user typed behind the command.

    Returns:
        the other words, and the options by name.

    Raises:
        ConfigError: for an option without a value or a proper name, or one that is given twice.

    >>> split_env_options(["CartPole-v1", "--env.sutton-barto-reward", "true", "--seed", "1", "--env.size=3"])
    (['CartPole-v1', '--seed', '1'], {'sutton_barto_reward': True, 'size': 3})
    """
    others: list[str] = []
    options: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith(PREFIX):
            others.append(word)
            continue
        written, equals, text = word.partition("=")
        name = written.removeprefix(PREFIX).replace("-", "_")
        if not name.isidentifier():
            raise ConfigError(f"`{written}` must be `--env.NAME` with one plain name. Write nested values as JSON.")
        if not equals:
            if not left or left[0].startswith("--"):
                raise ConfigError(f"`{written}` needs a value, as in `{written} true`.")
            text = left.pop(0)
        if name in options:
            raise ConfigError(f"`{written}` must be given once; got it twice.")
        options[name] = literal(text)
    return others, options


def literal(text: str) -> Any:
    """The value that a word stands for: a number, true or false, null, JSON, else the text itself.

    >>> [literal(text) for text in ("3", "-1e-3", ".5", "true", "False", "null", "[1, 2]", "dense", '"3"')]
    [3, -0.001, 0.5, True, False, None, [1, 2], 'dense', '3']
    """
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)  # JSON knows neither `.5` nor `2.`
    words: dict[str, bool | None] = {"true": True, "false": False, "none": None}
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return words.get(text.lower(), text)


def _refuse(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity are no JSON, although Python reads them
