"""Action-conditioned predictors of the next latent: a residual MLP, a GRU cell, and LeWM's causal transformer.

All are called as `predictor(z [B, T, D], actions [B, T, A]) -> z_next [B, T, D]`; position t predicts the state
after `actions[:, t]` and sees positions up to t only. The small ones always compute in float32.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape

POINT_UNITS = (0.35, 0.05)  # of positions in a picture, whose half side is 1, and of their steps


@dataclass(frozen=True)
class LatentPredictorConfig:
    """Shape of a predictor.

    Attributes:
        kind: `mlp` and `gru` are Markov; `transformer` sees `context_len` states.
        predictor_dim: hidden width of the MLP or of the transformer's MLPs.
        depth: hidden layers of the MLP, blocks of the transformer.
        context_len: states that the transformer sees; 1 for the others.
        num_heads: of the transformer, 64 wide each.
        dropout: of the transformer, in [0, 1).
        scaled: whether the MLP sees states, and says changes, in units of the data, which the refinement measures.
            Else an MLP is slow to learn where latents, or their steps, are much smaller or larger than 1.
    """

    kind: Literal["mlp", "gru", "transformer"] = "mlp"
    predictor_dim: int = 128
    depth: int = 2
    context_len: int = 1
    num_heads: int = 16
    dropout: float = 0.1
    scaled: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "gru", "transformer"):
            raise ConfigError(f"`kind` must be mlp, gru or transformer; got {self.kind}.")
        if self.kind != "transformer" and self.context_len != 1:
            raise ConfigError(f"`context_len` must be 1 for `kind` {self.kind}; got {self.context_len}.")
        if min(self.predictor_dim, self.depth, self.context_len, self.num_heads) < 1:
            raise ConfigError("`predictor_dim`, `depth`, `context_len` and `num_heads` must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"`dropout` must be in [0, 1); got {self.dropout}.")
        if self.scaled and self.kind != "mlp":
            raise ConfigError(f"`scaled` must be off for `kind` {self.kind}; only mlp knows it.")


def build_predictor(config: LatentPredictorConfig, embed_dim: int, action_dim: int) -> nn.Module:
    """Builds the predictor that `config.kind` names, for states of width D and actions of width A."""
    kinds = {"mlp": ResidualMLP, "gru": GRUPredictor, "transformer": CausalPredictor}
    return kinds[config.kind](config, embed_dim, action_dim)


def build_scale(config: LatentPredictorConfig, dim: int) -> "PlainScale | DataScale":
    """Builds the units in which a residual MLP sees latents of width D and says their changes."""
    return DataScale(dim) if config.scaled else PlainScale()


def change_network(config: LatentPredictorConfig, width_in: int, width_out: int) -> nn.Sequential:
    """Builds the MLP of a residual predictor, whose last layer starts at zero: at first nothing moves."""
    width, layers = width_in, list[nn.Module]()
    for _ in range(config.depth):
        layers += [nn.Linear(width, config.predictor_dim), nn.ReLU()]
        width = config.predictor_dim
    last = nn.Linear(width, width_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


class PlainScale(nn.Module):
    """Latents as they are; steps between neighbours, which are close, are shown four times as large."""

    def of_states(self, z: Tensor) -> Tensor:
        """Latents [..., D] to what the network sees."""
        return z

    def of_steps(self, way: Tensor) -> Tensor:
        """Differences of successive latents [..., D] to what the network sees."""
        return 4 * way

    def to_steps(self, change: Tensor) -> Tensor:
        """What the network says to differences of latents."""
        return change

    def fold(self, by_state: Tensor, by_step: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A first layer of weights [W, D] on `of_states` and `of_steps`, as one on the latents themselves."""
        return by_state, 4 * by_step, bias

    def fold_last(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A last layer under `to_steps`, as one that says differences of latents."""
        return weight, bias


class DataScale(nn.Module):
    """Latents standardised by statistics that are measured once, and steps in units of their root mean square."""

    mean: Tensor
    std: Tensor
    step: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.register_buffer("step", torch.full((dim,), 0.25))

    @torch.no_grad()
    def measure(self, z: Tensor, way: Tensor) -> None:
        """Takes the statistics of latents z [S, D] and of steps between neighbours [R, D]."""
        self.mean.copy_(z.mean(0))
        self.std.copy_(z.std(0).clamp_min(1e-6))
        self.step.copy_(way.square().mean(0).sqrt().clamp_min(1e-6))

    def of_states(self, z: Tensor) -> Tensor:
        """See `PlainScale`."""
        return (z - self.mean) / self.std

    def of_steps(self, way: Tensor) -> Tensor:
        """See `PlainScale`."""
        return way / self.step

    def to_steps(self, change: Tensor) -> Tensor:
        """See `PlainScale`."""
        return change * self.step

    def fold(self, by_state: Tensor, by_step: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `PlainScale`."""
        by_state = by_state / self.std
        return by_state, by_step / self.step[: by_step.shape[1]], bias - by_state @ self.mean

    def fold_last(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `PlainScale`."""
        return weight * self.step.unsqueeze(1), bias * self.step


def roll_residual(
    scale: PlainScale | DataScale, change: nn.Sequential, z: Tensor, actions: Tensor, scene_dim: int = 0
) -> Tensor:
    """States [B, H, D] after each of some actions, as calls of a residual predictor would find them up to rounding.

    What is the same in every step is computed once: the units, and what actions and scene add to the first layer.

    Args:
        scale: units of the network.
        change: says the step of a pose from pose, way (of pairs) and action.
        z: [B, D] first states: poses, or pairs of pose and way.
        actions: [B, H, A], standardised.
        scene_dim: leading numbers of a pose that stay.
    """
    with torch.autocast(z.device.type, enabled=False):
        first, *middle, last = [(m.weight, m.bias) for m in change if isinstance(m, nn.Linear)]
        pose_dim, way_dim = len(last[1]), z.shape[1] - len(last[1])
        by_pose, by_way, by_action = first[0].split([pose_dim, way_dim, actions.shape[2]], 1)
        by_pose, by_way, bias = scale.fold(by_pose, by_way, first[1])
        by_state = torch.cat([by_pose, by_way], 1).T
        to_step, shift = (part[scene_dim:] for part in scale.fold_last(*last))
        scene, state = z.float().split([scene_dim, z.shape[1] - scene_dim], 1)
        given = functional.linear(actions.float().transpose(0, 1), by_action, bias)  # [H, B, W]
        if scene_dim:
            given = given + scene @ by_state[:scene_dim]
        by_state, path = by_state[scene_dim:], []
        for share in given.unbind():
            x = torch.addmm(share, state, by_state).relu_()
            for weight, bias in middle:
                x = functional.linear(x, weight, bias).relu_()
            step = functional.linear(x, to_step, shift)
            state = torch.cat([state[:, :pose_dim] + step, step], 1) if way_dim else state + step
            path.append(state)
        return torch.cat([scene.unsqueeze(1).expand(-1, len(path), -1), torch.stack(path, 1)], -1)


class ResidualMLP(nn.Module):
    """z + MLP([z, a]), whose last layer starts at zero: at first nothing moves."""

    def __init__(self, config: LatentPredictorConfig, embed_dim: int, action_dim: int) -> None:
        super().__init__()
        self.scale = build_scale(config, embed_dim)
        self.change = change_network(config, embed_dim + action_dim, embed_dim)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(z.device.type, enabled=False):
            seen = torch.cat([self.scale.of_states(z.float()), actions.float()], -1)
            return z.float() + self.scale.to_steps(self.change(seen))

    def rollout(self, z: Tensor, actions: Tensor, scene_dim: int = 0) -> Tensor:
        """States [B, H, D] after each of actions [B, H, A] from z [B, D]; the leading `scene_dim` numbers stay."""
        return roll_residual(self.scale, self.change, z, actions, scene_dim)


class GRUPredictor(nn.Module):
    """One GRU cell whose hidden state is z and whose input is the action (PLDM 2502.14819, EB-JEPA 2602.03604)."""

    def __init__(self, config: LatentPredictorConfig, embed_dim: int, action_dim: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(action_dim, embed_dim)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(z.device.type, enabled=False):
            flat = self.cell(actions.flatten(0, -2).float(), z.flatten(0, -2).float())
        return flat.view(z.shape)


class CausalPredictor(nn.Module):
    """LeWM's predictor (2603.19312): causal transformer, conditioned on actions by AdaLN-zero.

    As published, a block's input is normalised without parameters, modulated, and normalised again by the
    attention and the MLP themselves; positions start standard-normal; the output passes a projector with
    BatchNorm.
    """

    def __init__(self, config: LatentPredictorConfig, embed_dim: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.pos_embed = nn.Parameter(torch.randn(1, config.context_len, embed_dim))
        self.action_encoder = nn.Sequential(
            nn.Linear(action_dim, 10),
            nn.Linear(10, 4 * embed_dim),
            nn.SiLU(),
            nn.Linear(4 * embed_dim, embed_dim),
        )
        self.blocks = nn.ModuleList(_Block(config, embed_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.project = nn.Sequential(nn.Linear(embed_dim, 2048), nn.BatchNorm1d(2048), nn.GELU())
        self.head = nn.Linear(2048, embed_dim)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:  # noqa: D102
        steps = check_shape(z, "B T D", name="z")["T"]
        if steps > self.config.context_len:
            raise ConfigError(f"`z` must hold at most `context_len` = {self.config.context_len} states; got {steps}.")
        condition = self.action_encoder(actions)  # [B, T, D]
        x = z + self.pos_embed[:, :steps]
        for block in self.blocks:
            x = block(x, condition)
        x = self.project(self.norm(x).flatten(0, 1))  # [B * T, 2048]
        with torch.autocast(z.device.type, enabled=False):
            return self.head(x.float()).view(z.shape)


class _Block(nn.Module):
    def __init__(self, config: LatentPredictorConfig, dim: int) -> None:
        super().__init__()
        inner, self.heads, self.dropout = 64 * config.num_heads, config.num_heads, config.dropout
        modulation = nn.Linear(dim, 6 * dim)
        nn.init.zeros_(modulation.weight)
        nn.init.zeros_(modulation.bias)
        self.modulation = nn.Sequential(nn.SiLU(), modulation)
        self.plain_norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attn_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, dim), nn.Dropout(config.dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, config.predictor_dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.predictor_dim, dim),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition).chunk(6, -1)
        x = x + gate_a * self._attend(self.plain_norm(x) * (1 + scale_a) + shift_a)
        return x + gate_m * self.mlp(self.plain_norm(x) * (1 + scale_m) + shift_m)

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.attn_norm(x)).unflatten(-1, (3, self.heads, 64)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))


class ActionReadout(nn.Module):
    """Inverse dynamics: actions [B, T, A] from states z and z_next [B, T, N, D] and their difference.

    Neighbours are close: their difference, in a smaller unit, spares the net learning to subtract.

    Args:
        embed_dim: width N * D of a state.
        action_dim: width A of an action.
        hidden_dim: width of the hidden layers.
        units: in which the net sees states, and their differences.
    """

    def __init__(
        self, embed_dim: int, action_dim: int, hidden_dim: int = 128, units: tuple[float, float] = (1.0, 0.25)
    ) -> None:
        super().__init__()
        self.units = units
        self.net = nn.Sequential(
            nn.Linear(2 * embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, action_dim),
        )

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:  # noqa: D102
        z, z_next = z.flatten(-2), z_next.flatten(-2)
        with torch.autocast(z.device.type, enabled=False):
            whole, step = self.units
            return self.net(torch.cat([z / whole, (z_next - z) / step], -1).float())
