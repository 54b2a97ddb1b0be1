"""What the tests need from two processes; `torchrun --nproc-per-node 2 training_two.py FOLDER`."""

import json
import math
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from training_toy import Toy, ToyConfig, ToySource, quick

from openjepa.errors import OpenJEPAError
from openjepa.nn.distributed import all_mean, rank
from openjepa.protocols import JEPALoss
from openjepa.train import checkpoint, train
from openjepa.train.distributed import join_group

TOY = ToyConfig(dropout=0.0)


class Stop(Exception):
    pass


class StoppingSource(ToySource):
    def batch(self, step: int, **kwargs):
        if step == 10:
            raise Stop
        return super().batch(step, **kwargs)


class Bad(Toy):
    def loss(self, batch, step):
        out = super().loss(batch, step)
        bad = math.nan if rank() == 1 and step == 5 else 1.0  # one process only
        return JEPALoss(out.loss * bad, {**out.terms, "prediction": out.terms["prediction"] * bad})


def first_weight(method: Toy, step: int) -> dict[str, float]:
    """Needs whole weights outside of the loss."""
    z = method.context_encoder(torch.ones(1, 12))
    return {"probe": float(z.sum()), "entries": method.context_encoder[0].weight.numel()}


def run(folder: Path, *, source: ToySource | None = None, method=None, **options):
    config = quick(log_every=1, **options)
    return train(method or Toy(TOY), source or ToySource(), config, folder, diagnostics=first_weight)


def everyone(value):
    """Collects a value of every process."""
    values = [None, None]
    dist.all_gather_object(values, value)
    return values


def message(work) -> str:
    try:
        work()
    except OpenJEPAError as error:
        return str(error)
    return "no error"


def full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def main(root: Path) -> None:
    for sharding in ("ddp", "fsdp2"):
        run(root / sharding, sharding=sharding)
        for name in (f"{sharding}-resumed", f"{sharding}-stopped"):
            try:
                run(root / name, sharding=sharding, source=StoppingSource())
            except Stop:
                pass
            else:
                raise AssertionError("must stop")
        run(root / f"{sharding}-resumed", sharding=sharding)
        run(root / f"{sharding}-accumulated", sharding=sharding, accumulate=2)

    x = (rank() + torch.tensor([1.0, 2.0])).requires_grad_()
    mean = all_mean(x)
    ((rank() + 1) * mean.square().sum()).backward()
    results = everyone((mean.tolist(), x.grad.tolist()))

    errors = {"nan": message(lambda: run(root / "nan", method=Bad(TOY)))}
    errors["sharding"] = message(lambda: run(root / "none", sharding="none"))
    checkpoint.safetensors.torch.save_file = full_disk
    errors["full"] = message(lambda: run(root / "full"))
    messages = everyone(errors)
    if rank() == 0:
        (root / "all_mean.json").write_text(json.dumps(results))
        (root / "errors.json").write_text(json.dumps(messages))


if __name__ == "__main__":
    join_group(torch.device("cpu"))
    main(Path(sys.argv[1]))
