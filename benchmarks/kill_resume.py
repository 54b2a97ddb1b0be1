r"""Kills commands at random moments, restarts them, and compares the results with an undisturbed run.

The commands run one after the other, through the shell, with `{out}` replaced by a fresh folder. They must
resume by themselves when they are started again. The files that match `--files` are hashed, names included.

    python benchmarks/kill_resume.py \
        --command 'openjepa collect two-rooms --episodes 200 --out {out}/store' \
        --command 'openjepa train two-rooms --play.data {out}/store --play.episodes 200 --run-dir {out}/run' \
        --files '**/*.safetensors' --kills 20

The last line is one JSON object; the exit status is 1 unless every killed run ended with the same files.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(command: str, out: Path, *, seconds: float | None = None) -> float | None:
    """Runs a command; returns its duration, or None when it was killed after `seconds`."""
    began = time.perf_counter()
    text = command.replace("{out}", str(out))
    with (out / "output.log").open("ab") as log:
        process = subprocess.Popen(text, shell=True, stdout=log, stderr=log, start_new_session=True)
    try:
        status = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the whole group: worker processes die with it
        process.wait()
        return None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if status != 0:
        tail = (out / "output.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"`{text}` ended with status {status}:\n{tail}")
    return time.perf_counter() - began


def digest(out: Path, patterns: list[str]) -> dict[str, str]:
    """SHA-256 of every matching file, by its path inside `out`."""
    found = sorted({p for pattern in patterns for p in out.glob(pattern) if p.is_file()})
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def disturbed(commands: list[str], out: Path, moment: float) -> dict[str, object]:
    """Runs all commands, killing once, `moment` seconds after the start; then starts the killed one again."""
    left, where = moment, None
    for number, command in enumerate(commands):
        if where is None:
            took = run(command, out, seconds=left)
            if took is not None:
                left = max(0.0, left - took)
                continue
            where = number
        run(command, out)
    return {"moment": round(moment, 3), "command": where}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--command", action="append", required=True, help="shell command with {out}; repeatable")
    parser.add_argument("--files", action="append", required=True, help="glob inside {out}; repeatable")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the folders go; default: a temporary directory")
    args = parser.parse_args()

    work = Path(tempfile.mkdtemp(prefix="kill-resume-", dir=args.work))
    reference = work / "undisturbed"
    reference.mkdir()
    durations = [run(command, reference) or 0.0 for command in args.command]
    wanted = digest(reference, args.files)
    if not wanted:
        raise SystemExit(f"no file matches {args.files}; found: {[str(p) for p in reference.rglob('*')][:20]}")
    print(f"undisturbed: {[round(d, 2) for d in durations]} s, {len(wanted)} files")

    rng, trials = random.Random(args.seed), []
    for number in range(args.kills):
        out = work / f"kill_{number}"
        out.mkdir()
        trial = disturbed(args.command, out, rng.uniform(0.0, sum(durations)))
        got = digest(out, args.files)
        trial["identical"] = got == wanted
        trial["different"] = sorted(n for n in got.keys() | wanted.keys() if got.get(n) != wanted.get(n))
        trials.append(trial)
        print(f"kill {number + 1}/{args.kills}: {trial}", flush=True)
        if trial["identical"]:
            shutil.rmtree(out)
    same = sum(bool(t["identical"]) for t in trials)
    if same == len(trials):
        shutil.rmtree(work)
    else:
        print(f"the folders that differ are kept in {work}")
    landed = sum(t["command"] is not None for t in trials)
    figures = {
        "kills": len(trials),
        "killed_while_running": landed,
        "identical": same,
        "files": len(wanted),
        "undisturbed_seconds": [round(d, 2) for d in durations],
        "trials": trials,
    }
    print(json.dumps(figures))
    sys.exit(0 if same == len(trials) else 1)


if __name__ == "__main__":
    main()
