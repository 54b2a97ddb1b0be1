"""Judges a saved agent in any world: near and far goals beside floors and a ceiling; without a simulator, offline."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.agent import Agent, load_agent
from openjepa.agent.saved import find_agent, note_judged
from openjepa.baselines.behaviour_cloning import clone_latents
from openjepa.data import EpisodeStore, split
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs import GymnasiumWorld, default_policy, make_policy
from openjepa.envs.gymnasium_stage import glimpse
from openjepa.errors import ConfigError, DataError
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest, draw_recorded_pairs
from openjepa.eval.acting.offline import judge_offline
from openjepa.eval.acting.outcomes import PlayedEpisode, SuccessReport
from openjepa.eval.acting.recorded_way import RecordedWay
from openjepa.eval.acting.replaying import Ways, placed, ways_to_replay
from openjepa.eval.acting.scattered_pairs import draw_scattered_pairs
from openjepa.eval.acting.success_rate import JudgeConfig, Player, evaluate
from openjepa.planning.costs import PathCost
from openjepa.protocols import World
from openjepa.recipes.judged_page import write_judged_page
from openjepa.recipes.measured_choices import SHARED
from openjepa.recipes.measured_motion import measure_motion, read_clips
from openjepa.recipes.remembered_play import remember
from openjepa.recipes.world import ResolvedWorld
from openjepa.recipes.world_model import open_store, world_of

NEAR = 25  # environment steps between start and goal, where episodes are long enough
FAR_BUDGET = 100  # environment steps for a goal of another episode
LOW_CEILING = 0.5  # reached by the recorded way, below which goals are such that nothing stays there
HIGH_FLOOR = 0.3  # a success rate of chance above which a table proves nothing
SOLVED = 0.2  # share of near pairs that doing nothing solves, from which on they must lie farther apart
SHOWN = 4  # episodes of a bin on the page
RADIUS_SHARE = 0.1  # of the median distance of two states: what counts as reached where nobody says it
PICTURE_SHARE = 0.2  # the same where pictures are states: what moves may be off by a fifth of its size


@dataclass(frozen=True)
class Bin:
    """A kind of pairs: its manifest, the steps that a player has, and the recorded offset where there is one."""

    name: str
    pairs: Manifest
    budget: int
    offset: int | None = None


def judge(
    config: ResolvedWorld,
    run_dir: Path,
    *,
    manifest: Path | None = None,
    radius: float | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measures what the agent of a run reaches, and keeps it with the agent.

    Args:
        config: of the run.
        run_dir: its folder.
        manifest: pairs to play instead of those drawn from held-out episodes.
        radius: within which a goal counts as reached; None is the world's own rule, or a share of what is usual.
        say: called with a line for whoever waits; standard error by default.
    """
    say = say or (lambda line: print(line, file=sys.stderr))
    agent = load_agent(run_dir)
    store = open_store(config)
    _, held_out = split(store, config.play.held_out, config.seed)
    results: dict[str, Any] = {"offline": _offline(agent, store, held_out, config)}
    if config.play.world:
        live, kept = _judge_live(agent, store, held_out, config, manifest, radius, say)
        results |= live
        if live:
            page = write_judged_page(run_dir / "evaluation.html", f"Judged: {config.play.world}", live, kept)
            say(f"page: {page}")
    else:
        say("no world is known for these episodes: judged offline only. Give one with --world.")
    note_judged(find_agent(run_dir), "eval", _brief(results))
    return results


def _offline(agent: Agent, store: EpisodeStore, held_out: np.ndarray, config: ResolvedWorld) -> dict[str, Any]:
    kept = held_out[store.lengths[held_out] >= config.frameskip][:64]
    if not len(kept):
        return {}
    distance = agent.cost.between if isinstance(agent.cost, PathCost) else None
    return judge_offline(agent.model, distance, read_episodes(store, kept, config.frameskip)).as_json()


def _judge_live(
    agent: Agent,
    store: EpisodeStore,
    held_out: np.ndarray,
    config: ResolvedWorld,
    manifest: Path | None,
    radius: float | None,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, tuple[PlayedEpisode, ...]]]:
    """Rows by bin and player, and episodes of the agent by bin."""
    world, ways, states = world_of(config.play), Ways(), dict[int, np.ndarray]()
    try:
        if "states" in [column.name for column in store.columns]:
            states = {int(i): np.asarray(store.rows_of("states", int(i))) for i in held_out}
        elif not world.has_states:
            states = {int(i): glimpse(np.asarray(store.rows_of("frames", int(i)))) for i in held_out}
        if states and not world.can_reset_to:
            ways = ways_to_replay(store, states, lambda n, known: world_of(config.play, n, judged=True, recorded=known))
        if ways:
            world.close()
            world, states = world_of(config.play, judged=True, recorded=ways), placed(states)
            say(f"`{world.name}` cannot be put into a state: starts and goals are reached by playing episodes again")
        if not (world.can_reset_to and world.has_states):
            say(
                f"`{world.name}` can neither be put into a state nor reach one again, so no pairs can be played: "
                "judged offline only."
            )
            return {}, {}
        if radius is None:
            radius = _radius(world, states)
            if radius is not None:
                what, share = ("pictures", PICTURE_SHARE) if _sees(world) else ("states", RADIUS_SHARE)
                say(f"success within {radius:.3g}: {share:g} of the median distance of two {what}, as nobody says it")
        elif isinstance(world, GymnasiumWorld):
            world.success_distance = radius
        else:
            raise ConfigError(f"`radius` is for Gymnasium environments; `{world.name}` has a rule of its own.")
        scene = (
            0.0 if not ways else measure_motion(read_clips(store, frameskip=config.frameskip), seed=config.seed).scene
        )
        bins = _bins(world, states, config, manifest, say, is_one_scene=scene <= SHARED)
    finally:
        world.close()

    def make(num_envs: int, draw_every: int = 1) -> World:
        made = world_of(config.play, num_envs, judged=True, draw_every=draw_every, recorded=ways)
        if radius is not None and isinstance(made, GymnasiumWorld):
            made.success_distance = radius
        return made

    cloned = _cloned(agent, config) if bins and agent.config.history == 1 else None
    played = {one.name: _play_bin(one, agent, cloned, make, store, config, say) for one in bins}
    return {name: rows for name, (rows, _) in played.items()}, {name: kept for name, (_, kept) in played.items()}


def _radius(world: World, states: dict[int, np.ndarray]) -> float | None:
    """A radius of success where the world has no rule of its own, else None."""
    if not isinstance(world, GymnasiumWorld) or not states:
        return None
    rows = np.concatenate(list(states.values()))
    some = rows[np.random.default_rng(0).integers(len(rows), size=(2, 256))]
    try:
        world.is_success(some[0][:1], some[1][:1])
    except ConfigError:
        share = PICTURE_SHARE if _sees(world) else RADIUS_SHARE
        world.success_distance = share * float(np.median(world.distance(some[0], some[1])))
        return world.success_distance
    return None


def _sees(world: World) -> bool:
    """Whether pictures are its states."""
    return isinstance(world, GymnasiumWorld) and world.sees_states


def _bins(
    world: World,
    states: dict[int, np.ndarray],
    config: ResolvedWorld,
    manifest: Path | None,
    say: Callable[[str], None],
    *,
    is_one_scene: bool,
) -> list[Bin]:
    if manifest is not None:
        return [Bin("pairs", Manifest.load(manifest), config.budget or FAR_BUDGET)]
    if not states:
        say("these episodes hold no states, so no pairs can be drawn: judged offline only.")
        return []
    act, found = config.act, []
    lengths = np.array([len(rows) - 1 for rows in states.values()])
    usual = int(min(NEAR, max(2, np.quantile(lengths, 0.5) // 2)))
    offset = _offset(world, states, usual, int(np.quantile(lengths, 0.5)) - 1)
    if offset != usual:
        say(f"near pairs lie {offset} steps apart: within {usual} too many states stay inside the radius of success")
    each = max(4, -(-2 * act.pairs // max(1, int((lengths > offset).sum()))))
    shared: dict[str, Any] = {"seed": act.pairs_seed, "task": config.play.world}
    try:
        near = draw_recorded_pairs(world, states, act.pairs, offset=offset, pairs_per_episode=each, **shared)
        found.append(Bin("near", near, config.budget or 2 * offset, offset))
        if not is_one_scene:
            say("far pairs are left out: scenes of episodes differ, and a goal of another one cannot be reached")
            return found
        far = float(np.median([pair.distance for pair in near.pairs]))
        scattered = draw_scattered_pairs(world, states, act.pairs, min_distance=far, **shared)
        found.append(Bin("far", scattered, config.budget or max(FAR_BUDGET, 2 * offset)))
    except DataError as error:
        say(f"some pairs cannot be drawn: {error}")
    return found


def _offset(world: World, states: dict[int, np.ndarray], usual: int, longest: int) -> int:
    """The usual offset, doubled while too many states so far apart count as one and episodes are long enough."""
    offset = usual
    while 2 * offset <= longest:
        solved = [world.is_success(rows[:-offset], rows[offset:]) for rows in states.values() if len(rows) > offset]
        if np.concatenate(solved).mean() < SOLVED:
            break
        offset *= 2
    return offset


def _cloned(agent: Agent, config: ResolvedWorld) -> Player:
    """A policy that imitates the recorded play, on the agent's own latents."""
    memory = remember(agent.model, config)  # type: ignore[arg-type]
    return clone_latents(
        agent.model,
        memory.latents,
        memory.actions,
        agent.bounds,
        seed=config.seed,
        lengths=memory.lengths,
        frameskip=config.frameskip,
    )


def _play_bin(
    one: Bin,
    agent: Agent,
    cloned: Player | None,
    make: Callable[..., World],
    store: EpisodeStore,
    config: ResolvedWorld,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], tuple[PlayedEpisode, ...]]:
    judged = JudgeConfig(budget=one.budget, stop_at_goal=False, batch_size=50)
    untimed = replace(judged, latency_pairs=0)
    bounds = agent.bounds
    players: dict[str, Player] = {"openjepa": agent}
    uniform = "one-hot" if bounds.categories else "uniform"
    players["random"] = PolicyPlayer(make_policy(uniform, bounds), config.seed)
    policy = config.play.policy or default_policy(bounds)
    if policy != uniform:
        players["play"] = PolicyPlayer(make_policy(policy, bounds), config.seed)
    if cloned is not None:
        players["behaviour cloning"] = cloned
    if one.offset is not None:
        ids = {pair.episode_id for pair in one.pairs.pairs if pair.episode_id is not None}
        ways = {i: np.asarray(store.rows_of("actions", i)) for i in ids}
        players["recorded way"] = RecordedWay(one.pairs, ways, bounds, one.offset)
    rows: dict[str, Any] = {"pairs": len(one.pairs), "budget": one.budget, "manifest_sha256": one.pairs.sha256}
    kept: tuple[PlayedEpisode, ...] = ()
    for name, player in players.items():
        if name == "openjepa":
            shown = [pair.pair_id for pair in one.pairs.pairs[:SHOWN]]
            looking = partial(make, draw_every=agent.span)
            report = evaluate(player, looking, one.pairs, judged, name=name, keep=shown)
            kept = report.kept
        else:
            is_blind = isinstance(player, PolicyPlayer | RecordedWay)
            looking = partial(make, draw_every=0 if is_blind else config.frameskip)
            report = evaluate(player, looking, one.pairs, untimed, name=name)
        rows[name] = _row(report)
        at_end, once = report.success_at_end, f"{report.success.estimate:.0%}"
        say(f"{one.name}: {name:18s} there at the last step {at_end.percent()}, at some step {once}")  # type: ignore[union-attr]
    floor = rows["random"]["success"]
    rows["floor_is_high"] = bool(floor > HIGH_FLOOR)
    if rows["floor_is_high"]:
        say(f"{one.name}: random play reaches {floor:.0%}: above {HIGH_FLOOR:.0%} this bin proves nothing.")
    if "recorded way" in rows and rows["recorded way"]["success"] < LOW_CEILING:
        say(
            f"{one.name}: the recorded way itself is there in {rows['recorded way']['success']:.0%} at the last step: "
            "what swings or rolls on does not stay. Goals at rest say more: --manifest FILE."
        )
    return rows, kept


def _row(report: SuccessReport) -> dict[str, Any]:
    at_end = report.success_at_end
    assert at_end is not None
    row = {
        "success": at_end.estimate,
        "ci95": [at_end.low, at_end.high],
        "first_hit": report.success.estimate,
        "ms_per_decision": report.times.median_ms,
    }
    groups = report.success_by_group
    return {**row, **({"first_hit_by_group": {k: v.estimate for k, v in groups.items()}} if groups else {})}


def _brief(results: dict[str, Any]) -> dict[str, Any]:
    """What an agent keeps of its judging: rates and their floors."""
    bins = {name: rows for name, rows in results.items() if name != "offline"}
    return {
        name: {player: row["success"] for player, row in rows.items() if isinstance(row, dict)}
        for name, rows in bins.items()
    }
