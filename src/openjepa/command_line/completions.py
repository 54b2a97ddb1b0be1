"""Completions for the shell: a short script that asks `openjepa` itself for the next word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from openjepa.command_line.command import OK, Command, Group
from openjepa.command_line.listing import WORLDS
from openjepa.command_line.options import option_words
from openjepa.errors import OpenJEPAError

ASK = "--complete"  # first word of the request that the scripts make

SCRIPTS = {
    "bash": """_openjepa() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(openjepa --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" \\
    -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _openjepa openjepa""",
    "zsh": """#compdef openjepa
_openjepa() {
  local -a found
  found=("${(@f)$(openjepa --complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found || _files
}
compdef _openjepa openjepa""",
    "fish": """complete -c openjepa \\
  -a '(openjepa --complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'""",
}


@dataclass(frozen=True)
class CompletionsOptions:
    """Options of `completions`."""

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]  # whose script to print


def completions(options: CompletionsOptions) -> int:
    """Prints the script of a shell."""
    print(SCRIPTS[options.shell])
    return OK


def candidates(words: Sequence[str], commands: Mapping[str, Command | Group]) -> list[str]:
    """Returns what may stand in the place of the last word.

    Args:
        words: behind `openjepa`, the last one unfinished (perhaps empty).
        commands: by name.
    """
    *before, _ = words or [""]
    if not before:
        return [*commands, "--help", "--version"]
    command = commands.get(before[0])
    if command is None:
        return []
    if isinstance(command, Group):
        return [*command.commands, "--help"] if len(before) == 1 else candidates(words[1:], command.commands)
    names = _first_words(before[0]) if len(before) == 1 else []
    try:
        options = option_words(command.options(before[1:]))
    except (OpenJEPAError, ImportError):
        options = []
    return [*names, *options, "--help"]


def _first_words(command: str) -> list[str]:
    if command == "train":
        from openjepa.studies import experiments

        return list(experiments())
    return {"collect": list(WORLDS), "completions": list(SCRIPTS)}.get(command, [])
