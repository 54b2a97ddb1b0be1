"""Recomputes cases of the action-conditioned predictor V-JEPA 2-AC."""

import re

import torch
from torch import Tensor

from openjepa.interop import meta_files
from openjepa.interop.state_files import State
from openjepa.interop.vjepa2_ac import load_action_predictor
from openjepa.losses.frame_prediction import frame_prediction_loss
from openjepa.models.action_predictor import PoseActionPredictor
from openjepa.nn.poses import integrate_poses
from openjepa.nn.tokens import normalize_features
from openjepa.parity.recorded_case import Case


def action_conditioned(case: Case) -> State:
    """Frame features, predictions for each number of frames, both training losses, a planner's rollout."""
    content, inputs, arch = case.checkpoint(), case.inputs(), case.architecture
    traits = case.traits("vjepa2", num_frames=arch["tubelet_size"])
    encoder, _ = meta_files.load_encoder(content, traits, source=case.source)
    grid = encoder.config.grid[1:]
    predictor = _load(case, grid[0])
    actions, poses, cameras = inputs["actions"], inputs["states"], inputs.get("extrinsics")
    # Each frame alone: it fills a tubelet by repetition.
    frames = inputs["clip"].transpose(1, 2)  # [B, T, C, H, W]
    raw = encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # [B, T, N, D]
    z = normalize_features(raw)
    out = {"frame_features_raw": raw.flatten(1, 2), "frame_features": z.flatten(1, 2)}
    for name in case.outputs:
        if match := re.fullmatch(r"predictor_output_T(\d+)", name):
            t = int(match[1])
            out[name] = predictor(z[:, :t], actions[:, :t], poses[:, :t], _first(cameras, t), grid=grid).flatten(1, 2)
    steps = actions.shape[1]
    forced = normalize_features(predictor(z[:, :steps], actions, poses[:, :steps], _first(cameras, steps), grid=grid))
    count = arch["auto_steps"]
    rolled = predictor.rollout(z[:, :1], actions[:, :count], poses[:, :count], _first(cameras, count), grid=grid)
    out["teacher_forcing_output"] = forced.flatten(1, 2)
    out["rollout_output"] = rolled.flatten(1, 2)
    losses = frame_prediction_loss(predictor, z, actions, poses, cameras, rollout_steps=count, grid=grid)
    out["loss"], out["loss_teacher_forcing"], out["loss_rollout"] = losses
    if "planning_rollout" in case.outputs:
        out |= _planning(case, predictor, z, actions, poses, cameras, grid)
    if "nonsquare_features" in inputs:
        out["predictor_output_nonsquare"] = _nonsquare(case, inputs)
    return out


def _planning(
    case: Case,
    predictor: PoseActionPredictor,
    z: Tensor,
    actions: Tensor,
    poses: Tensor,
    cameras: Tensor | None,
    grid: tuple[int, int],
) -> State:
    steps = case.description["outputs"]["planning_rollout"]["shape"][1]
    planned = integrate_poses(poses[:, 0], actions)  # [B, H, 7]
    known = torch.cat((poses[:, :1], planned), dim=1)[:, :steps]
    shown = case.description["outputs"].get("planning_poses", {}).get("shape", [0, steps])[1]
    return {
        "planning_rollout": predictor.rollout(z[:, :1], actions[:, :steps], known, _first(cameras, steps), grid=grid),
        "planning_poses": planned[:, :shown],
    }


def _nonsquare(case: Case, inputs: State) -> Tensor:
    """Frames of another shape than square."""
    height, width = case.architecture["nonsquare_image_size"]
    rows, columns = height // case.architecture["patch_size"], width // case.architecture["patch_size"]
    z = inputs["nonsquare_features"].unflatten(1, (-1, rows * columns))  # [B, T, N, D]
    t = z.shape[1]
    # A model built for another shape takes its rows as the native ones.
    return _load(case, rows)(
        z,
        inputs["actions"][:, :t],
        inputs["states"][:, :t],
        _first(inputs.get("extrinsics"), t),
        grid=(rows, columns),
    ).flatten(1, 2)


def _load(case: Case, native_rows: int) -> PoseActionPredictor:
    arch = case.architecture["predictor"]
    return load_action_predictor(
        case.checkpoint(),
        source=case.source,
        num_heads=arch["num_heads"],
        native_rows=native_rows,
        use_camera=arch["use_extrinsics"],
        layer_norm_eps=arch["layer_norm_eps"],
    )[0]


def _first(x: Tensor | None, count: int) -> Tensor | None:
    return None if x is None else x[:, :count]
