"""The loop: what a step is, what stops it, what it writes."""

import json
import math
from collections import Counter

import pytest
import torch
from torch import nn
from training_toy import TOYS, Toy, ToyConfig, ToySource, quick

from openjepa.errors import ConfigError, MissingDependencyError, TrainingError
from openjepa.protocols import ImageBatch, JEPALoss
from openjepa.train import load_method, train
from openjepa.train.log import read_metrics
from openjepa.train.loop import find_intact


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def run(path, *, toy=None, **options):
    return train(Toy(toy or ToyConfig()), ToySource(), quick(**options), path)


class Falling(nn.Module):
    """Minimises w; `bad` replaces a value of the loss at one step."""

    def __init__(self, bad_step: int = -1, bad: float = math.nan, where: str = "prediction"):
        super().__init__()
        self.config = ToyConfig()
        self.w = nn.Parameter(torch.ones(1))
        self.bad_step, self.bad, self.where = bad_step, bad, where

    def loss(self, batch: ImageBatch, step: int) -> JEPALoss:
        prediction = self.w.square().sum()
        spread = torch.ones(())
        if step == self.bad_step:
            if self.where == "prediction":
                prediction = prediction * self.bad
            else:
                spread = spread * self.bad
        return JEPALoss(prediction + spread, {"prediction": prediction.detach(), "spread": spread.detach()})

    def after_step(self, step: int) -> None:
        pass


def test_one_sgd_like_step_by_hand(tmp_path):
    method = Falling()
    train(
        method,
        ToySource(),
        quick(steps=1, warmup_steps=0, schedule="constant", lr=0.1, weight_decay=0.0),
        tmp_path,
    )
    assert method.w.item() == pytest.approx(0.9, abs=1e-6)  # Adam's first step has the length lr
    assert not method.training


def test_loss_falls_and_the_record_is_complete(tmp_path):
    result = run(tmp_path, steps=60, log_every=20)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["spread"] < 0.5 * rows[0]["spread"]
    assert result.metrics == rows[-1]
    assert {"prediction", "spread", "grad_norm", "lr", "weight_decay", "steps_per_second"} <= rows[0].keys()
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["method"] == {"name": "Toy", "config": json.loads(json.dumps(vars(ToyConfig())))}
    assert record["train"]["steps"] == 60
    assert record["openjepa"]
    assert "git" in record


def test_metrics_are_means_over_the_interval(tmp_path):
    run(tmp_path / "a", log_every=1, steps=6)
    run(tmp_path / "b", log_every=3, steps=6)
    single, mean = (read_metrics(tmp_path / x / "metrics.jsonl") for x in "ab")
    for i, row in enumerate(mean):
        assert row["loss"] == pytest.approx(sum(r["loss"] for r in single[3 * i : 3 * i + 3]) / 3, rel=1e-6)


def test_the_callers_random_state_and_threads_are_untouched(tmp_path):
    method, threads = Toy(ToyConfig()), torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(method, ToySource(), quick(threads=2, steps=1), tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_seed_decides(tmp_path):
    assert same(run(tmp_path / "a").method, run(tmp_path / "b").method)
    assert not same(run(tmp_path / "a").method, run(tmp_path / "c", seed=1).method)


def test_the_loop_counts_the_steps(tmp_path):
    seen = []

    class Counting(Falling):
        def loss(self, batch, step):
            seen.append(("loss", step))
            return super().loss(batch, step)

        def after_step(self, step):
            seen.append(("after", step))

    def go(steps):
        seen.clear()
        config = quick(steps=steps, accumulate=2, schedule="constant")
        train(Counting(), ToySource(), config, tmp_path)
        return seen

    assert go(2) == [("loss", 0), ("loss", 0), ("after", 0), ("loss", 1), ("loss", 1), ("after", 1)]
    assert go(3) == [("loss", 2), ("loss", 2), ("after", 2)]


def test_accumulating_equals_the_whole_batch(tmp_path):
    toy = ToyConfig(dropout=0.0, batch_norm=False)

    class Plain(Toy):  # no statistic over the batch, so that parts add up exactly
        def loss(self, batch, step):
            out = super().loss(batch, step)
            prediction = ((self.context_encoder(batch.images.flatten(1).float() / 255)) - 0.3).square().mean()
            return JEPALoss(prediction, {"prediction": prediction.detach(), "spread": out.terms["spread"]})

    def final(name, accumulate):
        config = quick(accumulate=accumulate, log_every=1)
        method = train(Plain(toy), ToySource(), config, tmp_path / name).method
        return method, [row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl")]

    (whole, curve), (parts, parts_curve) = final("whole", 1), final("parts", 4)
    assert parts_curve == pytest.approx(curve, rel=1e-5)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("stop", range(1, 12))
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, stop, whole_run):
    class Stop(Exception):
        pass

    class Stopping(ToySource):
        def batch(self, step, **kwargs):
            if step == stop:
                raise Stop
            return super().batch(step, **kwargs)

    with pytest.raises(Stop):
        train(Toy(ToyConfig()), Stopping(), quick(), tmp_path)
    fresh = Toy(ToyConfig())
    assert same(train(fresh, ToySource(), quick(), tmp_path).method, whole_run[0])
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert max(Counter(row["step"] for row in rows).values()) == 1
    timed = {"seconds", "steps_per_second"}
    assert [{k: v for k, v in r.items() if k not in timed} for r in rows] == [
        {k: v for k, v in r.items() if k not in timed} for r in whole_run[1]
    ]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    method = run(path).method
    return method, read_metrics(path / "metrics.jsonl")


def test_a_finished_run_returns_at_once(tmp_path, whole_run):
    run(tmp_path)
    again = train(Toy(ToyConfig()), ToySource(delay=1e9), quick(), tmp_path)
    assert same(again.method, whole_run[0])
    assert again.metrics["step"] == again.step == 12


def test_a_damaged_checkpoint_is_reported_and_done_again(tmp_path, whole_run, capsys):
    run(tmp_path)
    file = tmp_path / "checkpoints/step_00000012/training.pt"
    file.write_bytes(file.read_bytes()[:100])
    assert same(run(tmp_path).method, whole_run[0])
    said = capsys.readouterr().err
    assert f"{file} must have" in said
    assert "it has 100: it is damaged" in said
    assert "It is now damaged_step_00000012; the steps since then are done again." in said
    assert "going on from step 8" in said


def test_with_no_intact_checkpoint_the_run_stops(tmp_path):
    run(tmp_path)
    for file in tmp_path.glob("checkpoints/*/model.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(Exception, match=r"no checkpoint in .* is intact"):
        run(tmp_path)
    assert find_intact(tmp_path / "nowhere") == (None, [])


def test_changed_options_are_refused_and_harmless_ones_are_not(tmp_path):
    run(tmp_path)
    with pytest.raises(ConfigError) as error:
        run(tmp_path, lr=0.5)
    assert str(error.value).startswith(f"`train.lr` must be 0.01 as in the run that {tmp_path} holds; got 0.5.")
    with pytest.raises(ConfigError, match=r"`method.config.width` must be 8"):
        run(tmp_path, toy=ToyConfig(width=4))
    with pytest.raises(ConfigError, match=r"`train.steps` must be 12"):  # the cosine would change its past
        run(tmp_path, steps=20)
    run(tmp_path, log_every=5, keep_checkpoints=1, threads=2)


def test_a_constant_schedule_can_be_made_longer(tmp_path):
    run(tmp_path / "a", schedule="constant")
    longer = run(tmp_path / "a", schedule="constant", steps=16).method
    assert same(longer, run(tmp_path / "b", schedule="constant", steps=16).method)


def test_two_processes_cannot_train_in_one_directory(tmp_path):
    class Nested(Falling):
        def after_step(self, step):
            super().after_step(step)
            run(tmp_path)

    with pytest.raises(TrainingError, match="is in use by another process"):
        train(Nested(), ToySource(), quick(), tmp_path)


@pytest.mark.parametrize("where", ["prediction", "spread"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_values_stop_with_the_term_and_the_step(tmp_path, where, bad):
    with pytest.raises(TrainingError) as error:
        train(Falling(9, bad, where), ToySource(), quick(log_every=100), tmp_path)
    message = str(error.value)
    assert message.startswith(f"`{where}` must be finite; it is not at step 9.")
    good = tmp_path / "checkpoints/step_00000008"
    assert f"The last good checkpoint is {good}." in message
    toys = {"Falling": lambda: (lambda config: Falling(), ToyConfig)}
    assert load_method(good, methods=toys).w.isfinite().all()
    assert not (tmp_path / "checkpoints/step_00000012").exists()


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Root(Falling):
        def loss(self, batch, step):
            w = (self.w * (0 if step == 2 else 1)).abs()
            return JEPALoss(w.sqrt().sum(), {})

    with pytest.raises(TrainingError, match=r"`grad_norm` must be finite; it is not at step 2. There is no earlier"):
        train(Root(), ToySource(), quick(), tmp_path)


def test_a_spike_stops_with_its_size(tmp_path):
    config = quick(steps=100, spike_factor=5.0, checkpoint_every=50, lr=1e-9)
    with pytest.raises(TrainingError) as error:
        train(Falling(70, 19.0), ToySource(), config, tmp_path)
    # w stays 1, so the loss is 2, and 20 at the spike.
    expected = "`loss` must stay below 5 times its running mean; it is 20 against 2 at step 70."
    assert str(error.value).startswith(expected)
    assert "step_00000050" in str(error.value)
    train(Falling(70, 7.0), ToySource(), config, tmp_path / "milder")


def test_changing_terms_are_named(tmp_path):
    class Moody(Falling):
        def loss(self, batch, step):
            out = super().loss(batch, step)
            return JEPALoss(out.loss, {} if step == 5 else out.terms)

    with pytest.raises(TrainingError, match="`prediction` changed at step 5"):
        train(Moody(), ToySource(), quick(), tmp_path)


def test_diagnostics_join_the_metrics_and_change_nothing(tmp_path, whole_run):
    seen = []

    def diagnose(method, step):
        seen.append((step, method.training, torch.is_grad_enabled()))
        torch.rand(10)
        return {"rank": 3, "ratio": math.inf}

    method = train(Toy(ToyConfig()), ToySource(), quick(), tmp_path, diagnostics=diagnose).method
    assert same(method, whole_run[0])
    assert seen == [(4, False, False), (8, False, False), (12, False, False)]
    rows = {row["step"]: row for row in read_metrics(tmp_path / "metrics.jsonl")}
    assert sorted(rows) == [3, 4, 6, 8, 9, 12]
    assert rows[12]["rank"] == 3
    assert rows[12]["ratio"] is None
    assert rows[12]["loss"] > 0


def test_errors_of_the_source_arrive(tmp_path):
    class Broken(ToySource):
        def batch(self, step, **kwargs):
            if step == 5:
                raise ValueError("episode 7 is cut")
            return super().batch(step, **kwargs)

    with pytest.raises(ValueError, match="episode 7 is cut"):
        train(Toy(ToyConfig()), Broken(), quick(), tmp_path)


def test_metrics_with_a_cut_last_line_and_with_a_damaged_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(TrainingError, match="damaged at line 2"):
        read_metrics(path)


def test_metrics_on_a_full_disk(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="the disk is full"):
        run(tmp_path)


def test_a_run_directory_that_is_a_file_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(TrainingError, match=r"run cannot be written: FileExistsError"):
        run(tmp_path / "run")


def test_bf16_and_auto_precision_train(tmp_path):
    for precision in ("bf16", "auto"):
        assert math.isfinite(run(tmp_path / precision, precision=precision).metrics["loss"])


def test_a_device_that_is_not_there_is_named(tmp_path):
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(ConfigError, match=f"`device` must be one that PyTorch finds here .*; got '{missing}'"):
        run(tmp_path, device=missing)


def test_sharding_needs_torchrun(tmp_path):
    with pytest.raises(ConfigError, match="`sharding` 'fsdp2' must run under torchrun"):
        run(tmp_path, sharding="fsdp2")


def test_tensorboard_is_written_or_its_absence_named(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    run(tmp_path / "a", tensorboard=True)
    assert list((tmp_path / "a/tensorboard").glob("events.*"))
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"openjepa\[track\]"):
        run(tmp_path / "b", tensorboard=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns about itself
def test_compiled_equals_eager(tmp_path):
    toy = ToyConfig(dropout=0.0)
    eager, compiled = run(tmp_path / "a", toy=toy), run(tmp_path / "b", toy=toy, compile=True)
    assert compiled.metrics["loss"] == pytest.approx(eager.metrics["loss"], rel=1e-4)
    assert "method" not in next(iter(load_method(tmp_path / "b", methods=TOYS).state_dict()))
