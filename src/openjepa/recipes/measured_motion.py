"""What recorded frames show of what moves: its size, its way in a step, its cells, its inertia.

Nothing here is learned but a small regression, and no world is known by its name. What moves is what differs from the
background, the usual colour of every pixel (or, where an episode has a scene of its own, in that episode).
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from openjepa.data import EpisodeStore

EPISODES = 48  # that are looked at
FRAMES = 64  # of each
COMPARED = 96  # frames at most, by which a background is found
SHORTEST = 8  # steps of an episode that is looked at, if there are enough of them
SEEN = 12.0  # grey levels by which a pixel must differ, so that noise and antialiasing do not count
BACKGROUND = 0.35  # share of pixels in the foreground above which there is no common background
PATCH, POOLED, PARTS = 24, 8, 8  # px around what moves, cells that it is shrunk to, principal components that are kept
ROWS = 1500  # steps that the regression knows
WHOLE = 0.25  # share by which what moves may be smaller or larger than usual where it is seen whole
FEWEST = 30  # times that a choice must have been made before it counts as one that does nothing
DETAIL = 4  # px in which two scenes must differ to be two
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Clip:
    """The beginning of a recorded episode: frames [T + 1, C, H, W] uint8 and actions [T, A]."""

    frames: np.ndarray
    actions: np.ndarray


@dataclass(frozen=True)
class Motion:
    """What moves; lengths in px of the recorded frames.

    Attributes:
        has_background: whether all episodes share one background.
        size: side of a square as large as what moves.
        step: median way of its centre in an environment step, over steps in which anything changes.
        still: share of steps in which nothing changes.
        cell: side of the cells between whose centres things jump, or None where they glide.
        known: R2 of the centre's next way, told from position, appearance and action.
        known_with_velocity: the same, told also by the way of the step before.
        within: share of the variance of pixels that lies within episodes; the rest is what differs between them.
        alike: share of pairs of episodes in which the same things stand still.
        scene: share of the picture in which things stand still in both of two episodes and differ, in the median.
    """

    has_background: bool
    size: float
    step: float
    still: float
    cell: float | None
    known: float
    known_with_velocity: float
    within: float
    alike: float = 1.0
    scene: float = 0.0


def read_clips(store: EpisodeStore, *, frameskip: int = 1) -> list[Clip]:
    """The beginnings of some episodes, spread evenly over the store, in model steps of so many environment steps."""
    long = np.flatnonzero(store.lengths >= frameskip * SHORTEST)
    if len(long) < EPISODES // 2:
        long = np.flatnonzero(store.lengths >= frameskip)
    return list(clips_of(store, long[np.unique(np.linspace(0, len(long) - 1, EPISODES).astype(int))], frameskip))


def clips_of(store: EpisodeStore, episodes: np.ndarray, frameskip: int = 1) -> Iterator[Clip]:
    """The beginnings of these episodes, one after the other."""
    for i in episodes.tolist():
        count = min(int(store.lengths[i]) // frameskip, FRAMES)
        actions = np.asarray(store.rows_of("actions", i)[: count * frameskip])
        frames = np.asarray(store.rows_of("frames", i)[: count * frameskip + 1 : frameskip])
        yield Clip(frames, actions.reshape(count, -1))


def measure_motion(clips: Sequence[Clip], *, seed: int = 0) -> Motion:
    """Measures clips of at least 2 episodes.

    Args:
        clips: of episodes.
        seed: of the small regression.
    """
    background, is_common = find_background(clips)
    differs = [moving(clip.frames, median) for clip, median in zip(clips, background, strict=True)]
    centres = [centre_of(one) for one in differs]
    changes = [changed(clip.frames) for clip in clips]
    moved = ways_of(centres, changes)
    moves = np.concatenate(moved)
    cells = (cell_of(leaving(moved)), cell_of(leaving(ways_of(core_centres(differs), changes))))
    still = 1 - float(np.concatenate(changes).mean())
    known, with_velocity = told_by_velocity(clips, differs, centres, seed)
    alike, scene = compare_scenes(clips)
    return Motion(
        has_background=is_common,
        size=float(np.sqrt(np.mean([(one > SEEN).sum((1, 2)).mean() for one in differs]))),
        step=float(np.median(np.linalg.norm(moves, axis=1))) if len(moves) else 0.0,
        still=still,
        cell=next((cell for cell in cells if cell is not None), None),
        known=known,
        known_with_velocity=with_velocity,
        within=variance_within(clips),
        alike=alike,
        scene=scene,
    )


def variance_within(clips: Sequence[Clip]) -> float:
    """Share of the variance of all pixels that lies within clips; 1 where nothing ever changes."""
    means = np.stack([clip.frames.mean(0) for clip in clips])
    weights = np.array([len(clip.frames) for clip in clips])
    within = sum(float(np.square(clip.frames - mean).sum()) for clip, mean in zip(clips, means, strict=True))
    centre = np.average(means, axis=0, weights=weights)
    between = float((np.square(means - centre).sum((1, 2, 3)) * weights).sum())
    return within / (within + between) if within + between else 1.0


def compare_scenes(clips: Sequence[Clip]) -> tuple[float, float]:
    """`alike` and `scene` of `Motion`, from the pixels that hardly change in either of two clips."""
    usual = np.stack([np.median(clip.frames, 0) for clip in clips])
    still = np.stack([(np.ptp(clip.frames.astype(np.int16), 0) <= SEEN).all(0) for clip in clips])  # [E, H, W]
    count = np.concatenate(
        [
            ((difference(usual[i + 1 :], usual[i]) > SEEN) & still[i + 1 :] & still[i]).sum((1, 2))
            for i in range(len(clips) - 1)
        ]
    )
    return float((count < DETAIL).mean()), float(np.median(count)) / still[0].size


def find_background(clips: Sequence[Clip]) -> tuple[list[np.ndarray], bool]:
    """The background [C, H, W] of each clip, and whether it is the same for all.

    Later frames tell: where all episodes begin in one place, what moves is not yet spread over the picture. Where a
    clip never looks as usual, it has a scene of its own there: of what it shows, what was seen most often in all clips.
    """
    halves = [clip.frames[len(clip.frames) // 2 :] for clip in clips]
    some = distinct(np.concatenate([frames[:: max(1, len(frames) // 6)] for frames in halves]))
    common = usual_colours(some, some)
    foreground = np.mean([(difference(clip.frames, common) > SEEN).mean() for clip in clips])
    if foreground >= BACKGROUND:
        return [usual_colours(*[distinct(clip.frames)] * 2) for clip in clips], False
    found = []
    for clip in clips:
        own, unlike = common.copy(), (difference(clip.frames, common) > SEEN).all(0)  # [H, W]
        shown = distinct(clip.frames[:, :, unlike])
        own[:, unlike] = usual_colours(shown, np.concatenate([shown, some[:, :, unlike]]))
        found.append(own)
    return found, True


def distinct(frames: np.ndarray) -> np.ndarray:
    """One of equal frames [T, C, ...]: what jumps between a few places may wait in one for most of the time."""
    return frames[np.unique(frames.reshape(len(frames), -1), axis=0, return_index=True)[1]]


def usual_colours(shown: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of the colours of each pixel in frames [T, C, ...] the one that most of `known` [K, C, ...] are like: [C, ...].

    A median of things that stand there by turns may be the colour of a third.
    """

    def pixels(frames: np.ndarray) -> torch.Tensor:
        some = frames[np.unique(np.linspace(0, len(frames) - 1, min(len(frames), COMPARED)).astype(int))]
        return torch.from_numpy(some.reshape(*some.shape[:2], -1)).permute(2, 0, 1).float()  # [pixels, T, C]

    colours, others = pixels(shown), pixels(known)
    parts = zip(colours.split(2048), others.split(2048), strict=True)
    usual = torch.cat([(torch.cdist(a, b, p=math.inf) <= SEEN).sum(2).argmax(1) for a, b in parts])
    return colours[torch.arange(len(colours)), usual].T.reshape(shown.shape[1:]).numpy()


def difference(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """How much frames [T, C, H, W] differ from a background [C, H, W], in grey levels: [T, H, W]."""
    return np.abs(frames.astype(np.float32) - background.astype(np.float32)).max(1)


def moving(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The same where anything changes in the clip: what stands out but stands still, such as a marker, is left out."""
    changes = (frames.max(0).astype(np.int16) - frames.min(0) > SEEN).any(0)  # [H, W]
    return difference(frames, background) * changes


def centre_of(differs: np.ndarray) -> np.ndarray:
    """Centre (x, y) in px of what differs in [T, H, W]; NaN where nothing does."""
    weight = np.where(differs > SEEN, differs, 0)
    mass = weight.sum((1, 2))
    x = (weight.sum(1) * np.arange(differs.shape[2])).sum(1)
    y = (weight.sum(2) * np.arange(differs.shape[1])).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([x, y], 1) / mass[:, None]


def changed(frames: np.ndarray) -> np.ndarray:
    """Whether any pixel changes between successive frames [T + 1, C, H, W]: [T] bool."""
    return np.array([(np.abs(b.astype(np.int16) - a) > SEEN).any() for a, b in itertools.pairwise(frames)], bool)


def core_centres(differs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Centres of what differs most in each clip; NaN where it is not seen whole.

    What moves may cast a light or a shade around it, which differs less; its centre glides as it meets a wall.
    """
    cores = [np.where(one > one.max(initial=0.0) / 2, one, 0) for one in differs]
    sizes = [(one > 0).sum((1, 2)) for one in cores]
    usual = np.median(np.concatenate(sizes))
    whole = [np.abs(size - usual) <= WHOLE * usual for size in sizes]
    return [np.where(seen[:, None], centre_of(one), np.nan) for one, seen in zip(cores, whole, strict=True)]


def ways_of(centres: Sequence[np.ndarray], changes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Ways of centres [T + 1, 2] of each clip in the steps [T] in which anything changed, where they are known."""
    ways = [np.diff(one, axis=0) for one in centres]
    return [way[change & np.isfinite(way).all(1)] for way, change in zip(ways, changes, strict=True)]


def leaving(ways: Sequence[np.ndarray]) -> np.ndarray:
    """Ways of the clips in which things go far, [S, 2].

    A clip in which nothing leaves its place shows of what turns there a part that changes, and no place.
    """
    longest = [float(np.abs(way).max(initial=0.0)) for way in ways]
    return np.concatenate([way for way, long in zip(ways, longest, strict=True) if long >= max(longest) / 2])


def cell_of(moves: np.ndarray) -> float | None:
    """Side of the cells whose multiples almost all ways [S, 2] along an axis are, in px; None where things glide.

    Small ways beside them (a turn on the spot moves a centre by a fraction of a cell) do not count.
    """
    along = np.abs(moves).max(1)
    across = np.abs(moves).min(1)
    if len(along) < 20 or along.max() < 2:
        return None
    jumps = along[along > 0.3 * np.quantile(along, 0.98)]
    side = float(np.median(jumps[jumps < 1.5 * np.quantile(jumps, 0.1)]))
    is_jump = along > 0.5 * side
    fits = np.abs(along / side - np.round(along / side)) * side < max(0.5, 0.12 * side)
    straight = across < max(0.5, 0.12 * side)
    rarely_between = ((along > 0.3 * side) & ~(fits & straight)).sum() < 0.05 * is_jump.sum()
    return side if rarely_between and side >= 2 else None


def told_by_velocity(
    clips: Sequence[Clip], differs: Sequence[np.ndarray], centres: Sequence[np.ndarray], seed: int
) -> tuple[float, float]:
    """Held-out R2 of the next way of what moves without and with the way before; (0, 0) where too little moves.

    Position, appearance (the surroundings of the centre, and the whole, both shrunk) and action are known in both, and
    so are products of any two of them: which way a step leads may depend on how a thing is turned.
    """
    seen = [np.concatenate([pooled(around(d, c)), pooled(d)], 1) for d, c in zip(differs, centres, strict=True)]
    parts = principal(np.concatenate(seen))
    groups: list[list[np.ndarray]] = [[], [], [], [], []]  # next way, position, appearance, action, way before
    owners = []
    for number, (clip, look, centre) in enumerate(zip(clips, seen, centres, strict=True)):
        way = np.diff(centre, axis=0)
        rows = (way[1:], centre[1:-1], parts(look)[1:-1], clip.actions[1 : len(way)], way[:-1])
        for group, row in zip(groups, rows, strict=True):
            group.append(row)
        owners.append(np.full(max(0, len(way) - 1), number))
    columns = [np.concatenate(group).astype(np.float64) for group in groups]
    owner = np.concatenate(owners)
    whole = np.flatnonzero(np.isfinite(np.concatenate(columns, 1)).all(1))
    drawn = np.random.default_rng(seed).permutation(whole)[:ROWS]
    target, *known = (column[drawn] for column in columns)
    fold = owner[drawn] % 4  # two of four to learn from, one to choose the penalty, one to score
    if min((fold == 0).sum(), (fold == 3).sum()) < 50 or target.std() < 0.02:
        return 0.0, 0.0
    return score_products(known[:3], target, fold), score_products(known, target, fold)


def score_products(groups: Sequence[np.ndarray], target: np.ndarray, fold: np.ndarray) -> float:
    """Held-out R2 of kernel ridge regression on all products of two numbers; every group [S, F] counts the same."""
    linear = np.zeros((len(target), len(target)))
    for group in groups:
        scaled = (group - group.mean(0)) / np.maximum(group.std(0), 1e-6)
        linear += scaled @ scaled.T / max(1, (group.std(0) > 1e-6).sum())
    kernel = np.square(1 + linear / len(groups))
    fit, choose, test = fold < 2, fold == 2, fold == 3
    mean = target[fit].mean(0)

    def error(penalty: float, rows: np.ndarray) -> float:
        gram = kernel[np.ix_(fit, fit)] + penalty * fit.sum() * np.eye(fit.sum())
        found = kernel[np.ix_(rows, fit)] @ np.linalg.solve(gram, target[fit] - mean) + mean
        return float(np.square(found - target[rows]).sum() / np.square(target[rows] - mean).sum())

    best = min(PENALTIES, key=lambda penalty: error(penalty, choose))
    return 1 - error(best, test)


def around(differs: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The surroundings [T, PATCH, PATCH] of each centre in [T, H, W]; zeros beyond the border or without a centre."""
    half = PATCH // 2
    wide = np.pad(differs, ((0, 0), (half, half), (half, half)))
    corners = np.nan_to_num(centres).round().astype(int)
    return np.stack([one[y : y + PATCH, x : x + PATCH] for one, (x, y) in zip(wide, corners, strict=True)])


def pooled(pictures: np.ndarray) -> np.ndarray:
    """Pictures [T, H, W] shrunk to POOLED x POOLED means: [T, POOLED^2]."""
    found = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(pictures)[:, None], POOLED)
    return found.flatten(1).numpy()


def principal(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function that maps rows [S, F] to their first principal components in these rows, of the two halves each."""
    maps = []
    for half in np.split(rows, 2, axis=1):
        mean = half.mean(0)
        _, vectors = np.linalg.eigh(np.cov(half - mean, rowvar=False))
        maps.append((mean, vectors[:, ::-1][:, :PARTS]))
    return lambda x: np.concatenate(
        [(half - mean) @ vectors for half, (mean, vectors) in zip(np.split(x, 2, axis=1), maps, strict=True)], 1
    )


def idle_choices(clips: Iterable[Clip]) -> tuple[int, ...]:
    """Numbers of the choices of one group that never change the picture; none where too little was seen of one."""
    counts, effects = [], []  # [A] of each clip: how often a choice was made, and how often the picture changed then
    for clip in clips:
        counts.append(clip.actions.sum(0))
        effects.append(clip.actions[changed(clip.frames)].sum(0))
    made, worked = np.sum(counts, 0), np.sum(effects, 0)
    idle = tuple(np.flatnonzero(worked == 0).tolist())
    return () if made.min() < FEWEST or len(idle) == len(made) else idle


def categories_of(actions: np.ndarray) -> tuple[int, ...]:
    """Sizes of the one-hot groups that all actions [S, A] consist of; empty where they are numbers."""
    if not len(actions) or not np.isin(actions, (0, 1)).all():
        return ()
    sizes, first = [], 0
    for last in range(actions.shape[1]):
        count = actions[:, first : last + 1].sum(1)
        if (count > 1).any():
            return ()
        if (count == 1).all():
            sizes.append(last + 1 - first)
            first = last + 1
    return tuple(sizes) if first == actions.shape[1] else ()
