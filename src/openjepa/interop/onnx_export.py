"""A saved agent as ONNX files that act without PyTorch: encoder, predictor, critic, and the policy where it has one.

    FOLDER/export.json      what the files take and give, bounds, planner, and how far they are from PyTorch
           encoder.onnx     frames [B, T, C, H, W] uint8 (and proprio) -> state [B, N, D]
           predictor.onnx   states [B, T, N, D], actions [B, T, A] -> next state [B, N, D]
           critic.onnx      state, goal [B, N, D] -> cost [B]
           actor.onnx       state, goal [B, N, D] -> plan [B, K, A] of free actions, each held for some model steps

The batch may have any size, T is the agent's own. Every file is run by ONNX Runtime beside PyTorch before it is kept.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.agent import Agent, load_agent, read_card
from openjepa.agent.actor import ProposeVerifyRepair
from openjepa.agent.saved_planner import PLANNERS
from openjepa.config import to_dict
from openjepa.errors import CheckpointError, ConfigError, require
from openjepa.files import cause_of, replacing_folder, sha256
from openjepa.methods.lewm import LeWM
from openjepa.nn.random import keyed_generator
from openjepa.planning.costs import PathCost
from openjepa.version import __version__

FORMAT, CARD, OPSET = 1, "export.json", 18
SIZES = (1, 3)  # batches that are compared; the file is made from another one
TOLERANCE = 1e-4  # of what is compared, absolute and relative


@dataclass(frozen=True)
class ExportedPart:
    """One file.

    Attributes:
        file: its name.
        sha256: of its bytes.
        inputs: shape of each input; the batch is "B".
        outputs: likewise.
        largest_difference: between ONNX Runtime and PyTorch, over all compared numbers.
        tolerance: that it was held against.
    """

    file: str
    sha256: str
    inputs: Mapping[str, list[Any]]
    outputs: Mapping[str, list[Any]]
    largest_difference: float
    tolerance: float

    def __str__(self) -> str:
        inputs, outputs = (
            ", ".join(f"{name} {[str(n) for n in shape]}".replace("'", "") for name, shape in known.items())
            for known in (self.inputs, self.outputs)
        )
        return (
            f"{self.file}: {inputs} -> {outputs}; largest difference {self.largest_difference:.1e} (tolerance "
            f"{self.tolerance:.0e})"
        )


def export_onnx(
    run: str | Path,
    out: str | Path,
    *,
    tolerance: float = TOLERANCE,
    say: Callable[[str], None] | None = None,
) -> dict[str, ExportedPart]:
    """Writes the parts of a saved agent as ONNX files, each compared with PyTorch; returns what was written, by part.

    Args:
        run: of the agent, or of the run that it is in.
        out: a new folder, which appears whole or not at all.
        tolerance: largest difference, absolute and relative, that a part may have.
        say: takes a line for every part.

    Raises:
        CheckpointError: where there is no agent, or a part computes something else than PyTorch.
        ConfigError: for an agent that cannot be written down in ONNX.
        MissingDependencyError: without `onnx` and `onnxruntime`.
    """
    _runtime()
    if not math.isfinite(tolerance) or tolerance <= 0:
        raise ConfigError(f"`tolerance` must be above 0; got {tolerance}.")
    agent, card, out = load_agent(run), read_card(run), Path(out)
    if out.exists():
        raise ConfigError(f"`{out}` must be a new folder; it is there already. Remove it, or choose another name.")
    parts = {}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(out) as draft:
            for name, (module, inputs, output) in _modules(agent).items():
                parts[name] = _write(draft / f"{name}.onnx", module, inputs, output, tolerance)
                if say is not None:
                    say(str(parts[name]))
            content = {
                "format": FORMAT,
                "openjepa": __version__,
                "world": card.world,
                "frame_shape": list(card.frame_shape),
                "bounds": card.bounds.to_dict(),
                "action_meaning": card.action_meaning,
                "choices": list(card.choices),
                "options": to_dict(agent.config),
                "planner": {"kind": type(agent.planner).__name__, **_planner_options(agent)},
                "parts": {name: asdict(part) for name, part in parts.items()},
            }
            (draft / CARD).write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise CheckpointError(f"`{out}` cannot be written: {cause_of(error, out.parent)}.") from error
    return parts


def _planner_options(agent: Agent) -> dict[str, Any]:
    planner: Any = agent.planner
    is_known = isinstance(planner, ProposeVerifyRepair) or any(type(planner) is kind for kind, _ in PLANNERS.values())
    return {"options": to_dict(planner.config)} if is_known else {}


def _modules(agent: Agent) -> dict[str, tuple[nn.Module, dict[str, Callable[[int], Tensor]], str]]:
    """Each part as a module of tensors alone, with draws of its inputs by batch size, and the name of its output."""
    model, config = agent.model, agent.config
    shape = agent.perception.frame_shape
    if not isinstance(model, nn.Module) or shape is None or not isinstance(agent.cost, PathCost):
        raise ConfigError(
            "an agent must hold a world model with weights, a frame size and a `PathCost` to be exported."
        )
    draws = keyed_generator(0)

    def frames(batch: int) -> Tensor:
        return torch.randint(256, (batch, config.history, *shape), generator=draws, dtype=torch.uint8)

    inputs: dict[str, Callable[[int], Tensor]] = {"frames": frames}
    if isinstance(model, LeWM) and model.config.proprio_dim:
        width = model.config.proprio_dim
        inputs["proprio"] = lambda batch: torch.randn(batch, config.history, width, generator=draws)
    encoder = _Encoder(model)
    with torch.no_grad():
        seen = encoder(*(draw(16) for draw in inputs.values()))
    spread = seen.std(0, keepdim=True)

    def state(batch: int) -> Tensor:  # near states that the encoder gives
        rows = torch.randint(len(seen), (batch,), generator=draws)
        return seen[rows] + spread * torch.randn(batch, *seen.shape[1:], generator=draws)

    def states(batch: int) -> Tensor:
        return torch.stack([state(batch) for _ in range(config.context_len)], 1)

    bounds = agent.bounds.with_frameskip(config.frameskip)

    def actions(batch: int) -> Tensor:
        low, high = (torch.as_tensor(np.clip(b, -10, 10)).float() for b in (bounds.low, bounds.high))
        return bounds.clip(low + (high - low) * torch.rand(batch, config.context_len, bounds.dim, generator=draws))

    found: dict[str, tuple[nn.Module, dict[str, Callable[[int], Tensor]], str]] = {
        "encoder": (encoder, inputs, "state"),
        "predictor": (_Predictor(model), {"states": states, "actions": actions}, "next_state"),
        "critic": (_Critic(agent.cost), {"state": state, "goal": state}, "cost"),
    }
    if isinstance(agent.planner, ProposeVerifyRepair) and isinstance(agent.planner.policy, nn.Module):
        found["actor"] = (agent.planner.policy, {"state": state, "goal": state}, "plan")
    return found


class _Encoder(nn.Module):
    """The state after the last of successive frames."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        return self.model.encode(frames, proprio)[:, -1]


class _Predictor(nn.Module):
    """The state after the last action."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        return self.model.rollout(states, actions)[:, -1]


class _Critic(nn.Module):
    """The distance of a state from a goal, of the dimensions that the cost looks at."""

    def __init__(self, cost: PathCost) -> None:
        super().__init__()
        self.head = cost.distance if isinstance(cost.distance, nn.Module) else nn.Identity()
        self.cost = cost

    def forward(self, state: Tensor, goal: Tensor) -> Tensor:
        width = self.cost.pose_dim
        return self.cost.distance(state[..., :width], goal[..., :width])


def _write(
    path: Path, module: nn.Module, draws: Mapping[str, Callable[[int], Tensor]], output: str, tolerance: float
) -> ExportedPart:
    """Writes a module and compares it with itself."""
    module = module.eval().requires_grad_(False)
    example = tuple(draw(2) for draw in draws.values())
    dynamic = {name: {0: "B"} for name in (*draws, output)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns about every shape that is checked
            torch.onnx.export(
                module,
                example,
                str(path),
                input_names=list(draws),
                output_names=[output],
                dynamic_axes=dynamic,
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        why = " ".join(str(error).split())[:160]
        raise ConfigError(f"the {path.stem} cannot be written down in ONNX ({why}).") from error
    session = _session(path)
    largest = 0.0
    for size in SIZES:
        inputs = {name: draw(size) for name, draw in draws.items()}
        with torch.no_grad():
            wanted = module(*inputs.values()).numpy()
        try:
            found = session.run(None, {name: x.numpy() for name, x in inputs.items()})[0]
        except Exception as error:  # its errors have no class of their own
            why = " ".join(str(error).split())[:160]
            raise ConfigError(f"{path.name} must run with a batch of {size}; ONNX Runtime says: {why}.") from error
        difference = np.abs(found - wanted) if found.shape == wanted.shape else np.array(np.inf)
        largest = max(largest, float(difference.max()))
        if not (difference <= tolerance * (1 + np.abs(wanted).max())).all():
            raise CheckpointError(
                f"{path.name} must give what PyTorch gives within {tolerance:.0e}; it differs by {largest:.1e}. Raise "
                "`--tolerance` if that will do."
            )
    shapes = {name: ["B", *draw(1).shape[1:]] for name, draw in draws.items()}
    return ExportedPart(path.name, sha256(path), shapes, {output: ["B", *wanted.shape[1:]]}, largest, tolerance)


def _session(path: Path) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401 - PyTorch needs it
        import onnxruntime
    except ImportError as error:
        raise require(str(error.name or "onnx"), "onnx", "export to ONNX") from error
    return onnxruntime
