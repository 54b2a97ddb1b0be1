"""How long and how a method is trained. The defaults run on a laptop's CPU; real sizes live in recipes."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from openjepa.errors import ConfigError, did_you_mean
from openjepa.nn import schedule as curves

Schedule = Literal["cosine", "constant", "linear", "wsd"]
Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Sharding = Literal["auto", "none", "ddp", "fsdp2"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that `train` needs besides a method and its data.

    The batch size belongs to the source. `accumulate` and the number of processes only split that global
    batch, so neither changes which samples a step sees.
    """

    steps: int = 1000  # optimiser updates, >= 1
    seed: int = 0  # >= 0; with the step number it determines everything random inside a step
    lr: float = 1e-3  # peak learning rate, > 0
    start_lr: float = 0.0  # learning rate at the start of the warm-up, >= 0
    final_lr: float = 0.0  # learning rate at the horizon, >= 0 (unused by "constant")
    schedule: Schedule = "cosine"  # after the warm-up: half cosine, constant, line, or constant then line ("wsd")
    warmup_steps: int = 50  # updates, >= 0
    anneal_steps: int = 0  # updates, length of the final line of "wsd", >= 0
    horizon: int | None = None  # updates, where the curves end; None = steps
    weight_decay: float = 0.05  # AdamW's, >= 0; biases and one-dimensional tensors have none
    final_weight_decay: float | None = None  # >= 0, reached by half a cosine; None = constant
    betas: tuple[float, float] = (0.9, 0.999)  # AdamW's, each in [0, 1)
    eps: float = 1e-8  # AdamW's, > 0
    grad_clip: float | None = 1.0  # largest norm of the gradient, > 0; None = off
    accumulate: int = 1  # parts that a process splits its batch into, >= 1
    precision: Precision = "auto"  # bf16 = autocast; auto = bf16 where the hardware computes in it, else fp32
    device: Device = "auto"  # auto = cuda, else mps, else cpu
    compile: bool = False  # torch.compile of the loss: half a minute or more once, then faster on a GPU
    deterministic: bool = False  # refuse CUDA kernels that are not: resuming is then bit-identical there, too
    threads: int | None = None  # CPU threads, >= 1; None = PyTorch's choice
    sharding: Sharding = "auto"  # auto = ddp under torchrun, else none
    log_every: int = 50  # updates between two lines of metrics, >= 1
    diagnose_every: int | None = None  # updates between two diagnoses, >= 1; None = with every checkpoint
    checkpoint_every: int = 500  # updates, >= 1; the last step always has one
    keep_checkpoints: int = 2  # newest ones that stay on disk, >= 1
    keep_every: int | None = None  # updates: checkpoints at multiples of it stay for ever, >= 1; None = none do
    spike_factor: float | None = None  # a loss above this multiple of its running mean stops the run, > 1; None = off
    tensorboard: bool = False  # also write run_dir/tensorboard

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in ("schedule", "precision", "device", "sharding"):
            self._choice(name, get_args(hints[name]))
        for name in ("steps", "accumulate", "log_every", "checkpoint_every", "keep_checkpoints"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("horizon", "threads", "diagnose_every", "keep_every"):
            value = getattr(self, name)
            self._check(name, value is None or value >= 1, "at least 1, or None")
        for name in ("seed", "start_lr", "final_lr", "warmup_steps", "anneal_steps", "weight_decay"):
            self._check(name, _finite(getattr(self, name)) and getattr(self, name) >= 0, "0 or more, and finite")
        for name in ("lr", "eps"):
            self._check(name, _finite(getattr(self, name)) and getattr(self, name) > 0, "above 0, and finite")
        self._check("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        self._check("grad_clip", self.grad_clip is None or self.grad_clip > 0, "above 0, or None for no clipping")
        self._check("spike_factor", self.spike_factor is None or self.spike_factor > 1, "above 1, or None")
        decay = self.final_weight_decay
        self._check("final_weight_decay", decay is None or decay >= 0, "0 or more, or None for a constant one")
        if self.schedule == "wsd":
            room = self.total - self.warmup_steps
            self._check("anneal_steps", 1 <= self.anneal_steps <= room, f"in [1, {room}] for the schedule `wsd`")

    @property
    def total(self) -> int:
        """Updates after which the curves have arrived."""
        return self.steps if self.horizon is None else self.horizon

    def lr_at(self, step: int) -> float:
        """Learning rate of step `step` (0 first, which is update 1)."""
        ends: dict[str, Any] = {"start": self.start_lr, "peak": self.lr, "warmup_steps": self.warmup_steps}
        if self.schedule == "constant":
            return curves.warmup(step + 1, **ends)
        falling = {**ends, "end": self.final_lr, "horizon": self.total}
        if self.schedule == "wsd":
            return curves.warmup_stable_decay(step + 1, **falling, anneal_steps=self.anneal_steps)
        curve = curves.warmup_cosine if self.schedule == "cosine" else curves.warmup_linear
        return curve(step + 1, **falling)

    def weight_decay_at(self, step: int) -> float:
        """Weight decay of step `step` (0 first, which is update 1)."""
        if self.final_weight_decay is None:
            return self.weight_decay
        return curves.cosine(step + 1, start=self.weight_decay, end=self.final_weight_decay, horizon=self.total)

    def _check(self, name: str, fine: bool, rule: str) -> None:
        if not fine:
            raise ConfigError(f"`{name}` must be {rule}; got {getattr(self, name)}.")

    def _choice(self, name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in known:
            raise ConfigError(
                f"`{name}` must be one of {', '.join(known)}; got {value!r}{did_you_mean(str(value), known)}"
            )


def _finite(value: float) -> bool:
    return math.isfinite(value)
