"""What an agent lived through, kept on disk an episode at a time, and a map that grows by it.

    agent/experience/00000001-4711.safetensors   states at the decisions of one episode, and the edges that failed in it

An episode is one file that appears whole or not at all, so that a process that dies at any moment loses no episode that
was kept, and damages nothing else. The map itself is never written again: it is the map of the training with what the
files say, in their order.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from openjepa.agent.landmarks import LandmarkConfig, Landmarks, nearest_places
from openjepa.errors import CheckpointError, check_shape
from openjepa.files import cause_of, replacing

PATTERN = "*.safetensors"


@dataclass(frozen=True)
class Experience:
    """One episode of one environment.

    Attributes:
        z: [T, N, D], states at the decisions.
        steps: [T] int64, model steps since its start.
        failed: [K, 2, N, D], both ends of every edge of the map that failed.
    """

    z: Tensor
    steps: Tensor
    failed: Tensor

    def __post_init__(self) -> None:
        sizes = check_shape(self.z, "T N D", name="z")
        check_shape(self.steps, f"T={sizes['T']}", name="steps")
        check_shape(self.failed, f"K two=2 N={sizes['N']} D={sizes['D']}", name="failed")


def keep(folder: Path, experience: Experience) -> Path:
    """Writes one episode; when this returns, it survives a kill and a power failure.

    Raises:
        CheckpointError: where the disk is full or refuses; what was there before stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem.partition("-")[0]) for path in folder.glob(PATTERN)]
        path = folder / f"{max(numbers, default=0) + 1:08d}-{os.getpid()}.safetensors"
        with replacing(path) as draft:
            save_file({name: value.contiguous() for name, value in vars(experience).items()}, draft)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the episode cannot be kept in {folder}: {cause_of(error, folder)}.") from error
    return path


def recall(folder: Path) -> list[Experience]:
    """Reads all kept episodes, in their order; what a kill left half-written is no episode.

    Raises:
        CheckpointError: for a file that is damaged.
    """
    found = []
    for path in sorted(folder.glob(PATTERN)):
        if path.name.startswith("."):
            continue
        try:
            found.append(Experience(**load_file(path)))
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}). Remove it: only it is lost.") from error
    return found


@torch.no_grad()
def grown(landmarks: Landmarks, experiences: Sequence[Experience], *, max_new: int = 1000) -> Landmarks:
    """The map with what was lived through: new places, new ways between them, and none that failed.

    A place is new where it is as far from every landmark as landmarks are from one another. A way is believed as
    the map's own options say (`min_count` times, `max_gap` steps at most); an edge goes where it failed more often
    than it was walked.

    Args:
        landmarks: the map; it is left as it was, and its landmarks keep their numbers.
        experiences: episodes.
        max_new: places that are added at most.
    """
    if not experiences:
        return landmarks
    config = landmarks.config or LandmarkConfig()
    z = torch.cat([experience.z for experience in experiences]).to(landmarks.places)
    places = torch.cat([landmarks.places, z[_new(landmarks, z, max_new)]])
    seen = landmarks.embed(places)
    count = len(places)
    best = torch.full((count, count), torch.inf)
    best[tuple(landmarks.edges.cpu())] = landmarks.gaps.cpu()
    gaps, times, failures = torch.full_like(best, torch.inf), torch.zeros_like(best), torch.zeros_like(best)
    for experience in experiences:
        number = nearest_places(landmarks.embed(experience.z.to(places)), seen).cpu()
        for ahead in range(1, len(number)):
            gap = (experience.steps[ahead:] - experience.steps[:-ahead]).float()
            near = gap <= config.max_gap
            if not bool(near.any()):
                break
            pairs = number[:-ahead][near], number[ahead:][near]
            flat = pairs[0] * count + pairs[1]
            gaps.view(-1).scatter_reduce_(0, flat, gap[near], "amin")
            times.view(-1).index_add_(0, flat, torch.ones(len(flat)))
        if len(experience.failed):
            ends = nearest_places(landmarks.embed(experience.failed.to(places).flatten(0, 1)), seen).cpu().view(-1, 2)
            failures.index_put_((ends[:, 0], ends[:, 1]), torch.ones(len(ends)), accumulate=True)
    if config.reversible:
        gaps, times, failures = torch.minimum(gaps, gaps.T), times + times.T, failures + failures.T
    best = torch.where(times >= config.min_count, torch.minimum(best, gaps), best)
    best[failures > times] = torch.inf
    best.fill_diagonal_(torch.inf)
    edges = best.isfinite().nonzero().T
    found = landmarks.redrawn(places, edges.to(places.device), best[edges[0], edges[1]].to(places))
    found.config = replace(config, capacity=max(config.capacity, count))
    return found


def _new(landmarks: Landmarks, z: Tensor, max_new: int) -> list[int]:
    """Numbers of states [S, N, D] that are places of their own, each beyond the ones before it."""
    known, seen = landmarks.embed(landmarks.places), landmarks.embed(z)
    between = torch.cdist(known, known).fill_diagonal_(torch.inf)
    spacing = float(between.amin()) if len(known) > 1 else 0.0
    away = torch.cat([torch.cdist(part, known).amin(1) for part in seen.split(4096)])
    chosen: list[int] = []
    while len(chosen) < max_new:
        farthest = int(away.argmax())
        if not float(away[farthest]) > (1 - 1e-5) * spacing:
            break
        chosen.append(farthest)
        away = torch.minimum(away, (seen - seen[farthest]).norm(dim=1))
    return chosen
