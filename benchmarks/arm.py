"""An arm in scenes that it never saw: to reach a pictured place, also around a wall, and to push a block to its place.

    python benchmarks/arm.py
    python benchmarks/arm.py --tasks reach --seeds 0

Every task and seed is one run of its recipe (`arm`, `arm-around`, `arm-push`): play in 512 scenes, a world model of
it, an agent. All players are then judged on the same frozen pairs, each in a scene of its own, by the distance at the
last step: in `near` scenes (other numbers than the training's) and `far` ones (textures and hues of their own).

    openjepa    the saved agent: pictures in, plans in the world model
    direct      goes straight where the difference of two latents points; no plan
    random      uniform actions; `play` the scripted play itself, which never sees the goal
    oracle      knows where everything is
    onnx        the exported agent under ONNX Runtime (`examples/act_with_onnx.py`), in near scenes
    one_scene   the same recipe trained in a single scene, in near scenes and (`own`) in its own
    vjepa2_ac   `openjepa train vjepa2-ac --encoder.run RUN`: tokens of the first run's frozen encoder, and poses; in
                near scenes, with the errors of its roll-outs beside copying

What is finished is kept under --out and not done again. The last line is JSON, by task and split: shares within 3 and 5
cm (mean over seeds, each seed, 95 % interval of all pairs together), medians, and CPU seconds of play and training.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.agent import load_agent
from openjepa.config import to_dict
from openjepa.envs import make_policy
from openjepa.envs.arm import Arm
from openjepa.eval.acting.arm_players import ArmOracle, DirectController
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.intervals import wilson
from openjepa.recipes import vjepa2_ac as action_conditioned
from openjepa.recipes.acting import finish
from openjepa.recipes.arm import ArmRecipeConfig, arm, arm_around, arm_push, draw_pairs, judge_split, world_config
from openjepa.recipes.world_model import build, with_seed
from openjepa.train import train

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))  # what users copy is what is measured
TASKS = {"reach": ("arm", arm), "around": ("arm-around", arm_around), "push": ("arm-push", arm_push)}


class OnnxPlayer:
    """Plays with the exported files of a run, one environment after the other."""

    def __init__(self, run: Path) -> None:
        from act_with_onnx import OnnxAgent

        from openjepa.interop.onnx_export import export_onnx

        folder = run / "onnx"
        if not folder.is_dir():
            export_onnx(run, folder, say=print)
        self.agent = OnnxAgent(folder)
        self.horizon = self.agent.card["planner"]["options"]["horizon"]

    def start(self, goal_frames: np.ndarray, env_ids: Any = None, goal_proprio: Any = None) -> None:
        """Remembers the goals."""
        self.goals = goal_frames

    def act(self, frames: np.ndarray, proprio: Any = None, active: Any = None) -> np.ndarray:
        """Returns actions [B, A]."""
        pairs = zip(frames, self.goals, strict=True)
        return np.stack([self.agent.act(frame, goal, horizon=self.horizon) for frame, goal in pairs])


def configured(task: str, seed: int, pairs: int, out: Path, scenes: int) -> ArmRecipeConfig:
    """The recipe of one run, its play beside it."""
    config = TASKS[task][1]()
    play = replace(config.play, data=out / f"play-{task}-{scenes}-{seed}", options={"scenes": scenes})
    train_options = replace(config.train, threads=1)
    return with_seed(
        replace(config, play=play, seed=seed, train=train_options, act=replace(config.act, pairs=pairs, pairs_seed=0))
    )


def learn(config: ArmRecipeConfig, name: str, run: Path) -> float | None:
    """Plays, trains and saves an agent, or takes the finished one; CPU seconds, None where another command made it."""
    known = run / "cpu_seconds.json"
    if (run / "agent" / "agent.json").is_file():
        return json.loads(known.read_text()) if known.is_file() else None
    began = time.process_time()
    experiment = build(config)
    train(experiment.method, experiment.source, config.train, run, recipe_config={"recipe": name, **to_dict(config)})
    finish(config, run)
    seconds = round(time.process_time() - began, 1)
    known.write_text(json.dumps(seconds))
    return seconds


def action_conditioned_rows(
    config: ArmRecipeConfig, encoder: Path, out: Path, manifests: dict[str, Manifest]
) -> dict[str, dict[str, Any]]:
    """V-JEPA 2-AC on the encoder of a run: by split what it reaches, and the errors of its roll-outs beside copying."""
    run, seed = out / f"run-vjepa2-ac-{config.seed}", config.seed
    base = action_conditioned.vjepa2_ac()
    base = replace(
        base,
        play=replace(base.play, data=out / f"play-vjepa2-ac-{seed}"),
        encoder=replace(base.encoder, run=str(encoder)),
        features=out / "features",
        seed=seed,
        train=replace(base.train, threads=1),
        act=replace(base.act, pairs=config.act.pairs, pairs_seed=config.act.pairs_seed),
    )
    base, path = with_seed(base), run / "judged.json"
    if path.is_file():
        return json.loads(path.read_text())
    began = time.process_time()
    experiment = action_conditioned.build(base)
    recorded = {"recipe": "vjepa2-ac", **to_dict(base)}
    train(experiment.method, experiment.source, base.train, run, recipe_config=recorded)
    action_conditioned.finish(base, run)
    seconds = round(time.process_time() - began, 1)
    agent = load_agent(run)
    rows = {split: judge_split(agent, base, pairs, "vjepa2_ac") for split, pairs in manifests.items()}
    found = {**rows, "rollout": {**action_conditioned.rollout_of(base, run), "cpu_seconds_with_play": seconds}}
    path.write_text(json.dumps(found))
    return found


def frozen(config: ArmRecipeConfig, split: str, path: Path) -> Manifest:
    """The pairs of a split: drawn once, then read."""
    if not path.is_file():
        draw_pairs(config, split).save(path)
    return Manifest.load(path)


def judge(config: ArmRecipeConfig, run: Path, player: str, pairs: Manifest, split: str) -> dict[str, Any]:
    """What a player reaches on the pairs of a split; kept beside the run."""
    path = run / f"judged-{player}-{split}-{pairs.sha256[:12]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    bounds = Arm(1).bounds
    agent = load_agent(run)
    players: dict[str, Any] = {
        "openjepa": lambda: agent,
        "direct": lambda: DirectController(agent.model, bounds),  # type: ignore[arg-type]
        "random": lambda: PolicyPlayer(make_policy("uniform", bounds), config.seed),
        "play": lambda: PolicyPlayer(make_policy(config.play.policy, bounds), config.seed),
        "oracle": lambda: ArmOracle(world_config(config, split)),
        "onnx": lambda: OnnxPlayer(run),
    }
    row = judge_split(players[player](), config, pairs, player)
    path.write_text(json.dumps(row))
    return row


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of all seeds as one."""
    found: dict[str, Any] = {"seeds": len(rows), "pairs": sum(row["pairs"] for row in rows)}
    for key in ("within_3_cm", "within_5_cm"):
        rates = [row[key] for row in rows]
        interval = wilson(round(sum(row[key] * row["pairs"] for row in rows)), found["pairs"])
        found |= {key: float(np.mean(rates)), f"{key}_by_seed": rates, f"{key}_ci95": [interval.low, interval.high]}
        found[f"ever_{key}"] = float(np.mean([row[f"ever_{key}"] for row in rows]))
    found["median_cm"] = float(np.mean([row["median_cm"] for row in rows]))
    found["within_3_cm_by_start"] = {
        group: float(np.mean([row["within_3_cm_by_start"][group] for row in rows]))
        for group in rows[0]["within_3_cm_by_start"]
    }
    return {**found, "manifest_sha256": rows[0]["manifest_sha256"]}


def main() -> None:
    """Measures, prints a line for each run, player and split, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pairs", type=int, default=200, help="of each split")
    parser.add_argument("--no-control", action="store_true", help="leave out the training in a single scene")
    parser.add_argument("--no-vjepa2-ac", action="store_true", help="leave out V-JEPA 2-AC on the first run's encoder")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-arm"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {}
    for task in options.tasks:
        name = TASKS[task][0]
        rows: dict[str, list[dict[str, Any]]] = {}
        seconds = []

        def note(key: str, row: dict[str, Any], rows: dict[str, list[dict[str, Any]]] = rows) -> None:
            rows.setdefault(key, []).append(row)
            print(key, json.dumps(row), flush=True)

        for seed in options.seeds:
            config = configured(task, seed, options.pairs, options.out, scenes=512)
            run = options.out / f"run-{task}-512-{seed}"
            seconds.append(learn(config, name, run))
            for split in config.splits:
                pairs = frozen(config, split, options.out / f"pairs-{task}-{split}-{options.pairs}.json")
                players = ["openjepa", "direct"]
                if seed == options.seeds[0]:
                    players += ["random", "oracle", *(["play"] if task == "push" else [])]
                    players += ["onnx"] if (task, split) == ("reach", "near") else []
                for player in players:
                    note(f"{task}/{split}/{player}", judge(config, run, player, pairs, split))
        if not options.no_control and task == "reach":
            config = configured(task, options.seeds[0], options.pairs, options.out, scenes=1)
            run = options.out / f"run-{task}-1-{options.seeds[0]}"
            learn(config, name, run)
            for split, called in (("near", "near"), ("train", "own")):
                pairs = frozen(config, split, options.out / f"pairs-{task}-{called}-{options.pairs}.json")
                note(f"{task}/{called}/one_scene", judge(config, run, "openjepa", pairs, split))
        if not options.no_vjepa2_ac and task == "reach":
            config = configured(task, options.seeds[0], options.pairs, options.out, scenes=512)
            manifests = {"near": frozen(config, "near", options.out / f"pairs-{task}-near-{options.pairs}.json")}
            encoder = options.out / f"run-{task}-512-{options.seeds[0]}"
            found = action_conditioned_rows(config, encoder, options.out, manifests)
            table["vjepa2_ac/rollout"] = found.pop("rollout")
            for split, row in found.items():
                note(f"{task}/{split}/vjepa2_ac", row)
        for key, found in rows.items():
            _, split, player = key.split("/")
            table.setdefault(f"{task}/{split}", {})[player] = together(found)
        table[f"{task}/cpu_seconds_of_play_and_training"] = seconds
    print(json.dumps({**table, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
