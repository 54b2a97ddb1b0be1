"""Probes of a frozen encoder on labelled pictures or videos, each beside the same probe on random weights.

A probe says something only beside that control: on small data a random network often probes far above chance,
and a pre-trained one can probe below it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from openjepa.data.folders import shown_name
from openjepa.data.images import read_image
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FileItems, list_files
from openjepa.data.sampling import DamageLog, chunks
from openjepa.data.video_csv import read_video_csv
from openjepa.data.videos import is_picture, open_video
from openjepa.errors import ConfigError, DataError, listing
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig, attentive_probe
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.eval.probing.knn import KNNConfig, knn_accuracy
from openjepa.eval.probing.linear_probe import LinearProbeConfig, check_choice, choose_rows, linear_probe

Kind = Literal["knn", "linear", "attentive"]
ClipTimes = Callable[[float], np.ndarray]  # seconds of a video to moments [T] of its clip


@dataclass(frozen=True)
class FrozenProbeConfig:
    """Which probes on which files.

    Attributes:
        train: folder of class folders, or a list of `path label` lines.
        test: likewise; None holds out a share of `train`.
        test_share: that share of every class, in (0, 1).
        probes: of `knn`, `linear`, `attentive`.
        shots: labels per class; None for all.
        share: share of the labels of every class, such as 0.01; only without `shots`.
        size: side of the picture in pixels; the centre square.
        num_frames: frames spread evenly over a video, >= 2.
        batch_size: files encoded together, >= 1.
        max_damaged_share: share of undecodable files beyond which the work stops, in [0, 1].
        num_threads: decoding threads, >= 1.
        seed: of splits and choices.
        knn: the vote.
        linear: penalties; its `shots`, `share` and `seed` are taken from here.
        attentive: the grid of heads; its `seed` is taken from here.
    """

    train: Path = Path(".")
    test: Path | None = None
    test_share: float = 0.2
    probes: tuple[Kind, ...] = ("knn", "linear")
    shots: int | None = None
    share: float | None = None
    size: int = 224
    num_frames: int = 16
    batch_size: int = 16
    max_damaged_share: float = 0.05
    num_threads: int = 2
    seed: int = 0
    knn: KNNConfig = field(default_factory=KNNConfig)
    linear: LinearProbeConfig = field(default_factory=LinearProbeConfig)
    attentive: AttentiveTrainConfig = field(default_factory=AttentiveTrainConfig)

    def __post_init__(self) -> None:
        for name in self.probes:
            if name not in ("knn", "linear", "attentive"):
                raise ConfigError(f"`probes` must be of knn, linear and attentive; got {name}.")
        if not self.probes or not 0 < self.test_share < 1:
            raise ConfigError(
                f"`probes` must name one at least, and `test_share` lie in (0, 1); got {self.test_share}."
            )
        check_choice(self.shots, self.share)
        if min(self.size, self.batch_size, self.num_threads) < 1 or self.num_frames < 2:
            raise ConfigError("`size`, `batch_size`, `num_threads` must be >= 1 and `num_frames` >= 2.")


@dataclass(frozen=True)
class ProbeRow:
    """One probe.

    Attributes:
        probe: its name.
        accuracy: of the encoder, 0 to 1; free choices were made on training rows.
        control: the same probe on the same network with random weights.
        best_on_test: the best free choice on the test set, or None where there is none.
    """

    probe: str
    accuracy: float
    control: float
    best_on_test: float | None = None


@dataclass(frozen=True)
class ProbeReport:
    """What the probes found.

    Attributes:
        rows: one per probe.
        train_rows: labelled training files used.
        test_rows: test files.
        chance: accuracy of always naming the commonest class.
        damaged: undecodable files by name.
        unseen: test files of classes that no training file has; no probe can be right about them.
        shared: test files that are training files too.
    """

    rows: tuple[ProbeRow, ...]
    train_rows: int
    test_rows: int
    chance: float
    damaged: dict[str, str] = field(default_factory=dict)
    unseen: int = 0
    shared: int = 0

    def text(self) -> str:
        """Returns a table for a terminal."""
        lines = [
            f"{self.train_rows} training and {self.test_rows} test files; commonest class {self.chance:.1%}",
            f"{'probe':<12}{'accuracy':>10}{'random init':>13}{'best on test':>14}",
        ]
        for row in self.rows:
            best = "" if row.best_on_test is None else f"{row.best_on_test:.1%}"
            lines.append(f"{row.probe:<12}{row.accuracy:>10.1%}{row.control:>13.1%}{best:>14}")
        if self.unseen:
            lines.append(f"{self.unseen} test files are of classes without training files and count as wrong")
        if self.shared:
            lines.append(f"{self.shared} test files are training files too: of these the accuracy says little")
        lines += [f"damaged: {shown_name(why)}" for why in self.damaged.values()]
        return "\n".join(lines)


@dataclass(frozen=True)
class LabelledSet:
    """Pictures [N, C, H, W] or clips [N, T, C, H, W] uint8, their classes [N] int64, any numbers, and their N files."""

    pixels: Tensor
    labels: Tensor
    files: tuple[str, ...] = ()


def run_probe(
    encoder: FrozenEncoder,
    config: FrozenProbeConfig,
    *,
    control: FrozenEncoder | None = None,
    progress: Callable[[str], None] | None = None,
) -> ProbeReport:
    """Reads the files and runs every probe on the encoder and on its control.

    Args:
        encoder: the frozen network.
        config: files and probes.
        control: the same network with random weights; drawn from `config.seed` where None.
        progress: called with a line for each thing that begins.
    """
    train, test, damaged = read_sets(config)
    report = probe_arrays(encoder, train, test, config, control=control, progress=progress)
    return replace(report, damaged=damaged)


def read_sets(
    config: FrozenProbeConfig, *, times: ClipTimes | None = None
) -> tuple[LabelledSet, LabelledSet, dict[str, str]]:
    """Reads the files of both sets.

    Args:
        config: files, split and size.
        times: where the frames of a video are; spread evenly over it where None.

    Returns:
        training and test set, one number for a class in both, and why each undecodable file is damaged, by name.

    Raises:
        DataError: where the sets have no class in common.
    """
    train_items, test_items, numbers = labelled_sets(config)
    damage = DamageLog(len(train_items) + len(test_items), config.max_damaged_share)
    train, test = (load_set(items, config, damage, times, numbers) for items in (train_items, test_items))
    return train, test, damage.reasons


def labelled_sets(config: FrozenProbeConfig) -> tuple[FileItems, FileItems, dict[str, int]]:
    """Lists the files of training and test set, and the numbers of the classes by name.

    Raises:
        DataError: where the sets have no class in common.
    """
    train_items = _labelled(config.train)
    test_items = None if config.test is None else _labelled(config.test)
    if test_items is None:
        train_items, test_items = _split(train_items, config)
    own, other = (_class_names(items) for items in (train_items, test_items))
    if not own.keys() & other.keys():
        raise DataError(
            f"`{config.test}` must have classes of `{config.train}`, {listing(own)}; it has {listing(other)}. Classes "
            "are folders of the same name, or the same numbers in lists."
        )
    return train_items, test_items, {name: i for i, name in enumerate({**own, **other})}


def probe_arrays(
    encoder: FrozenEncoder,
    train: LabelledSet,
    test: LabelledSet,
    config: FrozenProbeConfig,
    *,
    control: FrozenEncoder | None = None,
    progress: Callable[[str], None] | None = None,
) -> ProbeReport:
    """Runs every probe on pictures or clips in memory; see `run_probe`."""
    control = control or encoder.untrained(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    chosen = choose_rows(train.labels, shots=config.shots, share=config.share, generator=generator)
    files = tuple(train.files[i] for i in chosen.tolist()) if train.files else ()
    train = LabelledSet(train.pixels[chosen], train.labels[chosen], files)
    say = progress or (lambda line: None)
    found: dict[Kind, list[tuple[float, float | None]]] = {name: [] for name in config.probes}
    for name, network in (("encoder", encoder), ("random init", control)):
        say(f"{name}: encoding {len(train.labels) + len(test.labels)} files")
        dense = "attentive" in config.probes
        x, test_x = (_encode(network, s.pixels, config.batch_size, dense=dense) for s in (train, test))
        for probe in config.probes:
            say(f"{name}: {probe} probe")
            found[probe].append(score_probe(probe, x, train.labels, test_x, test.labels, config))
    return probe_report(found, train, test)


def probe_report(
    found: Mapping[Kind, Sequence[tuple[float, float | None]]], train: LabelledSet, test: LabelledSet
) -> ProbeReport:
    """The report on what `score_probe` gave for the encoder and for its control, by probe."""
    rows = tuple(ProbeRow(p, s[0][0], s[1][0], s[0][1]) for p, s in found.items())
    return ProbeReport(rows, len(train.labels), len(test.labels), **without_probe(train, test))


def without_probe(train: LabelledSet, test: LabelledSet) -> dict[str, Any]:
    """What the sets alone say: `chance`, `unseen` and `shared` of a report."""
    most, known = test.labels.unique(return_counts=True)[1].max(), set(train.files)
    return {
        "chance": float(most / len(test.labels)),
        "unseen": int((~torch.isin(test.labels, train.labels)).sum()),
        "shared": sum(file in known for file in test.files),
    }


def score_probe(
    probe: Kind, x: Tensor, labels: Tensor, test_x: Tensor, test_labels: Tensor, config: FrozenProbeConfig
) -> tuple[float, float | None]:
    """Accuracy of a probe on features [N, D] or [N, L, D] and [M, ...], and its best free choice on the test set."""
    if probe == "attentive":
        tuned = AttentiveTrainConfig(**{**config.attentive.__dict__, "seed": config.seed})
        heads = attentive_probe(x, labels, test_x, test_labels, tuned)
        return heads.accuracy, heads.best_on_test
    pooled, test_pooled = (t.float().mean(1) if t.ndim == 3 else t for t in (x, test_x))
    if probe == "knn":
        return knn_accuracy(pooled, labels, test_pooled, test_labels, config.knn), None
    chosen = {**config.linear.__dict__, "shots": None, "share": None, "seed": config.seed}
    scores = linear_probe(pooled, labels, test_pooled, test_labels, LinearProbeConfig(**chosen))
    return scores.accuracy, scores.best_on_test


def _encode(encoder: FrozenEncoder, pixels: Tensor, batch_size: int, *, dense: bool) -> Tensor:
    """Features on the CPU: [N, D], or dense [N, L, D] in half precision."""
    if not dense:
        return torch.cat([encoder.pooled(p).cpu() for p in pixels.split(batch_size)])
    return torch.cat([_half(encoder.tokens(p).flatten(1, 3)).cpu() for p in pixels.split(batch_size)])


def _half(tokens: Tensor) -> Tensor:
    """Tokens in half precision, or as they are where it cannot hold them."""
    half = tokens.half()
    return half if half.isfinite().all() else tokens


def _labelled(path: Path) -> FileItems:
    """The files and their classes, each once: a file in both sets would be no test."""
    if path.is_file():
        return read_video_csv(path).once()
    return list_files(path, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES), labels_from_folders=True).once()


def _class_names(items: FileItems) -> dict[str, None]:
    """The names of the classes that occur, in order of their numbers."""
    assert items.labels is not None
    first = {number: i for i, number in reversed(list(enumerate(items.labels)))}
    return {str(items.class_name(first[number])): None for number in sorted(first)}


def _split(items: FileItems, config: FrozenProbeConfig) -> tuple[FileItems, FileItems]:
    """Holds out a share of every class; of one file alone nothing is held out."""
    assert items.labels is not None
    numbers = {number: i for i, number in enumerate(sorted(set(items.labels)))}  # those of lists may be huge
    labels = torch.tensor([numbers[n] for n in items.labels])
    generator = torch.Generator().manual_seed(config.seed + 1)
    held = choose_rows(labels, share=config.test_share, generator=generator)
    test = set(held[torch.bincount(labels)[labels[held]] > 1].tolist())
    parts = [[i for i in range(len(items)) if (i in test) == wanted] for wanted in (False, True)]
    if not parts[1]:
        raise DataError(f"`{config.train}` must hold at least 2 files of a class; it has one of each.")
    return items.take(parts[0]), items.take(parts[1])


def load_set(
    items: FileItems,
    config: FrozenProbeConfig,
    damage: DamageLog,
    times: ClipTimes | None = None,
    numbers: Mapping[str, int] | None = None,
) -> LabelledSet:
    """Reads files, a few at a time; those that cannot be decoded are named in `damage`.

    Args:
        items: the files.
        config: size, threads and frames.
        damage: where undecodable files are counted.
        times: where the frames of a video are; spread evenly over it where None.
        numbers: of the classes by their names; counted in this set where None. Without labels all are 0.
    """
    if numbers is None:
        numbers = {} if items.labels is None else {name: i for i, name in enumerate(_class_names(items))}
    pixels: list[Tensor] = []
    files: list[str] = []
    labels: list[int] = []

    def read(index: int) -> np.ndarray | DataError:
        try:
            return _read(items, config, index, times)
        except DataError as error:
            return error

    with ThreadPoolExecutor(config.num_threads) as pool:
        for part in chunks(len(items), 4 * config.batch_size):
            for index, result in zip(part, pool.map(read, part), strict=True):
                if isinstance(result, DataError):
                    damage.add(items.name(index), str(result))
                    continue
                pixels.append(torch.from_numpy(result))
                files.append(os.path.realpath(items.paths[index]))
                name = items.class_name(index)
                labels.append(0 if name is None else numbers[name])
    if not pixels:
        raise DataError("a probe needs at least one file that can be decoded; got none.")
    if len({p.shape for p in pixels}) > 1:
        raise DataError("a probe needs pictures or videos, not both together. Separate them.")
    return LabelledSet(torch.stack(pixels), torch.tensor(labels), tuple(files))


def _read(items: FileItems, config: FrozenProbeConfig, index: int, times: ClipTimes | None) -> np.ndarray:
    content = items.content(index)
    if is_picture(content):
        return read_image(content, config.size)
    with open_video(content, items.name(index), min_frames=2) as video:
        span = video.seconds
        moments = (np.arange(config.num_frames) + 0.5) * span / config.num_frames if times is None else times(span)
        return video.read(moments, config.size)
