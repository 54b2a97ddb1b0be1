"""Frozen dataclasses as configuration: strict overrides, and plain JSON in both directions."""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from openjepa.errors import ConfigError, brief, did_you_mean
from openjepa.files import replace_text, sealed_json

T = TypeVar("T")


def field_types(cls: type) -> dict[str, Any]:
    """Returns the resolved type of every field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def option_names(config: Any, prefix: str = "") -> list[str]:
    """Returns every dotted option of a config: `["train.steps", ...]`, leaves only."""
    names = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        path = f"{prefix}{f.name}"
        names += option_names(value, f"{path}.") if dataclasses.is_dataclass(value) else [path]
    return names


def override(config: T, values: Mapping[str, Any]) -> T:
    """Returns a copy of a frozen config with dotted fields replaced.

    Args:
        config: a frozen dataclass, possibly nested.
        values: dotted path to value, e.g. `{"train.steps": 100}`. Strings are not parsed; the command line does that.

    Raises:
        ConfigError: for a path that does not exist, with the nearest one.
    """
    known = option_names(config)
    for path, value in values.items():
        if path not in known:
            raise ConfigError(f"unknown option `--{path}`{did_you_mean(path, known)}")
        config = _replace(config, path.split("."), value)
    return config


def alike(kind: type[T], source: Any, **others: Any) -> T:
    """Returns a config of a kind whose fields have the values that another one holds under the same names.

    Args:
        kind: what is made.
        source: a dataclass; fields that `kind` does not have are passed over.
        others: fields by name, whatever `source` says of them.
    """
    known = {f.name for f in dataclasses.fields(kind)} & {f.name for f in dataclasses.fields(source)}  # type: ignore[arg-type]
    return kind(**({name: getattr(source, name) for name in known} | others))


def _replace(config: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return dataclasses.replace(config, **{head: _replace(getattr(config, head), rest, value) if rest else value})


def check_counts(config: Any, *names: str) -> None:
    """Checks that fields of a config are whole numbers from 1; call it in `__post_init__`.

    Raises:
        ConfigError: naming the first that is not.
    """
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"`{name}` must be a whole number from 1; got {value}.")


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config as plain values that JSON can hold."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def from_dict(cls: type[T], values: Mapping[str, Any] | None) -> T:
    """Rebuilds a config from `to_dict`; a missing key takes its default, an unknown one is an error.

    Raises:
        ConfigError: for a key that `cls` does not have, a value of another type, or one its validation refuses.
    """
    kinds = field_types(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"the options of {cls.__name__} must be names with values; got {brief(repr(values))}.")
    for key in values:
        if key not in kinds:
            raise ConfigError(f"unknown option `{brief(key)}` of {cls.__name__}{did_you_mean(key, kinds)}")
    typed = {key: _typed(kinds[key], value, f"`{key}` of {cls.__name__}") for key, value in values.items()}
    try:
        return cls(**typed)
    except TypeError as error:  # a value is missing, or of a kind that the validation cannot compare
        raise ConfigError(f"the options of {cls.__name__} do not fit ({brief(error)}).") from error


def _typed(kind: Any, value: Any, name: str) -> Any:
    """A plain value as the type of its field.

    Raises:
        ConfigError: for a value of another type.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None and types.NoneType in args else _any_of(args, value, name)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return from_dict(kind, value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = args[:1] * len(value) if args[-1] is ... else args
        if len(inner) == len(value):
            return tuple(_typed(k, v, name) for k, v in zip(inner, value, strict=True))
    elif _fits(kind, value):
        return value
    word = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    raise ConfigError(f"{name} must be {word}; got {brief(repr(value))}.")


def _any_of(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    *others, last = [kind for kind in kinds if kind is not types.NoneType]
    for kind in others:
        with contextlib.suppress(ConfigError):
            return _typed(kind, value, name)
    return _typed(last, value, name)


def _fits(kind: Any, value: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, bool, str):
        return type(value) is kind
    own = typing.get_origin(kind) or kind
    return not isinstance(own, type) or isinstance(value, own)


def save_json(config: Any, path: Path) -> None:
    """Writes a config as readable JSON with a checksum, in one atomic step."""
    replace_text(path, sealed_json(to_dict(config)))
