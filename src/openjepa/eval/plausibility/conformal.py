"""Split conformal calibration: from the scores of ordinary clips to a p-value that can be trusted.

Given the scores S_1 ... S_n of calibration clips, a new clip of score S gets p = (1 + #{S_i >= S}) / (n + 1). If
it is exchangeable with them, an alarm at p <= level is false with probability level at most, whatever the
distribution of the scores and whatever the model (Vovk, Gammerman, Shafer 2005). Nothing is assumed about a clip
from elsewhere: exchangeability is lost with another camera, and with frames or windows of one clip in the place of
clips. Conditional on one calibration set the false-alarm rate has a Beta distribution; `false_alarm_interval`
counts that in.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.errors import ConfigError, DataError
from openjepa.eval.intervals import Interval
from openjepa.files import read_json, replacing, sealed_json

FILE = "calibration.json"
FEWEST = 19  # clips, below which no alarm at 5 % is possible


def p_values(scores: Sequence[float] | np.ndarray, calibration: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns the conformal p-value of each score [B]; ties count against an alarm.

    Args:
        scores: [B] of new clips, higher is stranger.
        calibration: [n] of clips that are known to be ordinary.

    Raises:
        ConfigError: for no calibration scores, or scores that are not finite.

    >>> p_values([0.5, 2.5, 9.0], [1.0, 2.0, 3.0]).tolist()
    [1.0, 0.5, 0.25]
    """
    known, new = np.sort(np.asarray(calibration, np.float64)), np.asarray(scores, np.float64)
    if not len(known):
        raise ConfigError("`calibration` must hold at least one score; it is empty. Calibrate on possible clips first.")
    if not (np.isfinite(known).all() and np.isfinite(new).all()):
        raise ConfigError("`scores` and `calibration` must be finite; a model whose energies are not is broken.")
    at_least = len(known) - np.searchsorted(known, new, side="left")
    return (1 + at_least) / (len(known) + 1)


def threshold(calibration: Sequence[float] | np.ndarray, level: float) -> float:
    """Returns the score above which a clip raises an alarm at `level`; infinity where n is too small for one.

    It is the ceil((n + 1) (1 - level))-th smallest calibration score.

    >>> threshold([4.0, 1.0, 3.0, 2.0], 0.2), threshold([1.0, 2.0], 0.05)
    (4.0, inf)
    """
    _check_level(level)
    known = np.sort(np.asarray(calibration, np.float64))
    place = math.ceil(round((len(known) + 1) * (1 - level), 9))
    return float(known[place - 1]) if place <= len(known) else math.inf


def false_alarm_interval(level: float, calibrated: int, judged: int, *, confidence: float = 0.95) -> Interval:
    """Returns where the share of false alarms among `judged` clips lies, if calibration holds.

    Both draws are counted: the calibration set (Beta) and the judged clips (binomial), so the number of alarms is
    beta-binomial. The estimate is its mean.

    Args:
        level: stated false-alarm rate, in (0, 1).
        calibrated: calibration clips n.
        judged: possible clips m on which alarms are counted.
        confidence: in (0, 1).
    """
    _check_level(level)
    if calibrated < 1 or judged < 1:
        raise ConfigError(f"`calibrated` and `judged` must be at least 1; got {calibrated} and {judged}.")
    alarming = math.floor(round(level * (calibrated + 1), 9))
    if alarming == 0:
        return Interval(0.0, 0.0, 0.0, confidence)
    a, b = alarming, calibrated + 1 - alarming
    counts = range(judged + 1)
    logs = [_log_choose(judged, x) + _log_beta(x + a, judged - x + b) - _log_beta(a, b) for x in counts]
    cumulative = np.cumsum(np.exp(logs))
    low = int(np.searchsorted(cumulative, 0.5 - confidence / 2))
    high = min(int(np.searchsorted(cumulative, 0.5 + confidence / 2)), judged)
    return Interval(a / (a + b), low / judged, high / judged, confidence)


@dataclass(frozen=True)
class Calibration:
    """What a model's scores are on ordinary clips, with all that is needed to score the next one likewise.

    Attributes:
        scores: [n], one for each calibration clip: the highest energy over time.
        protocol: how clips are cut and scored; a new clip must be scored the same way.
        controls: the same for each control that has one score per clip, by its name.
        untrained: scores [networks][n] of networks of the same architecture that have learned nothing.
        alarms: of the controls that are possible, by name: share of clips that alarm at 5 %.
        source: where the clips are from, in words.
    """

    scores: tuple[float, ...]
    protocol: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, tuple[float, ...]] = field(default_factory=dict)
    untrained: tuple[tuple[float, ...], ...] = ()
    alarms: dict[str, float] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if not self.scores or not np.isfinite(self.scores).all():
            raise ConfigError("`scores` must be finite and at least one; calibrate on possible clips.")

    def p_value(self, score: float) -> float:
        """Returns the p-value of one clip's score."""
        return float(p_values([score], self.scores)[0])

    def save(self, place: Path | str) -> Path:
        """Writes `calibration.json` into the folder of the model, or another `.json` file; returns its path."""
        path = Path(place) if Path(place).suffix == ".json" else Path(place) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_text(sealed_json(asdict(self)))
        return path


def load_calibration(path: Path | str) -> Calibration:
    """Reads a calibration: a file, or the folder that holds `calibration.json`.

    Raises:
        DataError: for a folder without calibration, with the command that makes one, or a damaged file.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"`{path}` must hold `{FILE}`; it has none, and without it no energy is too high. "
            "Make one from possible clips: openjepa surprise MODEL --calibrate FOLDER"
        )
    try:
        content = read_json(file, damaged=ValueError)
        controls = {name: tuple(scores) for name, scores in content["controls"].items()}
        return Calibration(
            tuple(content["scores"]),
            dict(content["protocol"]),
            controls,
            tuple(tuple(scores) for scores in content["untrained"]),
            dict(content["alarms"]),
            str(content["source"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"`{file}` must be a calibration; it is damaged ({error}). Calibrate again.") from error


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"`level` must lie in (0, 1); got {level}.")


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
