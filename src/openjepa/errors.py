"""Errors that name the cause and the remedy in one line, and the checks that raise them.

The form is: *`name` must <rule>; got <value>. <Remedy>.*
"""

import difflib
import heapq
from collections.abc import Iterable, Mapping
from typing import Any

SHOWN = 120  # characters of names that a message lists
LONGEST_WORD = 200  # characters that are compared with known names
COMPARED = 1000  # names that are compared with a word


class OpenJEPAError(Exception):
    """Base of every error that a user can act on; the command line prints it as one line, status 2."""


class ConfigError(OpenJEPAError, ValueError):
    """An option, recipe or name that does not exist or is out of range."""


class ShapeError(OpenJEPAError, ValueError):
    """A tensor whose shape breaks the contract of `protocols.py`."""


class CheckpointError(OpenJEPAError):
    """A checkpoint that is missing, damaged, or of another model."""


class DataError(OpenJEPAError):
    """A file, store or episode that cannot be used."""


class TrainingError(OpenJEPAError):
    """A run that must not go on: a non-finite loss, a spike, a full disk."""


class MissingDependencyError(OpenJEPAError, ImportError):
    """An optional package that is not installed; the message says how to install it."""


def brief(text: object, length: int = 80) -> str:
    """Returns a text as one line of at most `length` characters, for a message; of a long one, both ends.

    >>> brief("folder/of/a/long/name.png", 17)
    'folder/...ame.png'
    """
    line = " ".join(str(text).split())
    if len(line) <= length:
        return line
    kept = length - 3
    return f"{line[: kept // 2]}...{line[len(line) - (kept - kept // 2) :]}"


def listing(names: Iterable[object], *, empty: str = "nothing") -> str:
    """Returns names for a message: all of a few, else the first ones and how many more there are.

    >>> listing(f"blocks.{i}.weight" for i in range(200))
    'blocks.0.weight, blocks.1.weight, blocks.2.weight, blocks.3.weight and 196 more'
    """
    words = [brief(name, 40) for name in names]
    if sum(map(len, words)) <= SHOWN:
        return ", ".join(words) or empty
    first = words[:4]
    while len(first) > 1 and sum(map(len, first)) > SHOWN:
        first.pop()
    return f"{', '.join(first)} and {len(words) - len(first)} more"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is most like `word`, or None where none is.

    >>> nearest("tran", ["train", "eval"])
    'train'
    """
    near = difflib.get_close_matches(word[:LONGEST_WORD], list(known), n=1, cutoff=0.5)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns "; did you mean `x`?" for the known name nearest to `word`, else a full stop.

    >>> did_you_mean("tran", ["train", "eval"])
    '; did you mean `train`?'
    """
    near = nearest(word, known)
    return f"; did you mean `{brief(near)}`?" if near else "."


def unknown(kind: str, word: str, known: Iterable[str], *, command: str | None = None) -> ConfigError:
    """Builds the error for a name that is not in a table: what must have been meant, else the nearest names.

    Args:
        kind: what the name is of.
        word: what was given.
        known: the names of the table.
        command: a command that prints the table.

    >>> str(unknown("recipe", "lwm", ["lewm", "pldm"]))
    'unknown recipe `lwm`; did you mean `lewm`?'
    >>> str(unknown("fruit", "fig", ["kiwi", "lemon"]))
    'unknown fruit `fig`. Known: kiwi, lemon.'
    """
    names, asked = sorted(set(known)), word[:LONGEST_WORD]
    around = names
    if len(names) > COMPARED:  # of a million files, those are compared that share most with the word
        threes = {asked[i : i + 3] for i in range(max(len(asked) - 2, 1))}
        around = heapq.nlargest(COMPARED, names, lambda name: sum(three in name for three in threes))
    if clear := difflib.get_close_matches(asked, around, n=1, cutoff=0.75):
        return ConfigError(f"unknown {kind} `{brief(word)}`; did you mean `{brief(clear[0])}`?")
    if sum(map(len, names)) <= SHOWN:
        return ConfigError(f"unknown {kind} `{brief(word)}`. Known: {', '.join(names) or 'none'}.")
    near = ", ".join(f"`{brief(name, 40)}`" for name in difflib.get_close_matches(asked, around, n=3, cutoff=0.0))
    rest = f" `{command}` shows all {len(names)}." if command else f" There are {len(names)}."
    return ConfigError(f"unknown {kind} `{brief(word)}`; the nearest are {near}.{rest}")


def require(package: str, extra: str, reason: str) -> MissingDependencyError:
    """Builds the error for an optional package that is missing.

    >>> str(require("av", "video", "read videos"))
    "`av` is needed to read videos. Install it with: pip install 'openjepa[video]'"
    """
    return MissingDependencyError(
        f"`{package}` is needed to {reason}. Install it with: pip install 'openjepa[{extra}]'"
    )


def check_shape(x: Any, pattern: str, *, name: str, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Checks a shape against a pattern like `"B C=3 H W"` and returns the sizes by letter.

    A leading `...` admits any number of leading axes. A letter that occurs twice, or that `sizes` gives,
    must agree. Works for anything with a `.shape`.

    Raises:
        ShapeError: with the rule, the shape found and the axis that breaks it.

    >>> import numpy as np
    >>> check_shape(np.zeros((2, 3, 8, 8)), "B C=3 H W", name="images")
    {'B': 2, 'C': 3, 'H': 8, 'W': 8}
    """
    shape = tuple(x.shape)  # plain or symbolic numbers: an exporter may be looking
    axes = pattern.split()
    if axes and axes[0] == "...":
        axes = axes[1:]
        tail = shape[len(shape) - len(axes) :] if len(shape) >= len(axes) else ()
    else:
        tail = shape
    if len(tail) != len(axes):
        raise ShapeError(f"`{name}` must be [{pattern}]; got {list(shape)}.")
    found: dict[str, int] = dict(sizes or {})
    for axis, size in zip(axes, tail, strict=True):
        letter, _, wanted = axis.partition("=")
        if letter.isdigit():
            letter, wanted = axis, axis
        expected = int(wanted) if wanted else found.get(letter)
        if expected is not None and size != expected:
            raise ShapeError(
                f"`{name}` must be [{pattern}] with {letter} = {expected}; got {list(shape)}, {letter} = {size}."
            )
        found[letter] = size
    return found
