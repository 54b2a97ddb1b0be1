"""What README and docs show is executed.

A block marked `python` runs, all blocks of a page in one namespace and one empty directory. A block marked
`console` has lines `$ command`, which run in the same directory, and below each what it prints: compared
where it is given, with `...` for anything. Write ```text for what is not to be run, or put `<!-- not run:
reason -->` above the block.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.is_file()]

BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n+)?(?P<indent> *)```(?P<kind>python|console)[^\S\n]*\n"
    r"(?P<body>.*?)^(?P=indent)```",
    re.M | re.S,
)


def blocks(text: str) -> list[tuple[int, str, str]]:
    """The executable blocks of a page: (line, kind, body)."""
    found = []
    for match in BLOCK.finditer(text):
        if match["skip"]:
            continue
        indent = len(match["indent"])
        body = "".join(line[indent:] for line in match["body"].splitlines(keepends=True))
        found.append((text[: match.start("kind")].count("\n") + 1, match["kind"], body))
    return found


def commands(body: str) -> list[tuple[str, str]]:
    """The `$ command` lines of a console block, each with the output shown below it."""
    found: list[tuple[str, str]] = []
    continued = False
    for line in body.splitlines():
        if continued or line.startswith("$ "):
            text = line if continued else line[2:]
            previous = found.pop()[0] if continued else ""
            continued = text.endswith("\\")
            found.append((previous + text.removesuffix("\\"), ""))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def agrees(shown: str, printed: str) -> bool:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return not shown.strip() or doctest.OutputChecker().check_output(
        shown.strip() + "\n", printed.strip() + "\n", flags
    )


def run_command(command: str, folder: Path) -> str:
    """Runs one shell line; `openjepa` and `python` are those of this environment; errors are output, too."""
    bin_dir = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_dir}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "100",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    first = shlex.split(command)[0]
    if first == "openjepa":
        command = f"{shlex.quote(sys.executable)} -m openjepa.cli{command.strip()[len('openjepa') :]}"
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, text=True, timeout=240,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode not in (0, 1, 2):
        pytest.fail(f"`{command}` ended with status {done.returncode}:\n{done.stdout}")
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_what_a_page_shows_is_true(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for line, kind, body in blocks(page.read_text(encoding="utf-8")):
        where = f"{page.relative_to(ROOT)}:{line}"
        if kind == "python":
            code = compile(body, where, "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, namespace)
            continue
        for command, shown in commands(body):
            printed = run_command(command, tmp_path)
            assert agrees(shown, printed), f"{where}: `{command}` shows\n{shown}\nbut prints\n{printed}"


def test_blocks_are_found_and_text_is_left_alone():
    page = "a\n```python\nx = 1\n```\n```text\nno\n```\n  ```console\n  $ ls\n  file\n  ```\n"
    assert blocks(page) == [(2, "python", "x = 1\n"), (8, "console", "$ ls\nfile\n")]
    assert blocks(f"<!-- not run: takes an hour -->\n{page[2:]}")[0][1] == "console"


def test_commands_and_their_output():
    body = "$ one \\\n  two\nprinted\nmore\n$ three\n"
    assert commands(body) == [("one   two", "printed\nmore\n"), ("three", "")]
    assert agrees("step ...\ndone", "step 17 at 3/s\ndone\n")
    assert not agrees("done", "failed")
    assert agrees("", "anything")


def test_a_command_runs_where_it_is_told(tmp_path):
    assert run_command("echo hello > file; cat file", tmp_path) == "hello\n"
    assert run_command("openjepa tran", tmp_path) == "openjepa: unknown command `tran`; did you mean `train`?\n"
