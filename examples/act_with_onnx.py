"""Acts with ONNX Runtime and NumPy alone, from files that `openjepa export RUN --to onnx --out FOLDER` has written.

python examples/act_with_onnx.py [FOLDER]
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


class OnnxAgent:
    """Imagines plans in the predictor and refines those that the critic likes best (cross-entropy method)."""

    def __init__(self, folder: Path) -> None:
        self.card = json.loads((folder / "export.json").read_text())
        self.parts = {n: onnxruntime.InferenceSession(folder / p["file"]) for n, p in self.card["parts"].items()}
        bounds, options = self.card["bounds"], self.card["options"]
        self.low, self.high = (np.tile(bounds[side], options["frameskip"]) for side in ("low", "high"))
        self.history, self.context = options["history"], options["context_len"]

    def ask(self, part: str, *inputs: np.ndarray) -> np.ndarray:
        """The output of one file."""
        return self.parts[part].run(None, dict(zip(self.card["parts"][part]["inputs"], inputs, strict=True)))[0]

    def state(self, frame: np.ndarray) -> np.ndarray:
        """[3, H, W] uint8 to [1, N, D]; before the first frame nothing moved."""
        return self.ask("encoder", np.repeat(frame[None, None], self.history, 1))

    def act(self, frame: np.ndarray, goal: np.ndarray, *, plans: int = 64, horizon: int = 6) -> np.ndarray:
        """The first model action [A] of the best plan."""
        draws, z_goal = np.random.default_rng(0), self.state(goal).repeat(plans, 0)
        start = self.state(frame)[:, None].repeat(self.context, 1).repeat(plans, 0)  # [S, T, N, D]
        mean, std = (self.high + self.low) / 2, (self.high - self.low) / 2
        for _ in range(4):
            noise = draws.normal(size=(plans, horizon, len(self.low)))
            tried = (mean + std * noise).clip(self.low, self.high).astype(np.float32)
            states, cost = start, np.zeros(plans)
            for step in range(horizon):
                after = self.ask("predictor", states, tried[:, step : step + 1].repeat(self.context, 1))
                states = np.concatenate([states[:, 1:], after[:, None]], 1)
                cost += self.ask("critic", after, z_goal)
            best = tried[cost.argsort()[:8]]
            mean, std = best.mean(0), best.std(0)
        return mean[0]


def main() -> None:
    if len(sys.argv) < 2:
        print("Give a folder: openjepa train two-rooms; openjepa export runs/two-rooms --to onnx --out FOLDER")
        return
    agent = OnnxAgent(Path(sys.argv[1]))
    frame, goal = np.random.default_rng(1).integers(0, 256, (2, *agent.card["frame_shape"]), dtype=np.uint8)
    print(", ".join(agent.parts), "| action", agent.act(frame, goal).round(2).tolist())


if __name__ == "__main__":
    main()
