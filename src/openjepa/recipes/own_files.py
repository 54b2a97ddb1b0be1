"""Pictures and videos of your own: what is trained on, and what is kept for the probes.

Where there are enough files, some are kept. A few long videos are a normal data set too: then the last part of each
is kept, after a gap, and clips are drawn in proportion to how long the videos last.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.data.folders import walk
from openjepa.data.images import ImageConfig, ImageSource
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FileItems, Items, list_files
from openjepa.data.sampling import DamageLog
from openjepa.data.shards import ShardItems
from openjepa.data.video_csv import read_video_csv
from openjepa.data.videos import ClipConfig, VideoSource, open_video, video_seconds
from openjepa.errors import DataError
from openjepa.eval.health.online_probe import OnlineProbe
from openjepa.eval.health.read_out import ProbedSet
from openjepa.eval.probing.frozen_probes import FrozenProbeConfig, load_set
from openjepa.models.vit import ViTConfig
from openjepa.nn.random import keyed_generator
from openjepa.protocols import BatchSource

SETS = 1 << 20  # seeds of the labelled sets lie this far from the seed of training: other colours, other paths
FEWEST = 4  # samples that the probes need
GAP = 0.02  # share of a video between what is trained on and what is kept
MEASURED = 1000  # files, up to which clips are drawn in proportion to duration; beyond, each file once an epoch


def open_own_files(config: Any) -> tuple[BatchSource, OnlineProbe | None]:
    """The training batches, and the probe on what is kept; None where there is too little to keep."""
    encoder = config.method.encoder
    try:
        items = list_own_files(config.data, encoder)
    except DataError:  # no pictures and no videos: perhaps there are shards of them
        shards = list_own_shards(config.data, encoder)
        if shards is None:
            raise
        _say(f"left out: `{config.data}` holds tar shards, which are trained on whole; probe with `openjepa probe`")
        return open_source(shards, config), None
    wanted = min(sum(config.probing.items), int(config.probing.max_share * len(items)))
    if wanted >= FEWEST:
        kept, held_out = split_files(items, wanted, config.seed)
        if items.labels is None:
            _say(f"`{config.data}` has no classes: k-NN and linear are left out, and collapse is measured")
        sets = read_sets(held_out, config)
        return open_source(kept, config), OnlineProbe(*sets, config.probing.online)
    if encoder.is_video:
        return _open_few_videos(items, config)
    _say(f"left out: `{config.data}` holds {len(items)} files, too few to keep {FEWEST} of them")
    return open_source(items, config), None


def open_source(
    items: Items, config: Any, seconds: np.ndarray | None = None, ends: np.ndarray | None = None
) -> BatchSource:
    """The training batches of files.

    Args:
        items: pictures or videos, as files or in shards.
        config: of the recipe.
        seconds: [N] how long each video is; None asks its header.
        ends: [N] seconds before which clips end; None for the whole.
    """
    encoder, threads = config.method.encoder, config.num_threads
    size = encoder.img_size[0]
    if not encoder.is_video:
        return ImageSource(items, ImageConfig(size, config.batch_size, seed=config.seed, num_threads=threads))
    weights = None
    if len(items) <= MEASURED:
        clip_seconds = encoder.num_frames / config.fps
        known = video_seconds(items, exact=False) if seconds is None else seconds
        weights = np.fmax(known if ends is None else np.fmin(known, ends), clip_seconds)  # a picture is one clip
    clip = ClipConfig(
        encoder.num_frames,
        config.fps,
        size=size,
        batch_size=config.batch_size,
        sampling="epoch" if weights is None else "uniform",
        seed=config.seed,
        num_threads=threads,
    )
    return VideoSource(items, clip, weights, ends)


def _open_few_videos(items: FileItems, config: Any) -> tuple[BatchSource, OnlineProbe | None]:
    """Keeps the last part of each video for the probes; classes would be on both sides, and are left out."""
    encoder, share = config.method.encoder, config.probing.max_share
    seconds = video_seconds(items, exact=True)
    split = split_time(seconds, encoder.num_frames / config.fps, share, config.probing.items)
    total = np.nansum(seconds)
    if split is None:
        _say(f"left out: `{config.data}` lasts {total:.0f} s in all, too little to keep {share:.0%} of it")
        return open_source(items, config, seconds), None
    fit, score = (ProbedSet(_read_clips(items, starts, config)) for starts in (split.fit, split.score))
    _say(
        f"`{config.data}` holds few files: {len(split.fit) + len(split.score)} clips are kept of the last {share:.0%} "
        "of each, after a gap; k-NN and linear are left out, and collapse is measured"
    )
    return open_source(items, config, seconds, split.ends), OnlineProbe(fit, score, config.probing.online)


@dataclass(frozen=True)
class TimeSplit:
    """Parts of videos.

    Attributes:
        ends: [N] seconds before which training clips end.
        fit: (number of the video, second at which a clip begins), for the clips that fit probes.
        score: likewise, for those that score them.
    """

    ends: np.ndarray
    fit: list[tuple[int, float]]
    score: list[tuple[int, float]]


def split_time(seconds: np.ndarray, clip: float, share: float, counts: tuple[int, int]) -> TimeSplit | None:
    """Keeps the last part of each video, with a gap before it and one between its two parts.

    Args:
        seconds: [N] how long each video is; NaN for a picture or an unreadable file, which keeps nothing.
        clip: seconds of a clip.
        share: of each video that is kept, in (0, 1).
        counts: most clips that fit, and that score.

    Returns:
        None where fewer than two clips on either side would be kept.
    """
    gap = np.maximum(clip, GAP * seconds)
    begin = (1 - share) * seconds
    middle = begin + (share * seconds - gap) * counts[0] / sum(counts)
    parts = (begin, middle), (middle + gap, seconds)
    long_enough = (middle - begin >= clip) & (seconds - middle - gap >= clip) & (begin - gap >= clip)
    chosen = []
    for (first, last), most in zip(parts, counts, strict=True):
        step = max(clip, float((last - first)[long_enough].sum()) / most)
        starts = [(i, np.arange(first[i], last[i] - clip + 1e-6, step)) for i in np.flatnonzero(long_enough)]
        chosen.append([(int(i), float(start)) for i, times in starts for start in times][:most])
    if min(map(len, chosen)) < FEWEST // 2:
        return None
    return TimeSplit(np.where(long_enough, begin - gap, np.inf), *chosen)


def _read_clips(items: FileItems, starts: list[tuple[int, float]], config: Any) -> torch.Tensor:
    """Decodes clips [N, T, 3, size, size] at the rate of the training clips."""
    encoder = config.method.encoder
    steps = np.arange(encoder.num_frames) / config.fps
    clips = []
    for number in sorted({i for i, _ in starts}):
        with open_video(items.content(number), items.name(number)) as video:
            for start in (start for i, start in starts if i == number):
                clips.append(video.read(start + 0.5 / video.fps + steps, encoder.img_size[0]))
    return torch.from_numpy(np.stack(clips))


def list_own_shards(path: Path, encoder: ViTConfig) -> ShardItems | None:
    """Lists the samples of a tar file, or of all in a folder; None where there is no tar file."""
    tars = walk(path, (".tar",)) if path.is_dir() else [path] if path.suffix.lower() == ".tar" else []
    return (
        ShardItems(tars, (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) if encoder.is_video else IMAGE_SUFFIXES) if tars else None
    )


def list_own_files(path: Path, encoder: ViTConfig) -> FileItems:
    """Lists pictures or videos; the folders of a folder are classes if every file lies in one of several."""
    if path.suffix.lower() == ".tar":
        raise DataError(f"`{path}` must be a folder, a list, a picture or a video; it holds shards.")
    if path.is_file() and path.suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
        return read_video_csv(path)
    suffixes = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) if encoder.is_video else IMAGE_SUFFIXES
    plain = list_files(path, suffixes)
    folders = {p.relative_to(path).parts[0] for p in plain.paths if p.parent != path} if path.is_dir() else set()
    has_classes = len(folders) > 1 and all(p.parent != path for p in plain.paths)
    return list_files(path, suffixes, labels_from_folders=True) if has_classes else plain


def split_files(items: FileItems, wanted: int, seed: int) -> tuple[FileItems, FileItems]:
    """Draws the files that are kept for the probes; the rest is trained on. A list may name a file twice."""
    order = torch.randperm(len(items), generator=keyed_generator(seed, SETS)).tolist()
    held_out = {items.paths[i]: i for i in order[:wanted]}
    return items.take([i for i in sorted(order[wanted:]) if items.paths[i] not in held_out]), items.take(
        list(held_out.values())
    )


def read_sets(items: FileItems, config: Any) -> tuple[ProbedSet, ProbedSet]:
    """Decodes the files of the probes: those that fit them, and those that score them."""
    encoder, (train, test) = config.method.encoder, config.probing.items
    reading = FrozenProbeConfig(
        size=encoder.img_size[0], num_frames=max(encoder.num_frames, 2), num_threads=config.num_threads
    )
    found = load_set(items, reading, DamageLog(len(items), reading.max_damaged_share))
    cut = max(2, round(len(found.labels) * train / (train + test)))
    labels = None if items.labels is None else found.labels
    parts = (slice(None, cut), slice(cut, None))
    fit, score = (ProbedSet(found.pixels[p], None if labels is None else labels[p]) for p in parts)
    return fit, score


def _say(line: str) -> None:
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"probes: {line}", file=sys.stderr)
