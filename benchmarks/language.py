r"""Words in and out of the saved agents of `object-rooms` and of the arm: the tables of `docs/language.md`.

    openjepa train object-rooms --seed 0 --run-dir runs/object-rooms-0      # and seeds 1 and 2
    python benchmarks/language.py runs/object-rooms-0 runs/object-rooms-1 runs/object-rooms-2
    openjepa train arm-felt --seed 0 --run-dir runs/arm-felt-0              # and seeds 1 and 2
    python benchmarks/language.py runs/arm-felt-0 runs/arm-felt-1 runs/arm-felt-2 --steps 15 --no-rivals

For each run it trains the language (timed in CPU-seconds), then plays goals in words by split, beside a goal picture of
one state of each goal (the ceiling), a point head, shuffled texts, a parser of regular expressions and play at random;
counts captions of imagined futures against what then happens, answers, descriptions of a stream, and refusals. The
judge is the simulator's state at the end of the budget; it never reads a text. Prints tables; the last line is one JSON
object. `written_after` are instructions that were written when training was frozen (`language_written_after.json`).
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa import load_agent
from openjepa.command_line.runs import open_run
from openjepa.data import split
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs import default_policy, make_policy
from openjepa.envs.facts import Fact, spoken
from openjepa.eval.health.collapse import encode_episodes
from openjepa.eval.intervals import wilson
from openjepa.heads.language_fitting import fit_point_head
from openjepa.language import load
from openjepa.language.rivals import ParsedCost, Parser, PointCost, fit_probe
from openjepa.language.sayings import Saying, Sayings, Split, truth
from openjepa.language.stream import evenly, kept, moments
from openjepa.recipes.worded_tasks import Tasks, by_cost, by_picture, draw_tasks, play_tasks
from openjepa.recipes.words import WordsConfig, learn_words, lesson_of, look, meaning_of
from openjepa.recipes.world_model import open_store, with_seed, world_of

AFTER = Path(__file__).with_name("language_written_after.json")
UNSOUND = Path(__file__).with_name("language_unsound.json")  # contradictions by world
AHEAD = 6  # model steps that captions look ahead


class Bench:
    """One run: its agent, its words, and everything that is measured."""

    def __init__(self, run: Path, words: WordsConfig, count: int, steps: int, *, retrain: bool) -> None:
        opened = open_run(run)
        self.config = with_seed(opened.config)
        self.agent = load_agent(run)
        self.world, self.facts = spoken(world_of(self.config.play))
        self.sayings, self.count, self.steps, self.words = Sayings(self.facts), count, steps, words
        self.written = [
            (tuple(self.facts.index[fact] for fact in facts), one["text"])
            for one in json.loads(AFTER.read_text())
            if set(facts := [Fact(r, tuple(t)) for r, *t in one["facts"]]) <= set(self.facts.all)
        ]
        self.train_seconds: float | None = None  # of a language that was there before nobody knows
        if retrain or not (run / "language").is_dir():
            began = time.process_time()
            self.language = learn_words(self.config, run, words)
            self.train_seconds = time.process_time() - began
        else:
            self.language = load(run)
        self.seen = look(self.agent, self.config, replace(words, episodes=300, seed=words.seed + 1))
        self.rng = np.random.default_rng((11, words.seed))

    # ------------------------------------------------------------------------------------------------- goals

    def goals(self, rivals: bool) -> dict[str, Any]:
        """Success of goals in words by split; every player on the same tasks."""
        joined = draw_tasks(self.world, self.count, seed=1)
        apart = draw_tasks(self.world, self.count, seed=2, joined=False)
        found: dict[str, Any] = {}

        def keep(name: str, row: dict[str, Any]) -> None:
            found[name] = row
            print(f"{name}: {json.dumps(row)}", flush=True)

        keep("goal picture", self._play(joined, by_picture(self.agent)))
        keep("goal picture, compositions", self._play(apart, by_picture(self.agent)))
        for name, tasks, split_ in (
            ("seen", joined, "seen"),
            ("held-out templates", joined, "template"),
            ("held-out words", joined, "words"),
            ("held-out compositions", apart, "composition"),
        ):
            texts = [self.sayings.say(f, "goal", split_, self.rng).text for f in tasks.facts]  # type: ignore[arg-type]
            keep(name, self._play_words(tasks, texts))
            if rivals:
                keep(f"parser, {name}", self._play_parsed(tasks, texts))
            if name == "seen":
                keep("shuffled text", self._play_words(joined, list(np.roll(texts, 1))))
                if rivals:
                    keep("point head, seen", self._play_points(joined, texts))
        if self.written:
            wanted, texts = zip(*self.written, strict=True)
            tasks = draw_tasks(self.world, len(wanted), seed=3, wanted=wanted)
            keep("written after", self._play_words(tasks, texts))
            keep("goal picture, written after", self._play(tasks, by_picture(self.agent)))
            if rivals:
                keep("parser, written after", self._play_parsed(tasks, texts))
        keep("play at random", self._play(joined, self._at_random))
        return found

    def _play(self, tasks: Tasks, begin: Callable[..., Any]) -> dict[str, Any]:
        judged = play_tasks(tasks, self.world, begin, budget=self.steps)
        rate = wilson(int(judged.at_end.sum()), len(tasks))
        return {"rate": rate.estimate, "ci95": [rate.low, rate.high], "ever": float(judged.ever.mean())}

    def _play_words(self, tasks: Tasks, texts: Sequence[str]) -> dict[str, Any]:
        return self._play(tasks, by_cost(self.agent, self.language.cost(texts)))

    def _play_parsed(self, tasks: Tasks, texts: Sequence[str]) -> dict[str, Any]:
        parser, seen = Parser(self.facts), self.seen
        parsed = tuple(parser.parse(text) for text in texts)
        probe = fit_probe(seen.latents, torch.from_numpy(seen.states))
        cost = ParsedCost(self.facts, parsed, probe, self.language.places, self.language.distance)
        return self._play(tasks, by_cost(self.agent, cost))

    def _play_points(self, tasks: Tasks, texts: Sequence[str]) -> dict[str, Any]:
        meaning = meaning_of(self.config, self.seen, self.words)
        head = fit_point_head(
            lesson_of(self.language.encoder, meaning, self.seen.latents),
            self.words.shape,
            replace(self.words.fit, steps=self.words.fit.steps // 2),
            scene_dim=self.language.places.scene_dim,
            generator=torch.Generator().manual_seed(self.words.seed),
        )
        tokens, mask = self.language.encoder(texts)
        return self._play(tasks, by_cost(self.agent, PointCost(head, tokens, mask, self.language.distance)))

    def _at_random(self, frames: np.ndarray, goals: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        policy = make_policy(default_policy(self.agent.bounds), self.agent.bounds)
        policy.reset(range(len(frames)))
        return lambda _: policy.act(None)

    # ---------------------------------------------------------------------------------------------- captions

    def captions(self) -> dict[str, Any]:
        """What is said of imagined states, against what then happens in the simulator."""
        store = open_store(self.config)
        _, ids = split(store, self.config.play.held_out, self.config.seed)
        batch = read_episodes(store, ids[:60], self.config.frameskip)
        z = encode_episodes(self.agent.model, batch)
        starts = np.arange(0, z.shape[1] - AHEAD, 8)
        z0 = torch.cat([z[:, t : t + 1] for t in starts])
        actions = torch.cat([batch.actions[:, t : t + AHEAD] for t in starts])
        after = torch.cat([batch.states[:, t + AHEAD] for t in starts]).numpy()
        with torch.no_grad():
            imagined = self.agent.model.rollout(z0, actions)[:, -1]
        is_true = self.facts.holds(after).T  # [S, K]
        said = (self.language.probabilities(imagined) > 0.5).numpy()
        rolled = np.roll(said, 17, 0)
        return {
            "said_and_true": float((said & is_true).sum() / said.sum()),
            "true_and_said": float((said & is_true).sum() / is_true.sum()),
            "chance": float((rolled & is_true).sum() / rolled.sum()),
            "states": len(after),
            **self._retrieval(z.flatten(0, 1), batch.states.flatten(0, 1).numpy()),
        }

    def _retrieval(self, z: torch.Tensor, states: np.ndarray) -> dict[str, float]:
        """Text to state: share of the 5 best states of which a text is true; state to text: of the 5 best captions."""
        pick = self.rng.choice(len(z), min(500, len(z)), replace=False)
        z, holds = z[torch.from_numpy(pick)], self.facts.holds(states[pick])
        sayings = self.sayings.draw(100, "statement", "template", self.rng)
        is_true = truth(sayings, holds)
        enough = np.flatnonzero(is_true.sum(1) >= 5)
        score = self.language.scores(self.language.read([sayings[i].text for i in enough]), z)
        first = score.topk(5, 1).indices.numpy()
        captions = self.language.probabilities(z).topk(5, 1).indices.numpy()
        return {
            "states_of_a_text_at_5": float(np.take_along_axis(is_true[enough], first, 1).mean()),
            "chance_states_at_5": float(is_true[enough].mean()),
            "captions_of_a_state_at_5": float(np.take_along_axis(holds.T, captions, 1).mean()),
            "chance_captions_at_5": float(holds.mean()),
        }

    # ----------------------------------------------------------------------------------------------- answers

    def answers(self) -> dict[str, Any]:
        """Answers by choosing, where exactly one is right; yes or no in held-out phrasings."""
        store = open_store(self.config)
        _, ids = split(store, self.config.play.held_out, self.config.seed)
        batch = read_episodes(store, ids[:60], self.config.frameskip)
        z = encode_episodes(self.agent.model, batch).flatten(0, 1)
        holds = self.facts.holds(batch.states.flatten(0, 1).numpy())
        right, chance, asked = 0, 0.0, 0
        while asked < 2 * self.count:
            i = int(self.rng.integers(len(z)))
            question, answers, numbers = self.sayings.choices(self.rng)
            if holds[numbers, i].sum() == 1:
                best = self.language.ask(z[i], question, answers)[0].text
                right += bool(holds[numbers[answers.index(best)], i])
                chance, asked = chance + 1 / len(answers), asked + 1
        found: dict[str, Any] = {"choice": right / asked, "choice_chance": chance / asked}
        for split_ in ("seen", "template", "words"):
            right = 0
            for _ in range(self.count):
                value = np.zeros(1, bool)
                while value.all() or not value.any():  # where both answers can be right
                    saying = self._question(split_)
                    value = holds[list(saying.facts)].all(0)
                wanted = bool(self.rng.random() < 0.5)
                i = int(self.rng.choice(np.flatnonzero(value == wanted)))
                best = self.language.ask(z[i], saying.text.rsplit(" ", 1)[0])[0].text
                right += (best == "yes") == wanted
            found[f"yes_no_{split_}"] = right / self.count
        return found

    def _question(self, split_: str) -> Saying:
        while True:
            (facts,) = [self.sayings.draw(1, "goal", "seen", self.rng)[0].facts]
            saying = self.sayings.say(facts, "question", split_, self.rng)  # type: ignore[arg-type]
            if saying.text.endswith((" yes", " no")):
                return saying

    # ------------------------------------------------------------------------------------------------ stream

    def stream(self) -> dict[str, Any]:
        """Descriptions that a stream needs, beside uniform sampling at the same accuracy; it moves, then rests."""
        clips = [self._moving_and_resting(seed) for seed in range(60)]
        said = [self.language.probabilities(z) for z, _ in clips]
        spoken = [moments(one, self.language.change) for one in said]
        length = len(said[0])

        def rights(marks: Sequence[Sequence[int]]) -> np.ndarray:
            return np.array([kept(s > 0.5, y, m) for s, (_, y), m in zip(said, clips, marks, strict=True)])

        own, counts = rights(spoken), np.array([len(m) for m in spoken])
        even = np.stack([rights([evenly(length, n)] * len(clips)) for n in range(1, length + 1)])

        def uniform(rows: np.ndarray) -> int:
            reached = even[:, rows].mean(1) >= own[rows].mean()
            return int(reached.argmax()) + 1 if reached.any() else length

        everything, rng = np.arange(len(clips)), np.random.default_rng(29)
        drawn = [rng.integers(len(clips), size=len(clips)) for _ in range(1000)]
        ratios = [uniform(rows) / counts[rows].mean() for rows in drawn]
        return {
            "clips": len(clips),
            "frames": length,
            "accuracy": float(own.mean()),
            "accuracy_of_every_frame": float(even[-1].mean()),
            "descriptions": float(counts.mean()),
            "uniform_descriptions": uniform(everything),
            "fewer": float(uniform(everything) / counts.mean()),
            "fewer_ci95": np.percentile(ratios, (2.5, 97.5)).tolist(),  # of clips drawn anew
        }

    def _moving_and_resting(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((23, seed))
        world = self.world.unseen(1)
        frames, states = [world.reset([10_000_000 + seed])], [world.states()]
        while len(frames) < 160:
            angle, moving, resting = rng.uniform(0, 2 * np.pi), int(rng.integers(2, 9)), int(rng.integers(5, 41))
            rest = rng.uniform(-1, 1, world.bounds.dim - 2)  # of what moves along more than two axes
            for t in range(moving + resting):
                step = np.array([[np.cos(angle), np.sin(angle), *rest]]) * world.bounds.high * (t < moving)
                frames.append(world.step(step))
                states.append(world.states())
        with torch.no_grad():
            z = self.agent.model.encode(torch.from_numpy(np.concatenate(frames[:160]))[None])[0]
        return z, torch.from_numpy(self.facts.holds(np.concatenate(states[:160])).T.copy())

    # ------------------------------------------------------------------------------------- refusals and time

    def refusals(self) -> dict[str, Any]:
        """Share of sound texts that are refused, at the stated rate, and of texts that make no sense."""
        sound = [s.text for s in self.sayings.draw(self.count, "goal", "composition", self.rng)]
        after = {"written_after": self._refused([text for _, text in self.written])} if self.written else {}
        unsound = json.loads(UNSOUND.read_text())
        unsound["contradiction"] = unsound["contradiction"].get(self.world.name, ())
        seen = [s.text for s in self.sayings.draw(self.count, "goal", "seen", self.rng)]
        splits: tuple[Split, ...] = ("template", "words")  # such as the refusal is calibrated on
        fresh = [s.text for split_ in splits for s in self.sayings.draw(2 * self.count, "goal", split_, self.rng)]
        return {
            "stated": self.language.refusal.level,
            "sound_held_out": self._refused(fresh),
            "sound_seen": self._refused(seen),
            "sound_compositions": self._refused(sound),
            **after,
            **{kind: self._refused(texts) for kind, texts in unsound.items() if texts},
        }

    def _refused(self, texts: Sequence[str]) -> float:
        return float(np.mean([self.language.refuses(text) is not None for text in texts]))

    def decision_ms(self) -> float:
        """Median CPU-milliseconds of a decision of one environment, after the text is read."""
        world = self.world.unseen(1)
        frames = world.reset([5])
        self.agent.pursue(self.language.cost(self.sayings.caption(0)), frames)
        times = []
        for _ in range(90):
            before, began = self.agent.decisions, time.process_time()
            action = self.agent.act(frames)
            if self.agent.decisions > before:
                times.append(1000 * (time.process_time() - began))
            frames = world.step(action)
        return float(np.median(times[1:]))


def measure(run: Path, options: argparse.Namespace, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    words = WordsConfig(encoder=options.encoder, seed=options.seed)
    bench = Bench(run, words, options.count, options.steps, retrain=options.retrain)
    parts: dict[str, Callable[[], Any]] = {
        "decision_ms": bench.decision_ms,
        "refusals": bench.refusals,
        "captions": bench.captions,
        "answers": bench.answers,
        "stream": bench.stream,
        "goals": lambda: bench.goals(not options.no_rivals),
    }
    found: dict[str, Any] = {"run": run.name, "train_cpu_seconds": bench.train_seconds}
    for name in options.parts or parts:
        found[name] = parts[name]()
        keep(found)
        print(f"{run.name} {name}: {json.dumps(found[name])}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=200, help="instructions of each split")
    parser.add_argument("--steps", type=int, default=60, help="of every task")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--seed", type=int, default=0, help="of texts and heads")
    parser.add_argument("--retrain", action="store_true", help="train the language even where there is one")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--parts", nargs="*")
    parser.add_argument("--out", type=Path, help="file that keeps what is found, part by part")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: list[dict[str, Any]] = []

    def keep(found: dict[str, Any]) -> None:
        if options.out is not None:
            known = {
                "count": options.count,
                "steps": options.steps,
                "encoder": options.encoder,
                "runs": [*results, found],
            }
            options.out.write_text(json.dumps(known, indent=1) + "\n")

    for run in options.runs:
        results.append(measure(run, options, keep))
    if "goals" in results[0]:
        print(f"\nsuccess at the end of {options.steps} steps, by run; ratio to the goal picture")
        for name in results[0]["goals"]:
            rates = [r["goals"][name]["rate"] for r in results]
            ceiling = "goal picture, compositions" if "compositions" in name else "goal picture"
            ceiling = "goal picture, written after" if "written after" in name else ceiling
            ratio = np.mean(rates) / np.mean([r["goals"][ceiling]["rate"] for r in results])
            print(f"{name:<32} {' '.join(f'{rate:6.1%}' for rate in rates)}   {ratio:6.1%}")
    print(json.dumps({"count": options.count, "encoder": options.encoder, "runs": results}))


if __name__ == "__main__":
    main()
