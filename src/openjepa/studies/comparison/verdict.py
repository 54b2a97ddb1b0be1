"""What the figures say, in words: where the latent predictor wins, where it loses, and what cannot be told."""

from collections.abc import Mapping
from typing import Any

from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.scale import WORDS

OURS = rivals.LATENT
Found = Mapping[str, Any]


def verdict(found: Found) -> str:
    """The paragraph at the top of the report."""
    rate = {m: found["figures"][m]["success"] for m in found["methods"]}
    clean, noisy = rate[OURS]["clean"]["all"]["mean"], rate[OURS]["television"]["all"]["mean"]
    lines = [
        f"Planning in a latent that is trained to predict itself and to keep actions readable reaches {_pc(clean)} of "
        f"the goals in the clean world and {_pc(noisy)} under noisy television."
    ]
    for condition in ("clean", "agents", "television"):
        better, worse, open_ = _sorted_rivals(found, condition)
        lines.append(_sentence(WORDS[condition], better, worse, open_))
    lines.append(_ablation(found))
    losses = len(defeats(found))
    count = "one measured column is" if losses == 1 else f"{losses} measured columns are"
    lines.append(
        f"It is not the best everywhere: {count} led by another method (listed below)."
        if losses
        else "No measured column is led by another method."
    )
    return " ".join(line for line in lines if line)


def _sorted_rivals(found: Found, condition: str) -> tuple[list[str], list[str], list[str]]:
    """Rivals that it beats, that beat it, and that cannot be told apart, by the interval of the difference."""
    better: list[str] = []
    worse: list[str] = []
    undecided: list[str] = []
    for name, gap in found["differences"][condition].items():
        low, high = gap["ci95"]
        (better if low > 0 else worse if high < 0 else undecided).append(name)
    return better, worse, undecided


def _sentence(where: str, better: list[str], worse: list[str], undecided: list[str]) -> str:
    parts = []
    if better:
        parts.append(f"it beats {_names(better)}")
    if worse:
        parts.append(f"it loses to {_names(worse)}")
    if undecided:
        parts.append(f"it cannot be told from {_names(undecided)}")
    return f"{where[0].upper()}{where[1:]}: {'; '.join(parts)}."


def _ablation(found: Found) -> str:
    """What the inverse-dynamics term and the prediction are worth, under noise."""
    rate = {m: found["figures"][m]["success"]["television"]["all"]["mean"] for m in found["methods"]}
    return (
        f"The terms, under noisy television: with inverse dynamics {_pc(rate[rivals.LATENT])}, without "
        f"{_pc(rate[rivals.LATENT_ONLY])}, inverse dynamics alone {_pc(rate[rivals.INVERSE])}; pixels with it "
        f"{_pc(rate[rivals.PIXELS])}, without {_pc(rate[rivals.PIXELS_ONLY])}. So the bare claim that predicting "
        "latents is enough must be read against these five numbers."
    )


def columns(found: Found) -> dict[str, dict[str, float]]:
    """Every judged column: name to the score of each method, higher is better."""
    figures, table = found["figures"], dict[str, dict[str, float]]()
    for condition in found["conditions"]:
        for goals in ("short", "long"):
            name = f"success, {goals} goals, {WORDS[condition]}"
            table[name] = {m: figures[m]["success"][condition][goals]["mean"] for m in found["methods"]}
    for condition in found["floors"]:
        table[f"linear probe R2, {WORDS[condition]}"] = {
            m: figures[m]["probe_r2"][condition]["linear"]["mean"] for m in found["methods"]
        }
        table[f"rollout error at the last step (px, lower is better), {WORDS[condition]}"] = {
            m: -figures[m]["rollout_px"][condition]["frozen"]["predicted"][-1]
            for m in found["methods"]
            if condition in figures[m]["rollout_px"]
        }
    for name in next(iter(found["physics"].values()))["trained"]:
        table[f"surprise AUROC, {name}"] = {
            m: found["physics"][m]["trained"][name]["auroc"]["mean"] for m in found["physics"]
        }
    table["milliseconds per decision (lower is better)"] = {m: -figures[m]["ms_per_decision"] for m in found["methods"]}
    return table


def defeats(found: Found) -> list[tuple[str, str, float, float]]:
    """Columns that no latent method leads: (column, who leads, its score, the best latent score)."""
    lost = []
    for name, scores in columns(found).items():
        ours = max(score for m, score in scores.items() if m in (rivals.LATENT, rivals.LATENT_ONLY))
        leader = max(scores, key=lambda m: scores[m])
        if scores[leader] > ours + 1e-9:
            lost.append((name, leader, abs(scores[leader]), abs(ours)))
    return lost


def _names(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _pc(share: float) -> str:
    return f"{100 * share:.0f} %"
