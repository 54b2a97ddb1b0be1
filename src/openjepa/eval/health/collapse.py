"""Latent diagnostics: what an encoder kept of held-out episodes, and whether its predictor heeds actions.

Every number has a reading without a threshold; `doctor.py` turns them into words. Sources: participation
ratio and effective rank (RankMe, 2210.02885), temporal variance ratio and inverse-dynamics read-out (the
slow-feature failure of random doors), probes beside an untrained encoder.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from openjepa.config import to_dict
from openjepa.data.whole_episodes import recorded
from openjepa.errors import check_shape
from openjepa.eval.health.foretelling import Foretelling, foretell, shown_action
from openjepa.eval.health.latent_statistics import (
    covariance_spectrum,
    effective_rank,
    flatten_tokens,
    moving_state_ratio,
    participation_ratio,
    slowness,
    temporal_variance_ratio,
    transitions,
)
from openjepa.eval.health.prediction import Prediction, Predictive, device_of, evaluating, one_step_prediction
from openjepa.eval.health.sight import Sight, look
from openjepa.eval.probing.probes import ProbeConfig, ProbeScores, score_probes
from openjepa.models.latent_memory import carried_on
from openjepa.protocols import RememberingModel, TrajectoryBatch

MOVES = 1e-6  # standard deviation from which on a dimension of a latent moves


@dataclass(frozen=True)
class LatentDiagnostics:
    """What is known about the latents of held-out episodes; None where the data given cannot tell.

    Attributes:
        episodes: number E of episodes.
        steps: frames T of the longest.
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
        frames: frames of all episodes together.
        sight: what moves in the picture, and what of it can be read from the latent.
        foretelling: what fresh read-outs foretell of the latent's next change.
        shown_action: R2 of the action that led to a picture, told by its latent alone.
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
    frames: int | None = None
    sight: Sight | None = None
    foretelling: Foretelling | None = None
    shown_action: float | None = None

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
    lengths: Tensor | None = None,
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
        lengths: [E] states of each episode that count; all if None.
    """
    sizes = check_shape(z, "E T D", name="z")
    z = z.detach().float().cpu()
    valid = recorded(lengths, sizes["E"], sizes["T"])
    flat = z[valid]
    std = flat.double().std(0, correction=0)
    can_probe, moving = sizes["E"] >= 2, sizes["T"] >= 2
    spectrum = covariance_spectrum(flat)

    def read_out(latents: Tensor | None, target: Tensor | None, counted: Tensor) -> ProbeScores | None:
        if latents is None or target is None or not can_probe:
            return None
        return score_probes(latents, target, probes, valid=counted)

    def actions_r2(latents: Tensor | None) -> float | None:
        scores = read_out(None if latents is None or not moving else transitions(latents), actions, valid[:, 1:])
        return None if scores is None else scores.best()

    def std_of(rows: Tensor) -> float:
        return float(rows.double().var(0, correction=0).mean().sqrt())

    return LatentDiagnostics(
        episodes=sizes["E"],
        steps=sizes["T"],
        width=sizes["D"],
        std_mean=float(std.square().mean().sqrt()),
        std_median=float(std.median()),
        std_min=float(std.min()),
        effective_rank=effective_rank(spectrum),
        participation_ratio=participation_ratio(spectrum),
        temporal_variance_ratio=temporal_variance_ratio(z, valid) if moving else None,
        slowness=slowness(z, valid) if moving else None,
        random_std_mean=None if z_random is None else std_of(z_random[valid]),
        state_temporal_variance_ratio=moving_state_ratio(states, valid) if states is not None and moving else None,
        idm_r2=actions_r2(z),
        random_idm_r2=actions_r2(z_random),
        probe=read_out(z, states, valid),
        random_probe=read_out(z_random, states, valid),
        prediction=prediction,
        action_std=None if actions is None else std_of(actions[valid[:, 1:]]),
        state_names=state_names,
        frames=int(valid.sum()),
    )


@torch.no_grad()
def measure(
    model: Predictive,
    held_out: TrajectoryBatch,
    *,
    untrained: Predictive | None = None,
    state_names: tuple[str, ...] = (),
    probes: ProbeConfig | None = None,
    closely: bool = False,
) -> LatentDiagnostics:
    """Encodes held-out episodes with a world model and measures what can be measured of what its pictures tell.

    Where poses are felt, too, a latent may hold them, and says where the hand is although its encoder is dead: only
    what pictures move in it is judged (`of_pictures`).

    Args:
        model: in any mode; it is put into evaluation mode and back.
        held_out: whole episodes [E, T, ...] that were not trained on; with `lengths`, every frame of each counts.
        untrained: the same kind of model with fresh weights: the floor that a probe must beat.
        state_names: names of the state columns.
        probes: how probes are trained.
        closely: whether to look at the pictures, too (`sight`), and at what fresh read-outs foretell (`foretelling`).
    """
    encoded = encode_episodes(model, held_out)
    seen, counted = of_pictures(model, held_out, encoded)
    z, z_random = flatten_tokens(seen), None
    if untrained is not None:
        z_random = flatten_tokens(of_pictures(untrained, held_out, encode_episodes(untrained, held_out))[0])
    actions, lengths, seed = held_out.actions, held_out.lengths, (probes or ProbeConfig()).seed
    prediction = None
    if z.shape[1] >= 2 and len(z) >= 2:
        prediction = one_step_prediction(model, encoded, actions, seed=seed, lengths=lengths, counted=counted)
    found = latent_diagnostics(
        z,
        actions=actions,
        states=held_out.states,
        z_random=z_random,
        prediction=prediction,
        state_names=state_names,
        probes=probes,
        lengths=lengths,
    )
    if not closely:
        return found
    counts = recorded(lengths, *z.shape[:2])
    memory = getattr(getattr(model, "states", None), "memory", 0)  # of a pair, the pose is what one picture tells
    return replace(
        found,
        sight=look(z, held_out, z_random=z_random, probes=probes, stride_px=first_stride(model)),
        foretelling=foretell(z, actions, counts, probes),
        shown_action=shown_action(z[..., : z.shape[-1] // (1 + memory)], actions, counts, probes),
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
    return twin.to(device_of(method)).eval()


@torch.no_grad()
def encode_episodes(model: Predictive, held_out: TrajectoryBatch, *, rows: int = 512) -> Tensor:
    """Encodes episodes in evaluation mode, a few whole ones at a time, in the order of their frames.

    Where states remember, each of them remembers those before.

    Returns:
        z [E, T, N, D] on the CPU; what lies beyond an episode's length repeats a state and counts for nothing.
    """
    device = device_of(model)
    frames = held_out.frames.shape[1]
    per_chunk = max(1, rows // frames)
    with evaluating(model):
        parts = []
        for start in range(0, len(held_out.frames), per_chunk):
            part = slice(start, start + per_chunk)
            longest = frames if held_out.lengths is None else int(held_out.lengths[part].max())
            proprio = None if held_out.proprio is None else held_out.proprio[part, :longest].to(device)
            z = model.encode(held_out.frames[part, :longest].to(device), proprio)
            if isinstance(model, RememberingModel) and model.memory_dim:
                z = carried_on(z, held_out.actions[part, : longest - 1].to(z), model.carry)
            z = z.float().cpu()
            parts.append(torch.cat([z, z[:, -1:].expand(-1, frames - longest, -1, -1)], 1))
    return torch.cat(parts)


def of_pictures(model: Predictive, held_out: TrajectoryBatch, encoded: Tensor) -> tuple[Tensor, Tensor | None]:
    """What pictures alone tell of latents: the same with every pose at the mean one, without what then stands still.

    Dimensions that stand still with poses, too, are those of a dead encoder, and stay.

    Args:
        model: that encoded.
        held_out: whole episodes [E, T, ...].
        encoded: [E, T, N, D] with the poses that were felt.

    Returns:
        latents [E, T, N, D'], and which dimensions [D] these are; None for all.
    """
    felt = held_out.proprio
    if felt is None:
        return encoded, None
    mean = felt[recorded(held_out.lengths, *felt.shape[:2])].mean(0)
    still = replace(held_out, proprio=mean.expand_as(felt))
    first = slice(0, 1), slice(0, 1)
    one = replace(still, frames=still.frames[first], proprio=still.proprio[first], lengths=None)  # type: ignore[index]
    if torch.equal(encode_episodes(model, one), encoded[first]):
        return encoded, None  # it takes no poses
    z = encode_episodes(model, still)
    valid = recorded(held_out.lengths, *z.shape[:2])
    moves, moved = ((x[valid].flatten(0, 1).std(0) > MOVES) for x in (z, encoded))
    counted = moves | ~moved
    return (z[..., counted], counted) if bool(counted.any()) else (z, None)


def first_stride(model: Any) -> int | None:
    """Px between two patches of a network's first strided convolution, or None where it has none."""
    modules = model.modules() if isinstance(model, torch.nn.Module) else ()
    strides = (module.stride[-1] for module in modules if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d))
    return next((int(stride) for stride in strides if int(stride) > 1), None)
