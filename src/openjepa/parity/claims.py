"""`openjepa verify --claims`: every measured number that the documentation prints, and where it comes from.

The ledger `docs/claims.toml` holds claims: the words as they stand in the pages, the command that measured them, the
hardware, and the file of results where there is one. Three things are compared: a claim's words stand in each of its
files; every number of a page that looks measured lies within the words of a claim; a number that a results file holds
is the one that is shown.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from openjepa.errors import DataError

LEDGER = Path("docs") / "claims.toml"
PAGES = ("README.md", "docs/**/*.md")

_UNITS = (
    r"%|per cent|x|×|ms|s|min|minutes|hours?|seconds?|days?|times|px|points|[kMGT]B|CPU-\w+|R2"
    r"|[a-z]+/s|[a-z]+ (?:per|a) second"
)
_NUMBER = r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?"
MEASURED = re.compile(
    rf"(?<![\w./-])(?:{_NUMBER}[ ]?(?:{_UNITS})(?![\w-])"  # a number with a unit
    rf"|{_NUMBER} \[-?[\d.]+, -?[\d.]+\]"  # a number with its interval
    rf"|-?\d*\.\d+(?:e-?\d+)?(?![\w.]|\.?\d))"  # a fraction
    rf"|(?<=\| )[*]*{_NUMBER}(?= [|/(]|[*]+ \|| \[)"  # a number that is a cell of a table
)
# What looks like a measured number and is none, wherever it stands.
NEVER = (
    re.compile(r"```.*?```", re.S),  # blocks: executed or shown, tested elsewhere
    re.compile(r"`[^`\n]*`"),  # code: names, options, files
    re.compile(r"\]\([^)]*\)"),  # addresses of links
    re.compile(r"\b\d{4}\.\d{4,5}\b"),  # arXiv numbers
    re.compile(r"(?:V-JEPA|Python|PyTorch|torch|[Vv]ersions?) \d+\.\d+(?:\.\d+)?(?: (?:to|or|and) \d+\.\d+)?"),
    re.compile(r"\b9[059] ?% (?:intervals?|confidence|probability)|intervals? \(9[059] ?%\)"),
)


@dataclass(frozen=True)
class Claim:
    """One measured statement, or a table of them.

    Attributes:
        id: a short name.
        files: pages in which the words stand.
        text: the words, exactly but for line breaks; each item stands in each of the files. The first digits are what
            `verify --claims` shows, unless `value` says better.
        command: what measured it.
        hardware: the processor; `unknown` where it was not written down.
        value: in one phrase. interval: of it, and of what kind.
        seeds: of training and judging. commit: of the measurement, or a date.
        result: file of results, relative to the repository.
        shows: from a number as it is shown to its place in the (JSON) results, as in `{"1.20" = "vjepa2.speedup"}`.
        rows_of: a Markdown file all of whose table rows with numbers belong to `text`.
        note: what else a reader must know.
    """

    id: str
    files: list[str]
    command: str
    hardware: str
    text: list[str] = field(default_factory=list)
    value: str = ""
    interval: str = ""
    seeds: str = ""
    commit: str = ""
    result: str = ""
    shows: dict[str, str] = field(default_factory=dict)
    rows_of: str = ""
    note: str = ""

    def words(self, root: Path) -> list[str]:
        """All words that must stand in the files."""
        if not self.rows_of:
            return self.text
        lines = (root / self.rows_of).read_text(encoding="utf-8").splitlines()
        return self.text + [line for line in lines if line.startswith("|") and re.search(r"\d", line)]

    def shown(self) -> str:
        """The value as one phrase."""
        return self.value or (" ".join(self.text[0].split()) if self.text else f"table of {self.rows_of}")


@dataclass(frozen=True)
class Exempt:
    """Words with numbers that nobody measured: an option, a definition, a figure of a paper."""

    why: str
    files: list[str]
    text: list[str]


@dataclass(frozen=True)
class Ledger:
    """What `docs/claims.toml` holds."""

    claims: list[Claim]
    exempt: list[Exempt]


def read_ledger(root: Path) -> Ledger:
    """Reads the ledger of a repository.

    Raises:
        DataError: where there is none, or an entry lacks a field or has an unknown one.
    """
    path = root / LEDGER
    if not path.is_file():
        raise DataError(f"`{root}` must be the repository of OpenJEPA; `{LEDGER}` is not there. Name its folder.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"`{path}` must be TOML; {error}.") from error
    claims = [_entry(Claim, entry, path) for entry in content.pop("claim", [])]
    exempt = [_entry(Exempt, entry, path) for entry in content.pop("exempt", [])]
    if content:
        raise DataError(f"`{path}` must hold `claim` and `exempt`; got `{next(iter(content))}`.")
    twice = {c.id for c in claims if sum(other.id == c.id for other in claims) > 1}
    if twice:
        raise DataError(f"every claim must have an id of its own; `{min(twice)}` is there twice.")
    return Ledger(claims, exempt)


def _entry(kind: Any, entry: dict[str, Any], path: Path) -> Any:
    known = {f.name for f in fields(kind)}
    name = entry.get("id") or entry.get("why") or "an entry"
    if unknown := entry.keys() - known:
        raise DataError(f"`{path}`: `{name}` has an unknown field `{min(unknown)}`. Known: {', '.join(sorted(known))}.")
    try:
        made = kind(**entry)
    except TypeError as error:
        raise DataError(f"`{path}`: `{name}` lacks a field: {str(error).split(') ')[-1]}.") from error
    if not made.text and not getattr(made, "rows_of", ""):
        raise DataError(f"`{path}`: `{name}` must have `text`: the words as they stand in the page.")
    return made


def pages(root: Path) -> dict[str, str]:
    """The text of every page of the documentation, by its path relative to the repository."""
    found = sorted(path for pattern in PAGES for path in root.glob(pattern))
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in found}


def places(words: str, text: str) -> Iterator[tuple[int, int]]:
    """Where words stand in a text, whatever its line breaks; words do not begin or end within a number."""
    pattern = r"\s+".join(map(re.escape, words.split()))
    before = r"(?<![\d.])" if words.strip()[:1].isdigit() else ""
    after = r"(?!\.?\d)" if words.strip()[-1:].isdigit() else ""
    for match in re.finditer(before + pattern + after, text):
        yield match.span()


def measured_numbers(text: str) -> list[tuple[int, int]]:
    """Spans of all numbers in a page that look measured."""
    for pattern in NEVER:
        text = pattern.sub(lambda match: re.sub(r"[^\n]", "\0", match[0]), text)
    return [match.span() for match in MEASURED.finditer(text)]


def unclaimed(ledger: Ledger, root: Path, texts: dict[str, str]) -> list[str]:
    """Measured numbers that no claim holds, a line each: file, line, and the words around."""
    found = []
    for name, text in texts.items():
        words = [w for claim in ledger.claims if name in claim.files for w in claim.words(root)]
        words += [w for exempt in ledger.exempt if name in exempt.files for w in exempt.text]
        held = [span for w in words for span in places(w, text)]
        for begin, end in measured_numbers(text):
            if not any(a <= begin and end <= b for a, b in held):
                around = " ".join(text[max(begin - 30, 0) : end + 30].split())
                line = text.count("\n", 0, begin) + 1
                found.append(f"{name}:{line}: `{text[begin:end]}` belongs to no claim of `{LEDGER}`: ... {around} ...")
    return found


def differences(claim: Claim, root: Path, texts: dict[str, str]) -> list[str]:
    """What is wrong with a claim, a line each; empty where it holds."""
    found = []
    if claim.rows_of and not (root / claim.rows_of).is_file():
        return [f"its `{claim.rows_of}` is not there"]
    words = claim.words(root)
    for name in claim.files:
        if name not in texts:
            found.append(f"`{name}` is no page of the documentation")
            continue
        missing = [w for w in words if not any(places(w, texts[name]))]
        found += [f"`{' '.join(w.split())[:100]}` does not stand in `{name}`" for w in missing]
    if claim.shows and not claim.result:
        found.append("`shows` needs a `result`")
    elif claim.result:
        found += _result_differences(claim, root)
    return found


def _result_differences(claim: Claim, root: Path) -> list[str]:
    path = root / claim.result
    if not path.is_file():
        return [f"its results `{claim.result}` are not there"]
    content = json.loads(path.read_text(encoding="utf-8")) if claim.shows else None
    said, found = " ".join(claim.words(root)), []
    for shown, key in claim.shows.items():
        if not any(places(shown, said)):
            found.append(f"`{shown}` of `shows` is not among its words")
        try:
            value = _at(content, key)
        except (KeyError, IndexError, TypeError, ValueError):
            found.append(f"`{claim.result}` holds no number at `{key}`")
            continue
        digits = len(shown.partition(".")[2])
        if f"{round(value, digits):.{digits}f}" != _plain(shown):
            found.append(f"`{shown}` is {value:g} in `{claim.result}` at `{key}`")
    return found


def _plain(shown: str) -> str:
    number = shown.replace(",", "")
    return f"0{number}" if number.startswith(".") else number


def _at(content: Any, key: str) -> float:
    """A number by the path of its keys; an ending `*100` is applied."""
    key, _, factor = key.partition("*")
    for step in key.strip().split("."):
        content = content[int(step)] if isinstance(content, list) else content[step]
    return float(content) * float(factor or 1)


def report(root: Path) -> tuple[str, bool]:
    """All claims as text, and whether every one of them holds and no number is without one."""
    ledger, texts = read_ledger(root), pages(root)
    lines, wrong = [], 0
    for claim in ledger.claims:
        interval = f" {claim.interval}" if claim.interval else ""
        lines.append(f"{claim.id}: {claim.shown()}{interval}")
        lines.append(f"    {claim.command}; {claim.hardware}; {claim.result or 'no results file'}")
        found = differences(claim, root, texts)
        lines += [f"    DIFFERS: {what}" for what in found]
        wrong += bool(found)
    alone = unclaimed(ledger, root, texts)
    verdict = f"{wrong} differ from the pages or their results" if wrong else "all stand in the pages"
    lines += [*alone, f"{len(ledger.claims)} claims, {verdict}; {len(alone)} measured numbers without a claim"]
    return "\n".join(lines), not wrong and not alone


def run(root: str) -> int:
    """Prints the claims; returns the exit status: 0 all hold, 1 some differ."""
    text, holds = report(Path(root))
    print(text)
    return 0 if holds else 1
