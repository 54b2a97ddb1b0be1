"""Which states does a text speak of? A set energy on frozen latents, and the point head that it replaces.

    E(text, z) = softmin_c f(A_c(text) z, r_c(text)),    compatible where E > 0

An instruction means a *set* of states: a regression to a state predicts the mean of the set, which may lie in none of
them (`PointHead` is that rival). The text gives, for each of a few clauses, a linear map A of the state (of what is it
said? "the red disc") and a code r (what is said of it? "left of"); one small network, shared by all texts, compares
both. What a relation means is so learned once for all things, and every clause must hold.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.config import check_counts
from openjepa.errors import ConfigError
from openjepa.heads.fitting import Standardize


@dataclass(frozen=True)
class TextHeadConfig:
    """Shape of the heads that read a text.

    Attributes:
        width: of the reading layer, a multiple of its 4 attention heads.
        clauses: that a text can have; all of them must hold.
        directions: numbers that a clause looks at in a state.
        code_dim: width of what a clause says of them.
        hidden_dim: of the network that compares both.
        dropout: share of token features that training hides, in [0, 1).
    """

    width: int = 128
    clauses: int = 2
    directions: int = 8
    code_dim: int = 16
    hidden_dim: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_counts(self, "width", "clauses", "directions", "code_dim", "hidden_dim")
        if self.width % 4 or not 0 <= self.dropout < 1:
            raise ConfigError("`width` must be a multiple of 4 and `dropout` in [0, 1).")


@dataclass(frozen=True)
class Reading:
    """What a text asks of a state.

    Attributes:
        maps: [B, C, R, D], which numbers of a state every clause looks at.
        codes: [B, C, W], what it says of them.
    """

    maps: Tensor
    codes: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "Reading":
        return Reading(self.maps[rows], self.codes[rows])

    @staticmethod
    def join(parts: "list[Reading]") -> "Reading":
        """Readings of several batches as one."""
        return Reading(torch.cat([p.maps for p in parts]), torch.cat([p.codes for p in parts]))


class TokenReader(nn.Module):
    """Tokens [B, L, E] of a frozen text encoder to pooled features [B, Q, width], one for each learned question."""

    def __init__(self, token_dim: int, questions: int, config: TextHeadConfig) -> None:
        super().__init__()
        width = config.width
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(token_dim, width)
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=config.dropout, batch_first=True, norm_first=True
        )
        self.questions = nn.Parameter(torch.randn(questions, width) / math.sqrt(width))
        self.keys, self.values = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, L, E] and which of them are words, mask [B, L] bool, to [B, Q, width]."""
        x = self.project(self.dropout(functional.normalize(tokens.float(), dim=-1) * math.sqrt(tokens.shape[-1])))
        x = x + positions(x.shape[1], x.shape[2]).to(x)
        x = self.layer(x, src_key_padding_mask=~mask)
        score = torch.einsum("qw,blw->bql", self.questions, self.keys(x))
        score = score.masked_fill(~mask[:, None], -torch.inf)
        return torch.einsum("bql,blw->bqw", score.softmax(-1), self.values(x))


class SetEnergy(nn.Module):
    """The compatibility of texts with states; see the head of this file.

    Args:
        token_dim: width E of the text encoder's tokens.
        state_dim: N * D of a state.
        config: shape.
    """

    def __init__(self, token_dim: int, state_dim: int, config: TextHeadConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or TextHeadConfig()
        self.token_dim, self.state_dim = token_dim, state_dim
        self.standardize = Standardize(state_dim)
        self.reader = TokenReader(token_dim, 2 * c.clauses, c)
        self.to_map = nn.Linear(c.width, c.directions * state_dim)
        self.to_code = nn.Linear(c.width, c.code_dim)
        self.of_seen, self.of_said = nn.Linear(c.directions, c.hidden_dim), nn.Linear(c.code_dim, c.hidden_dim)
        self.compare = nn.Sequential(
            nn.ReLU(), nn.Linear(c.hidden_dim, c.hidden_dim), nn.ReLU(), nn.Linear(c.hidden_dim, 1)
        )

    def read(self, tokens: Tensor, mask: Tensor) -> Reading:
        """Reads texts, once for all states: tokens [B, L, E] with mask [B, L] bool."""
        c = self.config
        of, what = self.reader(tokens, mask).unflatten(1, (2, c.clauses)).unbind(1)  # each [B, C, width]
        maps = self.to_map(of).unflatten(-1, (c.directions, self.state_dim))
        return Reading(maps, self.to_code(what))

    def forward(self, reading: Reading, z: Tensor) -> Tensor:
        """Compatibility [B, P] of texts with states, above 0 where the text holds.

        Args:
            reading: of B texts.
            z: states [B, P, N, D], or [1, P, N, D] for all texts the same.
        """
        seen = self.standardize(z.flatten(-2))  # [B, P, D]
        looked = torch.einsum("bcrd,bpd->bpcr", reading.maps, seen.expand(len(reading.maps), -1, -1))
        hidden = self.of_seen(looked) + self.of_said(reading.codes)[:, None]
        clauses = self.compare(hidden).squeeze(-1)  # [B, P, C]
        return -torch.logsumexp(-clauses, -1)


class PointHead(nn.Module):
    """The rival of the set energy: text and scene to one goal state, by squared error; [B, N * D].

    Args:
        token_dim: width E of the text encoder's tokens.
        state_dim: N * D of a state.
        scene_dim: leading numbers of a state that are given and kept.
        config: shape.
    """

    def __init__(
        self, token_dim: int, state_dim: int, scene_dim: int = 0, config: TextHeadConfig | None = None
    ) -> None:
        super().__init__()
        self.config = c = config or TextHeadConfig()
        self.scene_dim = scene_dim
        self.standardize = Standardize(state_dim)
        self.reader = TokenReader(token_dim, 1, c)
        self.net = nn.Sequential(
            nn.Linear(c.width + scene_dim, 2 * c.width),
            nn.ReLU(),
            nn.Linear(2 * c.width, 2 * c.width),
            nn.ReLU(),
            nn.Linear(2 * c.width, state_dim - scene_dim),
        )

    def forward(self, tokens: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """Goal states [B, N, D] of texts for environments that are in states z [B, N, D]."""
        scene = self.standardize(z.flatten(1))[:, : self.scene_dim]
        found = self.net(torch.cat([self.reader(tokens, mask)[:, 0], scene], -1))
        goal = self.standardize.inverse(torch.cat([scene, found], -1))
        return goal.unflatten(1, z.shape[1:])


def positions(length: int, width: int) -> Tensor:
    """Sinusoidal positions [L, W] of tokens (1706.03762)."""
    place = torch.arange(length)[:, None]
    rate = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
    return torch.stack([(place * rate).sin(), (place * rate).cos()], -1).flatten(1)
