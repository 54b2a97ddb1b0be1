"""A tenth of `benchmarks/fuzz.py`: whatever is damaged is read rightly or refused, and nothing is lost."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]


@pytest.mark.parametrize(
    ("kind", "counts"), [("media", (100, 0, 0)), ("stores", (0, 50, 0)), ("runs", (0, 0, 50))], ids=lambda x: str(x)
)
def test_nothing_crashes_changes_in_silence_or_is_lost(fuzz, kind, counts):
    tally = fuzz.fuzz(*counts, seed=20)
    assert (tally.crashes, tally.silent_changes, tally.lost_episodes) == (0, 0, 0), "\n".join(tally.lines)
    assert tally.tried == sum(counts)
    assert tally.refusals > tally.tried / 4  # most damage is noticed


def test_a_reader_that_verifies_nothing_is_found_out(fuzz, monkeypatch):
    """The test of the test."""
    from openjepa.data import EpisodeStore

    monkeypatch.setattr(EpisodeStore, "verify", lambda store, name, episodes: None)
    assert fuzz.fuzz(0, 15, 0, seed=20).silent_changes > 0
