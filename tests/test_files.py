"""One atomic writer, one lock, and JSON that says when it was changed."""

import errno
import json
import os
import subprocess
import sys

import pytest

from openjepa.errors import ConfigError, TrainingError
from openjepa.files import draft_of, lock, read_json, replace_text, replacing, sealed_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    replace_text(path, "old")
    with replacing(path) as draft:
        draft.write_text("half")
        assert path.read_text() == "old"
        draft.write_text("new")
    assert path.read_text() == "new"

    def fail(error):
        with replacing(path) as draft:
            draft.write_text("half")
            raise error

    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            fail(error)
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_disk_that_refuses_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    replace_text(path, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"a.txt cannot be written: the disk is full"):
        replace_text(path, "new")
    assert path.read_text() == "old"
    assert not draft_of(path).exists()


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"x": {"a": 1, "b": 2, "a": 3}}', '{"x": [{"a": 1, "a": 2}]}'])
def test_an_entry_that_is_there_twice_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match="it is no JSON: `a` is in it twice"):
        read_json(tmp_path / "a.json", damaged=ConfigError)


def test_one_process_holds_a_lock_and_its_death_frees_it(tmp_path):
    path, busy = tmp_path / "x.lock", ConfigError("busy")
    code = (
        "import sys, time; from pathlib import Path; from openjepa.files import lock\n"
        "held = lock(Path(sys.argv[1]), busy=ValueError()); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="busy"):
            lock(path, busy=busy)
        other.kill()
        other.wait()
    with lock(path, busy=busy), pytest.raises(ConfigError, match="busy"):
        lock(path, busy=busy)
    lock(path, busy=busy).close()


def test_a_file_system_without_locks_is_worked_on_all_the_same(tmp_path, monkeypatch):
    def no_locks(handle, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("openjepa.files.fcntl.flock", no_locks)
    lock(tmp_path / "x.lock", busy=ConfigError("busy")).close()


CONTENT = {"train": {"steps": 100, "betas": [0.9, 0.999]}, "name": "a"}


def read(path):
    return read_json(path, damaged=lambda reason: ConfigError(f"damaged: {reason}"))


def test_a_sealed_object_comes_back_and_a_change_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(sealed_json(CONTENT))
    assert read(path) == CONTENT
    assert json.loads(path.read_text()) == {**CONTENT, "crc32": json.loads(path.read_text())["crc32"]}
    text = path.read_text()
    path.write_text(text.replace("100", "108"))
    with pytest.raises(ConfigError, match=r"it was changed after it was written; .* remove its line `crc32`"):
        read(path)
    lines = text.replace("100", "108").splitlines()
    path.write_text("\n".join(line for line in lines if "crc32" not in line).replace('"a",', '"a"'))
    assert read(path)["train"]["steps"] == 108  # a change of one's own
    path.write_text(" ".join(text.split()))  # other white space is no change
    assert read(path) == CONTENT


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_json_is_damage(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match="damaged: it is no JSON"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ("null", "NoneType"), ("3", "int"), ('"a"', "str")])
def test_what_is_no_object_is_damage(tmp_path, text, kind):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=f"damaged: it must hold a JSON object; it holds a {kind}"):
        read(tmp_path / "a.json")


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.json")
