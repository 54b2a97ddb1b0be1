"""The page of one episode: what was seen, how it was thought about, and the way through the agent's map."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from openjepa.eval.pages.animation import draw_replay
from openjepa.eval.pages.figures import latent_map, lines
from openjepa.eval.pages.report import Report
from openjepa.recipes.play_to_picture import Decision, Played

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = 256  # screen pixels of a frame's height, about
MOST_EDGES = 6000  # that are drawn; a map may have ten times as many


def write_played_page(path: Path, title: str, played: Played) -> Path:
    """Writes the page of an episode towards a picture and returns its path."""
    page = Report(title, played.words[0].upper() + played.words[1:] + ".")
    scale = max(1, PANEL // played.replay.frames.shape[-2])
    page.animation(draw_replay(played.replay, scale=scale), "What the agent saw, the goal shining through.")
    if not played.decisions or played.goal is None:
        return page.write(path)
    steps = [one.step for one in played.decisions]
    curves = {"expected cost of the plan": (steps, [one.cost for one in played.decisions])}
    left = [(one.step, one.left) for one in played.decisions if one.left is not None]
    if left:
        curves["distance to the goal, by the critic"] = ([step for step, _ in left], [value for _, value in left])
    if played.landmarks is not None:
        known = played.landmarks(torch.stack([one.state for one in played.decisions]), played.goal).tolist()
        ways = [(step, value) for step, value in zip(steps, known, strict=True) if value < played.landmarks.far]
        curves["steps to the goal, along the map"] = ([step for step, _ in ways], [value for _, value in ways])
    page.section("How far it was")
    page.figure(lines(curves, x_label="environment step", y_label=""), "At every decision, from left to right.")
    page.section("Where it went", "States in the two directions in which they differ most.")
    page.figure(_drawn(played, played.goal), "The way, what each plan headed for, and the goal; places of the map.")
    if played.thoughts:
        page.section("How it thought")
        rows = [[f"{one.step}", one.mode, one.why] for one in _changes(played.decisions)]
        page.table(["step", "mode", "why"], rows, caption="A row for each change of mode.")
    return page.write(path)


def _changes(decisions: tuple[Decision, ...]) -> list[Decision]:
    """The first decision of every stretch of one mode."""
    return [one for i, one in enumerate(decisions) if i == 0 or decisions[i - 1].mode != one.mode]


def _drawn(played: Played, goal: Tensor) -> "Figure":
    way = torch.stack([one.state for one in played.decisions])
    headings = torch.stack([one.heading for one in played.decisions])
    landmarks = played.landmarks
    embed = torch.nn.Flatten() if landmarks is None else landmarks.embed
    places = way if landmarks is None else landmarks.places
    with torch.no_grad():
        cloud = embed(torch.cat([places, goal[None]]))
        middle = cloud.mean(0)
        _, _, axes = torch.linalg.svd(cloud - middle, full_matrices=False)

        def flat(z: Tensor) -> np.ndarray:
            return ((embed(z) - middle) @ axes[:2].T).numpy()

        edges = np.zeros((2, 0), np.int64) if landmarks is None else landmarks.edges.numpy()
        return latent_map(
            flat(places) if landmarks is not None else np.zeros((0, 2)),
            edges[:, :: -(-edges.shape[1] // MOST_EDGES) or 1],
            flat(way),
            flat(headings),
            flat(goal[None])[0],
        )
