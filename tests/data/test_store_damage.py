"""What happens to a store outside: nothing is lost in silence, and what is whole comes back."""

import json
import os
import shutil
import zlib

import numpy as np
import pytest

from openjepa.data import EpisodeStore, WindowConfig, WindowSource, check, describe, repair, store_repair, store_writer
from openjepa.envs import collect, make_policy, make_world
from openjepa.errors import DataError
from openjepa.protocols import Episode

COUNT = 12
FRAME = 3 * 4 * 4  # bytes


def make_episode(number):
    rng = np.random.default_rng(number)
    steps = 3 + number % 4
    return Episode(
        frames=rng.integers(0, 256, (steps + 1, 3, 4, 4), dtype=np.uint8),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        states=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        info={"seed": number},
    )


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A sound store, to be copied."""
    path = tmp_path_factory.mktemp("whole") / "s"
    with EpisodeStore.create(path, sync_seconds=1e9) as store:
        for i in range(COUNT):
            store.append(make_episode(i))
    return path


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "s")


def files_of(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def edit(file, change):
    file.write_bytes(change(file.read_bytes()))


def keep_lines(count):
    return lambda data: b"".join(data.splitlines(keepends=True)[:count])


def drop_line(number):
    return lambda data: b"".join(line for i, line in enumerate(data.splitlines(keepends=True)) if i != number)


def flip(position):
    return lambda data: data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def assert_holds(path, numbers):
    store = EpisodeStore.open(path)
    assert [store.record(i).info["seed"] for i in range(len(store))] == list(numbers)
    for i, number in enumerate(numbers):
        found, wanted = store.episode(i), make_episode(number)
        np.testing.assert_array_equal(found.frames, wanted.frames)
        np.testing.assert_array_equal(found.actions, wanted.actions)
        np.testing.assert_array_equal(found.states, wanted.states)
    assert check(path).is_sound
    assert check(path).torn_bytes == 0


def assert_refused(path, message):
    """Nobody reads or writes, and nothing is cut."""
    before = files_of(path)
    for opening in (EpisodeStore.open, EpisodeStore.resume, check, describe):
        with pytest.raises(DataError, match=message) as caught:
            opening(path)
        assert "openjepa data repair" in str(caught.value)
    assert {**files_of(path), ".lock": b""} == {**before, ".lock": b""}


LISTS = [
    ("index.jsonl", keep_lines(4), r"index.jsonl` ends early: it names 4 of 12 episodes"),
    ("index.jsonl", keep_lines(0), r"ends early: it names 0 of 12 episodes"),
    ("index.jsonl", lambda data: data[: len(data) // 2], r"ends early: it names \d of 12 episodes"),
    ("index.jsonl", lambda data: bytes(len(data)), r"ends early: it names 0 of 12 episodes"),
    ("index.jsonl", flip(150), r"line 2 of .*index.jsonl` is damaged"),
    ("index.jsonl", drop_line(3), r"line 4 of .*index.jsonl` is damaged"),
    ("index.jsonl", lambda data: data + data[-100:], r"line 13 of .*index.jsonl` is damaged"),
    ("index.jsonl", lambda data: data + keep_lines(1)(data), r"line 13 of .*index.jsonl` is damaged"),
    ("index.jsonl", lambda data: b"\x89HDF\r\n\x1a\n\xff", r"line 1 of .*index.jsonl` is damaged"),
    ("index.jsonl", None, r"has no index.jsonl, so its episodes cannot be found"),
    ("journal.jsonl", flip(4), r"journal.jsonl` does not begin with the columns of the header"),
    ("journal.jsonl", flip(400), r"index.jsonl` and .*journal.jsonl` do not agree"),
    ("journal.jsonl", lambda data: data + data[-100:], r"line 14 of .*journal.jsonl` is damaged"),
    ("store.json", lambda data: data.replace(b'"|u1"', b'"|i1"'), r"does not begin with the columns of the header"),
    ("store.json", lambda data: b"", r"store.json` is damaged or not the header"),
    ("store.json", lambda data: b"\xff\x00", r"store.json` is damaged or not the header"),
    ("store.json", None, r"it has no store.json"),
]


@pytest.mark.parametrize(("name", "change", "message"), LISTS)
def test_damaged_lists_are_refused_and_brought_back_whole(path, whole, name, change, message):
    if change is None:
        (path / name).unlink()
    else:
        edit(path / name, change)
    if name == "store.json" and change is None:  # nothing can be created over it either
        with pytest.raises(DataError, match="something else is there"):
            EpisodeStore.create(path)
        with pytest.raises(DataError, match=message):
            EpisodeStore.resume(path)
    else:
        assert_refused(path, message)
    assert repair(path) == COUNT
    assert files_of(path) == files_of(whole)
    assert [p.name for p in path.parent.iterdir()] == ["s"]  # nothing had to be put aside
    assert_holds(path, range(COUNT))


@pytest.mark.parametrize("cut", [1, 30])
def test_a_last_line_that_is_lost_is_completed(path, whole, cut):
    edit(path / "index.jsonl", lambda data: data[:-cut])
    assert len(EpisodeStore.open(path)) == COUNT
    assert "the last of them not in the index yet" in str(check(path))
    EpisodeStore.resume(path).close()
    assert files_of(path) == files_of(whole)


@pytest.mark.parametrize("change", [keep_lines(0), keep_lines(5), None, lambda data: data[:-7]])
def test_a_journal_that_is_lost_or_short_is_completed(path, whole, change):
    edit(path / "journal.jsonl", change) if change else (path / "journal.jsonl").unlink()
    assert len(EpisodeStore.open(path)) == COUNT
    EpisodeStore.resume(path).close()
    assert files_of(path) == files_of(whole)


def test_lists_that_lost_different_lines_complete_each_other(path, whole):
    edit(path / "index.jsonl", drop_line(2))
    edit(path / "index.jsonl", keep_lines(8))
    edit(path / "journal.jsonl", drop_line(5))
    assert repair(path) == COUNT
    assert files_of(path) == files_of(whole)


@pytest.mark.parametrize("lost", [[0], [4], [4, 5], [1, 7], [0, 1, 2, 10]])
def test_an_episode_that_both_lists_have_lost_does_not_take_others_with_it(path, lost):
    for number in reversed(lost):
        edit(path / "index.jsonl", drop_line(number))
        edit(path / "journal.jsonl", drop_line(number + 1))
    assert repair(path) == COUNT - len(lost)
    assert_holds(path, [i for i in range(COUNT) if i not in lost])
    assert (path.parent / "s.damaged" / "frames.bin").stat().st_size > (path / "frames.bin").stat().st_size


def test_doubled_lines_count_once(path):
    """The journal is gone, and a block of the index stands there twice."""
    (path / "journal.jsonl").unlink()
    lines = (path / "index.jsonl").read_bytes().splitlines(keepends=True)
    (path / "index.jsonl").write_bytes(b"".join(lines[:6] + lines[2:]))
    assert repair(path) == COUNT
    assert_holds(path, range(COUNT))


def test_rows_without_any_line_are_never_cut(path):
    for name, lines in (("index.jsonl", 4), ("journal.jsonl", 5)):
        edit(path / name, keep_lines(lines))
    before = files_of(path)
    assert_refused(path, r"bytes that belong to no episode")
    said = []
    assert repair(path, say=said.append) == 4
    assert_holds(path, range(4))
    assert files_of(path.parent / "s.damaged") == {**before, ".lock": b""}
    assert "s.damaged" in said[-1]


@pytest.mark.parametrize("column", ["frames", "actions", "states"])
def test_a_changed_byte_costs_one_episode(path, column):
    start = EpisodeStore.open(path).record(5).start
    row_bytes = {"frames": FRAME, "actions": 8, "states": 16}[column]
    first = (start - 5 if column == "actions" else start) * row_bytes
    edit(path / f"{column}.bin", flip(first + 3))
    report = check(path)
    assert report.problems == (f"`{column}` of episode 5 does not match its checksum.",)
    assert "openjepa data repair" in str(report)
    assert repair(path) == COUNT - 1
    assert_holds(path, [i for i in range(COUNT) if i != 5])


def test_changed_rows_are_noticed_when_they_are_first_read(path):
    start = int(EpisodeStore.open(path).starts[5])
    edit(path / "frames.bin", flip(start * FRAME + 3))
    store = EpisodeStore.open(path)
    assert store.frames_of(4).shape == (4, 3, 4, 4)
    message = r"`frames` of episode 5 of .* is not what was written. .*openjepa data repair"
    for read in (store.episode, store.frames_of):
        with pytest.raises(DataError, match=message):
            read(5)
    source = WindowSource(store, None, WindowConfig(length=2, batch_size=4, num_others=1))
    with pytest.raises(DataError, match=message):
        source.windows(np.arange(source.num_windows))
    WindowSource(store, [0, 1, 2], WindowConfig(length=2, batch_size=4, num_others=1)).batch(0)


@pytest.mark.parametrize(
    "change", [(0, 5, b""), (5 * FRAME, 0, b"x" * 7), (20 * FRAME, 3 * FRAME, b""), (700, 0, None)]
)
def test_rows_behind_a_gap_or_an_insertion_are_found(path, change):
    """Cut out of the middle, inserted, or doubled: only the episodes that are hit are lost."""
    position, cut, added = change
    data = (path / "frames.bin").read_bytes()
    added = data[:500] if added is None else added
    (path / "frames.bin").write_bytes(data[:position] + added + data[position + cut :])
    assert_refused(path, r"frames.bin` (must have \d+ bytes for 12 episodes|has \d+ bytes that belong to no episode)")
    store_ends = np.cumsum([4 + i % 4 for i in range(COUNT)]) * FRAME
    hit = np.searchsorted(store_ends, [position, position + cut - 1], side="right")
    inside = position not in (0, *store_ends.tolist())
    lost = set(range(hit[0], hit[1] + 1)) if cut else ({int(hit[0])} if inside else set())
    assert repair(path) == COUNT - len(lost)
    assert_holds(path, [i for i in range(COUNT) if i not in lost])


@pytest.mark.parametrize("name", ["frames.bin", "actions.bin", "states.bin"])
def test_a_column_cut_short_costs_what_lay_behind(path, name):
    os.truncate(path / name, os.path.getsize(path / name) // 2)
    assert_refused(path, rf"{name}` must have \d+ bytes for 12 episodes; it has \d+, so [5-7] are whole")
    kept = repair(path)
    assert 5 <= kept <= 7
    assert_holds(path, range(kept))


def test_repair_of_a_sound_store_changes_nothing(path, whole):
    assert repair(path) == COUNT
    assert files_of(path) == files_of(whole)
    said = []
    repair(path, say=said.append)
    assert said == [f"{path}: 12 of 12 known episodes are whole"]


def test_an_unfinished_episode_is_no_damage_and_is_cut(path, whole, monkeypatch):
    class Killed(BaseException):
        pass

    def dying(handle, data, offset, pwrite=os.pwrite):
        if len(data) == 16 * 8:  # the states
            raise Killed
        return pwrite(handle, data, offset)

    store = EpisodeStore.resume(path)
    with monkeypatch.context() as patch:
        patch.setattr(store_writer.os, "pwrite", dying)
        with pytest.raises(Killed):
            store.append(Episode(np.zeros((8, 3, 4, 4), np.uint8), np.zeros((7, 2)), np.zeros((8, 4))))
    store._writer.close()
    assert check(path).torn_bytes == 8 * FRAME + 7 * 8
    torn = shutil.copytree(path, path.parent / "torn")
    EpisodeStore.resume(path).close()
    assert files_of(path) == files_of(whole)
    assert repair(torn) == COUNT
    assert files_of(torn) == files_of(whole)


def test_a_reader_beside_a_writer_never_sees_damage(tmp_path, monkeypatch):
    path, seen = tmp_path / "s", []

    def watched(handle, data, offset, pwrite=os.pwrite):
        half = len(data) // 2
        for part, place in ((data[:half], offset), (data[half:], offset + half)):
            pwrite(handle, part, place)
            seen.append(len(EpisodeStore.open(path)))
        return len(data)

    with EpisodeStore.create(path) as store, monkeypatch.context() as patch:
        patch.setattr(store_writer.os, "pwrite", watched)
        for i in range(3):
            store.append(make_episode(i))
            assert seen[-1] == i + 1
    assert seen == sorted(seen)


def test_a_repair_that_is_killed_before_its_last_rename_is_ended_by_the_next(path, monkeypatch):
    edit(path / "frames.bin", flip(0))
    renames = []

    def once(self, target):
        renames.append(target)
        if len(renames) == 3:
            raise KeyboardInterrupt
        return os.rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(store_repair.Path, "rename", once)
        with pytest.raises(KeyboardInterrupt):
            repair(path)
    assert not path.exists()
    assert repair(path) == COUNT - 1
    assert_holds(path, range(1, COUNT))
    assert sorted(p.name for p in path.parent.iterdir()) == ["s", "s.damaged"]


def test_a_full_disk_leaves_the_damaged_store_as_it_was(path, monkeypatch):
    edit(path / "frames.bin", flip(0))
    before = files_of(path)

    def full(handle, data, offset):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_writer.os, "pwrite", full)
        with pytest.raises(DataError, match="no space left"):
            repair(path)
    assert files_of(path) == {**before, ".lock": b""}
    assert repair(path) == COUNT - 1
    assert (path.parent / "s.damaged").is_dir()


def test_repairs_of_what_is_no_store_are_refused(tmp_path):
    with pytest.raises(DataError, match="no episode store at"):
        repair(tmp_path / "none")
    (tmp_path / "index.jsonl").write_text("something of another program\n")
    with pytest.raises(DataError, match=r"neither store.json nor journal.jsonl .* says what its columns are"):
        repair(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["index.jsonl"]
    store = tmp_path / "s"
    with EpisodeStore.create(store):
        pass
    (store / "index.jsonl").write_text("x\n")
    with pytest.raises(DataError, match="neither"):
        repair(store)


# ----------------------------------------------------------------------------------------------------
# Stores of version 0.1.0: no journal, no lock file


@pytest.fixture
def old(path):
    """The same store as version 0.1.0 wrote it."""
    (path / "journal.jsonl").unlink()
    (path / ".lock").unlink()
    return path


def test_an_old_store_is_read_and_gets_its_journal_from_the_next_writer(old, whole):
    assert_holds(old, range(COUNT))
    EpisodeStore.resume(old).close()
    assert files_of(old) == files_of(whole)


def test_a_new_store_that_version_0_1_0_has_continued_is_read(path, whole):
    edit(path / "journal.jsonl", keep_lines(9))
    assert_holds(path, range(COUNT))
    EpisodeStore.resume(path).close()
    assert files_of(path) == files_of(whole)


@pytest.mark.parametrize("lines", [0, 4, 10])
def test_a_shortened_index_of_an_old_store_is_refused(old, lines):
    edit(old / "index.jsonl", keep_lines(lines))
    before = files_of(old)
    assert_refused(old, rf"behind the {lines} episodes of .*index.jsonl` lie rows of several more")
    assert repair(old) == lines
    assert files_of(old.parent / "s.damaged") == {**before, ".lock": b""}


@pytest.mark.parametrize("rows", [(3, 0, 0), (4, 2, 0), (4, 3, 1)])
def test_an_unfinished_episode_of_an_old_store_is_cut(old, whole, rows):
    for name, count, row_bytes in zip(("frames", "actions", "states"), rows, (FRAME, 8, 16), strict=True):
        edit(old / f"{name}.bin", lambda data, n=count * row_bytes: data + bytes(n))
    assert check(old).torn_bytes == rows[0] * FRAME + rows[1] * 8 + rows[2] * 16
    EpisodeStore.resume(old).close()
    assert files_of(old) == files_of(whole)


@pytest.mark.parametrize("lost", [b"{}\n", b"", None])
def test_rows_whose_lines_both_lists_have_lost_are_kept(path, lost):
    """A store with a foreign journal is not one of version 0.1.0, whose last rows may be of an unfinished episode."""
    edit(path / "index.jsonl", lambda data: data[: data.rindex(b"\n", 0, -1) + 1] + bytes(40))
    (path / "journal.jsonl").unlink() if lost is None else (path / "journal.jsonl").write_bytes(lost)
    rows = make_episode(COUNT - 1).frames.tobytes()
    assert repair(path) == COUNT - 1
    assert_holds(path, range(COUNT - 1))
    assert rows in (path.parent / "s.damaged" / "frames.bin").read_bytes()


@pytest.fixture
def collected(tmp_path):
    """A collection whose episodes all have the most steps, as version 0.1.0 wrote it."""
    world = make_world("two-rooms", 2)
    with EpisodeStore.create(tmp_path / "c") as store:
        collect(world, make_policy("smooth", world.bounds), store, 5, 3, info={"world": "two-rooms"})
    for name in ("journal.jsonl", ".lock"):
        (tmp_path / "c" / name).unlink()
    return tmp_path / "c"


def test_an_old_collection_gets_its_episodes_back_by_their_number_of_rows(collected):
    before = files_of(collected)
    edit(collected / "index.jsonl", keep_lines(2))
    said = []
    assert repair(collected, say=said.append) == 5
    after = files_of(collected)
    assert {name: after[name] for name in before} == before
    assert "3 more lie behind the index, by their number of rows; nothing can verify them" in said[1]


def test_an_old_collection_with_shorter_episodes_is_not_guessed(collected):
    lines = [json.loads(line.partition(" ")[2]) for line in (collected / "index.jsonl").read_text().splitlines()]
    for line in lines:
        line["info"]["steps"] = 4  # the most that an episode could have had
    bodies = [json.dumps(line, separators=(",", ":")).encode() for line in lines[:2]]
    (collected / "index.jsonl").write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(body), body) for body in bodies))
    assert repair(collected) == 2
    assert (collected.parent / "c.damaged").is_dir()
