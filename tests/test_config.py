"""Frozen dataclasses to plain values and back, strictly."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openjepa.config import from_dict, save_json, to_dict
from openjepa.errors import ConfigError
from openjepa.files import read_json


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError("`rate` must be >= 0.")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    count: int | None = None
    folder: Path = Path("x")
    verbose: bool = False


FULL = Outer("a", Inner((3,), 2.0), 4, Path("y/z"), True)


def test_a_config_comes_back(tmp_path):
    assert from_dict(Outer, to_dict(FULL)) == FULL
    save_json(FULL, tmp_path / "c.json")
    saved = read_json(tmp_path / "c.json", damaged=ConfigError)
    assert from_dict(Outer, saved) == FULL
    assert from_dict(Outer, {"name": "a", "inner": {"rate": 1}}) == Outer("a", Inner(rate=1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "the options of Outer must be names with values; got None"),
        ([1], r"the options of Outer must be names with values; got \[1\]"),
        ({"nam": "a"}, "unknown option `nam` of Outer; did you mean `name`"),
        ({}, "the options of Outer do not fit .*name"),
        ({"name": 3}, "`name` of Outer must be str; got 3"),
        ({"name": "a", "count": "4"}, r"`count` of Outer must be int; got '4'"),
        ({"name": "a", "verbose": "no"}, "`verbose` of Outer must be bool; got 'no'"),
        ({"name": "a", "folder": 3}, "`folder` of Outer must be Path; got 3"),
        ({"name": "a", "inner": 3}, "`inner` of Outer must be Inner; got 3"),
        ({"name": "a", "inner": {"sizes": 3}}, "`sizes` of Inner must be tuple.*; got 3"),
        ({"name": "a", "inner": {"sizes": ["3"]}}, r"`sizes` of Inner must be int; got '3'"),
        ({"name": "a", "inner": {"rate": "1"}}, "`rate` of Inner must be float; got '1'"),
        ({"name": "a", "inner": {"rate": -1}}, "`rate` must be >= 0"),
    ],
)
def test_values_of_another_kind_are_refused_by_name(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, values)


def test_a_changed_file_is_refused(tmp_path):
    file = tmp_path / "c.json"
    save_json(FULL, file)
    file.write_text(file.read_text().replace("2.0", "3.0"))
    with pytest.raises(ConfigError, match=r"c.json is damaged \(it was changed after it was written"):
        read_json(file, damaged=lambda reason: ConfigError(f"{file} is damaged ({reason})."))
