"""Recomputes the recorded training step of V-JEPA 2: losses, gradients, AdamW, moving average."""

from typing import Any

import torch
from torch import Tensor, nn

from openjepa.interop import meta_files
from openjepa.interop.key_maps import to_theirs
from openjepa.interop.state_files import section
from openjepa.masking import Masks
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.parity.recorded_case import Case, Found


def train_step(case: Case) -> Found:
    """Repeats the recorded updates with our method and compares everything that the case states."""
    content, traits = case.checkpoint("checkpoint_before"), case.traits("vjepa2")
    source = str(case.folder)
    online, _ = meta_files.load_encoder(content, traits, part="context_encoder", source=source)
    target, _ = meta_files.load_encoder(content, traits, source=source)
    predictor, _ = meta_files.load_predictor(content, traits, online, source=source)
    updates = case.description["updates"]
    settings = case.description["optimisation"]
    method = VJEPA2(
        VJEPA2Config(
            encoder=online.config,
            predictor_dim=predictor.config.predictor_dim,
            predictor_depth=predictor.config.depth,
            predictor_heads=predictor.config.num_heads,
            num_mask_tokens=predictor.config.num_mask_tokens,
            ema_decay=tuple(settings["ema"]),
            ema_steps=int(settings["iterations_per_epoch"] * settings["epochs"] * settings["ipe_scale"]),
        )
    )
    method.context_encoder, method.predictor = online, predictor
    method.target_encoder = target.requires_grad_(False)
    inputs = case.inputs()
    pixels = inputs["clip"].transpose(1, 2)
    count = sum(name.startswith("context_indices_") for name in inputs)
    masks = [Masks(inputs[f"context_indices_{k}"], inputs[f"target_indices_{k}"][:, None]) for k in range(count)]
    optimizer = _optimizer(settings, method)
    found = Found()
    losses = []
    for number, update in enumerate(updates):
        for group in optimizer.param_groups:
            group["lr"] = update["lr"]
            group["weight_decay"] = update["weight_decay"] * group["decayed"]
        optimizer.zero_grad(set_to_none=True)
        loss = method.masked_loss(pixels, masks)
        loss.backward()
        losses.append(loss.detach())
        if number == 0:
            _record_gradients(method, case, found)
        optimizer.step()
        method.after_step(number)
        if number == 0:
            _compare_parameters(method, case, found)
    with torch.no_grad():
        losses.append(method.masked_loss(pixels, masks))
    found.outputs["losses"] = torch.stack(losses)
    return found


def _networks(method: VJEPA2) -> dict[str, nn.Module]:
    return {
        "encoder": method.context_encoder,
        "predictor": method.predictor,
        "target_encoder": method.target_encoder,
    }


def _named(method: VJEPA2, network: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames tensors of a network from our names to Meta's."""
    traits = meta_files.traits_of(method.context_encoder, method.predictor)
    keys = meta_files.predictor_keys(traits) if network == "predictor" else meta_files.encoder_keys(traits)
    return to_theirs(tensors, keys)


def _optimizer(settings: dict[str, Any], method: VJEPA2) -> torch.optim.AdamW:
    named = [(n, p) for n, p in method.named_parameters() if p.requires_grad]
    decayed = [p for n, p in named if p.ndim > 1 and "bias" not in n]
    plain = [p for n, p in named if not (p.ndim > 1 and "bias" not in n)]
    groups = [{"params": decayed, "decayed": 1.0}, {"params": plain, "decayed": 0.0}]
    return torch.optim.AdamW(groups, betas=tuple(settings["betas"]), eps=settings["eps"], fused=True)


def _record_gradients(method: VJEPA2, case: Case, found: Found) -> None:
    without = 0
    for network in ("encoder", "predictor"):
        parameters = dict(_networks(method)[network].named_parameters())
        grads = {n: p.grad for n, p in parameters.items() if p.grad is not None}
        for name, grad in _named(method, network, grads).items():
            found.outputs[f"grad.{network}.{name}"] = grad.clone()
        missing = _named(method, network, {n: p for n, p in parameters.items() if p.grad is None})
        listed = case.description.get("parameters_without_gradient", [])
        without += sum(f"{network}.{name}" not in listed for name in missing)
    without += sum(p.grad is not None for p in method.target_encoder.parameters())
    found.extra["parameters with a gradient too few or too many"] = (float(without), 0.5)
    found.extra["norms of the gradient"] = (_norms(found.outputs, case, "gradient_at_update_1"), 1e-5)


def _norms(tensors: dict[str, Tensor], case: Case, key: str) -> float:
    """Largest relative difference of norms; the case states gradients by their full names."""
    stated = case.description.get("norms", {}).get(key, {})
    pairs = [(tensors[f"grad.{name}"], norm) for name, norm in stated.items() if f"grad.{name}" in tensors]
    return max((abs(float(x.double().norm()) - n) / max(1.0, n) for x, n in pairs), default=0.0)


def _compare_parameters(method: VJEPA2, case: Case, found: Found) -> None:
    """Parameters after one update against `checkpoint_after`.

    Where a gradient is nearly zero, rounding decides the sign of AdamW's first update, so a share of 0.1
    percent may differ by up to twice the learning rate.
    """
    after = case.checkpoint("checkpoint_after")
    rate = case.description["updates"][0]["lr"]
    for network, module in _networks(method).items():
        ours = _named(method, network, dict(module.state_dict()))
        theirs = section(after, network, str(case.folder))
        if set(ours) != set(theirs):
            found.extra[f"names in {network} after the update"] = (1.0, 0.5)
            continue
        gaps = torch.cat([(ours[n] - theirs[n]).abs().flatten() for n in theirs])
        off = float((gaps > 2e-6).double().mean())
        found.extra[f"{network} after one update"] = (float(gaps.max()), 2.1 * rate)
        found.extra[f"{network}: share off by more than 2e-6"] = (off, 1e-3)
        norms = case.description.get("norms", {}).get("after_one_update", {}).get(network, {})
        worst = max((abs(float(ours[n].double().norm()) - v) for n, v in norms.items()), default=0.0)
        found.extra[f"norms of {network} after one update"] = (worst, 1e-5)
