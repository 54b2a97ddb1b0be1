"""The report of the demonstration: what was reached, what was imagined, and what the latent knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from openjepa.envs.two_rooms import CROSS_ROOM, SAME_ROOM, SIZE, TwoRooms, is_free
from openjepa.eval.acting.outcomes import PlayedEpisode
from openjepa.eval.health.doctor import diagnose
from openjepa.eval.intervals import Interval
from openjepa.eval.pages import figures
from openjepa.eval.pages.animation import Replay, draw_replay, filmstrip
from openjepa.eval.pages.report import Report
from openjepa.eval.probing.probes import MLPProbe, ProbeConfig
from openjepa.heads.frame_decoder import FrameDecoder, fit_decoder
from openjepa.nn.random import keyed_generator
from openjepa.recipes.two_rooms import world_config
from openjepa.recipes.world_model import open_store
from openjepa.train.log import read_metrics

if TYPE_CHECKING:
    from openjepa.recipes.demo import Findings

PER_EPISODE = 11  # frames of each training episode that the probe decoder sees
EXPLAIN = {
    "OpenJEPA": "plans in its learned latent space",
    "behaviour cloning": "imitates the first action of recorded ways, same latents and episodes",
    "random play": "the policy that made the data",
    "straight line (true state)": "reads the true positions, heads straight for the goal, slides along walls",
    "oracle (true simulator)": "plans with the true dynamics and the true length of the way",
}


@torch.no_grad()
def write_report(findings: "Findings", results: dict[str, Any], path: Path) -> Path:
    """Writes the self-contained page."""
    config = findings.config
    decoder, probe = _read_outs(findings)
    page = Report(
        f"A world learned from random play: {config.play.world}",
        f"{config.play.episodes} episodes of random play, {config.train.steps} training steps, seed {config.seed}. "
        "The model saw frames and actions, never a position, a reward or a goal.",
    )
    ours = findings.reports["OpenJEPA"]
    cards: dict[str, Any] = {"goals reached": ours.success}
    if CROSS_ROOM in ours.success_by_group:
        cards["in the other room"] = ours.success_by_group[CROSS_ROOM]
    cards["per decision"] = (f"{ours.times.median_ms or 0:.0f} ms", "one environment, median")
    cards["in all"] = (f"{sum(findings.seconds.values()):.0f} s", "play, training, planning and judging so far")
    page.cards(cards)
    _success(page, findings)
    _episodes(page, findings, ours.kept, decoder, probe)
    _imagination(page, findings, decoder)
    _energy(page, findings)
    page.section("Is the latent healthy?").diagnosis(diagnose(findings.diagnostics), findings.diagnostics)
    page.section("Training")
    metrics = read_metrics(path.parent / "run" / "metrics.jsonl")
    page.figure(figures.training_curves(metrics), "Loss terms and diagnostics over training steps.")
    times = [[name, f"{value:.1f} s"] for name, value in findings.seconds.items()]
    page.table(["phase", "wall-clock"], times, caption="Where the time went, up to this page.")
    page.section("How it was judged").text(
        f"{len(ours.outcomes)} pairs of start and goal, drawn once with a seed of their own (manifest "
        f"`{ours.manifest_sha256[:16]}`), none from a training episode, none solved at the start. A goal counts "
        f"as reached within 3 px, in at most {ours.budget} steps. Intervals are Wilson's, 95 %."
    )
    return page.write(path)


def _success(page: Report, findings: "Findings") -> None:
    page.section("Goals reached")
    rows: list[list[Any]] = []
    bars: dict[str, Interval] = {}
    for name, report in findings.reports.items():
        median = report.steps_to_goal.get("0.5")
        rows.append(
            [
                name,
                report.success,
                report.success_by_group.get(SAME_ROOM, "-"),
                report.success_by_group.get(CROSS_ROOM, "-"),
                "-" if median is None else f"{median:.0f}",
                EXPLAIN[name],
            ]
        )
        bars[name] = report.success
    columns = ["player", "all goals", "same room", "other room", "median steps", "what it is"]
    page.table(columns, rows, best=0, caption="Every player on the same pairs.")


def _episodes(
    page: Report, findings: "Findings", kept: tuple[PlayedEpisode, ...], decoder: FrameDecoder, probe: MLPProbe
) -> None:
    page.section(
        "Episodes",
        "The picture of the goal is all that the agent is given. Dots are the path that the plan in force imagines, "
        "read from the latent by a probe; the panel on the right is the imagined end of that plan, decoded.",
    )
    shown = []
    for episode in kept:
        paths, ends = [], []
        for z_path in episode.z_paths:
            if z_path is None:
                paths.append(np.zeros((0, 2)))
                ends.append(episode.frames[0])
                continue
            paths.append(probe(z_path.flatten(1))[:, :2].numpy())
            ends.append(decoder.pictures(z_path[-1].flatten()[None])[0].numpy())
        replay = Replay(
            episode.frames, episode.goal_frame, episode.success, np.stack(ends), episode.states[:, :2], paths
        )
        pictures = draw_replay(replay, scale=3)
        outcome = "reached" if episode.success else "not reached"
        shown.append((pictures, f"{outcome} in {len(episode.frames) - 1} steps"))
    page.gallery(shown)


def _imagination(page: Report, findings: "Findings", decoder: FrameDecoder) -> None:
    config, model = findings.config, findings.model
    world = TwoRooms(3, world_config(config))
    frames = [world.reset([10_000_019 + i for i in range(3)])]
    rng, actions = np.random.default_rng(1), []
    heading = rng.uniform(0, 2 * np.pi, 3)
    for _ in range(16):
        heading += rng.normal(0, 0.15, 3)
        actions.append(np.stack([np.cos(heading), np.sin(heading)], 1))
        frames.append(world.step(actions[-1]))
    real = torch.from_numpy(np.stack(frames, 1))  # [3, 17, 3, 64, 64]
    z = model.encode(real[:, :1])
    path = model.rollout(z, torch.from_numpy(np.stack(actions, 1)).float())  # [3, 16, 1, D]
    page.section(
        "Imagination",
        "From one picture and sixteen actions the model predicts sixteen latents. A decoder that was trained "
        "afterwards, on frozen latents, shows what they hold; it is no part of the model.",
    )
    for i in range(3):
        rows = {
            "real": real[i, 1:].numpy(),
            "imagined": decoder.pictures(path[i].flatten(1)).numpy(),
        }
        page.image(filmstrip(rows, scale=2), f"Held-out start {i + 1}: what happened, and what was imagined.")


def _energy(page: Report, findings: "Findings") -> None:
    config = findings.config
    pair = next((p for p in findings.manifest.pairs if p.group == CROSS_ROOM), findings.manifest.pairs[0])
    goal = np.array(pair.goal_state, np.float32)
    places = np.arange(4, SIZE - 3, 2, dtype=np.float32)
    x, y = np.meshgrid(places, places)
    states = np.tile(goal, (x.size, 1))
    states[:, 0], states[:, 1] = x.ravel(), y.ravel()
    world = TwoRooms(len(states), world_config(config))
    seen = torch.from_numpy(world.reset_to(states))
    one = TwoRooms(1, world_config(config))
    z_goal = findings.model.encode(torch.from_numpy(one.reset_to(goal[None]))[:, None])[:, 0]
    assert findings.critic is not None
    distance = findings.critic(findings.model.encode(seen[:, None])[:, 0], z_goal).numpy()
    free = is_free(states[:, :2].astype(float), states[:, 2:4].astype(float))
    energy = np.where(free, distance, np.nan).reshape(x.shape)
    grid = np.full((SIZE // 2, SIZE // 2), np.nan)
    grid[2 : 2 + len(places), 2 : 2 + len(places)] = energy
    page.section(
        "The energy of a goal",
        "How far is every place from the star? The learned temporal distance, measured between the picture of each "
        "place and the picture of the goal: where a wall stands between, the way leads through the door.",
    )
    figure = figures.landscape(grid, one.reset_to(goal[None])[0], (float(goal[0]), float(goal[1])))
    page.figure(figure, "Learned distance to the goal (star); white is wall.")


def _read_outs(findings: "Findings") -> tuple[FrameDecoder, MLPProbe]:
    """A decoder and a position probe on frozen latents of training episodes."""
    memory, config = findings.memory, findings.config
    store = open_store(config)
    from openjepa.data import split

    trained, _ = split(store, config.play.held_out, config.seed)
    drawn = np.random.default_rng(config.seed)
    episodes, length = memory.latents.shape[:2]
    chosen = [np.sort(drawn.choice(length, min(PER_EPISODE, length), replace=False)) for _ in range(episodes)]
    frames = torch.from_numpy(
        np.concatenate([store.rows_of("frames", int(i))[steps] for i, steps in zip(trained, chosen, strict=True)])
    )
    latents = torch.cat([memory.latents[i, torch.from_numpy(steps)] for i, steps in enumerate(chosen)]).flatten(1)
    with torch.enable_grad():
        decoder = fit_decoder(latents, frames, generator=keyed_generator(config.seed, 3))
        assert memory.states is not None
        known = memory.states.flatten(0, 1)
        probe = MLPProbe(memory.latents.flatten(0, 1).flatten(1), known, ProbeConfig(mlp_steps=600))
    return decoder, probe
