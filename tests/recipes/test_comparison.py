import json
from dataclasses import replace

import numpy as np
import pytest

from openjepa.baselines.chat_endpoint import ChatEndpoint, Reply, ToolCall
from openjepa.cli import main
from openjepa.errors import ConfigError
from openjepa.studies.comparison import compare, rivals, runner, worlds
from openjepa.studies.comparison.findings import hierarchical_bootstrap, rate
from openjepa.studies.comparison.language_cell import language_rows
from openjepa.studies.comparison.language_options import LanguageConfig
from openjepa.studies.comparison.page import write_page
from openjepa.studies.comparison.physics import auroc, score
from openjepa.studies.comparison.scale import CONDITIONS, Cell, CompareConfig, Scale, full, quick, toy
from openjepa.studies.comparison.trials import trial_table
from openjepa.studies.comparison.verdict import defeats


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A whole comparison at toy size, in this process; one cell is run twice to see that it is not run again."""
    out = tmp_path_factory.mktemp("compare")
    scale = replace(toy(), seeds=(0,), gflops=2.0, clip_gflops=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "PROBE_STEPS", 5)
        patch.setattr(worlds, "PLANNER", replace(worlds.PLANNER, horizon=3, num_samples=10, num_iterations=1))
        (out / "cells").mkdir()
        for cell in runner.cells_of(scale):
            runner.run_cell(cell, scale, out)
    return compare.run(CompareConfig(quick=True, out=out), scale), out


def test_the_results_name_methods_and_seeds_and_hold_every_figure(found):
    results, out = found
    saved = json.loads((out / "results.json").read_text())
    assert saved["methods"] == list(rivals.METHODS)
    assert saved["seeds"] == [0]
    assert saved["conditions"] == ["clean", "agents", "television", "colours", "light"]
    for name in saved["methods"]:
        figures = saved["figures"][name]
        assert figures["success"].keys() == set(saved["conditions"])
        assert all(0 <= figures["success"][c]["all"]["mean"] <= 1 for c in saved["conditions"])
        assert figures["probe_r2"].keys() == set(CONDITIONS)
        assert figures["ms_per_decision"] > 0
        assert figures["gflops_per_decision"] > 0
        assert ("rollout_px" in figures and bool(figures["rollout_px"])) == (name in rivals.MODELS)
        assert ("own_dynamics" in figures) == (name in rivals.OWN_DYNAMICS)
    assert saved["floors"]["clean"].keys() == {"random play", "oracle", "untrained_probe_r2"}
    assert set(saved["physics"]) == set(rivals.CLIP_METHODS)
    assert results["verdict"] == saved["verdict"]


def test_the_report_is_one_file_that_says_where_the_latent_predictor_loses(found):
    results, out = found
    page = (out / "report.html").read_text()
    for words in ("The verdict", "Where the latent predictor loses", "Was it fair?", "What is impossible"):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert all(leader in page for _, leader, _, _ in defeats(results))


def test_a_language_model_gets_its_rows_beside_the_agent_that_was_judged(found, monkeypatch, tmp_path):
    results, out = found
    reply = Reply("", (ToolCall("1", "act", '{"actions": [[0.6, 0.8]]}'),), False, 10, 2, 0.5)
    monkeypatch.setattr(ChatEndpoint, "ask", lambda self, messages, tools=(): reply)
    monkeypatch.setattr(worlds, "PLANNER", replace(worlds.PLANNER, horizon=3, num_samples=10, num_iterations=1))
    scale = replace(toy(), seeds=(0,), gflops=2.0, clip_gflops=3.0)
    config = CompareConfig(out=out, llm=LanguageConfig(url="http://stand-in/v1", pairs=2, budget=2))
    rows = {row["name"]: row for row in language_rows(scale, config)}
    assert list(rows) == ["random play", "world model alone", "LLM alone", "LLM with the world model"]
    assert rows["LLM alone"]["use"]["tokens_per_decision"] == 12
    assert rows["LLM alone"]["use"]["seconds_per_decision"] == 0.5
    assert rows["LLM alone"]["outcomes"] == rows["LLM with the world model"]["outcomes"]
    page = write_page({**results, "language": list(rows.values())}, tmp_path / "report.html").read_text()
    assert "A language model beside it" in page
    assert "LLM with the world model" in page


def test_finished_cells_are_not_run_again_and_other_options_are_refused(found, monkeypatch):
    _, out = found
    scale = replace(toy(), seeds=(0,), gflops=2.0, clip_gflops=3.0)
    monkeypatch.setattr(runner, "run_cell", lambda *a: pytest.fail("a finished cell was run again"))
    compare.run(CompareConfig(quick=True, out=out), scale)
    with pytest.raises(ConfigError, match="holds a comparison with other options"):
        compare.run(CompareConfig(quick=True, out=out), replace(scale, gflops=3.0))


@pytest.mark.parametrize(("scale", "tolerance"), [(quick(), 0.05), (full(), 0.05)])
def test_budgets_and_parameters_match(scale: Scale, tolerance: float):
    for name in rivals.METHODS:
        plan = rivals.plan_training(name, scale.parameters, scale.gflops)
        assert abs(plan.parameters / scale.parameters - 1) < tolerance
        assert abs(plan.gflops / scale.gflops - 1) < tolerance


def test_every_method_has_as_many_trials_and_one_chosen():
    assert rivals.TRIALS.keys() == rivals.CHOSEN.keys() == set(rivals.METHODS)
    assert {len(trials) for trials in rivals.TRIALS.values()} == {3}
    assert all(0 <= rivals.CHOSEN[name] < 3 for name in rivals.METHODS)


def test_the_trial_table_takes_the_best_by_success_then_by_probe():
    def cell(number: int, hits: list[int], r2: float) -> dict:
        return {
            "cell": {"method": rivals.PIXELS, "trial": number, "condition": "television"},
            "planning": {"frozen": {"short": hits, "long": []}},
            "probe": {"linear": r2},
        }

    table = trial_table({"a": cell(0, [1, 0], 0.9), "b": cell(1, [1, 1], 0.1), "c": cell(2, [1, 1], 0.2)})
    assert table["best"] == {rivals.PIXELS: 2}
    assert any(line.startswith("* pixels + inverse dynamics") and "100 % 0.20" in line for line in table["lines"])


def test_intervals_over_seeds_and_pairs():
    certain = rate(np.ones((3, 60)))
    assert certain.estimate == certain.high == 1
    assert 0.93 < certain.low < 0.95  # Wilson for 60 of 60 is 0.940
    seeds_differ = hierarchical_bootstrap(np.repeat([[0.0], [1.0]], 50, 1))
    assert (seeds_differ.low, seeds_differ.high) == (0.0, 1.0)  # two seeds that disagree say nothing


def test_auroc_by_hand():
    # possible 1, 2; impossible 1.5, 3: of four pairs three are in order
    assert auroc(np.array([[1.0, 2.0, 1.5, 3.0]])) == 0.75
    assert auroc(np.full((2, 4), 7.0)) == 0.5


def test_surprise_of_a_seer_tells_all_pairs_apart():
    clips = np.zeros((2, 4, 3, 3, 2, 2), np.uint8)
    clips[:, 2:, 1] = 100  # impossible clips flash
    found = score(lambda x: (x[:, 1:].float() - x[:, :-1].float()).abs().mean((2, 3, 4)), {"permanence": clips})
    assert found["permanence"]["pairs"] == [[1, 1], [1, 1]]
    assert auroc(np.array(found["permanence"]["maxima"])) == 1.0


def test_cells_have_names_of_their_own():
    cells = runner.cells_of(full())
    assert len({cell.name for cell in cells}) == len(cells)
    assert Cell("rival", rivals.LATENT, "clean", 1, 0.25).name == "rival-latent_+_inverse_dynamics-clean-seed1-share25"
    kinds = {cell.kind for cell in cells}
    assert kinds == {"play", "rival", "cloning", "floors", "untrained", "physics"}


def test_errors_are_one_line(tmp_path, capsys):
    assert main(["compare", "--workers", "0", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "openjepa: `workers` must be at least 1; got 0.\n"
    assert main(["compare", "--quik"]) == 2
    assert "did you mean `--quick`?" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="`seeds` must be different numbers"):
        Scale(seeds=(1, 1))


def test_progress_names_what_is_left(capsys):
    bar = runner._Progress(cost=20.0, count=2, workers=1)
    bar.add(Cell("play", condition="clean", cost=10.0), 1.0)
    bar.add(Cell("rival", rivals.TOKENS, "television", 2, cost=10.0), 2.0)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[1/2] play, clean, seed 0: 1 s; about ")
    assert second == "[2/2] next token, noisy television, seed 2: 2 s"


def test_a_worker_leaves_when_its_parent_is_gone(monkeypatch):
    parents = iter([7, 7, 1])  # an orphan is adopted by process 1
    left: list[int] = []
    monkeypatch.setattr(runner.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(runner.os, "_exit", left.append)
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: None)
    runner._leave_with(7)
    assert left == [1]
