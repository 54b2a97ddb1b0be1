"""A whole pre-training step against a straight port of the published one: same precision, tokens, masks and batch.

    python benchmarks/pretraining_step.py [--threads 2] [--repeats 5] [--clock wall|cpu] [--depth 6]

The port does what the published code does, in our words: the encoder runs once for each mask, its
convolution included; rotary angles are computed anew for every query and key of every block; gathers repeat
an index over all channels; mask tokens are laid out for the whole grid, then gathered; tokens are sorted
before the predictor and back after it, sample by sample; I-JEPA spells out the softmax; AdamW and the
moving average go parameter by parameter. Both sides get the same masks; drawing them is not part of the
time. Every change is also put into the port alone, to show what it is worth: the median share of the port's
time that it saves over interleaved repeats, with the least and the largest. A step is masks' gathers, three
forward passes, backward, AdamW, moving average. What products are worth depends on the core, so the processor
is part of the result. On a busy machine take one thread and `--clock cpu`. The last line is JSON.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import openjepa.nn.linear as fast
from openjepa.masking import BlockMaskConfig, sample_blocks, sample_tubes
from openjepa.methods.ijepa import IJEPA, IJEPAConfig
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.vit import VisionTransformer, vit_small
from openjepa.nn.ema import update_ema
from openjepa.nn.processor import processor
from openjepa.nn.rope import rotate
from openjepa.nn.tokens import gather_tokens, normalize_features


@dataclass
class Changes:
    """Which parts of the port are replaced by ours."""

    rotary_tables: bool = False
    gathers: bool = False
    one_embedding: bool = False
    no_sort: bool = False
    fused_attention: bool = False
    fused_updates: bool = False
    matrix_products: bool = False


class Port:
    """The published step on the weights of one of our methods."""

    def __init__(self, method: VJEPA2 | IJEPA, changes: Changes):
        self.method, self.changes = method, changes
        self.is_video = isinstance(method, VJEPA2)
        self.grid = method.config.encoder.grid
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        fused = changes.fused_updates
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=1e-4, fused=fused or None, foreach=None if fused else False
        )

    def linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """A matrix product as PyTorch does it, or as we do."""
        if self.changes.matrix_products:
            return fast.linear(x, layer.weight, layer.bias)
        return F.linear(x, layer.weight, layer.bias)

    def gather(self, x: Tensor, idx: Tensor) -> Tensor:
        """Picks tokens with an index that is repeated over the channels."""
        if self.changes.gathers:
            return gather_tokens(x, idx)
        return torch.gather(x, 1, idx.unsqueeze(-1).repeat(1, 1, x.shape[-1]))

    def turn(self, x: Tensor, ids: Tensor) -> Tensor:
        """Rotates [B, heads, N, d], angles computed here and now, positions expanded over the heads."""
        _, rows, columns = self.grid
        ids = ids.unsqueeze(1).repeat(1, x.shape[1], 1)
        t = ids // (rows * columns)
        row = (ids - t * rows * columns) // columns
        column = ids - t * rows * columns - row * columns
        d = 2 * (x.shape[-1] // 3 // 2)
        parts = [self.turn_axis(x[..., i * d : (i + 1) * d], p) for i, p in enumerate((t, row, column))]
        return torch.cat([*parts, x[..., 3 * d :]], -1)

    @staticmethod
    def turn_axis(x: Tensor, positions: Tensor) -> Tensor:
        """Rotates one segment."""
        omega = torch.arange(x.shape[-1] // 2, dtype=x.dtype) / (x.shape[-1] / 2.0)
        angle = torch.einsum("...,f->...f", positions.to(x.dtype), 1.0 / 10000**omega)
        sin, cos = angle.sin().repeat_interleave(2, -1), angle.cos().repeat_interleave(2, -1)
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        return x * cos + torch.stack((-second, first), -1).flatten(-2) * sin

    def attend(self, block: nn.Module, x: Tensor, ids: Tensor, rope: object) -> Tensor:
        """Self-attention."""
        attention = block.attn
        qkv = self.linear(attention.qkv, x).unflatten(-1, (3, attention.num_heads, -1))
        if self.is_video and self.changes.rotary_tables:
            q, k = (part.transpose(1, 2) for part in rotate(qkv[:, :, :2], rope).unbind(2))
            v = qkv[:, :, 2].transpose(1, 2)
        else:
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            if self.is_video:
                q, k = self.turn(q, ids), self.turn(k, ids)
        if self.is_video or self.changes.fused_attention:
            z = F.scaled_dot_product_attention(q, k, v)
        else:
            z = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.linear(attention.proj, z.transpose(1, 2).flatten(2))

    def blocks(self, blocks: nn.ModuleList, x: Tensor, ids: Tensor, table: object) -> Tensor:
        """Runs transformer blocks."""
        for block in blocks:
            x = x + self.attend(block, block.norm1(x), ids, table)
            x = x + self.linear(block.mlp.fc2, F.gelu(self.linear(block.mlp.fc1, block.norm2(x))))
        return x

    def table(self, network: nn.Module, ids: Tensor) -> object:
        """Our rotary table, where it is used."""
        if self.is_video and self.changes.rotary_tables:
            return network.rope.table(self.grid, ids.device).gather(ids)
        return None

    def embed(self, encoder: VisionTransformer, pixels: Tensor) -> Tensor:
        """Convolution and added positions."""
        x = encoder.patch_embed(pixels)
        return x if encoder.pos_embed is None else x + encoder.pos_embed

    def encode(self, encoder: VisionTransformer, tokens: Tensor, idx: Tensor | None) -> Tensor:
        """Blocks and norm on some tokens, or on all."""
        ids = torch.arange(tokens.shape[1]).expand(len(tokens), -1) if idx is None else idx
        x = tokens if idx is None else self.gather(tokens, idx)
        return encoder.norm(self.blocks(encoder.blocks, x, ids, self.table(encoder, ids)))

    def predict(self, z: Tensor, context_idx: Tensor, target_idx: Tensor) -> Tensor:
        """The predictor on [context | queries]."""
        predictor, batch, count = self.method.predictor, len(z), z.shape[1]
        x = self.linear(predictor.embed, z)
        if self.changes.gathers:
            queries = predictor.mask_tokens[0].expand(*target_idx.shape, -1)
        else:
            everything = predictor.mask_tokens[0].repeat(batch, self.grid[0] * self.grid[1] * self.grid[2], 1)
            queries = self.gather(everything, target_idx)
        if predictor.pos_embed is not None:
            table = predictor.pos_embed.expand(batch, -1, -1)
            x, queries = x + self.gather(table, context_idx), queries + self.gather(table, target_idx)
        x, ids = torch.cat((x, queries), 1), torch.cat((context_idx, target_idx), 1)
        sorts = self.is_video and not self.changes.no_sort
        if sorts:
            order = torch.argsort(ids, 1)
            ids = torch.stack([i[row] for i, row in zip(ids, order, strict=True)])
            x = torch.stack([tokens[row] for tokens, row in zip(x, order, strict=True)])
        x = predictor.norm(self.blocks(predictor.blocks, x, ids, self.table(predictor, ids)))
        if sorts:
            back = torch.argsort(order, 1)
            x = torch.stack([tokens[row] for tokens, row in zip(x, back, strict=True)])
        return self.linear(predictor.proj, x[:, count:])

    def loss(self, pixels: Tensor, masks: list) -> Tensor:
        """The loss of one batch."""
        method, losses = self.method, []
        with torch.no_grad():
            target = method.target_encoder
            h = normalize_features(self.encode(target, self.embed(target, pixels), None))
        tokens = self.embed(method.context_encoder, pixels) if self.changes.one_embedding else None
        for mask in masks:
            own = self.embed(method.context_encoder, pixels) if tokens is None else tokens
            z = self.encode(method.context_encoder, own, mask.context_idx)
            blocks = mask.target_idx.shape[1]
            idx = mask.target_idx.transpose(0, 1).flatten(0, 1)  # block by block
            z_pred = self.predict(z.repeat(blocks, 1, 1), mask.context_idx.repeat(blocks, 1), idx)
            z_target = self.gather(h.repeat(blocks, 1, 1), idx)
            losses.append(F.l1_loss(z_pred, z_target) if self.is_video else F.smooth_l1_loss(z_pred, z_target))
        return sum(losses) / len(losses)

    def step(self, pixels: Tensor, masks: list) -> Tensor:
        """One step; returns the loss."""
        loss = self.loss(pixels, masks)
        finish(loss, self.optimizer)
        method = self.method
        if self.changes.fused_updates:
            update_ema(method.target_encoder, method.context_encoder, 0.999)
        else:
            with torch.no_grad():
                pairs = zip(method.context_encoder.parameters(), method.target_encoder.parameters(), strict=True)
                for new, old in pairs:
                    old.data.mul_(0.999).add_((1.0 - 0.999) * new.detach().data)
        return loss.detach()


def finish(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Backward and update."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def ours(method: VJEPA2 | IJEPA) -> Callable[[Tensor, list], Tensor]:
    """A step as our training loop takes it."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def step(pixels: Tensor, masks: list) -> Tensor:
        if isinstance(method, VJEPA2):
            loss = method.masked_loss(pixels, masks)
        else:
            z_pred, z_target = method.predict(pixels, masks[0])
            loss = F.smooth_l1_loss(z_pred, z_target)
        finish(loss, optimizer)
        update_ema(method.target_encoder, method.context_encoder, 0.999)
        return loss.detach()

    return step


def compare(
    name: str,
    method: VJEPA2 | IJEPA,
    pixels: Tensor,
    masks: list,
    options: argparse.Namespace,
) -> dict[str, object]:
    """Times all sides in turns; the speed-up, and the share that each change saves, as [least, median, largest]."""
    steps: dict[str, Callable[[Tensor, list], Tensor]] = {
        "port": Port(copy.deepcopy(method), Changes()).step,
        "ours": ours(copy.deepcopy(method)),
    }
    skipped = {"fused_attention"} if isinstance(method, VJEPA2) else {"rotary_tables", "no_sort", "one_embedding"}
    for change in Changes.__dataclass_fields__:
        if change not in skipped:
            steps[change] = Port(copy.deepcopy(method), Changes(**{change: True})).step
    losses = {side: float(step(pixels, masks)) for side, step in steps.items()}
    assert max(losses.values()) - min(losses.values()) < 1e-4, losses
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(options.repeats):
        for side, step in steps.items():
            start = clock()
            step(pixels, masks)
            times[side].append(clock() - start)
    best = {side: min(seconds) for side, seconds in times.items()}
    print(f"{name}: port {best['port'] * 1e3:.0f} ms, ours {best['ours'] * 1e3:.0f} ms")
    shares = {}
    for side in list(steps)[2:]:
        saved = sorted(1 - own / port for own, port in zip(times[side], times["port"], strict=True))
        shares[side] = [round(x, 3) for x in (saved[0], statistics.median(saved), saved[-1])]
        print(f"  port + {side}: {shares[side][1]:6.1%} less time [{saved[0]:.1%}, {saved[-1]:.1%}]", flush=True)
    ratios = sorted(port / own for port, own in zip(times["port"], times["ours"], strict=True))
    interval = [round(x, 3) for x in (ratios[0], statistics.median(ratios), ratios[-1])]
    return {"speedup_vs_reference_port": round(best["port"] / best["ours"], 3), "repeats": interval, "shares": shares}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what is counted")
    parser.add_argument("--depth", type=int, default=6, help="blocks of encoder and predictor")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{processor().text()}, torch {torch.__version__}, {options.threads} threads, {options.clock} clock", flush=True
    )
    generator = torch.Generator().manual_seed(0)
    predictor = {"predictor_dim": 192, "predictor_depth": options.depth, "predictor_heads": 6}

    video = vit_small(img_size=(128, 128), num_frames=16, tubelet_size=2, depth=options.depth)
    method: VJEPA2 | IJEPA = VJEPA2(VJEPA2Config(encoder=video, **predictor))
    clips = torch.randn(2, 16, 3, 128, 128, generator=generator)
    tubes = [sample_tubes(kind, 2, video.grid, generator=generator) for kind in method.config.masks]
    found: dict[str, object] = {
        "processor": processor().text(),
        "torch": torch.__version__,
        **vars(options),
        "vjepa2": compare("V-JEPA 2, 2 clips of 512 tokens", method, clips, tubes, options),
    }

    image = vit_small(
        img_size=(224, 224),
        positions="sincos",
        sincos_order="column_first",
        depth=options.depth,
        rescale_residual_init=False,
    )
    method = IJEPA(IJEPAConfig(encoder=image, **predictor))
    images = torch.randn(4, 3, 224, 224, generator=generator)
    blocks = [sample_blocks(BlockMaskConfig(), 4, image.grid, generator=generator)]
    found["ijepa"] = compare("I-JEPA, 4 pictures of 196 tokens", method, images, blocks, options)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
