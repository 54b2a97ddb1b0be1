"""The page of an evaluation: what was reached beside floors and ceilings, and some episodes to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openjepa.eval.acting.outcomes import PlayedEpisode
from openjepa.eval.intervals import Interval
from openjepa.eval.pages.animation import Replay, draw_replay
from openjepa.eval.pages.report import Report

PANEL = 192  # screen pixels of a frame's height, about
WHAT = {
    "openjepa": "plans in its learned latents",
    "random": "actions by chance: the floor",
    "play": "the policy that recorded the episodes",
    "behaviour cloning": "imitates recorded actions, from the same latents",
    "recorded way": "repeats the actions that once led there: the ceiling",
}


def write_judged_page(
    path: Path, title: str, bins: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Sequence[PlayedEpisode]]
) -> Path:
    """Writes the page of one run and returns its path.

    Args:
        path: of the page.
        title: of the page.
        bins: by name of the bin, its rows by name of the player, and `pairs`, `budget` and `manifest_sha256`.
        kept: by name of the bin, episodes of the agent.
    """
    page = Report(title, "Every goal is a picture. Each player starts from the same frozen pairs of start and goal.")
    for name, rows in bins.items():
        players = {player: row for player, row in rows.items() if isinstance(row, dict)}
        page.section(f"Goals: {name}")
        page.table(
            ["player", "there at the last step", "was there once", "what it is"],
            [
                [player, _rate(row), f"{100 * row['first_hit']:.0f} %", WHAT.get(player, "")]
                for player, row in players.items()
            ],
            caption=f"{rows['pairs']} pairs, {rows['budget']} steps each; manifest `{rows['manifest_sha256'][:16]}`; "
            "intervals are Wilson's, 95 %.",
            best=0,
        )
        page.gallery([_player(episode) for episode in kept.get(name, ())])
    return page.write(path)


def _rate(row: Mapping[str, Any]) -> Interval:
    low, high = row["ci95"]
    return Interval(row["success"], low, high)


def _player(episode: PlayedEpisode) -> tuple[Any, str]:
    replay = Replay(episode.frames, episode.goal_frame, episode.success)
    pictures = draw_replay(replay, scale=max(1, PANEL // episode.frames.shape[-2]))
    return pictures, f"Pair {episode.pair_id}: {'the goal was reached' if episode.success else 'not reached'}."
