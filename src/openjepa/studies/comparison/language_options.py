"""Options of a language model that takes part in a comparison."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openjepa.errors import ConfigError


@dataclass(frozen=True)
class LanguageConfig:
    """A language model that takes part.

    Attributes:
        url: base address of an OpenAI-compatible endpoint, such as `http://127.0.0.1:8080/v1`; None leaves it out.
        model: name, as the endpoint knows it.
        key_file: holds the key; None sends none.
        sees: pictures, or the numbers of states (which the world model is not shown).
        answers: by calling the tool `act`, or in plain text.
        actions: of the world that one decision may bring.
        rounds: replies of one decision, those that use tools among them.
        timeout: seconds of one request.
        max_tokens: of one reply.
        prompt_price: of a million tokens of input, in any currency.
        completion_price: of a million tokens of output.
        pairs: of start and goal.
        budget: steps in which a goal must be reached.
        pairs_seed: of the pairs.
        manifest: pairs to play instead.
    """

    url: str | None = None
    model: str = "default"
    key_file: Path | None = None
    sees: Literal["pictures", "text"] = "pictures"
    answers: Literal["tool", "plain"] = "tool"
    actions: int = 1
    rounds: int = 8
    timeout: float = 60.0
    max_tokens: int = 512
    prompt_price: float = 0.0
    completion_price: float = 0.0
    pairs: int = 12
    budget: int = 50
    pairs_seed: int = 7001
    manifest: Path | None = None

    def __post_init__(self) -> None:
        if min(self.pairs, self.budget) < 1:
            raise ConfigError("`pairs` and `budget` must be at least 1.")
