"""What there is: recipes, worlds, methods and planners, read from the source without importing PyTorch."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent

WORLDS = {
    "two-rooms": "a disc in two rooms; wall and door stand still",
    "random-doors": "wall and door are drawn anew in every episode",
    "object-rooms": "two rooms with coloured things to speak about, elsewhere in every episode",
    "fork": "a road that forks by a coin that nobody sees before",
    "bridge": "a short bridge that may break, and a long way round",
    "four-rooms": "four rooms with four doors, drawn in every episode",
    "four-rooms-distractors": "four rooms, one door closed in every second episode, and a disc that jumps about",
    "distractors": "two rooms, and discs that move by themselves",
    "noisy-background": "two rooms on a background that changes with every frame",
    "maze": "a perfect maze, one of any number; far goals",
    "random-mazes": "a maze is drawn anew in every episode",
    "arm": "a robot arm at a table; every scene looks different (needs openjepa[mujoco])",
    "arm-around": "the same with a wall on the table, over which the hand must go",
    "arm-push": "the same with a block to push",
    "push-t": "push a T-shaped block (needs openjepa[pusht])",
}


def tables() -> dict[str, dict[str, str]]:
    """Returns name and summary of everything that can be named on the command line."""
    from openjepa.studies import experiments

    return {
        "Recipes (openjepa train RECIPE)": {name: _first_line(load.__doc__) for name, load in experiments().items()},
        "Worlds (openjepa collect WORLD, or any Gymnasium id)": WORLDS,
        "Methods": files_with("methods", {"loss"}),
        "Rivals": files_with("baselines", {"loss"}),
        "Planners": files_with("planning", {"plan", "_plan"}),
    }


def models() -> dict[str, dict[str, str]]:
    """Returns name and licence of every published model."""
    from openjepa.interop.registry import PUBLISHED

    return {"Models (--model NAME, openjepa.load)": {name: entry.licence for name, entry in PUBLISHED.items()}}


def text(entries_by_title: dict[str, dict[str, str]]) -> str:
    """Returns tables for a terminal; one without entries is left out."""
    lines: list[str] = []
    for title, entries in entries_by_title.items():
        if not entries:
            continue
        width = max(map(len, entries))
        lines += [title, *(f"  {name:<{width}}  {summary}" for name, summary in entries.items()), ""]
    return "\n".join(lines).rstrip()


def files_with(room: str, verbs: set[str]) -> dict[str, str]:
    """Returns the files of a room that hold a public class with one of these methods, and their first lines.

    A `Protocol` is a contract and an `ABC` a beginning; they do not count.
    """
    found = {}
    for path in sorted((PACKAGE / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ClassDef) and _offers(node, verbs) for node in tree.body):
            found[path.stem] = _first_line(ast.get_docstring(tree))
    return found


def _offers(node: ast.ClassDef, verbs: set[str]) -> bool:
    methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    is_contract = any(word in ast.unparse(base) for base in node.bases for word in ("ABC", "Protocol"))
    return bool(verbs & methods) and not is_contract and not node.name.startswith("_")


def _first_line(docstring: str | None) -> str:
    """The first sentence of a docstring, which may go on in its second line."""
    paragraph = " ".join((docstring or "").strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".")
