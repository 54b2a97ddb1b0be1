"""The house keeps its floors: who imports whom, how long files are, what they are called, who may print."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "openjepa"

FLOORS = {
    **dict.fromkeys(["errors", "version"], 0),
    **dict.fromkeys(["protocols", "config", "nn", "files"], 1),
    **dict.fromkeys(["masking", "losses", "models", "heads", "data", "envs"], 2),
    **dict.fromkeys(["methods", "baselines", "planning"], 3),
    "train": 4,
    "agent": 5,
    **dict.fromkeys(["eval", "interop", "language"], 6),
    **dict.fromkeys(["recipes", "parity", "serve"], 7),
    "studies": 8,
    "cli": 9,
}
ROOM_OF = {"command_line": "cli"}  # the commands belong to the same room as their front door
# Contracts, configuration and parts are one foundation: they may read each other.
SHARED_FLOOR = {1}
PRINTS_FROM = 4
SPEAKING = {"print", "sys.stdout.write", "sys.stderr.write"}
READING = {"os.environ", "os.getenv", "sys.argv"}

LONGEST = 400
TOO_LONG: set[str] = set()  # files that may be longer; keep it empty

FORBIDDEN = ("utils", "util", "helpers", "helper", "misc", "common", "_v2", "new_")

SOURCES = sorted(PACKAGE.rglob("*.py"))
names = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def room(module: str) -> str | None:
    """The room of a module such as `openjepa.nn.ema`, or None for the package itself."""
    parts = module.split(".")
    if len(parts) < 2 or parts[1] == "__version__":
        return None
    return ROOM_OF.get(parts[1], parts[1])


def own_module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> list[tuple[int, str]]:
    """Every `openjepa` module that a file imports, with the line; imports for types only are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write `from openjepa.x import y`, not a relative import"
            if node.module == "openjepa":
                found += [(node.lineno, f"openjepa.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, node.module or ""))
    return [(line, name) for line, name in found if name.split(".")[0] == "openjepa"]


def broken_floors(path: Path) -> list[str]:
    here = room(own_module(path))
    if here is None or here.startswith("__"):
        return []  # `openjepa/__init__.py` names what is public, from every floor
    complaints = []
    for line, module in imported(path):
        there = room(module)
        if there is None or there == here:
            continue
        above, below = FLOORS[here], FLOORS[there]
        if below > above or (below == above and above not in SHARED_FLOOR):
            remedy = (
                f"Move what both need to a lower floor, or let a caller above floor {max(above, below)} hand it in."
            )
            complaints.append(
                f"{path.relative_to(ROOT)}:{line}: `{here}` (floor {above}) imports `{module}` (floor "
                f"{below}). {remedy}"
            )
    return complaints


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_imports_go_down(path):
    assert not broken_floors(path), "\n".join(broken_floors(path))


def test_every_room_has_a_floor():
    rooms = {room(own_module(path)) for path in SOURCES} - {None}
    unknown = {name for name in rooms if name not in FLOORS and not name.startswith("__")}
    assert not unknown, f"{sorted(unknown)} stand on no floor. Give them one in FLOORS and in docs/architecture.md."


def test_no_import_closes_a_circle():
    """Between files, for what is imported when a file is read; what is imported inside a function waits until then."""
    modules = {own_module(path): path for path in SOURCES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openjepa"):
                names_of = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in modules else str(node.module) for name in names_of}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name in modules}
        graph[module] = found - {module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"{' -> '.join(error.args[1])}: move what they share to a file that both import.")


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_files_stay_readable(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    allowed = lines <= LONGEST or str(path.relative_to(PACKAGE)) in TOO_LONG
    assert allowed, f"{path.relative_to(ROOT)} has {lines} lines, at most {LONGEST} are allowed. Split it by meaning."


def test_exceptions_to_the_length_are_still_needed():
    for name in TOO_LONG:
        assert len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) > LONGEST, f"{name} is short enough now."


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_names_say_what_is_inside(path):
    for part in path.relative_to(PACKAGE).with_suffix("").parts:
        vague = [word for word in FORBIDDEN if part == word or part.startswith(f"{word}_") or part.endswith(f"_{word}")]
        vague += [word for word in ("_v2", "new_") if part.endswith(word) or part.startswith(word)]
        assert not vague, f"{path.relative_to(ROOT)}: `{part}` says nothing. Name the file after what it holds."


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_only_the_upper_floors_speak(path):
    here = room(own_module(path))
    if here is None or FLOORS.get(here, PRINTS_FROM) >= PRINTS_FROM:
        return
    for line, what in outside_world(ast.parse(path.read_text(encoding="utf-8"))):
        pytest.fail(f"{path.relative_to(ROOT)}:{line}: `{here}` uses {what}. Take an argument or a callback.")


def outside_world(tree):
    """Where code prints, or reads the environment; a default set for a library is no reading."""
    set_only = {
        id(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.setdefault"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SPEAKING:
            yield node.lineno, ast.unparse(node.func)
        if isinstance(node, ast.Attribute) and id(node) not in set_only and ast.unparse(node) in READING:
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_nothing_is_looked_up_by_a_word_of_the_user(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "eval",
            "exec",
            "importlib.import_module",
        ):
            pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: choose by import or by a literal table.")


def test_the_outside_world_is_noticed():
    tree = ast.parse("import os\nos.environ.setdefault('A', 'b')\nos.environ['A']\nprint(1)\nreport.print(1)\n")
    assert sorted(outside_world(tree)) == [(3, "os.environ"), (4, "print")]


def test_the_check_finds_what_it_looks_for(tmp_path, monkeypatch):
    """The test of the test: a planner that imports a method, another that imports upwards, and a good one."""
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "openjepa")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    bad = tmp_path / "openjepa" / "planning" / "cem.py"
    bad.parent.mkdir(parents=True)
    bad.write_text("def f():\n    from openjepa.methods.lewm import LeWM\n")
    assert broken_floors(bad)[0].startswith(
        "openjepa/planning/cem.py:2: `planning` (floor 3) imports `openjepa.methods.lewm` (floor 3). Move what both"
    )
    bad.write_text("import openjepa.train.loop\nfrom openjepa import eval\n")
    assert len(broken_floors(bad)) == 2
    bad.write_text(
        "from openjepa.errors import ConfigError\nfrom openjepa.planning.costs import Last\nfrom openjepa "
        "import nn\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from openjepa.train import loop\n"
    )
    assert broken_floors(bad) == []
