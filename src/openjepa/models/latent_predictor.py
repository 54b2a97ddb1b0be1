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
    """

    kind: Literal["mlp", "gru", "transformer"] = "mlp"
    predictor_dim: int = 128
    depth: int = 2
    context_len: int = 1
    num_heads: int = 16
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "gru", "transformer"):
            raise ConfigError(f"`kind` must be mlp, gru or transformer; got {self.kind}.")
        if self.kind != "transformer" and self.context_len != 1:
            raise ConfigError(f"`context_len` must be 1 for `kind` {self.kind}; got {self.context_len}.")
        if min(self.predictor_dim, self.depth, self.context_len, self.num_heads) < 1:
            raise ConfigError("`predictor_dim`, `depth`, `context_len` and `num_heads` must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"`dropout` must be in [0, 1); got {self.dropout}.")


def build_predictor(config: LatentPredictorConfig, embed_dim: int, action_dim: int) -> nn.Module:
    """Builds the predictor that `config.kind` names, for states of width D and actions of width A."""
    kinds = {"mlp": ResidualMLP, "gru": GRUPredictor, "transformer": CausalPredictor}
    return kinds[config.kind](config, embed_dim, action_dim)


class ResidualMLP(nn.Module):
    """z + MLP([z, a]), whose last layer starts at zero: at first nothing moves."""

    def __init__(self, config: LatentPredictorConfig, embed_dim: int, action_dim: int) -> None:
        super().__init__()
        width, layers = embed_dim + action_dim, list[nn.Module]()
        for _ in range(config.depth):
            layers += [nn.Linear(width, config.predictor_dim), nn.ReLU()]
            width = config.predictor_dim
        last = nn.Linear(width, embed_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.change = nn.Sequential(*layers, last)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(z.device.type, enabled=False):
            return z.float() + self.change(torch.cat([z.float(), actions.float()], -1))

    def rollout(self, z: Tensor, actions: Tensor, scene_dim: int = 0) -> Tensor:
        """States [B, H, D] after each of actions [B, H, A] from z [B, D]; the leading `scene_dim` numbers stay.

        As many calls would find, each fed with the last one's state, up to rounding. What does not change along the
        way is computed once for all steps: the share of the actions and of the scene in the first layer.
        """
        with torch.autocast(z.device.type, enabled=False):
            first, *middle, last = [(m.weight, m.bias) for m in self.change if isinstance(m, nn.Linear)]
            scene, state = z.float().split([scene_dim, z.shape[1] - scene_dim], 1)
            by_scene, by_state, by_action = first[0].split([scene_dim, state.shape[1], actions.shape[2]], 1)
            given = functional.linear(actions.float().transpose(0, 1), by_action, first[1])  # [H, B, W]
            if scene_dim:
                given = given + functional.linear(scene, by_scene)
            by_state, moves, shift, path = by_state.T, last[0][scene_dim:], last[1][scene_dim:], []
            for share in given.unbind():
                x = torch.addmm(share, state, by_state).relu_()
                for weight, bias in middle:
                    x = functional.linear(x, weight, bias).relu_()
                state = state + functional.linear(x, moves, shift)
                path.append(state)
            return torch.cat([scene.unsqueeze(1).expand(-1, len(path), -1), torch.stack(path, 1)], -1)


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
    """Inverse dynamics: actions [B, T, A] from states z and z_next [B, T, N, D] and their difference."""

    def __init__(self, embed_dim: int, action_dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
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
            # Neighbours are close: their difference, scaled up, spares the net learning to subtract.
            return self.net(torch.cat([z, 4 * (z_next - z)], -1).float())
