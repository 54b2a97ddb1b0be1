"""Every file in `examples/` runs as it stands, is short, and says what it is."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
LONGEST = 60

# What the output of an example holds; a new example adds a line.
SAYS = {
    "act_through_a_server": [
        "pictures of [64, 64] pixels for two-rooms",
        "server timing: ['cut_short', 'infer_ms', 'queue",
    ],
    "act_with_onnx": ["Give a folder: openjepa train two-rooms; openjepa export"],
    "drive_the_arm": ["Give an address: openjepa train arm; openjepa serve runs/arm"],
    "masks": ["I-JEPA: context (4, ", "short tubes: ", "long tubes: "],
    "plan_in_a_toy_world": ["arrivals [[0.5, -0.5], [-0.75, 0.25]]"],
    "record_and_read_a_store": ["12 episodes; frames (21, 3, 64, 64)", "all sound", "actions (8, 3, 4)"],
    "think_with_mcp": ["the goal is 46 px away, around a wall", "reached in 15 steps"],
    "train_a_method": ["finished 20 steps", "reopened: IJEPA (1, 64, 192)"],
    "vit_features": ["tokens (2, 1, 8, 8, 192), pooled (2, 192)", "features.png: 1x8x8 tokens"],
    "your_own_environment": ["8 episodes of 20 steps; goals (4, 3, 64, 64)"],
}


def test_there_are_examples_and_each_says_something():
    assert {path.stem for path in EXAMPLES} == SAYS.keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_short_and_introduces_itself(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert f"python examples/{path.name}" in (ast.get_docstring(ast.parse(text)) or "")


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    for words in SAYS[path.stem]:
        assert words in printed
