"""Damaged pictures, videos, stores, run folders: whatever is read is right or refused in one line, nothing is lost.

Files are made, then damaged: flipped bits, cuts at the end and in the middle, insertions, zeros, doubled blocks,
emptied, deleted and foreign files. Then come the commands that a user would type next, in an order that is drawn.

* `crashes`: anything raised that the command line does not print as one line.
* `silent_changes`: without an error, rows of a store or weights or options of a run that are not those that were
  written, a store that shows fewer episodes, a run that resumes to other weights, a picture or video that reads
  differently the second time, or frames of a video by number that are not those of decoding from the start. A damaged
  picture that decodes is another picture, which is not counted.
* `lost_episodes`: finished episodes whose rows were still whole after the damage, and that are not in the store after
  its repair; and undamaged checkpoints that are gone.

    python benchmarks/fuzz.py [--media 1000] [--stores 500] [--runs 500] [--seed 0] [--only NUMBER]
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from openjepa.command_line.runs import open_run
from openjepa.config import to_dict
from openjepa.data import EpisodeStore, check, describe, repair
from openjepa.data.images import ImageConfig, ImageSource, image_folder, read_image
from openjepa.data.store_hdf5 import to_hdf5
from openjepa.data.store_merge import merge
from openjepa.data.store_preview import preview
from openjepa.data.video_file import VideoFile, write_video
from openjepa.data.videos import ClipConfig, VideoSource, video_folder
from openjepa.errors import OpenJEPAError
from openjepa.interop import load
from openjepa.methods import METHODS
from openjepa.nn.random import keyed_generator
from openjepa.protocols import Episode, JEPALoss
from openjepa.recipes.two_rooms import TWO_ROOMS
from openjepa.train import TrainConfig, load_method, train
from openjepa.train.log import read_metrics

EPISODES = 12
STEPS, MORE_STEPS = 4, 6  # of the run before the damage, and after it


@dataclass
class Tally:
    """What was found."""

    tried: int = 0
    crashes: int = 0
    silent_changes: int = 0
    lost_episodes: int = 0
    refusals: int = 0
    lines: list[str] = field(default_factory=list)
    by_kind: Counter = field(default_factory=Counter)

    def found(self, what, label, words):
        """Counts and keeps a finding."""
        setattr(self, what, getattr(self, what) + 1)
        self.lines.append(f"{what} {label}: {words}")

    def attempt(self, label, work):
        """Does something that may be refused in one line; returns its result, or None."""
        try:
            return work()
        except OpenJEPAError:
            self.refusals += 1
        except OSError as error:
            if error.strerror is None:  # the command line prints one line for an error of the system
                self.found("crashes", label, traceback.format_exc().splitlines()[-1])
            self.refusals += 1
        except Exception:
            self.found("crashes", label, " | ".join(traceback.format_exc().splitlines()[-3:]))
        return None


# ----------------------------------------------------------------------------------------------------
# Damage


def span(size, rng):
    begin = int(rng.integers(max(size, 1)))
    return begin, begin + 1 + int(rng.integers(max(size // 4, 1)))


def flip_bits(data, rng, others):
    changed = bytearray(data)
    for position in rng.integers(len(data), size=int(rng.integers(1, 9))) if data else []:
        changed[position] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut_end(data, rng, others):
    return data[: int(rng.integers(max(len(data), 1)))]


def cut_middle(data, rng, others):
    begin, end = span(len(data), rng)
    return data[:begin] + data[end:]


def insert(data, rng, others):
    begin, _ = span(len(data), rng)
    return data[:begin] + rng.bytes(int(rng.integers(1, 200))) + data[begin:]


def zeros(data, rng, others):
    begin, end = span(len(data), rng)
    return data[:begin] + bytes(len(data[begin:end])) + data[end:]


def double(data, rng, others):
    begin, end = span(len(data), rng)
    return data[:end] + data[begin:end] + data[end:]


def overwrite(data, rng, others):
    begin, end = span(len(data), rng)
    block = data[begin:end]
    place = int(rng.integers(max(len(data) - len(block), 0) + 1))
    return data[:place] + block + data[place + len(block) :]


def empty(data, rng, others):
    return b""


def delete(data, rng, others):
    return None


def foreign(data, rng, others):
    texts = [b"\x89PNG\r\n\x1a\n", b"{}", b"[]", b"null", b'{"format": 1}', b"\xff\xfe\x00", "é\n".encode("latin-1")]
    choices = [*texts, rng.bytes(300), b"[" * 100_000, *others]
    return choices[int(rng.integers(len(choices)))]


DAMAGES = [flip_bits, cut_end, cut_middle, insert, zeros, double, overwrite, empty, delete, foreign]


def damage(files, rng, only=DAMAGES):
    """Damages one of the files; returns its name and what was done to it."""
    file = files[int(rng.integers(len(files)))]
    kind = only[int(rng.integers(len(only)))]
    others = [f.read_bytes() for f in files if f != file and f.is_file()]
    changed = kind(file.read_bytes(), rng, others) if file.is_file() else None
    if changed is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(changed)
    return f"{kind.__name__} of {file.name}"


# ----------------------------------------------------------------------------------------------------
# Stores


def make_episode(number):
    rng = np.random.default_rng(number)
    steps = 3 + number % 4
    return Episode(
        frames=rng.integers(0, 256, (steps + 1, 3, 8, 8), dtype=np.uint8),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        states=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        info={"number": number},
    )


def rows_of(episode):
    return {"frames": episode.frames, "actions": episode.actions, "states": episode.states}


def make_store(path):
    with EpisodeStore.create(path) as store:
        for number in range(EPISODES):
            store.append(make_episode(number))


def whole_numbers(path):
    """Numbers of the episodes whose rows are whole: where they were, or moved by what was inserted or cut before."""
    whole = set(range(EPISODES))
    for name in ("frames", "actions", "states"):
        file = path / f"{name}.bin"
        data = file.read_bytes() if file.is_file() else b""
        rows = [rows_of(make_episode(number))[name].tobytes() for number in range(EPISODES)]
        starts = np.cumsum([0, *map(len, rows)])
        for number, written in enumerate(rows):
            places = (starts[number], starts[number] + len(data) - starts[-1])
            if not any(place >= 0 and data[place : place + len(written)] == written for place in places):
                whole.discard(number)
    return whole


def saved_numbers(path):
    """Numbers of the episodes whose rows are anywhere in the columns."""
    files = {name: path / f"{name}.bin" for name in ("frames", "actions", "states")}
    data = {name: file.read_bytes() if file.is_file() else b"" for name, file in files.items()}
    rows = {number: rows_of(make_episode(number)) for number in range(EPISODES)}
    return {n for n in rows if all(array.tobytes() in data[name] for name, array in rows[n].items())}


def read_all(path, label, tally, wanted):
    """Reads every episode that a store shows; each must be what was written. Returns their numbers."""

    def work():
        store = EpisodeStore.open(path)
        numbers = [store.record(i).info["number"] for i in range(len(store))]
        first = [number for number in numbers if number < EPISODES]  # behind them stands what a trial has appended
        if first != sorted(set(first)) or not set(first) >= wanted:
            tally.found("silent_changes", label, f"the store shows {numbers}")
        for i, number in enumerate(numbers):
            episode = tally.attempt(label, lambda i=i: store.episode(i))
            if episode is not None:
                there, written = rows_of(episode), rows_of(make_episode(number))
                if any(not np.array_equal(there[name], written[name]) for name in written):
                    tally.found("silent_changes", label, f"rows of episode {number}")
        return set(numbers)

    return tally.attempt(label, work)


def try_store(pristine, folder, rng, label, tally):
    """One damaged store, and the commands that follow."""
    path = shutil.copytree(pristine, folder / "store")
    is_old = rng.random() < 0.15  # as version 0.1.0 wrote it, with one list instead of two
    if is_old:
        (path / "journal.jsonl").unlink()
    files = sorted(f for f in path.iterdir() if f.name != ".lock")
    done = [damage(files, rng)]
    if rng.random() < 0.2:
        done.append(damage(files, rng))
    label = f"{label} ({', '.join(done)}{', old' if is_old else ''})"
    tally.by_kind["store"] += 1
    # What was written last cannot be told from an episode that was being written where nothing but a lost line says so.
    is_certain = len(done) == 1 and not is_old
    wanted = set(range(EPISODES)) if is_certain else set()
    whole = whole_numbers(path)
    commands = {
        "read": lambda: read_all(path, label, tally, wanted),
        "check": lambda: tally.attempt(label, lambda: check(path)),
        "info": lambda: tally.attempt(label, lambda: describe(path)),
        "append": lambda: tally.attempt(label, lambda: append_one(path)),
        "merge": lambda: tally.attempt(label, lambda: merge([path], folder / "merged")),
        "preview": lambda: tally.attempt(label, lambda: preview(path, 1, out=folder / "p.png", num_frames=2)),
        "convert": lambda: tally.attempt(label, lambda: to_hdf5(path, folder / "s.h5")),
    }
    for name in rng.permutation(list(commands))[: int(rng.integers(2, 6))]:
        commands[name]()
    if (folder / "merged").exists():
        read_all(folder / "merged", f"{label} merged", tally, set())
    kept = tally.attempt(label, lambda: repair(path))
    if kept is None:
        if is_certain:
            tally.found("lost_episodes", label, "repair refuses")
        after = saved_numbers(path)
    else:
        after = read_all(path, f"{label} repaired", tally, set()) or set()
        report = tally.attempt(label, lambda: check(path))
        if report is None or not report.is_sound or kept < len(after):
            tally.found("silent_changes", label, f"after its repair the store is {report}")
        if not is_certain:  # what no list knows any more is kept aside at least
            for aside in folder.glob("store.damaged*"):
                after |= saved_numbers(aside)
            if is_old:
                after |= {max(whole, default=0)}
    for number in sorted(whole - after):
        tally.found("lost_episodes", label, f"episode {number}")
    if tally.attempt(label, lambda: append_one(path)):
        read_all(path, f"{label} continued", tally, after & whole if kept and is_certain else set())


def append_one(path):
    with EpisodeStore.resume(path) as store:
        store.append(make_episode(1000 + len(store)))
    return True


# ----------------------------------------------------------------------------------------------------
# Run folders


@dataclass(frozen=True)
class LineConfig:
    """Options of the toy."""

    width: int = 4


class Line(torch.nn.Module):
    """A method of two small layers."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        generator = keyed_generator(0, config.width)
        self.context_encoder = torch.nn.Linear(3, config.width)
        self.predictor = torch.nn.Linear(config.width, config.width)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def loss(self, batch, step):
        """See `openjepa.protocols.Method`."""
        z = self.context_encoder(batch.images)
        error = (self.predictor(z) - z.flip(0)).square().mean()
        return JEPALoss(error, {"prediction": error.detach()})

    def after_step(self, step):
        """See `openjepa.protocols.Method`."""


@dataclass(frozen=True)
class Numbers:
    """A batch of vectors."""

    images: torch.Tensor

    def to(self, device):
        """Returns the same batch on `device`."""
        return Numbers(self.images.to(device))


class Vectors:
    """Batches that depend on their number only."""

    def batch(self, step, *, rank=0, world_size=1):
        """See `openjepa.protocols.BatchSource`."""
        return Numbers(torch.randn(6, 3, generator=keyed_generator(1, step)))


def run_it(path, steps):
    config = TrainConfig(
        steps=steps, schedule="constant", warmup_steps=0, checkpoint_every=2, keep_checkpoints=9, device="cpu"
    )
    recipe = {"recipe": "two-rooms", **to_dict(TWO_ROOMS.config)}
    with contextlib.redirect_stderr(io.StringIO()):
        return train(Line(LineConfig()), Vectors(), config, path, recipe_config=recipe).method.state_dict()


def is_same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def try_run(pristine, reference, folder, rng, label, tally):
    """One damaged run folder, and the commands that follow."""
    path = shutil.copytree(pristine, folder / "run")
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name != ".lock")
    done = [damage(files, rng)]
    if rng.random() < 0.2:
        done.append(damage(files, rng))
    label = f"{label} ({', '.join(done)})"
    tally.by_kind["run"] += 1
    checkpoints = path / "checkpoints"
    intact = {
        f.name
        for f in checkpoints.glob("step_*")
        if all((f / p.name).is_file() and (f / p.name).read_bytes() == p.read_bytes() for p in originals(pristine, f))
    }

    def reopen():
        if not is_same(load_method(path).state_dict(), reference[STEPS]):
            tally.found("silent_changes", label, "weights")

    def reopen_one():
        folders = sorted(checkpoints.glob("step_*"))
        step = folders[int(rng.integers(len(folders)))]
        if not is_same(load_method(step).state_dict(), reference[int(step.name[5:])]):
            tally.found("silent_changes", label, "weights of one checkpoint")

    def take_encoder():
        encoder = load(str(path))
        if not is_same(encoder.state_dict(), part(reference[STEPS], "context_encoder.")):
            tally.found("silent_changes", label, "weights of the encoder")

    def options():
        if open_run(path).config != TWO_ROOMS.config:
            tally.found("silent_changes", label, "options")

    commands = [reopen, reopen_one, take_encoder, options, lambda: read_metrics(path / "metrics.jsonl")]
    for number in rng.permutation(len(commands))[: int(rng.integers(2, 6))]:
        tally.attempt(label, commands[number])
    resumed = tally.attempt(label, lambda: run_it(path, MORE_STEPS))
    if resumed is not None and not is_same(resumed, reference[MORE_STEPS]):
        tally.found("silent_changes", label, "resumed to other weights")
    for name in sorted(intact):
        if any(not (checkpoints / name / p.name).is_file() for p in originals(pristine, checkpoints / name)):
            tally.found("lost_episodes", label, f"checkpoint {name}")
    tally.attempt(label, lambda: load_method(path))


def originals(pristine, folder):
    return list((pristine / "checkpoints" / folder.name).iterdir())


def part(state, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


# ----------------------------------------------------------------------------------------------------
# Pictures and videos


def make_media(folder):
    """Small files of every kind that is read."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    grey = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
    picture = np.stack([grey, grey * 2, rng.integers(0, 256, grey.shape, dtype=np.uint8)], -1)
    for suffix in ("png", "jpg", "webp", "bmp", "gif", "tiff"):
        Image.fromarray(picture).save(folder / f"picture.{suffix}")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")
    Image.fromarray(np.dstack([picture, grey])).save(folder / "transparent.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(folder / "deep.png")
    moving = np.stack([np.roll(picture, 3 * t, 1) for t in range(24)]).transpose(0, 3, 1, 2)
    for name, codec in (("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.avi", "mpeg4"), ("d.mpg", "mpeg2video")):
        write_video(folder / name, np.ascontiguousarray(moving), fps=25, codec=codec)


def try_media(pristine, folder, rng, label, tally):
    """One damaged picture or video among good ones."""
    files = sorted(pristine.iterdir())
    file = files[int(rng.integers(len(files)))]
    is_video = file.name[1] == "."
    suffix = file.suffix
    for good in range(3):
        shutil.copy(file, folder / f"good{good}{suffix}")
    bad = shutil.copy(file, folder / f"bad{suffix}")
    label = f"{label} ({damage([Path(bad)], rng, [d for d in DAMAGES if d is not delete])} of {file.name})"
    tally.by_kind["video" if is_video else "picture"] += 1
    read = (lambda: read_video(bad, rng.spawn(1)[0])) if is_video else (lambda: [read_image(bad, 32), read_image(bad)])
    first, second = tally.attempt(label, read), tally.attempt(label, read)
    if (first is None) != (second is None) or (
        first is not None and any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    ):
        tally.found("silent_changes", label, "the second reading differs")
    if is_video and first is not None and not np.array_equal(first[1], first[0][: len(first[1])]):
        tally.found("silent_changes", label, "frames by number differ from decoding from the start")
    source = (
        VideoSource(video_folder(folder), ClipConfig(2, 4.0, size=16, batch_size=4, max_damaged_share=1.0))
        if is_video
        else ImageSource(image_folder(folder), ImageConfig(16, batch_size=4, max_damaged_share=1.0))
    )
    batch = tally.attempt(label, lambda: source.batch(0))
    named = [name for name in source.damage.reasons if "bad" in str(name)]
    if batch is None or len(source.damage.reasons) != len(named):
        tally.found("silent_changes", label, f"a folder with one damaged file: {source.damage.lines()}")


def read_video(path, rng):
    with VideoFile(path) as video:
        count = min(video.info.num_frames, 40)
        numbers = np.arange(count)
        by_number = video.read(video.middles(numbers), 24) if count else np.zeros(0)
    with VideoFile(path) as video:
        frames = [frame for frame, _ in zip(video.frames(24), range(40), strict=False)]
    return [np.stack(frames), by_number]


# ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def quick_disk():
    """What a power failure would cost is not measured here, so nothing waits for the disk."""
    real = os.fsync
    os.fsync = lambda handle: None
    try:
        yield
    finally:
        os.fsync = real


def fuzz(media, stores, runs, seed, only=None):
    """Runs so many trials of each kind; returns the tally."""
    tally = Tally()
    METHODS["Line"] = lambda: (Line, LineConfig)
    try:
        with tempfile.TemporaryDirectory() as name, quick_disk(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries warn of what they find in damaged files
            place = Path(name)
            make_store(place / "store")
            make_media(place / "media")
            run_it(place / "run", STEPS)
            longer = shutil.copytree(place / "run", place / "longer")
            run_it(longer, MORE_STEPS)
            steps = {int(f.name[5:]): f for f in (longer / "checkpoints").glob("step_*")}
            reference = {step: load_method(f).state_dict() for step, f in steps.items()}
            kinds = [
                (media, lambda *rest: try_media(place / "media", *rest)),
                (stores, lambda *rest: try_store(place / "store", *rest)),
                (runs, lambda *rest: try_run(place / "run", reference, *rest)),
            ]
            for kind, (count, work) in enumerate(kinds):
                for trial in range(count):
                    number = kind * 1_000_000 + trial
                    if only is not None and number != only:
                        continue
                    folder = place / "trial"
                    folder.mkdir()
                    work(folder, np.random.default_rng([seed, number]), f"trial {number}", tally)
                    shutil.rmtree(folder)
                    tally.tried += 1
    finally:
        del METHODS["Line"]
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--media", type=int, default=1000)
    parser.add_argument("--stores", type=int, default=500)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, default=None, help="number of the one trial to repeat")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tally = fuzz(options.media, options.stores, options.runs, options.seed, options.only)
    for line in tally.lines:
        print(line)
    result = {
        "tried": tally.tried,
        "crashes": tally.crashes,
        "silent_changes": tally.silent_changes,
        "lost_episodes": tally.lost_episodes,
        "refusals": tally.refusals,
        "by_kind": dict(tally.by_kind),
        "seed": options.seed,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
