"""What a command is: a line of help, options typed by a dataclass, and a function that does the work."""

from collections.abc import Callable, Sequence
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
