"""Turns the boxes of the option parser into one line in the form of `errors.py`."""

import re
from collections.abc import Sequence

from openjepa.errors import did_you_mean

KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path"}


def one_line(said: str, words: Sequence[str], program: str) -> str:
    """Returns what is wrong as one sentence and where to look.

    Args:
        said: the parser's box.
        words: what the user typed behind the command.
        program: how the command is called.
    """
    text, details = _open_box(said)
    if match := re.match(r"Error parsing (--\S+): ", text):
        option = match[1]
        kind = next((d.removeprefix(option).strip() for d in details if d.startswith(option)), "")
        return f"`{option}` must be {KINDS.get(kind, kind)}; got `{_value_of(option, words)}`."
    if match := re.match(r"Error parsing \S+: (.*)", text):  # a config's own validation
        return match[1]
    if match := re.match(r"invalid choice '(.*)' for argument '(.*)'. Expected one of \((.*)\)", text):
        known = [word.strip("' ") for word in match[3].split(",") if word.strip("' ")]
        near = did_you_mean(match[1], known)
        return f"`{match[2]}` must be one of {', '.join(known)}; got `{match[1]}`{near}"
    if match := re.match(r"Missing value for argument '(.*?)'", text):
        return f"`{match[1]}` needs a value. See {program} --help."
    if re.match(r"Required|Missing", text):
        found = re.findall(r"(--[\w.-]+) [A-Z]|\b([A-Z][A-Z_-]+)\b", " ".join([text, *details]))
        names = dict.fromkeys(option or word for option, word in found)
        return f"`{program}` needs {' and '.join(names) or 'more words'}. See {program} --help."
    if match := re.match(r"Unrecognized options: ([^,]*)", text):
        return f"`{match[1]}` is not expected here. See {program} --help."
    return f"{text or 'these options are not understood'} See {program} --help."


def _open_box(said: str) -> tuple[str, list[str]]:
    """The message of a box drawn in Unicode or ASCII, and the lines behind its first rule."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if lines and lines[0].startswith("╭"):
        lines = [line.strip("│ ") for line in lines[1:] if not line.startswith("╰")]
    else:
        lines = lines[2:]  # a title and a rule
    rule = next((i for i, line in enumerate(lines) if re.fullmatch("[─-]{8,}", line)), len(lines))
    return " ".join(lines[:rule]), lines[rule + 1 :]


def _value_of(option: str, words: Sequence[str]) -> str:
    for i, word in enumerate(words):
        name, is_joined, value = word.partition("=")
        if name.replace("_", "-") == option.replace("_", "-"):
            return value if is_joined else " ".join(words[i + 1 : i + 2])
    return "?"
