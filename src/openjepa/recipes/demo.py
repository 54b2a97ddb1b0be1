"""The main job in one command: collect random play, learn the world from pixels, reach goals given as pictures.

    openjepa demo
    openjepa demo --world random-doors --seed 1 --out runs/doors

Writes `report.html` and `results.json`. Nothing but frames and actions is learned from; true states serve judging,
probes and pictures. Two CPU cores, seed 0: see the table in the README.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from openjepa.agent import Agent
from openjepa.baselines.behaviour_cloning import clone_latents
from openjepa.config import save_json, to_dict
from openjepa.envs import make_policy
from openjepa.envs.two_rooms import CROSS_ROOM, TwoRooms
from openjepa.errors import ConfigError
from openjepa.eval.acting.floors import PolicyPlayer, StateView, StraightLinePlayer, simulator_player
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.outcomes import SuccessReport
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.eval.health.collapse import LatentDiagnostics, measure, untrained_twin
from openjepa.eval.health.doctor import diagnose
from openjepa.files import read_json, replace_text
from openjepa.methods.lewm import LeWM
from openjepa.recipes.acting import WorldModelConfig, learn_to_act, make_agent, save_finished
from openjepa.recipes.critics import Critic
from openjepa.recipes.demo_options import DemoConfig
from openjepa.recipes.remembered_play import Memory
from openjepa.recipes.two_rooms import draw_pairs, random_doors, two_rooms, world_config
from openjepa.recipes.world_model import build, open_store, with_seed
from openjepa.train import train

WORLDS = {"two-rooms": two_rooms, "random-doors": random_doors}


@dataclass
class Findings:
    """Everything that the report shows."""

    config: WorldModelConfig
    manifest: Manifest
    agent: Agent
    model: LeWM
    critic: Critic
    memory: Memory
    diagnostics: LatentDiagnostics
    reports: dict[str, SuccessReport] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def experiment_config(config: DemoConfig) -> WorldModelConfig:
    """The world-model recipe behind the demonstration."""
    recipe = WORLDS[config.world]()
    play = replace(recipe.play, data=config.out / "play", episodes=config.episodes or recipe.play.episodes)
    training = replace(recipe.train, steps=config.steps or recipe.train.steps)
    act = replace(recipe.act, pairs=config.pairs)
    return with_seed(replace(recipe, play=play, train=training, act=act, seed=config.seed))


def run(config: DemoConfig) -> dict[str, Any]:
    """Runs the demonstration and returns what `results.json` holds."""
    from openjepa.recipes.demo_report import write_report

    recipe = experiment_config(config)
    _begin(config, recipe)
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    with clock("play", f"playing at random: {recipe.play.episodes} episodes of {recipe.play.steps} steps"):
        open_store(recipe).close()
        experiment = build(recipe)
    with clock("train", f"learning the world: {recipe.train.steps} steps"):
        run_dir = config.out / "run"
        record = {"recipe": config.world, **to_dict(recipe)}
        model: LeWM = train(experiment.method, experiment.source, recipe.train, run_dir, recipe_config=record).method
    with clock("heads", "learning to plan: predictor, temporal distance and policy on frozen latents"):
        learned = learn_to_act(model, recipe)
        model, critic, memory = learned.model, learned.critic, learned.memory
        agent = make_agent(recipe, learned)
        save_finished(agent, recipe, run_dir, memory)
    with clock("diagnose", "looking at the latents"):
        assert experiment.held_out is not None
        found = measure(
            model, experiment.held_out(), untrained=untrained_twin(model), state_names=experiment.state_names
        )
    findings = Findings(recipe, draw_pairs(recipe), agent, model, critic, memory, found, seconds=seconds)
    with clock("judge", f"reaching {config.pairs} goals given as pictures"):
        findings.reports["OpenJEPA"] = _judge_agent(findings)
    with clock("baselines", "the same goals by chance, by imitation and by an oracle"):
        findings.reports |= _judge_others(findings)
    results = _results(config, findings)
    _write_results(config, results)
    with clock("report", "writing the report"):
        write_report(findings, results, config.out / "report.html")
    results["seconds"] = {**seconds, "total": sum(seconds.values())}
    _write_results(config, results)
    _say(_summary(results, findings))
    _say(f"report: {config.out / 'report.html'}")
    return results


def _begin(config: DemoConfig, recipe: WorldModelConfig) -> None:
    """Keeps what an interrupted demonstration with the same options has done; starts anew for others."""
    config.out.mkdir(parents=True, exist_ok=True)
    mark = config.out / "config.json"
    wanted = config.out / ".config.json"
    save_json(recipe, wanted)
    if mark.exists():
        remedy = f"Restore it, or remove {config.out} to start anew."
        read_json(mark, damaged=lambda reason: ConfigError(f"{mark} is damaged ({reason}). {remedy}"))
    if (mark.exists() and mark.read_text() != wanted.read_text()) or (config.out / "results.json").exists():
        for name in ("play", "run"):
            shutil.rmtree(config.out / name, ignore_errors=True)
        for name in ("results.json", "report.html"):
            (config.out / name).unlink(missing_ok=True)
    wanted.replace(mark)


def _judge_agent(findings: Findings) -> SuccessReport:
    recipe = findings.config
    options = world_config(recipe)
    judged = JudgeConfig(budget=recipe.act.budget, batch_size=recipe.act.pairs)
    pairs = findings.manifest.pairs
    crossing = [p.pair_id for p in pairs if p.group == CROSS_ROOM]
    shown = crossing[:4] + [p.pair_id for p in pairs if p.group != CROSS_ROOM][:2]
    seeds = {"training": recipe.seed, "planner": recipe.seed}
    return evaluate(
        findings.agent,
        lambda n: TwoRooms(n, options),
        findings.manifest,
        judged,
        name="OpenJEPA",
        seeds=seeds,
        keep=shown,
    )


def _judge_others(findings: Findings) -> dict[str, SuccessReport]:
    recipe, memory = findings.config, findings.memory
    options = world_config(recipe)
    bounds = TwoRooms(1, options).bounds
    policy = make_policy(recipe.play.policy, bounds)
    cloning = clone_latents(findings.model, memory.latents, memory.actions, bounds, seed=recipe.seed)
    judged = JudgeConfig(budget=recipe.act.budget, batch_size=recipe.act.pairs, latency_pairs=0)

    def play(name: str, player: Any, sees_truth: bool = False) -> SuccessReport:
        def world(n: int) -> Any:
            return StateView(TwoRooms(n, options)) if sees_truth else TwoRooms(n, options)

        return evaluate(player, world, findings.manifest, judged, name=name)

    return {
        "behaviour cloning": play("behaviour cloning", cloning),
        "random play": play("random play", PolicyPlayer(policy, recipe.seed)),
        "straight line (true state)": play("straight line", StraightLinePlayer(), sees_truth=True),
        "oracle (true simulator)": play("oracle", simulator_player(bounds, options), sees_truth=True),
    }


def _results(config: DemoConfig, findings: Findings) -> dict[str, Any]:
    reports = findings.reports
    ours = reports["OpenJEPA"]
    crossing = ours.success_by_group.get(CROSS_ROOM)
    probe = findings.diagnostics.probe
    return {
        "world": config.world,
        "seed": config.seed,
        "success_rate": ours.success.estimate,
        "success_rate_cross_room": None if crossing is None else crossing.estimate,
        "success_ci95": [ours.success.low, ours.success.high],
        "success_cross_room_ci95": None if crossing is None else [crossing.low, crossing.high],
        "random_floor": reports["random play"].success.estimate,
        "behaviour_cloning": reports["behaviour cloning"].success.estimate,
        "straight_line": reports["straight line (true state)"].success.estimate,
        "oracle": reports["oracle (true simulator)"].success.estimate,
        "episodes": len(ours.outcomes),
        "training_episodes": findings.config.play.episodes,
        "ms_per_decision": ours.times.median_ms,
        "model_steps_per_decision": ours.times.model_steps,
        "probe_r2": None if probe is None else probe.best(),
        "diagnosis": diagnose(findings.diagnostics).kind,
        "seconds": dict(findings.seconds),
        "manifest_sha256": ours.manifest_sha256,
        "torch_threads": torch.get_num_threads(),
        "players": {name: report.as_json() for name, report in reports.items()},
    }


def _write_results(config: DemoConfig, results: dict[str, Any]) -> None:
    replace_text(config.out / "results.json", json.dumps(results, indent=2) + "\n")


def _summary(results: dict[str, Any], findings: Findings) -> str:
    lines = [f"reached of {results['episodes']} goals in held-out episodes (95 % interval; in the other room):"]
    for name, report in findings.reports.items():
        crossing = report.success_by_group.get(CROSS_ROOM)
        inside = "" if crossing is None else f"   other room {100 * crossing.estimate:5.1f} %"
        lines.append(f"  {name:28s} {report.success.percent():24s}{inside}")
    lines.append(f"{results['ms_per_decision']:.0f} ms per decision; {results['seconds']['total']:.0f} s in all")
    return "\n".join(lines)


class _Clock:
    """Times the phases and says what is going on."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def __call__(self, phase: str, words: str) -> Iterator[None]:
        _say(words + " ...")
        start = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - start
        _say(f"  {self.seconds[phase]:.0f} s")


def _say(words: str) -> None:
    print(words, file=sys.stdout, flush=True)
