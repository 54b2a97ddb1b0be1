"""What a command is: a line of help, options typed by a dataclass, and a function that does the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

OK, SICK = 0, 1  # exit statuses; 2 is an error, 130 an interruption


@dataclass(frozen=True)
class Command:
    """One verb of the command line.

    Attributes:
        summary: one line.
        usage: the words behind the verb, as in `"RECIPE [--a.b VALUE]"`.
        options: from the words that follow, the dataclass that types them; may import the recipe that is
            named.
        run: does it; takes an instance of that dataclass and returns the exit status.
        resumes: whether the same command goes on where an interrupted one has stopped.
        takes_env: whether `--env.NAME VALUE` is understood; `run` then takes them, by name, beside its own options.
    """

    summary: str
    usage: str
    options: Callable[[Sequence[str]], type]
    run: Callable[..., int]
    resumes: bool = False
    takes_env: bool = False


@dataclass(frozen=True)
class Group:
    """Commands that share their first word, as in `openjepa data info`.

    Attributes:
        summary: one line.
        commands: by the second word.
    """

    summary: str
    commands: Mapping[str, Command]

    def help(self, program: str) -> str:
        """What `--help` prints, `program` being how the group is called."""
        width = max(map(len, self.commands))
        lines = "\n".join(f"  {name:<{width}}  {c.summary}" for name, c in self.commands.items())
        return f"""{self.summary[0].upper()}{self.summary[1:]}

usage: {program} COMMAND [WORDS] [--OPTION VALUE]

{lines}

{program} COMMAND --help shows the options of a command."""
