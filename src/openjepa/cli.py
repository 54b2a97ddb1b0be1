"""`openjepa COMMAND [WORDS] [--a.b VALUE]`: finds the command, hands it its options, and words errors.

Exit status: 0 done, 1 a verdict against the run or the data, 2 an error (one line, no traceback), 130
interrupted.
"""

import codecs
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from openjepa.command_line import (
    collecting,
    distilling,
    exporting,
    judging,
    seeing,
    serving,
    speaking,
    stores,
    surprising,
    training,
)
from openjepa.command_line.command import OK, Command, Group
from openjepa.command_line.completions import ASK, CompletionsOptions, candidates, completions
from openjepa.command_line.env_options import HELP as ENV_HELP
from openjepa.command_line.env_options import split_env_options
from openjepa.command_line.options import parse
from openjepa.errors import ConfigError, OpenJEPAError, brief, unknown
from openjepa.files import FULL
from openjepa.version import __version__


@dataclass(frozen=True)
class ListOptions:
    """Options of `list`."""

    what: tyro.conf.Positional[Literal["all", "models"]] = "all"  # models: the published ones, and their licences


def show_list(options: ListOptions) -> int:
    """Prints recipes, worlds, methods and planners, or the published models."""
    from openjepa.command_line.listing import models, tables, text

    print(text(models() if options.what == "models" else tables()))
    return OK


COMMANDS: dict[str, Command | Group] = {
    "demo": Command(
        "learn a world from random play, then reach goals in it (start here)",
        "[--world NAME] [--seed N] [--out DIR]",
        training.demo_options,
        training.demo,
    ),
    "list": Command(
        "show recipes, worlds, methods and planners, or the published models",
        "[models]",
        lambda words: ListOptions,
        show_list,
    ),
    "collect": Command(
        "record episodes of play into a store",
        "WORLD [--episodes N] [--out PATH] [--env.NAME VALUE]",
        lambda words: collecting.CollectOptions,
        collecting.collect,
        resumes=True,
        takes_env=True,
    ),
    "data": stores.DATA,
    "train": Command(
        "train a recipe, in a world or on a store, or go on with an interrupted run",
        "RECIPE|WORLD|STORE [--run-dir DIR] [--a.b VALUE] [--env.NAME VALUE] | language RUN",
        training.train_options,
        training.train,
        resumes=True,
        takes_env=True,
    ),
    "distill": Command(
        "teach the agent of a run to act without a search, which stays as its verifier",
        "RUN [--pairs N] [--rounds N]",
        lambda words: distilling.DistillOptions,
        distilling.distill,
    ),
    "eval": Command(
        "judge a run the way its recipe says",
        "RUN [--manifest FILE]",
        lambda words: judging.EvalOptions,
        judging.evaluate,
        takes_env=True,
    ),
    "plan": Command(
        "play one episode with a run and draw it",
        "RUN [--goal PICTURE|WORDS] [--world WORLD] [--seed N] [--out FILE.gif]",
        lambda words: judging.PlanOptions,
        judging.plan,
        takes_env=True,
    ),
    "describe": Command(
        "say in words what a picture or clip shows, with a run that learned words",
        "RUN PICTURE|CLIP [--top N]",
        lambda words: speaking.DescribeOptions,
        speaking.describe,
    ),
    "ask": Command(
        "answer a question about a picture or clip, with a run that learned words",
        "RUN PICTURE|CLIP QUESTION [--answers A B ...]",
        lambda words: speaking.AskOptions,
        speaking.ask,
    ),
    "serve": Command(
        "let robots and simulators elsewhere act with a run, over a WebSocket",
        "RUN [--port N] [--budget-ms MS]",
        lambda words: serving.ServeOptions,
        serving.serve_agent,
    ),
    "mcp": Command(
        "let a language model imagine, plan and judge with a run, as tools over MCP",
        "RUN|MODEL [--http] [--allow-act] [--media FOLDER] [--env.NAME VALUE]",
        lambda words: serving.McpOptions,
        serving.serve_mcp,
        takes_env=True,
    ),
    "doctor": Command(
        "say whether a run has collapsed, and what to change",
        "RUN [--data STORE]",
        lambda words: judging.DoctorOptions,
        judging.doctor,
    ),
    "compare": Command(
        "measure latent prediction against its rivals under one budget",
        "[--quick] [--out DIR]",
        training.compare_options,
        training.compare,
        resumes=True,
    ),
    "verify": Command(
        "recompute a recorded case, or list the measured numbers of the documentation",
        "FOLDER | --claims [REPOSITORY]",
        lambda words: seeing.VerifyOptions,
        seeing.verify,
    ),
    "convert": Command(
        "write networks in another layout",
        "SOURCE DESTINATION --to meta|huggingface|openjepa",
        lambda words: seeing.ConvertOptions,
        seeing.convert,
    ),
    "embed": Command(
        "embed a folder of pictures and videos",
        f"PATH {seeing.MODEL} [--out DIR]",
        lambda words: seeing.EmbedOptions,
        seeing.embed,
        resumes=True,
    ),
    "search": Command(
        "find the nearest neighbours of a file among embeddings",
        f"EMBEDDINGS QUERY [{seeing.MODEL}]",
        lambda words: seeing.SearchOptions,
        seeing.search,
    ),
    "features": Command(
        "draw what an encoder sees in a picture or video",
        f"PATH {seeing.MODEL} [--out FILE]",
        lambda words: seeing.FeaturesOptions,
        seeing.features,
    ),
    "probe": Command(
        "probe a frozen encoder beside random weights",
        f"TRAIN {seeing.MODEL} [--test PATH]",
        lambda words: seeing.ProbeOptions,
        seeing.probe,
    ),
    "surprise": Command(
        "say which clips a video model finds impossible (status 0 none, 1 some, 2 error)",
        "MODEL VIDEO... [--calibrate FOLDER] [--live FOLDER|DEVICE]",
        lambda words: surprising.SurpriseOptions,
        surprising.surprise,
    ),
    "export": Command(
        "write an agent's encoder, predictor, critic and policy as ONNX files, compared with PyTorch",
        "RUN --to onnx [--out FOLDER]",
        lambda words: exporting.ExportOptions,
        exporting.export,
    ),
    "completions": Command(
        "print the completion script of a shell",
        "bash|zsh|fish",
        lambda words: CompletionsOptions,
        completions,
    ),
}


def usage() -> str:
    """Returns what `openjepa --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {c.summary}" for name, c in COMMANDS.items())
    return f"""openjepa {__version__}: world models that predict in representation space

usage: openjepa COMMAND [WORDS] [--OPTION VALUE]

{commands}

First steps
  openjepa demo                            two minutes on a laptop; writes runs/demo/report.html
  openjepa list                            what can be trained, and where
  openjepa train RECIPE --train.steps 500  any option of a recipe, by its name
  openjepa COMMAND --help                  the options of a command"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    Args:
        words: behind `openjepa`; those of the process if None.
    """
    # Threads that spin while they wait starve their neighbours; must be set before PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that is not UTF-8 leaves as the bytes that it is
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    words = list(sys.argv[1:] if words is None else words)
    name = words[0] if words else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
        return OK
    if name == "--version":
        print(f"openjepa {__version__}")
        return OK
    if name == ASK:
        print("\n".join(candidates(words[1:], COMMANDS)))
        return OK
    try:
        return _run(name, words[1:])
    except OpenJEPAError as error:
        return _complain(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives until exit
            return OK
        if error.strerror is None:
            raise
        remedy = ". Free some space and run the same command again" if error.errno in FULL else ""
        where = f": {brief(error.filename, 200)}" if error.filename else ""
        return _complain(f"{error.strerror}{where}{remedy}")
    except KeyboardInterrupt:
        command = COMMANDS.get(name)
        if isinstance(command, Group):
            command = command.commands.get(words[1]) if len(words) > 1 else None
        hint = "; run the same command again to go on" if command is not None and command.resumes else ""
        print(f"\nopenjepa: interrupted{hint}.", file=sys.stderr)
        return 130
    except SystemExit as stop:  # the option parser has printed its help
        return stop.code if isinstance(stop.code, int) else OK


def _run(name: str, words: Sequence[str]) -> int:
    if name not in COMMANDS:
        raise unknown("option" if name.startswith("-") else "command", name, COMMANDS)
    command, program = COMMANDS[name], f"openjepa {name}"
    if isinstance(command, Group):
        second = words[0] if words else ""
        if second in ("-h", "--help"):
            print(command.help(program))
            return OK
        if not second:
            raise ConfigError(f"`{program}` needs one of {', '.join(command.commands)}. See {program} --help.")
        if second not in command.commands:
            raise unknown("option" if second.startswith("-") else f"command of `{program}`", second, command.commands)
        command, program, words = command.commands[second], f"{program} {second}", words[1:]
    env: tuple[dict[str, Any], ...] = ()
    summary = f"{command.summary[0].upper()}{command.summary[1:]}: {program} {command.usage}".rstrip(": ")
    if command.takes_env:
        words, found = split_env_options(words)
        env, summary = (found,) if found else (), f"{summary}\n\n{ENV_HELP}"
    kind = command.options(words)
    return command.run(parse(kind, words, program=program, summary=summary), *env)


def _complain(text: str) -> int:
    print(f"openjepa: {' '.join(text.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
