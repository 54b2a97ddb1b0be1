"""Recomputes recorded schedules: learning rate, weight decay and moving average at chosen updates."""

from collections.abc import Callable
from typing import Any

from openjepa.errors import CheckpointError
from openjepa.interop.state_files import read_json
from openjepa.nn.ema import ema_decay_at
from openjepa.nn.schedule import cosine, warmup_cosine, warmup_linear, warmup_stable_decay
from openjepa.parity.recorded_case import Case, Found

Curve = Callable[[int], float]


def schedules(case: Case) -> Found:
    """The largest difference of every recorded curve."""
    limits = case.description["tolerance"]
    found = Found()
    for entry in read_json(case.folder / "schedules.json")["schedules"]:
        curves = _curves(entry["parameters"])
        for name, curve in curves.items():
            errors = []
            for row in entry["values"]:
                if name in row:
                    allowed = limits["absolute"] + limits["relative"] * abs(row[name])
                    errors.append((abs(curve(row["update"]) - row[name]), allowed))
            if errors:
                found.extra[f"{entry['parameters']['name']}: {name}"] = max(errors, key=lambda e: e[0] / e[1])
    return found


def _curves(p: dict[str, Any]) -> dict[str, Curve]:
    per_epoch = p["iterations_per_epoch"]
    horizon = int(p["ipe_scale"] * p["epochs"] * per_epoch)
    rate = {"start": p["start_lr"], "peak": p["lr"], "end": p["final_lr"], "horizon": horizon}
    rate["warmup_steps"] = p["warmup_epochs"] * per_epoch
    anneal_steps = p.get("anneal_epochs", 0) * per_epoch
    kinds: dict[str, Curve] = {
        "warm-up then cosine": lambda n: warmup_cosine(n, **rate),
        "linear decay": lambda n: warmup_linear(n, **rate),
        "warm-up, constant, linear anneal": lambda n: warmup_stable_decay(n, **rate, anneal_steps=anneal_steps),
    }
    if p["kind"] not in kinds:
        raise CheckpointError(f"the schedule `{p['kind']}` is not one of {', '.join(kinds)}.")
    start, end = p.get("ema", (0.0, 0.0))
    return {
        "lr": kinds[p["kind"]],
        "weight_decay": lambda n: cosine(n, start=p["weight_decay"], end=p["final_weight_decay"], horizon=horizon),
        "ema": lambda n: ema_decay_at(n - 1, start=start, end=end, total_steps=horizon),
    }
