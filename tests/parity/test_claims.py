"""The numbers of the documentation are those of the ledger, and the ledger's are those of the results."""

import json
import re
from pathlib import Path

import pytest

from openjepa import cli
from openjepa.errors import DataError
from openjepa.parity.claims import (
    LEDGER,
    differences,
    measured_numbers,
    pages,
    read_ledger,
    report,
    unclaimed,
)

ROOT = Path(__file__).parent.parent.parent
BOOK, TEXTS = read_ledger(ROOT), pages(ROOT)


@pytest.mark.parametrize("claim", BOOK.claims, ids=[claim.id for claim in BOOK.claims])
def test_a_claim_stands_in_its_pages_and_is_what_was_measured(claim):
    assert differences(claim, ROOT, TEXTS) == []


def test_every_measured_number_of_the_documentation_has_a_claim():
    assert unclaimed(BOOK, ROOT, TEXTS) == []


def test_what_is_exempt_still_stands_there():
    gone = [
        f"{name}: {words}"
        for entry in BOOK.exempt
        for name in entry.files
        for words in entry.text
        if " ".join(words.split()) not in " ".join(TEXTS[name].split())
    ]
    assert gone == []


def test_any_mistyped_number_of_the_readme_is_noticed():
    """Every number that looks measured, one wrong digit at a time."""
    text = TEXTS["README.md"]
    claims = [claim for claim in BOOK.claims if "README.md" in claim.files]
    spans = measured_numbers(text)
    assert len(spans) > 30
    for begin, end in spans:
        at = begin + re.search(r"\d", text[begin:end]).start()
        wrong = {"README.md": f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"}
        found = [line for claim in claims for line in differences(claim, ROOT, wrong)]
        assert found or unclaimed(BOOK, ROOT, wrong), text[begin:end]


@pytest.mark.parametrize(
    "words",
    [
        "99.5 %",
        "1.81 times",
        "12.5x",
        "4.5 ms",
        "a hundred and 91 s",
        "0.85 px",
        "R2 of .997",
        "17.7 [15.8, 19.6]",
        "100 [98, 100]",
        "an hour, 20 minutes",
        "8.9 GB",
        "77 videos per second",
        "| 42 | 7 |",
    ],
)
def test_what_looks_measured(words):
    assert measured_numbers(words)


@pytest.mark.parametrize(
    "words",
    [
        "V-JEPA 2.1 and Python 3.11 to 3.13",
        "arXiv 2506.09985",
        "`--train.lr 0.002`",
        "```text\n99.5 %\n```",
        "[seven](docs/a.md#12.5)",
        "version 0.1.0",
        "the table (95 % interval)",
        "Wilson 95 % intervals",
        "ViT-B/16, 200 pairs",
        "2000 goals",
    ],
)
def test_what_does_not(words):
    assert not measured_numbers(words)


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "README.md").write_text("Fast: 1.20\ntimes as fast, 24.0 % of goals; at most 5 %.\n\n| a | 17 |\n")
    (tmp_path / "benchmarks" / "x.json").write_text(json.dumps({"v": {"speed": 1.2034}, "goals": [0.1, 0.24]}))
    (tmp_path / "benchmarks" / "x.md").write_text("# x\n\n| name | n |\n|---|---|\n| a | 17 |\n")
    (tmp_path / LEDGER).write_text(
        """
[[claim]]
id = "speed"
files = ["README.md"]
text = ["1.20 times as fast", "24.0 %"]
command = "python benchmarks/x.py"
hardware = "a processor"
interval = "[1.1, 1.3]"
result = "benchmarks/x.json"
shows = { "1.20" = "v.speed", "24.0" = "goals.1*100" }

[[claim]]
id = "table"
files = ["README.md"]
rows_of = "benchmarks/x.md"
command = "python benchmarks/x.py"
hardware = "a processor"

[[exempt]]
why = "an option"
files = ["README.md"]
text = ["at most 5 %"]
"""
    )
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_ledger_that_holds(repository):
    text, holds = report(repository)
    assert holds, text
    assert "speed: 1.20 times as fast [1.1, 1.3]\n    python benchmarks/x.py; a processor; benchmarks/x.json" in text
    assert text.endswith("2 claims, all stand in the pages; 0 measured numbers without a claim")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("README.md", "1.20", "1.21", "`1.20 times as fast` does not stand in `README.md`"),
        ("README.md", "24.0", "124.0", "`24.0 %` does not stand in `README.md`"),
        ("README.md", "| a | 17 |", "| a | 18 |", "`| a | 17 |` does not stand in `README.md`"),
        ("README.md", "Fast:", "Fast: 3 ms,", "README.md:1: `3 ms` belongs to no claim"),
        ("benchmarks/x.json", "1.2034", "1.2134", "`1.20` is 1.2134 in `benchmarks/x.json` at `v.speed`"),
        ("benchmarks/x.json", "goals", "aims", "holds no number at `goals.1*100`"),
        ("benchmarks/x.md", "17", "18", "`| a | 18 |` does not stand in `README.md`"),
        ("docs/claims.toml", "x.json", "y.json", "its results `benchmarks/y.json` are not there"),
    ],
)
def test_what_differs_is_named(repository, file, old, new, said):
    change(repository / file, old, new)
    text, holds = report(repository)
    assert not holds
    assert said in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("command = ", "comand = ", "has an unknown field `comand`"),
        ('hardware = "a processor"\ninterval', "interval", "`speed` lacks a field: .*hardware"),
        ('id = "table"', 'id = "speed"', "`speed` is there twice"),
        ("[[exempt]]", "[[other]]", "must hold `claim` and `exempt`; got `other`"),
        ("[[exempt]]", "[[exempt", "must be TOML"),
        ('rows_of = "benchmarks/x.md"', "", "`table` must have `text`"),
    ],
)
def test_a_ledger_that_is_wrong_is_refused(repository, old, new, said):
    change(repository / LEDGER, old, new)
    with pytest.raises(DataError, match=said):
        read_ledger(repository)


def test_the_command_lists_them(repository, tmp_path, capsys):
    assert cli.main(["verify", "--claims", str(repository)]) == 0
    change(repository / "README.md", "1.20", "1.30")
    assert cli.main(["verify", str(repository), "--claims"]) == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert cli.main(["verify", "--claims", str(tmp_path / "docs")]) == 2
    assert cli.main(["verify"]) == 2
    assert "needs the folder of a recorded case, or `--claims`" in capsys.readouterr().err
