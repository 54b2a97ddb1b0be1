"""`--engine ray` on the command line: what is refused, and with which words."""

import sys

import pytest

from openjepa import cli


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").touch()
    return tmp_path


def fails(capsys, *words):
    assert cli.main([str(word) for word in words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize("command", ["embed", "probe"])
def test_options_of_a_cluster_need_the_engine(capsys, folder, command):
    said = fails(capsys, command, folder, "--model", "no-such-model", "--workers", 2)
    assert said == "openjepa: options of a cluster need `--engine ray`; got engine process. Add it."


@pytest.mark.parametrize("command", ["embed", "probe"])
def test_ray_that_is_missing_is_noticed_before_a_model_is_loaded(capsys, folder, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = fails(capsys, command, folder, "--model", "no-such-model", "--engine", "ray")
    assert said == ("openjepa: `ray` is needed to embed on a cluster. Install it with: pip install 'openjepa[ray]'")


def test_sizes_of_workers_are_checked(capsys, folder, monkeypatch):
    said = fails(capsys, "embed", folder, "--model", "no-such-model", "--engine", "ray", "--cpus-per-worker", 0)
    assert "must be >= 1" in said
