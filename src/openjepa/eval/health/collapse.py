"""Latent diagnostics: what an encoder kept of held-out episodes, and whether its predictor heeds actions.

Every number has a reading without a threshold; `doctor.py` turns them into words. Sources: participation
ratio and effective rank (RankMe, 2210.02885), temporal variance ratio and inverse-dynamics read-out (the
slow-feature failure of random doors), probes beside an untrained encoder.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from openjepa.config import to_dict
from openjepa.errors import check_shape
from openjepa.eval.probing.probes import ProbeConfig, ProbeScores, score_probes
from openjepa.protocols import TrajectoryBatch

LARGEST_WIDTH = 1024  # wider latents are averaged over their tokens before they are measured


class Predictive(Protocol):
    """What is measured: an encoder, and where there are actions a predictor (see `protocols.WorldModel`)."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] to z [B, T, N, D]."""
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Context z [B, T, N, D] and actions [B, T - 1 + H, A] to z_pred [B, H, N, D]."""
        ...


@dataclass(frozen=True)
class Prediction:
    """One-step prediction on held-out transitions; all four are medians or means over [E, T - 1].

    Attributes:
        copy_ratio: squared error / squared error of copying z_t; at 1 or above the predictor adds nothing.
        permutation_ratio: squared error with shuffled actions / with the true ones; 1 means blind to actions.
        action_sensitivity: median change of the prediction under another action of the data / median change
            of z in one step; 0 means blind to actions.
        compounding: squared error after the longest open-loop rollout / after one step, or None for short
            episodes.
    """

    copy_ratio: float
    permutation_ratio: float
    action_sensitivity: float
    compounding: float | None = None


@dataclass(frozen=True)
class LatentDiagnostics:
    """What is known about the latents of held-out episodes; None where the data given cannot tell.

    Attributes:
        episodes: number E of episodes.
        steps: frames T of each.
        width: latent width D (tokens flattened or averaged).
        std_mean: root of the mean variance over dimensions; 0 is a constant latent.
        std_median: median standard deviation of a dimension.
        std_min: smallest standard deviation of a dimension.
        effective_rank: exp of the entropy of the normalised singular values, 1 to D.
        participation_ratio: (sum of eigenvalues)^2 / sum of their squares, 1 to D; a world with two degrees
            of freedom may rightly have 2.
        temporal_variance_ratio: variance within episodes / total; near 0 means that only what never changes
            inside an episode is encoded.
        slowness: mean squared step / (2 variance); 0 constant in time, 1 white noise.
        random_std_mean: `std_mean` of an untrained encoder of the same kind.
        state_temporal_variance_ratio: the same ratio of the true state variables that move at all.
        idm_r2: R2 of actions read out of (z_t, z_t+1) on held-out episodes.
        random_idm_r2: the same from an untrained encoder.
        probe: R2 of the true states.
        random_probe: the same from an untrained encoder.
        prediction: one-step prediction, for models with actions.
        action_std: standard deviation of the actions of the data; 0 makes every action reading meaningless.
        state_names: names of the state columns, where the world has them.
    """

    episodes: int
    steps: int
    width: int
    std_mean: float
    std_median: float
    std_min: float
    effective_rank: float
    participation_ratio: float
    temporal_variance_ratio: float | None = None
    slowness: float | None = None
    random_std_mean: float | None = None
    state_temporal_variance_ratio: float | None = None
    idm_r2: float | None = None
    random_idm_r2: float | None = None
    probe: ProbeScores | None = None
    random_probe: ProbeScores | None = None
    prediction: Prediction | None = None
    action_std: float | None = None
    state_names: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Returns plain values for `metrics.jsonl` and `results.json`."""
        return to_dict(self)

    def metrics(self) -> dict[str, float]:
        """Returns the numbers worth a curve over the training steps, by name; unknown ones are left out."""
        p, probe, floor = self.prediction, self.probe, self.random_probe
        values = {
            "latent_std": self.std_mean,
            "participation_ratio": self.participation_ratio,
            "temporal_variance_ratio": self.temporal_variance_ratio,
            "idm_r2": self.idm_r2,
            "probe_r2": probe.best() if probe else None,
            "probe_r2_within": probe.best_within() if probe else None,
            "untrained_probe_r2": floor.best() if floor else None,
            "copy_ratio": p.copy_ratio if p else None,
            "action_sensitivity": p.action_sensitivity if p else None,
        }
        return {name: value for name, value in values.items() if value is not None}


def latent_diagnostics(
    z: Tensor,
    *,
    actions: Tensor | None = None,
    states: Tensor | None = None,
    z_random: Tensor | None = None,
    prediction: Prediction | None = None,
    state_names: tuple[str, ...] = (),
    probes: ProbeConfig | None = None,
) -> LatentDiagnostics:
    """Measures latents of held-out episodes; a pure function of its arguments.

    Args:
        z: [E, T, D] latents of the encoder in evaluation mode; T = 1 for still images.
        actions: [E, T - 1, A], between the frames.
        states: [E, T, P] the simulator's truth.
        z_random: [E, T, D'] latents of the same frames from an untrained encoder.
        prediction: from `one_step_prediction`.
        state_names: names of the P columns.
        probes: how probes are trained.
    """
    sizes = check_shape(z, "E T D", name="z")
    z = z.detach().float().cpu()
    flat = z.flatten(0, 1)
    std = flat.double().std(0, correction=0)
    can_probe, moving = sizes["E"] >= 2, sizes["T"] >= 2
    spectrum = covariance_spectrum(flat)

    def read_out(latents: Tensor | None, target: Tensor | None) -> ProbeScores | None:
        return (
            score_probes(latents, target, probes) if latents is not None and target is not None and can_probe else None
        )

    def actions_r2(latents: Tensor | None) -> float | None:
        scores = read_out(None if latents is None or not moving else transitions(latents), actions)
        return None if scores is None else scores.best()

    return LatentDiagnostics(
        episodes=sizes["E"],
        steps=sizes["T"],
        width=sizes["D"],
        std_mean=float(std.square().mean().sqrt()),
        std_median=float(std.median()),
        std_min=float(std.min()),
        effective_rank=effective_rank(spectrum),
        participation_ratio=participation_ratio(spectrum),
        temporal_variance_ratio=temporal_variance_ratio(z) if moving else None,
        slowness=slowness(z) if moving else None,
        random_std_mean=None
        if z_random is None
        else float(z_random.double().flatten(0, 1).var(0, correction=0).mean().sqrt()),
        state_temporal_variance_ratio=moving_state_ratio(states) if states is not None and moving else None,
        idm_r2=actions_r2(z),
        random_idm_r2=actions_r2(z_random),
        probe=read_out(z, states),
        random_probe=read_out(z_random, states),
        prediction=prediction,
        action_std=None
        if actions is None
        else float(actions.double().flatten(0, 1).var(0, correction=0).mean().sqrt()),
        state_names=state_names,
    )


@torch.no_grad()
def measure(
    model: Predictive,
    held_out: TrajectoryBatch,
    *,
    untrained: Predictive | None = None,
    state_names: tuple[str, ...] = (),
    probes: ProbeConfig | None = None,
) -> LatentDiagnostics:
    """Encodes held-out episodes with a world model and measures everything that can be measured.

    Args:
        model: in any mode; it is put into evaluation mode and back.
        held_out: whole episodes [E, T, ...] that were not trained on.
        untrained: the same kind of model with fresh weights: the floor that a probe must beat.
        state_names: names of the state columns.
        probes: how probes are trained.
    """
    z = encode_episodes(model, held_out)
    z_random = None if untrained is None else flatten_tokens(encode_episodes(untrained, held_out))
    seed = (probes or ProbeConfig()).seed
    can_predict = z.shape[1] >= 2 and len(z) >= 2
    return latent_diagnostics(
        flatten_tokens(z),
        actions=held_out.actions,
        states=held_out.states,
        z_random=z_random,
        prediction=one_step_prediction(model, z, held_out.actions, seed=seed) if can_predict else None,
        state_names=state_names,
        probes=probes,
    )


def untrained_twin(method: Any, *, seed: int = 1) -> Any:
    """Returns a method of the same class and configuration with fresh weights: the floor of every read-out.

    Args:
        method: anything that is built from its `.config`.
        seed: of the weights; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = type(method)(method.config)
    return twin.to(_device(method)).eval()


@torch.no_grad()
def encode_episodes(model: Predictive, held_out: TrajectoryBatch, *, rows: int = 512) -> Tensor:
    """Encodes episodes in evaluation mode, a few at a time; returns z [E, T, N, D] on the CPU."""
    device = _device(model)
    per_chunk = max(1, rows // held_out.frames.shape[1])
    with _evaluation(model):
        parts = []
        for start in range(0, len(held_out.frames), per_chunk):
            part = slice(start, start + per_chunk)
            proprio = None if held_out.proprio is None else held_out.proprio[part].to(device)
            parts.append(model.encode(held_out.frames[part].to(device), proprio).float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def one_step_prediction(model: Predictive, z: Tensor, actions: Tensor, *, seed: int = 0) -> Prediction:
    """Compares predictions with copying, with shuffled actions, and over the whole episode.

    Args:
        model: a world model; every transition is predicted from one context state.
        z: [E, T, N, D] encoded episodes.
        actions: [E, T - 1, A].
        seed: of the shuffle.
    """
    now, after = (
        z[:, :-1].flatten(0, 1).unsqueeze(1),
        z[:, 1:].flatten(0, 1).unsqueeze(1),
    )  # [E * (T - 1), 1, N, D]
    taken = actions.to(z.dtype).flatten(0, 1).unsqueeze(1)  # [E * (T - 1), 1, A]
    order = torch.randperm(len(taken), generator=torch.Generator().manual_seed(seed))
    predicted, shuffled = _rollout(model, now, taken), _rollout(model, now, taken[order])
    error, error_shuffled = _mean_square(predicted - after), _mean_square(shuffled - after)
    step = (after - now).flatten(1).norm(dim=1).median()
    change = (predicted - shuffled).flatten(1).norm(dim=1).median()
    compounding = None
    if z.shape[1] > 2:
        last = _rollout(model, z[:, :1], actions.to(z.dtype))[:, -1]
        compounding = _mean_square(last - z[:, -1]) / max(error, 1e-12)
    return Prediction(
        copy_ratio=error / max(_mean_square(after - now), 1e-12),
        permutation_ratio=error_shuffled / max(error, 1e-12),
        action_sensitivity=float(change / step.clamp_min(1e-8)),
        compounding=compounding,
    )


def covariance_spectrum(rows: Tensor) -> Tensor:
    """Eigenvalues [D] of the covariance of rows [N, D], largest first, in float64."""
    centred = rows.double() - rows.double().mean(0)
    return torch.linalg.eigvalsh(centred.T @ centred / max(len(rows), 1)).clamp_min(0).flip(0)


def effective_rank(spectrum: Tensor) -> float:
    """RankMe of a covariance spectrum [D]: exp of the entropy of its normalised singular values, 1 to D.

    >>> round(effective_rank(torch.tensor([1.0, 1.0, 0.0, 0.0])), 3)
    2.0
    """
    values = spectrum.double().sqrt()
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))


def participation_ratio(spectrum: Tensor) -> float:
    """(Sum of eigenvalues)^2 / sum of their squares, of a spectrum [D]; 1 for a constant latent."""
    values = spectrum.double() / spectrum.double().max().clamp_min(1e-300)
    total = float(values.square().sum())
    return float(values.sum().square()) / total if total > 0 else 1.0


def temporal_variance_ratio(z: Tensor) -> float:
    """Variance within episodes over total variance of z [E, T, D]: 0 for per-episode constants, at most 1."""
    z = z.double()
    total = z.flatten(0, 1).var(0, correction=0).sum()
    return float(z.var(1, correction=0).mean(0).sum() / total.clamp_min(1e-300))


def moving_state_ratio(states: Tensor) -> float | None:
    """Mean temporal variance ratio of the state columns of [E, T, P] that change inside episodes, or None."""
    states = states.double()
    within = states.var(1, correction=0).mean(0)
    total = states.flatten(0, 1).var(0, correction=0)
    moves = within > 1e-6 * total.clamp_min(1e-12)
    return float((within[moves] / total[moves]).mean()) if moves.any() else None


def slowness(z: Tensor) -> float:
    """Mean squared step of z [E, T, D] over twice its variance: 0 constant in time, 1 white noise."""
    z = z.double()
    variance = z.flatten(0, 1).var(0, correction=0).sum()
    step = (z[:, 1:] - z[:, :-1]).square().mean((0, 1)).sum()
    return float(step / (2 * variance).clamp_min(1e-300))


def transitions(z: Tensor) -> Tensor:
    """Pairs of neighbouring states: z [E, T, D] to [E, T - 1, 2 D], the state and its change."""
    return torch.cat([z[:, :-1], z[:, 1:] - z[:, :-1]], -1)


def flatten_tokens(z: Tensor) -> Tensor:
    """Brings z [E, T, N, D] to [E, T, N * D], or to the mean over tokens where that is wider than 1,024."""
    check_shape(z, "E T N D", name="z")
    return z.flatten(2) if z.shape[2] * z.shape[3] <= LARGEST_WIDTH else z.mean(2)


def _rollout(model: Predictive, z: Tensor, actions: Tensor, rows: int = 4096) -> Tensor:
    device = _device(model)
    with _evaluation(model):
        parts = [
            model.rollout(z[i : i + rows].to(device), actions[i : i + rows].to(device)).float().cpu()
            for i in range(0, len(z), rows)
        ]
    return torch.cat(parts)


def _mean_square(x: Tensor) -> float:
    return float(x.double().square().mean())


def _device(model: Any) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


class _evaluation:
    """Puts a module into evaluation mode for the length of a `with` block."""

    def __init__(self, model: Any) -> None:
        self.model = model if isinstance(model, torch.nn.Module) else None

    def __enter__(self) -> None:
        self.was_training = self.model is not None and self.model.training
        if self.was_training and self.model is not None:
            self.model.eval()

    def __exit__(self, *_: object) -> None:
        if self.was_training and self.model is not None:
            self.model.train()
