"""Schedules against the values of the published code of I-JEPA and V-JEPA, and against hand computation."""

import json
from pathlib import Path

import pytest
from training_toy import quick

from openjepa.errors import ConfigError
from openjepa.nn.ema import ema_decay_at
from openjepa.nn.schedule import cosine, linear, warmup
from openjepa.train import TrainConfig

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/schedules/schedules.json").read_text())["schedules"]
KINDS = {
    "warm-up then cosine": "cosine",
    "linear decay": "linear",
    "warm-up, constant, linear anneal": "wsd",
}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["parameters"]["name"])
def test_published_values(case):
    p = case["parameters"]
    per_epoch = p["iterations_per_epoch"]
    steps = int(p["epochs"] * per_epoch)
    horizon = int(p["ipe_scale"] * p["epochs"] * per_epoch)
    config = TrainConfig(
        steps=steps,
        horizon=horizon,
        schedule=KINDS[p["kind"]],
        lr=p["lr"],
        start_lr=p["start_lr"],
        final_lr=p["final_lr"],
        warmup_steps=p["warmup_epochs"] * per_epoch,
        anneal_steps=p.get("anneal_epochs", 0) * per_epoch,
        weight_decay=p["weight_decay"],
        final_weight_decay=p["final_weight_decay"],
    )
    assert len(case["values"]) >= 5
    for row in case["values"]:
        step = row["update"] - 1
        assert config.lr_at(step) == pytest.approx(row["lr"], rel=1e-12, abs=1e-12)
        assert config.weight_decay_at(step) == pytest.approx(row["weight_decay"], rel=1e-12, abs=1e-12)
        if "ema" in row:
            start, end = p["ema"]
            got = ema_decay_at(step, start=start, end=end, total_steps=horizon)
            assert got == pytest.approx(row["ema"], rel=1e-12, abs=1e-12)


def test_halfway_values_by_hand():
    assert warmup(5, start=0.0, peak=1.0, warmup_steps=10) == 0.5
    assert warmup(0, start=0.3, peak=1.0, warmup_steps=0) == 1.0
    assert cosine(5, start=1.0, end=0.0, horizon=10) == pytest.approx(0.5)
    assert cosine(5, start=0.04, end=0.4, horizon=10) == pytest.approx(0.22)  # rises, too
    assert cosine(99, start=1.0, end=0.25, horizon=10) == 0.25
    assert linear(99, start=1.0, end=0.25, horizon=10) == 0.25


def test_constant_holds_and_wsd_ends_at_the_final_rate():
    constant = quick(schedule="constant", steps=100, warmup_steps=10, lr=0.5)
    assert [constant.lr_at(s) for s in (4, 9, 50, 99)] == [0.25, 0.5, 0.5, 0.5]
    wsd = quick(schedule="wsd", steps=100, warmup_steps=10, anneal_steps=20, lr=1.0, final_lr=0.2)
    assert [wsd.lr_at(s) for s in (9, 79, 89, 99)] == pytest.approx([1.0, 1.0, 0.6, 0.2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1; got 0."),
        ({"lr": 0.0}, "`lr` must be above 0, and finite; got 0.0."),
        ({"lr": float("nan")}, "`lr` must be above 0, and finite; got nan."),
        (
            {"schedule": "cosin"},
            "`schedule` must be one of cosine, constant, linear, wsd; got 'cosin'; did you mean `cosine`?",
        ),
        ({"betas": (0.9, 1.0)}, "`betas` must be two numbers in [0, 1); got (0.9, 1.0)."),
        ({"spike_factor": 1.0}, "`spike_factor` must be above 1, or None; got 1.0."),
        ({"schedule": "wsd"}, "`anneal_steps` must be in [1, 950] for the schedule `wsd`; got 0."),
        ({"grad_clip": 0.0}, "`grad_clip` must be above 0, or None for no clipping; got 0.0."),
        ({"threads": 0}, "`threads` must be at least 1, or None; got 0."),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig(**options)
    assert str(error.value) == message
