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
print(push_to_hub(network, "me/tiny", sys.argv[1] + "/up"))
pixels = torch.randn(1, 3, 32, 32)
for reopened in (from_pretrained("me/tiny"), load("me/tiny"), load("me/tiny", offline=True)):
    assert torch.equal(reopened(pixels), network(pixels))
for call in (lambda: load("me/nothing"), lambda: push_to_hub(network, "no spaces/allowed", sys.argv[1] + "/up")):
    try:
        call()
    except CheckpointError as error:
        print(error)
"""


# A run of a user's own world model: written by training, pushed, and reopened on another machine.
WORLD_SCRIPT = """
import sys, torch
import openjepa
from openjepa.interop import from_pretrained, push_to_hub
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.train import save_checkpoint

run, folder = sys.argv[1] + "/run", sys.argv[1] + "/up"
save_checkpoint(__import__("pathlib").Path(run) / "checkpoints", 3, LeWM(LeWMConfig(embed_dim=8, seed=5)))
world = openjepa.load_method(run)
print(push_to_hub(world, "me/tiny", folder))
frames = torch.randint(256, (2, 1, 3, 64, 64), dtype=torch.uint8)
actions = torch.randn(2, 3, 2)
z = world.encode(frames)
reopened = from_pretrained("me/tiny")
assert type(reopened) is LeWM and reopened.config == world.config
assert torch.equal(reopened.rollout(reopened.encode(frames), actions), world.rollout(z, actions))
encoder = openjepa.load("me/tiny")
assert torch.equal(encoder(frames[:, 0]), world.context_encoder(frames[:, 0]))
"""


def run_with_hub(hub, script, folder):
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": "hf_x",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    words, environment = [sys.executable, "-c", script, str(folder)], {**os.environ, **own}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200)
    finally:
        hub.shutdown()
        hub.server_close()
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_whole_world_model(tmp_path):
    hub = Hub()
    assert run_with_hub(hub, WORLD_SCRIPT, tmp_path) == [f"{hub.url}/me/tiny/commit/{'a' * 40}"]
    assert json.loads(hub.files["openjepa.json"])["method"] == "lewm"
    assert 'from_pretrained("me/tiny")' in hub.files["README.md"].decode()
    assert sorted(hub.downloads) == ["model.safetensors", "openjepa.json"]


def test_upload_and_reopen(tmp_path):
    hub = Hub()
    commit, missing, refused = run_with_hub(hub, SCRIPT, tmp_path)
    assert commit == f"{hub.url}/me/tiny/commit/{'a' * 40}"
    assert hub.created[0]["visibility"] == "private"
    assert set(hub.files) == {"README.md", "openjepa.json", "model.safetensors"}
    assert json.loads(hub.files["openjepa.json"])["network"] == "vision_transformer"
    assert sorted(hub.downloads) == ["model.safetensors", "openjepa.json"]  # each once, then from the cache
    assert missing.startswith("`me/nothing` cannot be fetched from the Hub (")
    assert refused.startswith("`no spaces/allowed` cannot be uploaded (")
    assert refused.endswith(f"the files are in {tmp_path / 'up'}.")
