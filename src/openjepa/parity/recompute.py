"""Recomputes recorded cases, family by family; all sizes are read from the case."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from openjepa.errors import CheckpointError
from openjepa.interop import huggingface, meta_files, probes
from openjepa.interop.state_files import State
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.methods.vjepa2_1 import DensePrediction, context_weights
from openjepa.models.vit import VisionTransformer
from openjepa.nn.tokens import Grid, gather_tokens, normalize_features, normalize_levels
from openjepa.parity.recompute_action import action_conditioned
from openjepa.parity.recompute_masks import masks
from openjepa.parity.recompute_planner import planner
from openjepa.parity.recompute_schedules import schedules
from openjepa.parity.recompute_training import train_step
from openjepa.parity.recorded_case import Case, Found


def recompute(case: Case) -> Found:
    """Runs our networks on a case's inputs.

    Raises:
        CheckpointError: for a family that is not known or a checkpoint that does not fit.
    """
    if "optimisation" in case.description:
        return train_step(case)
    for file, recompute_numbers in WITHOUT_WEIGHTS.items():
        if (case.folder / file).is_file():
            return recompute_numbers(case)
    kind = case.family + (" folder" if "config" in case.description.get("checkpoint", {}) else "")
    kind = "attentive probe" if kind.startswith("attentive probe") else kind
    if kind not in RECOMPUTE:
        known = ", ".join(sorted(RECOMPUTE))
        raise CheckpointError(f"{case.folder}: the family `{case.family}` is not one of {known}.")
    with torch.inference_mode():
        return Found(RECOMPUTE[kind](case))


def clips(x: Tensor) -> Tensor:
    """[B, C, T, H, W] of the published networks to our [B, T, C, H, W]."""
    return x.transpose(1, 2)


def ijepa(case: Case) -> State:
    """I-JEPA in Meta's layout: full and context encoding, prediction of blocks, targets, loss."""
    content, traits, inputs = case.checkpoint(), case.traits("ijepa"), case.inputs()
    online, _ = meta_files.load_encoder(content, traits, part="context_encoder", source=case.source)
    target, _ = meta_files.load_encoder(content, traits, source=case.source)
    predictor, _ = meta_files.load_predictor(content, traits, online, source=case.source)
    images, context_idx = inputs["images"], inputs["context_indices"]
    target_idx = inputs["target_indices"].transpose(0, 1)  # [B, M, Q]
    out = {"encoder_full": online(images), "target_encoder_full": target(images)}
    out["target_features"] = normalize_features(out["target_encoder_full"])
    out["context_features"] = online(images, context_idx)
    z_pred = predictor(out["context_features"], context_idx, target_idx)  # [B, M, Q, D]
    z_target = gather_tokens(out["target_features"], target_idx)
    # The recorded order is block by block: [M * B, Q, D].
    out["predictor_output"] = z_pred.transpose(0, 1).flatten(0, 1)
    out["target_blocks"] = z_target.transpose(0, 1).flatten(0, 1)
    out["loss"] = latent_prediction_loss(z_pred, z_target, "smooth_l1")
    return out


def ijepa_folder(case: Case) -> State:
    """I-JEPA in the Hugging Face layout."""
    model = huggingface.load_folder(case.folder)
    return {"last_hidden_state": model.encoder(case.inputs()["pixel_values"])}


def vjepa2(case: Case) -> State:
    """V-JEPA 2 in Meta's layout: clips, masks, mask tokens, losses, pictures, other shapes, levels."""
    content, traits, inputs = case.checkpoint(), case.traits("vjepa2"), case.inputs()
    online, _ = meta_files.load_encoder(content, traits, part="context_encoder", source=case.source)
    target, _ = meta_files.load_encoder(content, traits, source=case.source)
    predictor, _ = meta_files.load_predictor(content, traits, online, source=case.source)
    clip = clips(inputs["clip"])
    tokens = online.tokenize(clip)
    out = {"encoder_full": online.encode(tokens), "target_encoder_full": target(clip)}
    out["target_features"] = normalize_features(out["target_encoder_full"])
    losses = []
    for k in masks_of(inputs):
        context_idx, target_idx = inputs[f"context_indices_{k}"], inputs[f"target_indices_{k}"]
        z = out[f"context_features_{k}"] = online.encode(tokens, context_idx)
        z_pred = out[f"predictor_output_{k}"] = predictor(z, context_idx, target_idx, grid=tokens.grid)
        losses.append(latent_prediction_loss(z_pred, gather_tokens(out["target_features"], target_idx), "l1"))
        out[f"loss_{k}"] = losses[-1]
        for index in range(predictor.config.num_mask_tokens):
            if (name := f"predictor_output_{k}_mask_index_{index}") in case.outputs:
                out[name] = predictor(z, context_idx, target_idx, grid=tokens.grid, mask_token=index)
        if (shuffled := inputs.get(f"target_indices_{k}_unsorted")) is not None:
            out[f"predictor_output_{k}_unsorted"] = predictor(z, context_idx, shuffled, grid=tokens.grid)
    out["loss"] = torch.stack(losses).mean()
    if "image_clip" in inputs:
        out["encoder_image_clip"] = online(clips(inputs["image_clip"]))
    if "nonsquare_clip" in inputs:
        out["encoder_nonsquare"] = online(clips(inputs["nonsquare_clip"]))
    if layers := case.architecture.get("out_layers"):
        out["encoder_levels"] = torch.stack(online.levels(tokens, layers=tuple(layers)))
    return out


def vjepa2_folder(case: Case) -> State:
    """V-JEPA 2 in the Hugging Face layout, used as `transformers` uses it."""
    model, inputs = huggingface.load_folder(case.folder), case.inputs()
    tokens = model.encoder.tokenize(inputs["pixel_values_videos"])
    z = model.encoder.encode(tokens)
    out = {"last_hidden_state": z}
    if model.probe is not None:
        out["pooled"] = model.probe.pool(z)[:, 0]
        out["logits"] = model.probe(z)[0]
    if model.predictor is not None:
        everything = torch.arange(z.shape[1]).expand(len(z), -1)
        out["default_predictor_output"] = model.predictor(z, everything, everything, grid=tokens.grid, mask_token=1)
        if "context_mask" in inputs:
            context_idx, target_idx = inputs["context_mask"], inputs["target_mask"]
            # The context is gathered after the whole clip was encoded, unlike in training.
            seen = out["masked_hidden_state"] = gather_tokens(z, context_idx)
            out["predictor_output"] = model.predictor(seen, context_idx, target_idx, grid=tokens.grid, mask_token=1)
            out["target_hidden_state"] = gather_tokens(z, target_idx)
    if "pixel_values_image" in inputs:
        out["image_last_hidden_state"] = model.encoder(inputs["pixel_values_image"])
    return out


def vjepa2_1(case: Case) -> State:
    """V-JEPA 2.1, full or distilled: both tokenizers, levels, both predictor outputs, weights, losses."""
    content, inputs = case.checkpoint(), case.inputs()
    traits = case.traits("vjepa2_1")
    online, _ = meta_files.load_encoder(content, traits, part="context_encoder", source=case.source)
    target, _ = meta_files.load_encoder(content, traits, source=case.source)
    predictors = {}
    for suffix, stretch in (("", True), ("_hub", False)):
        own = case.traits("vjepa2_1", predictor_stretch=stretch)
        predictors[suffix], _ = meta_files.load_predictor(content, own, online, source=case.source)
    # A distilled predictor reads and predicts the last level only.
    num_levels = case.architecture.get("training_levels", predictors[""].config.num_levels)
    clip, image = clips(inputs["clip"]), clips(inputs["image"])
    out = {"video_features": target(clip), "image_features": target(image)}
    if "nonsquare_clip" in inputs:
        out["nonsquare_features"] = target(clips(inputs["nonsquare_clip"]))
    for name, pixels in (("video", clip), ("image", image)):
        out[f"{name}_levels"] = _levels(target, pixels, None, num_levels)
        out[f"{name}_targets"] = normalize_levels(out[f"{name}_levels"], num_levels)

    def predict(prefix: str, pixels: Tensor, names: tuple[str, str], suffix: str) -> DensePrediction:
        context_idx, target_idx = inputs[names[0]], inputs[names[1]]
        tokens = online.tokenize(pixels)
        z = out[f"{prefix}context_levels{suffix}"] = _levels(online, pixels, context_idx, num_levels)
        weights = out[f"{prefix}context_weights{suffix}"] = context_weights(context_idx, target_idx, tokens.grid)
        h = out["image_targets" if tokens.is_image else "video_targets"]
        for end, predictor in predictors.items():
            pair = predictor.predict_all(z, context_idx, target_idx, grid=tokens.grid, is_image=tokens.is_image)
            out[f"{prefix}predictor_target_output{suffix}{end}"] = pair[0]
            out[f"{prefix}predictor_context_output{suffix}{end}"] = pair[1]
        return DensePrediction(
            out[f"{prefix}predictor_target_output{suffix}"],
            gather_tokens(h, target_idx),
            out[f"{prefix}predictor_context_output{suffix}"],
            gather_tokens(h, context_idx),
            weights,
        )

    found = {
        "video": [
            predict("", clip, (f"context_indices_{k}", f"target_indices_{k}"), f"_{k}") for k in masks_of(inputs)
        ],
        "image": [predict("image_", image, ("image_context_indices", "image_target_indices"), "")],
    }
    if (weight := case.architecture.get("context_loss_lambda", _lambda(case))) is not None:
        for name, predictions in found.items():
            out |= _dense_losses(name, predictions, weight)
    if "large_context_indices" in inputs:
        out |= _large_grid_weights(case, inputs)
    return out


def _dense_losses(name: str, predictions: list[DensePrediction], weight: float) -> State:
    target = torch.stack([p.target_loss() for p in predictions]).mean()
    weighted = torch.stack([p.context_loss() for p in predictions]).mean()
    plain = torch.stack([p.context_loss(weighted=False) for p in predictions]).mean()
    return {
        f"{name}_loss_target": target,
        f"{name}_loss_context_weighted": weighted,
        f"{name}_loss_context_unweighted": plain,
        f"{name}_loss": target + weight * weighted,
    }


def _lambda(case: Case) -> float | None:
    return case.description.get("context_loss_lambda")


def _large_grid_weights(case: Case, inputs: State) -> State:
    """The weights on a grid that is described in words: "... 32 x 32 patches and 2 latent frames ..."."""
    name = "large_context_indices"
    words = case.description["inputs"][name]["meaning"]
    found = re.search(r"(\d+) x (\d+) patches and (\d+) latent", words)
    if found is None:
        raise CheckpointError(f"{case.folder / 'case.json'}: the grid of `{name}` cannot be read: {words}")
    rows, columns, frames = map(int, found.groups())
    grid: Grid = (frames, rows, columns)
    weights = context_weights(inputs[name], inputs["large_target_indices"], grid)
    # The published option for larger pictures divides distances by (grid size // 16) before the square root.
    return {
        "large_grid_context_weights": weights,
        "large_grid_context_weights_offset": weights * max(rows // 16, 1) ** 0.5,
    }


def _levels(encoder: VisionTransformer, pixels: Tensor, token_idx: Tensor | None, num_levels: int) -> Tensor:
    layers = encoder.config.level_layers[-num_levels:]
    return torch.cat(encoder.levels(encoder.tokenize(pixels), token_idx, layers=layers), dim=-1)


def probe(case: Case) -> State:
    """Attentive probes of V-JEPA 1 and 2: every probe of the file on every kind of tokens."""
    content, inputs, arch = case.checkpoint(), case.inputs(), case.architecture
    several = "classifiers" in content
    out: State = {}
    for index in range(probes.num_probes(content)):
        network, _ = probes.load_probe(
            content,
            index=index,
            num_heads=arch["num_heads"],
            layer_norm_eps=arch["layer_norm_eps"],
            source=case.source,
        )
        end = f"_{index}" if several else ""
        for name, tokens in inputs.items():
            kind = "" if name == "tokens" else f"_{name}"
            pooled = network.pool(tokens)
            out[f"pooled{kind}{end}"] = pooled[:, 0] if pooled.shape[1] == 1 else pooled
            out[f"logits{kind}{end}"] = network(tokens)[0]
    return out


def masks_of(inputs: State) -> list[int]:
    """Numbers of the masks of a case: those k with `context_indices_k`."""
    found = (re.fullmatch(r"context_indices_(\d+)", name) for name in inputs)
    return sorted(int(match[1]) for match in found if match)


RECOMPUTE: dict[str, Callable[[Case], State]] = {
    "I-JEPA": ijepa,
    "I-JEPA folder": ijepa_folder,
    "V-JEPA 2": vjepa2,
    "V-JEPA 2 folder": vjepa2_folder,
    "V-JEPA 2.1": vjepa2_1,
    "V-JEPA 2-AC": action_conditioned,
    "attentive probe": probe,
}

# Cases of numbers alone, by a file that each of them has.
WITHOUT_WEIGHTS: dict[str, Callable[[Case], Found]] = {
    "planner.json": planner,
    "schedules.json": schedules,
    "exact_draws.json": masks,
}
