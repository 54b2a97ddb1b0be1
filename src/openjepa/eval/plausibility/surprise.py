"""Surprise: energies of a clip over time, its p-value, the pair that is less plausible, and the controls beside it.

As published (2502.11831), the clips of a matched pair are compared by the *mean* energy over time, and a single clip
is judged by the *maximum*: errors that both clips of a pair share cancel in the mean, while one strange moment in a
long clip would drown in it. What is new here is what a number means: the maximum is calibrated on possible clips to
a p-value (`conformal`), and stands beside controls that know no physics.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from openjepa.data.clips import PART, Clip
from openjepa.errors import ConfigError, DataError
from openjepa.eval.intervals import Interval, cluster_bootstrap
from openjepa.eval.plausibility.conformal import Calibration, p_values
from openjepa.eval.plausibility.energy import ChangeEnergy, EnergyModel, copy_last, nan_mean
from openjepa.nn.host import Array

T = TypeVar("T")
NETWORKS = 20  # untrained ones
LEVEL = 0.05
TINTED = "light changes colour"
WARM = (1.0, 0.85, 0.65)  # share of red, green and blue that is left of the light


def curves(model: EnergyModel, clips: Array) -> np.ndarray:
    """Returns the energy over time [B, P] of clips [B, T, 3, H, W] uint8: the mean over contexts or horizons."""
    return nan_mean(model.energies(torch.as_tensor(clips)), 1)


def clip_scores(model: EnergyModel, clips: Array) -> np.ndarray:
    """Returns the score of each single clip [B]: its highest energy."""
    return np.nanmax(curves(model, clips), 1)


def pair_scores(model: EnergyModel, clips: Array) -> np.ndarray:
    """Returns the score of each clip of a matched pair [B]: its mean energy."""
    return nan_mean(curves(model, clips), 1)


def is_pair_right(possible: np.ndarray, impossible: np.ndarray) -> np.ndarray:
    """Returns 1 where the impossible clip has the higher score, 0.5 for a tie, else 0; all [B]."""
    return np.where(possible < impossible, 1.0, np.where(possible == impossible, 0.5, 0.0))


def auroc(possible: np.ndarray, impossible: np.ndarray) -> float:
    """Returns the chance that an impossible clip scores above a possible one that it is not matched with.

    >>> auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    return float(is_pair_right(possible[:, None], impossible[None]).mean())


def accuracy(right: Sequence[float] | np.ndarray, clusters: Sequence[int] | np.ndarray) -> Interval:
    """Returns the share of pairs judged right, with the bootstrap interval over scenes: pairs of one move together."""
    return cluster_bootstrap(right, clusters, resamples=4000)


def tint_light(clips: Array, start: int | None = None) -> np.ndarray:
    """Returns the same clips [B, T, 3, H, W], whose light turns warm from frame `start` on; None is the middle.

    What happens stays what it was. A model that finds this strange mistakes the new for the impossible.
    """
    out = np.array(clips)
    middle = out.shape[1] // 2 if start is None else max(start, 0)
    out[:, middle:] = np.rint(out[:, middle:] * np.array(WARM)[:, None, None]).astype(np.uint8)
    return out


def untrained_networks(model: EnergyModel, count: int = NETWORKS) -> list[EnergyModel]:
    """Returns judges of the same architecture that have learned nothing; seeds 1 to `count`."""
    return [model.untrained(seed) for seed in range(1, count + 1)]


def plain_controls(model: EnergyModel) -> list[EnergyModel]:
    """Returns the controls without a predictor: copy the last frame, and the difference of pixels."""
    still = copy_last(model)
    return [*([] if still is None else [still]), ChangeEnergy()]


def calibrate(
    model: EnergyModel,
    clips: Iterable[np.ndarray],
    *,
    protocol: dict[str, Any] | None = None,
    networks: int = NETWORKS,
    network_clips: int = 100,
    source: str = "",
) -> Calibration:
    """Scores possible clips, and so makes a judge of single clips.

    Args:
        model: the judge.
        clips: each [T, 3, H, W] uint8, possible, and from distinct scenes: several clips of one scene are not
            several samples.
        protocol: how the clips were cut, to be kept.
        networks: untrained ones to score beside it.
        network_clips: clips that these see, at most.
        source: where the clips are from, in words.
    """
    batches = list(_batches(clips, model.window))
    scores = _scores(model, batches)
    if not len(scores):
        raise DataError("calibration needs possible clips; there are none. Give a folder of them.")
    lengths = sorted(b.shape[1] for b in batches)
    first = _first(batches, network_clips)
    tinted = np.concatenate([clip_scores(model, tint_light(b)) for b in batches])
    return Calibration(
        tuple(scores.tolist()),
        {"window": model.window, "rows": list(model.rows), "length": lengths[len(lengths) // 2], **(protocol or {})},
        {control.name: tuple(_scores(control, batches).tolist()) for control in plain_controls(model)},
        tuple(tuple(_scores(fresh, first).tolist()) for fresh in untrained_networks(model, networks)),
        {TINTED: float(np.mean(p_values(tinted, scores) <= LEVEL))},
        source,
    )


@dataclass(frozen=True)
class Verdict:
    """What a model says about one clip.

    Attributes:
        name: of the clip.
        frames: numbers of the frames that energies belong to [P], counted in the clip as it was cut.
        energy: over time [P].
        rows: energy by context length or horizon, [K][P].
        score: the highest energy.
        p_value: conformal.
        level: at which an alarm is raised.
        controls: p-value of each control without a predictor, by name.
        untrained: p-values of the untrained networks.
        tinted: p-value of the same clip with the colour of its light changed from the middle on.
        length: frames of the clip.
        shown: some of its frames [3, H, W] uint8 by number, for pictures.
    """

    name: str
    frames: tuple[int, ...]
    energy: tuple[float, ...]
    rows: dict[str, tuple[float, ...]]
    score: float
    p_value: float
    level: float
    controls: dict[str, float] = field(default_factory=dict)
    untrained: tuple[float, ...] = ()
    tinted: float = 1.0
    length: int = 0
    shown: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def is_surprising(self) -> bool:
        """Whether an alarm is raised."""
        return self.p_value <= self.level

    @property
    def moment(self) -> int:
        """The most surprising frame."""
        return self.frames[int(np.nanargmax(self.energy))]

    def text(self) -> str:
        """Returns a few lines for a terminal."""
        word = "SURPRISING" if self.is_surprising else "plausible"
        alarms = sum(p <= self.level for p in self.untrained)
        lines = [
            f"{self.name}: {word}, p = {self.p_value:.3g} (highest energy {self.score:.3g} at frame {self.moment})",
            *(f"  {name:<24} p = {p:.3g}" for name, p in self.controls.items()),
        ]
        if self.untrained:
            lines.append(f"  {'untrained networks':<24} {alarms} of {len(self.untrained)} raise an alarm")
        lines.append(f"  {TINTED:<24} p = {self.tinted:.3g} (the same clip; new, yet possible)")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "name": self.name,
            "surprising": self.is_surprising,
            "p_value": self.p_value,
            "level": self.level,
            "score": self.score,
            "frame": self.moment,
            "frames": list(self.frames),
            "energy": [_plain(e) for e in self.energy],
            "rows": {name: [_plain(e) for e in row] for name, row in self.rows.items()},
            "controls": {**self.controls, TINTED: self.tinted},
            "untrained_alarms": sum(p <= self.level for p in self.untrained),
            "untrained_networks": len(self.untrained),
        }


def judge(
    model: EnergyModel,
    clip: np.ndarray | Clip,
    calibration: Calibration,
    *,
    name: str = "clip",
    level: float = LEVEL,
    untrained: Sequence[EnergyModel] = (),
    keep: Collection[int] = (),
) -> Verdict:
    """Judges one clip by a calibrated model, with the controls beside it, all in one pass over its frames.

    Args:
        model: the judge that was calibrated.
        clip: cut as the calibration clips were; [T, 3, H, W] uint8, or read in parts.
        calibration: of this model.
        name: of the clip.
        level: at which an alarm is raised, in (0, 1).
        untrained: networks whose calibration scores the calibration holds, in the same order.
        keep: numbers of the frames that the verdict shows.

    Raises:
        ConfigError: for a level that the calibration has too few clips for.
        DataError: for a clip that cannot be read, or is too short.
    """
    if not 0 < level < 1 or level * (len(calibration.scores) + 1) < 1:
        raise ConfigError(
            f"`level` must be in [{1 / (len(calibration.scores) + 1):.3g}, 1) with {len(calibration.scores)} "
            f"calibration clips; got {level}. Calibrate on more clips, or raise it."
        )
    controls = [c for c in plain_controls(model) if c.name in calibration.controls]
    known = [*(calibration.controls[c.name] for c in controls), *calibration.untrained[: len(untrained)]]
    others = [judge.scan(len(clip)) for judge in [*controls, *untrained[: len(calibration.untrained)]]]
    scan, tinted = model.scan(len(clip)), model.scan(len(clip))
    found, shown, done = [], {}, 0
    highest, highest_tinted = np.full(len(others), -np.inf), -np.inf
    for part in _parts(clip):
        one = torch.as_tensor(part)[None]
        warm = torch.from_numpy(tint_light(part[None], len(clip) // 2 - done))
        found.append(scan.add(one)[0])  # [K, p]
        highest = np.maximum(highest, [_highest(other.add(one)) for other in others])
        highest_tinted = max(highest_tinted, _highest(tinted.add(warm)))
        shown.update({number: part[number - done] for number in keep if 0 <= number - done < len(part)})
        done += len(part)
    energies = np.concatenate(found, 1)  # [K, P]
    energy = nan_mean(energies, 0)
    score = float(np.nanmax(energy))
    p = [float(p_values([top], scores)[0]) for top, scores in zip(highest, known, strict=True)]
    return Verdict(
        name,
        tuple(int(f) for f in model.positions(len(clip))),
        tuple(energy.tolist()),
        {row: tuple(values.tolist()) for row, values in zip(model.rows, energies, strict=True)},
        score,
        calibration.p_value(score),
        level,
        {control.name: value for control, value in zip(controls, p, strict=False)},
        tuple(p[len(controls) :]),
        calibration.p_value(highest_tinted),
        len(clip),
        shown,
    )


def _parts(clip: np.ndarray | Clip) -> Iterator[np.ndarray]:
    if isinstance(clip, np.ndarray):
        yield from (clip[at : at + PART] for at in range(0, len(clip), PART))
    else:
        yield from clip


def _highest(energies: np.ndarray) -> float:
    """The highest energy over time of one clip's [1, K, p]; minus infinity where none is known yet."""
    return float(np.fmax.reduce(nan_mean(energies, 1), None, initial=-np.inf))


@dataclass(frozen=True)
class PairResult:
    """How often each judge finds the impossible clip of a pair, by group.

    Attributes:
        accuracy: of the model, by group and, under `all`, together.
        controls: of each control, likewise.
        untrained: mean and standard deviation over networks, by group.
        pairs: number of pairs by group.
    """

    accuracy: dict[str, Interval]
    controls: dict[str, dict[str, Interval]]
    untrained: dict[str, tuple[float, float]]
    pairs: dict[str, int]


Pairs = Iterable[tuple[np.ndarray, np.ndarray, str, int]]


def judge_pairs(
    model: EnergyModel,
    pairs: Pairs,
    *,
    networks: int = NETWORKS,
    progress: Callable[[int], None] | None = None,
) -> PairResult:
    """Judges matched pairs: (possible clip, impossible clip, group, cluster), clips [T, 3, H, W] uint8.

    Args:
        model: the judge.
        pairs: cluster is the scene; pairs of one scene are resampled together.
        networks: untrained ones to judge beside it.
        progress: called with the number of finished pairs.
    """
    fresh = untrained_networks(model, networks)
    judges = [model, *plain_controls(model), *fresh]
    groups: list[str] = []
    clusters: list[int] = []
    rows: list[np.ndarray] = []  # [pairs, judges] each
    for chunk in chunks(pairs):
        possible, impossible = [pair[0] for pair in chunk], [pair[1] for pair in chunk]
        columns = [is_pair_right(_pair_scores(j, possible), _pair_scores(j, impossible)) for j in judges]
        rows.append(np.stack(columns, 1))
        groups += [pair[2] for pair in chunk]
        clusters += [pair[3] for pair in chunk]
        if progress is not None:
            progress(len(groups))
    if not rows:
        raise DataError("there must be at least one matched pair; there is none. Check the folder's layout.")
    right, of = np.concatenate(rows), np.array(groups)
    parts = {**{g: of == g for g in dict.fromkeys(groups)}, "all": np.full(len(of), True)}
    scenes = np.array(clusters)
    named = {j.name: i for i, j in enumerate(judges[: len(judges) - len(fresh)])}
    by = {name: {g: accuracy(right[m, i], scenes[m]) for g, m in parts.items()} for name, i in named.items()}
    nets = right[:, len(judges) - len(fresh) :]
    spread = {g: nets[m].mean(0) for g, m in parts.items()}
    return PairResult(
        by.pop(model.name),
        by,
        {g: (float(x.mean()), float(x.std(ddof=1))) for g, x in spread.items()} if len(fresh) > 1 else {},
        {g: int(m.sum()) for g, m in parts.items()},
    )


def _batches(clips: Iterable[np.ndarray], window: int, size: int = 16) -> Iterable[np.ndarray]:
    """Clips of equal shape together, so that nothing has to be padded."""
    waiting: dict[tuple[int, ...], list[np.ndarray]] = {}
    for clip in clips:
        group = waiting.setdefault(clip.shape, [])
        group.append(clip)
        if len(group) == size:
            yield np.stack(waiting.pop(clip.shape))
    for group in waiting.values():
        yield np.stack(group)


def chunks(items: Iterable[T], size: int = 16) -> Iterator[list[T]]:
    """Splits a stream into lists of at most `size`."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def _pair_scores(model: EnergyModel, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Mean energies [B] of clips that may differ in length; those of one shape are computed together."""
    if len({clip.shape for clip in clips}) == 1:
        return pair_scores(model, np.stack(clips))
    return np.concatenate([pair_scores(model, clip[None]) for clip in clips])


def _scores(model: EnergyModel, batches: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([clip_scores(model, b) for b in batches]) if batches else np.empty(0)


def _first(batches: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    chosen, left = [], count
    for batch in batches:
        if left <= 0:
            break
        chosen.append(batch[:left])
        left -= len(batch)
    return chosen


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
