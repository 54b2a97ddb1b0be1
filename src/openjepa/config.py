"""Frozen dataclasses as configuration: strict overrides, and plain JSON in both directions."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from openjepa.errors import ConfigError, did_you_mean

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


def _replace(config: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return dataclasses.replace(config, **{head: _replace(getattr(config, head), rest, value) if rest else value})


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
        ConfigError: for a key that `cls` does not have, or a value its validation refuses.
    """
    kinds = field_types(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"the options of {cls.__name__} must be names with values; got {values!r}.")
    for key in values:
        if key not in kinds:
            raise ConfigError(f"unknown option `{key}` of {cls.__name__}{did_you_mean(key, kinds)}")
    typed = {}
    for key, value in values.items():
        try:
            typed[key] = _typed(kinds[key], value)
        except TypeError as error:
            kind = getattr(kinds[key], "__name__", str(kinds[key]))
            raise ConfigError(f"`{key}` of {cls.__name__} must be {kind}; got {value!r}.") from error
    try:
        return cls(**typed)
    except TypeError as error:  # a value is missing, or of a kind that the validation cannot compare
        raise ConfigError(f"the options of {cls.__name__} do not fit ({error}).") from error


def _typed(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _typed(next(k for k in typing.get_args(kind) if k is not type(None)), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_dict(kind, value)
    if origin is tuple or kind is tuple:
        args = typing.get_args(kind)
        inner = args[0] if args else Any
        return tuple(_typed(inner, v) for v in value)
    if kind is Path:
        return Path(value)
    if kind in (bool, int, float, str) and not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(type(value).__name__)
    return value


def save_json(config: Any, path: Path) -> None:
    """Writes a config as readable JSON."""
    path.write_text(json.dumps(to_dict(config), indent=2) + "\n")


def load_json(cls: type[T], path: Path) -> T:
    """Reads what `save_json` wrote."""
    return from_dict(cls, json.loads(path.read_text()))
