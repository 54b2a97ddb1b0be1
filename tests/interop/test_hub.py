"""Uploading and reopening through the real client of the Hub, which talks to a server on this machine."""

import json
import os
import subprocess
import sys
import threading

import pytest

from .hub_server import Hub

pytest.importorskip("huggingface_hub")

SCRIPT = """
import sys, torch
from openjepa.errors import CheckpointError
from openjepa.interop import from_pretrained, load, push_to_hub
from openjepa.models.vit import VisionTransformer, vit_tiny

network = VisionTransformer(vit_tiny(img_size=(32, 32), patch_size=8, depth=1)).eval()
print(push_to_hub(network, "me/tiny", sys.argv[1]))
pixels = torch.randn(1, 3, 32, 32)
for reopened in (from_pretrained("me/tiny"), load("me/tiny"), load("me/tiny", offline=True)):
    assert torch.equal(reopened(pixels), network(pixels))
for call in (lambda: load("me/nothing"), lambda: push_to_hub(network, "no spaces/allowed", sys.argv[1])):
    try:
        call()
    except CheckpointError as error:
        print(error)
"""


def test_upload_and_reopen(tmp_path):
    hub = Hub()
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_x",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "up")],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        hub.shutdown()
        hub.server_close()
    assert done.returncode == 0, done.stderr
    commit, missing, refused = done.stdout.splitlines()
    assert commit == f"{hub.url}/me/tiny/commit/{'a' * 40}"
    assert hub.created[0]["visibility"] == "private"
    assert set(hub.files) == {"README.md", "openjepa.json", "model.safetensors"}
    assert json.loads(hub.files["openjepa.json"])["network"] == "vision_transformer"
    assert sorted(hub.downloads) == ["model.safetensors", "openjepa.json"]  # each once, then from the cache
    assert missing.startswith("`me/nothing` cannot be fetched from the Hub (")
    assert refused.startswith("`no spaces/allowed` cannot be uploaded (")
    assert refused.endswith(f"the files are in {tmp_path / 'up'}.")
