"""Which states does a text speak of? A set energy on frozen latents, and the point head that it replaces.

    E(text, z) = s(text) softmin_c f(A_c(text) z, r_c(text)),    compatible where E > 0

An instruction means a *set* of states: a regression to a state predicts the mean of the set, which may lie in none of
them (`PointHead` is that rival). The text gives, for each of a few clauses, a linear map A of the state (of what is it
said? "the red disc") and a code r (what is said of it? "left of"); one small network, shared by all texts, compares
both, and every clause must hold. The sign s lets a text deny all that.

A and r are mixtures of a few learned ones. A text can only choose among them, and it chooses by the words themselves
(context says where to look, not what is read there): so a thing and a relation that no text has joined are understood
together, and a new word means whatever known one is nearest.
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
        subjects: of which something can be said, maps to choose from.
        predicates: that can be said of them, codes to choose from.
        glances: places of a text that are read for each choice.
        directions: numbers that a clause looks at in a state.
        code_dim: width of what a clause says of them.
        hidden_dim: of the network that compares both.
        dropout: share of features that training hides, of all tokens of a text the same ones, in [0, 1).
        out_of_context: share of texts whose words training shows by themselves alone, in [0, 1).
        unread: share of words that training does not let tell subjects, which have names of several words, in [0, 1).
    """

    width: int = 128
    clauses: int = 2
    subjects: int = 16
    predicates: int = 32
    glances: int = 4
    directions: int = 8
    code_dim: int = 16
    hidden_dim: int = 64
    dropout: float = 0.2
    out_of_context: float = 0.3
    unread: float = 0.1

    def __post_init__(self) -> None:
        check_counts(self, "width", "clauses", "subjects", "predicates", "glances", "directions")
        check_counts(self, "code_dim", "hidden_dim")
        if self.width % 4 or not all(0 <= x < 1 for x in (self.dropout, self.out_of_context, self.unread)):
            raise ConfigError("`width` must be a multiple of 4, `dropout`, `out_of_context`, `unread` in [0, 1).")


@dataclass(frozen=True)
class Reading:
    """What a text asks of a state.

    Attributes:
        maps: [B, C, R, D], which numbers of a state every clause looks at.
        codes: [B, C, W], what it says of them.
        sign: [B], from -1 (it is denied) to 1.
    """

    maps: Tensor
    codes: Tensor
    sign: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "Reading":
        return Reading(self.maps[rows], self.codes[rows], self.sign[rows])

    @staticmethod
    def join(parts: "list[Reading]") -> "Reading":
        """Readings of several batches as one."""
        return Reading(*(torch.cat([getattr(p, name) for p in parts]) for name in ("maps", "codes", "sign")))


@dataclass(frozen=True)
class Choice:
    """Log-odds of what a text speaks of.

    Attributes:
        subjects: [B, C, K], of each clause.
        predicates: [B, C, K].
        sign: [B], above 0 where it is not denied.
    """

    subjects: Tensor
    predicates: Tensor
    sign: Tensor


class TokenReader(nn.Module):
    """Tokens [B, L, E] of a frozen text encoder to pooled features [B, Q, width], one for each learned question.

    The first half of a token is its word in the text, the second the word by itself. The questions `of_names` also
    learn to do without some words: who reads "the red disc" may know only one of both words.
    """

    def __init__(self, token_dim: int, questions: int, config: TextHeadConfig, of_names: slice | None = None) -> None:
        super().__init__()
        if token_dim % 2:
            raise ConfigError(f"`token_dim` must be even: words in their text and by themselves; got {token_dim}.")
        width = config.width
        self.out_of_context, self.unread, self.of_names = config.out_of_context, config.unread, of_names
        self.dropout = nn.Dropout(config.dropout)
        self.project, self.project_alone = nn.Linear(token_dim // 2, width), nn.Linear(token_dim // 2, width)
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=config.dropout, batch_first=True, norm_first=True
        )
        self.questions = nn.Parameter(torch.randn(questions, width) / math.sqrt(width))
        self.keys, self.values = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, L, E] and which of them are words, mask [B, L] bool, to [B, Q, width]."""
        in_text, alone = (
            unit(half) * self.dropout(torch.ones_like(half[:, :1])) for half in tokens.float().chunk(2, -1)
        )
        in_text = self.project(in_text)
        if self.training:
            in_text = in_text * (torch.rand(len(tokens), 1, 1, device=tokens.device) >= self.out_of_context)
        words = in_text + self.project_alone(alone)
        x = words + positions(words.shape[1], words.shape[2]).to(words)
        seen = self.layer(x, src_key_padding_mask=~mask)
        score = torch.einsum("qw,blw->bql", self.questions, self.keys(seen))
        score = score.masked_fill(~mask[:, None], -torch.inf)
        if self.training and self.of_names is not None:
            unread = torch.rand(len(tokens), 1, words.shape[1], device=tokens.device) < self.unread
            unread[..., 0] = False  # something is read
            names = score[:, self.of_names].masked_fill(unread, -torch.inf)
            score = torch.cat([score[:, : self.of_names.start], names, score[:, self.of_names.stop :]], 1)
        return torch.einsum("bql,blw->bqw", score.softmax(-1), self.values(words))


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
        of_subjects = slice(c.glances, c.glances * (1 + c.clauses))
        self.reader = TokenReader(token_dim, 2 * c.clauses * c.glances + c.glances, c, of_subjects)
        read = c.glances * c.width
        self.to_subject, self.to_predicate = _log_odds(read, c, c.subjects), _log_odds(read, c, c.predicates)
        self.to_sign = _log_odds(read, c, 1)
        self.maps = nn.Parameter(torch.randn(c.subjects, c.directions, state_dim) / math.sqrt(state_dim))
        self.codes = nn.Parameter(torch.randn(c.predicates, c.code_dim))
        self.of_seen, self.of_said = nn.Linear(c.directions, c.hidden_dim), nn.Linear(c.code_dim, c.hidden_dim)
        self.compare = nn.Sequential(
            nn.ReLU(), nn.Linear(c.hidden_dim, c.hidden_dim), nn.ReLU(), nn.Linear(c.hidden_dim, 1)
        )

    def read(self, tokens: Tensor, mask: Tensor) -> Reading:
        """Reads texts, once for all states: tokens [B, L, E] with mask [B, L] bool."""
        return self.chosen(self.choose(tokens, mask))

    def choose(self, tokens: Tensor, mask: Tensor) -> Choice:
        """What texts choose: tokens [B, L, E] with mask [B, L] bool."""
        c = self.config
        read = self.reader(tokens, mask)  # [B, Q, width]
        of, what = read[:, c.glances :].unflatten(1, (2, c.clauses, c.glances)).flatten(-2).unbind(1)
        sound = 2 + self.to_sign(read[:, : c.glances].flatten(1)).squeeze(-1)  # few texts deny what they say
        return Choice(self.to_subject(of), self.to_predicate(what), sound)

    def chosen(self, choice: Choice) -> Reading:
        """What a choice asks of a state."""
        maps = torch.einsum("bck,krd->bcrd", choice.subjects.softmax(-1), self.maps)
        return Reading(maps, choice.predicates.softmax(-1) @ self.codes, choice.sign.tanh())

    def told(self, said: Tensor) -> Reading:
        """What subjects and predicates ask of a state, without a text: their numbers [B, C, 2]."""
        subjects, predicates = said.unbind(-1)
        return Reading(self.maps[subjects], self.codes[predicates], torch.ones(len(said)))

    @property
    def chooser(self) -> nn.ModuleList:
        """The parts that read a text and choose."""
        return nn.ModuleList([self.reader, self.to_subject, self.to_predicate, self.to_sign])

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
        least = math.log(clauses.shape[-1]) - torch.logsumexp(
            -clauses, -1
        )  # of clauses that say the same: each of them
        return least * reading.sign[:, None]


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


def _log_odds(width: int, config: TextHeadConfig, count: int) -> nn.Sequential:
    """From what was read to the log-odds of so many."""
    return nn.Sequential(nn.Linear(width, config.width), nn.ReLU(), nn.Linear(config.width, count))


def unit(x: Tensor) -> Tensor:
    """Features of root mean square 1."""
    return functional.normalize(x, dim=-1) * math.sqrt(x.shape[-1])


def positions(length: int, width: int) -> Tensor:
    """Sinusoidal positions [L, W] of tokens (1706.03762)."""
    place = torch.arange(length)[:, None]
    rate = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
    return torch.stack([(place * rate).sin(), (place * rate).cos()], -1).flatten(1)
