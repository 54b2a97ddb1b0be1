"""Options typed by frozen dataclasses, with errors of one line that name the nearest option."""

import contextlib
import dataclasses
import io
import math
import typing
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import tyro

from openjepa.command_line.rewording import one_line
from openjepa.config import field_types
from openjepa.errors import ConfigError, brief, nearest

T = TypeVar("T")

FLAT = "flat"  # metadata of a field whose own fields are options without a prefix
MARKS = (tyro.conf.PositionalMetavarFromFieldName,)
POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]


def parse(kind: type[T], words: Sequence[str], *, program: str, summary: str) -> T:
    """Turns the words behind a command into a dataclass; prints help and exits for `--help`.

    Args:
        kind: a dataclass; each field is an option, `tyro.conf.Positional` fields are words without a name.
        words: what the user typed behind the command.
        program: how the command is called, for the help text.
        summary: what the command does, for the help text.

    Raises:
        ConfigError: for an unknown option, a missing or a wrong value.
    """
    known = option_types(kind)
    words = _spell_out_booleans(words, known)
    _refuse_unknown(words, known)
    _refuse_not_finite(words, known)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=program, description=summary, args=words, config=MARKS)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(one_line(said.getvalue(), words, program)) from None


def with_config(name: str, fields: Sequence[tuple[str, Any, Any]], config: Any) -> type:
    """Makes a dataclass of a command's own fields and, without a prefix, all options of a recipe's config.

    Args:
        name: of the new class.
        fields: (name, type, default) of each own field; a default of `...` makes it required.
        config: an instance of a frozen dataclass: its values are the defaults.
    """
    own = [
        (key, kind) if default is ... else (key, kind, dataclasses.field(default=default))
        for key, kind, default in fields
    ]
    nested: Any = Annotated[type(config), tyro.conf.arg(name="")]
    flat = ("config", nested, dataclasses.field(default=config, metadata={FLAT: True}))
    return dataclasses.make_dataclass(name, [*own, flat], frozen=True)


def option_types(kind: type, prefix: str = "") -> dict[str, Any]:
    """Returns the type of every option by its dotted name, as in `{"train.steps": int}`."""
    found: dict[str, Any] = {}
    annotated = typing.get_type_hints(kind, include_extras=True)
    types = field_types(kind)
    for field in dataclasses.fields(kind):
        inner = types[field.name]
        if _is_positional(annotated[field.name]):
            continue
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            found.update(option_types(inner, prefix if field.metadata.get(FLAT) else f"{prefix}{field.name}."))
        else:
            found[f"{prefix}{field.name}"] = inner
    return found


def option_words(kind: type) -> list[str]:
    """Returns every option as it is written: `["--train.log-every", ...]`."""
    return [f"--{_hyphens(name)}" for name in option_types(kind)]


def _is_positional(hint: Any) -> bool:
    return POSITIONAL in getattr(hint, "__metadata__", ())


def _spell_out_booleans(words: Sequence[str], known: dict[str, Any]) -> list[str]:
    """Lets `--flag True` and `--flag False` mean `--flag` and `--no-flag`."""
    out: list[str] = []
    for word in words:
        name = _name(out[-1]) if out else None
        if name and known.get(name) is bool and word.lower() in ("true", "false") and "=" not in out[-1]:
            if word.lower() == "false":
                head, _, tail = out[-1].removeprefix("--").rpartition(".")
                out[-1] = f"--{head}{'.' if head else ''}no-{tail}"
        else:
            out.append(word)
    return out


def _refuse_unknown(words: Sequence[str], known: dict[str, Any]) -> None:
    for word in words:
        if word == "--":  # what follows are words, whatever they begin with
            return
        name = _name(word)
        if name is None or name in known or name == "help":
            continue
        head, _, tail = name.rpartition(".")
        positive = f"{head}.{tail[3:]}" if head else tail[3:]
        if tail.startswith("no_") and known.get(positive) is bool:
            continue
        near = nearest(name, known)
        if near and "_" not in word:  # in the user's own style
            near = _hyphens(near)
        hint = f"; did you mean `--{near}`?" if near else "."
        raise ConfigError(f"unknown option `{brief(word.split('=')[0])}`{hint}")


def _refuse_not_finite(words: Sequence[str], known: dict[str, Any]) -> None:
    """Refuses NaN and infinity, which pass every check of a range that asks what a number must not be."""
    option = ""
    for word in words:
        if word == "--":
            return
        if _name(word) is not None:
            option, _, word = word.partition("=")
        if _takes_float(known.get(_name(option) or "")) and _is_endless(word):
            raise ConfigError(f"`{option}` must be a finite number; got `{word}`.")


def _is_endless(word: str) -> bool:
    try:
        return not math.isfinite(float(word))
    except ValueError:
        return False


def _takes_float(kind: Any) -> bool:
    return kind is float or any(map(_takes_float, typing.get_args(kind)))


def _name(word: str) -> str | None:
    """The dotted name in an option, or None for a value."""
    if not word.startswith("--") or len(word) == 2:
        return None
    return word[2:].split("=")[0].replace("-", "_")


def _hyphens(name: str) -> str:
    return name.replace("_", "-")
