"""The fork: predict a world that branches, from pixels, and say how probable each branch is.

    openjepa train fork
    openjepa eval runs/fork

The encoder is trained on play at a fair coin. On its frozen latents, predictors of every kind are then fitted to
play at each probability of `judge.probabilities`, and judged at the last frame before the fork, 8 steps ahead, on
clips that nothing was trained on. Results, times and hardware: `docs/uncertainty.md`. Seed 0.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.data import EpisodeStore
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs.fork import ForkConfig
from openjepa.errors import ConfigError
from openjepa.eval.health.collapse import encode_episodes, untrained_twin
from openjepa.heads.futures import FuturesConfig, FuturesNetwork
from openjepa.heads.futures_fitting import FuturesFitConfig, fit_futures
from openjepa.heads.futures_rollout import roll_futures
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.nn.random import keyed_generator, keyed_seed
from openjepa.planning.support import NearestNeighbours
from openjepa.recipes import Recipe
from openjepa.recipes.world_model import SMALL_PLAY, LearnConfig, PlayConfig, build, open_store, with_seed
from openjepa.studies.fork.clips import Clips, draw_clips
from openjepa.studies.fork.futures import FuturesReport, Outcomes, judge_futures
from openjepa.studies.fork.futures_figures import Fan, draw_fans, reliability
from openjepa.train import TrainConfig, load_method

KINDS: dict[str, FuturesConfig] = {
    "deterministic": FuturesConfig("ensemble", num_futures=1, keep_share=1.0),
    "heads": FuturesConfig("heads", num_futures=2),
    "heads of 4": FuturesConfig("heads", num_futures=4),
    "energy score": FuturesConfig("heads", num_futures=2, objective="energy"),
    "mixture": FuturesConfig("mixture", num_futures=2),
    "ensemble": FuturesConfig("ensemble", num_futures=4),
    "variational": FuturesConfig("variational", num_futures=16),
}

DRAWN = ("deterministic", "heads", "mixture", "ensemble", "variational")


@dataclass(frozen=True)
class ForkJudgeConfig:
    """How the futures are judged.

    Attributes:
        stride: environment steps per step of the judged predictors; divides 8.
        kinds: predictors that are compared, names of `KINDS`; the deterministic one is always there.
        probabilities: of the way up; each has its own play and its own predictors.
        ways: of the fork, 2 or 3.
        fit: of the predictors on frozen latents.
        clips: judged at each probability.
        clips_seed: of the judged clips; never one of the play.
        num_futures: places for paths in a rollout.
        examples: real outcomes per way and clip.
    """

    stride: int = 4
    kinds: tuple[str, ...] = tuple(KINDS)
    probabilities: tuple[float, ...] = (0.5, 0.8)
    ways: int = 2
    fit: FuturesFitConfig = field(
        default_factory=lambda: FuturesFitConfig(steps=1200, batch_size=1024, rollout=2, lr=2e-3)
    )
    clips: int = 500
    clips_seed: int = 7_000_000
    num_futures: int = 16
    examples: int = 8

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ConfigError(f"`kinds` must be some of {', '.join(KINDS)}; got {unknown[0]}.")
        if self.stride not in (1, 2, 4, 8):
            raise ConfigError(f"`stride` must be 1, 2, 4 or 8; got {self.stride}.")
        if min(self.clips, self.num_futures, self.examples) < 1 or not self.probabilities:
            raise ConfigError("`clips`, `num_futures` and `examples` must be >= 1, with at least one probability.")


@dataclass(frozen=True)
class ForkRecipeConfig(LearnConfig):
    """Play at the fork, a model of it, and how its futures are judged."""

    judge: ForkJudgeConfig = field(default_factory=ForkJudgeConfig)


def fork() -> ForkRecipeConfig:
    """A fair coin: 4,000 clips of 16 steps, 400 training steps.

    The encoder predicts single steps: at a stride at which the branch cannot be foreseen, the prediction loss makes it
    forget which way a disc went, and no predictor on top can tell the ways apart.
    """
    return ForkRecipeConfig(
        play=PlayConfig("fork", {}, "drift", episodes=4000, steps=16),
        method=LeWMConfig(embed_dim=8, covariance_weight=0.2, inverse_dynamics_weight=0.0, futures=KINDS["heads"]),
        train=TrainConfig(steps=400, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=200),
        window=5,
    )


@dataclass(frozen=True)
class Study:
    """Latents of everything that one probability is judged by."""

    model: LeWM
    latents: Tensor  # [E, T, 1, D] of the play
    actions: Tensor  # [E, T - 1, f]
    positions: np.ndarray  # [E * T, 2] px, of the disc
    clips: Clips
    z: Tensor  # [R, D], before the fork
    outcomes: Outcomes
    support: NearestNeighbours


def prepare(model: LeWM, config: ForkRecipeConfig, probability: float) -> Study:
    """Records play at one probability where it is missing, and encodes it and the judged clips."""
    options: dict[str, Any] = {"probability": probability, "ways": config.judge.ways}
    played = replace(config, play=replace(config.play, options=options, data=play_path(config, options)))
    store = open_store(played)
    ids = np.arange(len(store))
    trained, held_out = ids[: -len(ids) // 10], ids[-len(ids) // 10 :]
    latents, actions, positions = encode_dense(model, store, trained, config.judge.stride)
    real, _, _ = encode_dense(model, store, held_out, config.judge.stride)
    world_config = ForkConfig(**options)
    judge = config.judge
    clips = draw_clips(world_config, judge.clips, seed=judge.clips_seed, examples=judge.examples, stride=judge.stride)
    z_outcomes = encode_pictures(model, clips.outcomes)
    outcomes = Outcomes(
        z_outcomes,
        torch.from_numpy(world_config.probabilities).float().expand(len(z_outcomes), -1),
        encode_pictures(model, clips.after),
        torch.from_numpy(clips.way),
    )
    return Study(
        model, latents, actions, positions, clips, encode_pictures(model, clips.frames), outcomes,
        NearestNeighbours.fit(latents, real),
    )  # fmt: skip


def play_path(config: ForkRecipeConfig, options: dict[str, Any]) -> Path:
    """Where play at one probability is kept: the recipe's own play, or beside it."""
    own = {"probability": 0.5, "ways": 2, **config.play.options}
    if options == own:
        return config.store_path
    name = f"fork-{options['ways']}-{options['probability']}-{config.play.episodes}-seed{config.seed}"
    return config.store_path.parent / name


def encode_dense(model: LeWM, store: EpisodeStore, ids: np.ndarray, stride: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """All frames of episodes, as one sequence for every offset within a model step.

    Returns:
        Latents [f * E, T, 1, D], actions [f * E, T - 1, f], and positions [f * E * T, 2] px of the disc.
    """
    batch = read_episodes(store, ids)
    z = encode_episodes(model, batch)  # [E, steps + 1, 1, D]
    steps = (z.shape[1] - stride) // stride
    parts = [slice(offset, offset + steps * stride + 1, stride) for offset in range(stride)]
    moves = [batch.actions[:, offset : offset + steps * stride].reshape(len(z), steps, -1) for offset in range(stride)]
    assert batch.states is not None
    places = np.concatenate([batch.states[:, part, :2].reshape(-1, 2) for part in parts])
    return torch.cat([z[:, part] for part in parts]), torch.cat(moves), places


@torch.no_grad()
def encode_pictures(model: LeWM, pictures: np.ndarray) -> Tensor:
    """Latents [..., D] of pictures [..., 3, H, W]."""
    flat = torch.from_numpy(pictures.reshape(-1, 1, *pictures.shape[-3:]))
    found = torch.cat([model.encode(part)[:, 0, 0] for part in flat.split(512)])
    return found.view(*pictures.shape[:-3], -1)


@torch.no_grad()
def predict(network: FuturesNetwork, study: Study, num_futures: int) -> tuple[Tensor, Tensor]:
    """The futures of the judged clips: paths [R, F, H, D] and log-weights [R, F]."""
    actions = torch.from_numpy(study.clips.actions)
    generator = keyed_generator(actions.shape[1])
    return roll_futures(network, study.z[:, None], actions, num_futures=num_futures, generator=generator)


@dataclass(frozen=True)
class Yardsticks:
    """How exact predictions are where nothing is ambiguous.

    Attributes:
        radius: three times the median one-step error.
        support: training latents; its threshold is what 99 % of these predictions stay below.
    """

    radius: float
    support: NearestNeighbours


@torch.no_grad()
def measure_yardsticks(network: FuturesNetwork, study: Study) -> Yardsticks:
    """Predicts one step on clips that have passed the fork, with the deterministic predictor."""
    pictures, actions = study.clips.unambiguous
    z = encode_pictures(study.model, pictures)  # [R, 2, D]
    found = network.likely(z[:, :1], torch.from_numpy(actions))
    away = study.support.distance(found.unsqueeze(1)).double()
    support = replace(study.support, threshold=float(away.quantile(0.99)))
    return Yardsticks(3 * float((found - z[:, 1]).norm(dim=-1).median()), support)


@dataclass(frozen=True)
class Judged:
    """Everything that was found at one probability, by the name of the predictor."""

    study: Study
    yardsticks: Yardsticks
    futures: dict[str, tuple[Tensor, Tensor]]  # paths [R, F, H, D] and log-weights [R, F]
    reports: dict[str, FuturesReport]


def judge_probability(model: LeWM, config: ForkRecipeConfig, probability: float) -> Judged:
    """Fits and judges every kind of predictor at one probability."""
    study = prepare(model, config, probability)
    reports: dict[str, FuturesReport] = {}
    futures: dict[str, tuple[Tensor, Tensor]] = {}
    yardsticks, reference = None, None
    for number, kind in enumerate(dict.fromkeys(["deterministic", *config.judge.kinds])):
        network = fit_futures(
            study.latents, study.actions, KINDS[kind], config.judge.fit,
            generator=keyed_generator(config.seed, number, keyed_seed(int(100 * probability))),
        )  # fmt: skip
        yardsticks = yardsticks or measure_yardsticks(network, study)
        paths, weights = futures[kind] = predict(network, study, config.judge.num_futures)
        reports[kind] = judge_futures(
            paths[:, :, -1],
            weights,
            study.outcomes,
            yardsticks.support,
            yardsticks.radius,
            reference_energy=reference,
        )
        reference = reference or reports[kind].energy
    assert yardsticks is not None
    return Judged(study, yardsticks, futures, reports)


def draw_pictures(found: Judged, run_dir: Path, case: int = 0) -> None:
    """Writes `fork.png`, the fans of one case, and `reliability.png`, of all cases, into a run directory."""
    study, names = found.study, [name for name in DRAWN if name in found.futures]
    fans = {name: Fan(found.futures[name][0][case], found.futures[name][1][case].exp()) for name in names}
    real = study.outcomes.z[case].flatten(0, 1).unsqueeze(1)  # [W * S, 1, D]
    truth = Fan(real, torch.full((len(real),), 1 / len(real)))
    picture = study.clips.frames[case]
    figure = draw_fans(picture, fans, truth, found.yardsticks.support, study.positions)
    figure.savefig(run_dir / "fork.png", dpi=150)
    reliability({name: found.reports[name].calibration for name in names}).savefig(run_dir / "reliability.png", dpi=150)


def judge(config: ForkRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """Judges the futures of a trained run at every probability, beside an untrained encoder."""
    config = with_seed(config)
    model: LeWM = load_method(run_dir).eval()
    results: dict[str, Any] = {}
    for probability in config.judge.probabilities:
        found = judge_probability(model, config, probability)
        results[f"p={probability:g}"] = {kind: report.as_json() for kind, report in found.reports.items()}
        draw_pictures(found, run_dir)
    alone = replace(config, judge=replace(config.judge, kinds=("heads",)))
    floor = judge_probability(untrained_twin(model).eval(), alone, config.judge.probabilities[0])
    results["untrained encoder"] = {kind: report.as_json() for kind, report in floor.reports.items()}
    return results


FORK_RECIPE = Recipe(
    "a road that forks by a hidden coin: several futures from pixels, with their probabilities",
    fork(),
    build,
    SMALL_PLAY,
    judge,
)
