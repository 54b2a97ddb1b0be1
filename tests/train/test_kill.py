"""kill -9 at any moment, then the same command: the same weights, no step twice, nothing left over."""

import json
import subprocess
import sys
from pathlib import Path


def test_kill_and_restart(tmp_path):
    script = Path(__file__).with_name("training_kill.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["random"] == 6
    assert report["kills"] >= 3
    assert report["points"] >= 20
    assert report["at_disk"] == report["points"]
