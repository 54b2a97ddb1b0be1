"""How well possible is told from impossible: quadruples that were never used before, with controls and false alarms.

    python benchmarks/plausibility.py runs/physics --part pairs
    python benchmarks/plausibility.py runs/physics --part alarms

Calibrates the run on possible clips of the scenes of training. `pairs` judges matched pairs per property by the mean
energy, beside 20 untrained networks, copying and pixel differences; intervals resample scenes. `alarms` counts
false alarms of single clips (maximum energy) in known scenes and in one that neither training nor calibration has
seen, and alarms on clips that are new but possible. The last line is one JSON object.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

from openjepa.config import from_dict
from openjepa.recipes.physics import PhysicsRecipeConfig, measure_alarms, measure_pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", choices=("pairs", "alarms", "all"), default="all")
    parser.add_argument("--quadruples", type=int, default=60, help="of each property; two pairs each")
    parser.add_argument("--networks", type=int, default=20, help="untrained ones beside it")
    parser.add_argument("--possible", type=int, default=1000, help="clips on which false alarms are counted")
    parser.add_argument("--calibration", type=int, default=1999, help="possible clips that thresholds come from")
    parser.add_argument("--offset", type=int, default=50_000, help="numbers of judged clips begin here; vary it once")
    options = parser.parse_args()
    recorded = json.loads((options.run / "config.json").read_text())["recipe"]
    recorded.pop("recipe", None)
    config = from_dict(PhysicsRecipeConfig, recorded)
    judged = dataclasses.replace(
        config.judge,
        quadruples=options.quadruples,
        networks=options.networks,
        possible=options.possible,
        calibration=options.calibration,
        offset=options.offset,
    )
    config = dataclasses.replace(config, judge=judged)
    began, found = time.process_time(), {"run": str(options.run), "offset": options.offset}
    if options.part in ("pairs", "all"):
        found |= measure_pairs(config, options.run)
        for name, (estimate, low, high) in found["accuracy"].items():
            mean, spread = found["untrained"].get(name, (float("nan"), float("nan")))
            print(
                f"{name:<13} {estimate:6.1%} [{low:.1%}, {high:.1%}]  untrained {mean:.1%} (SD {spread:.1%})  "
                + "  ".join(f"{control} {by[name][0]:.1%}" for control, by in found["controls"].items())
            )
    if options.part in ("alarms", "all"):
        found |= measure_alarms(config, options.run)
        for scene, by in found["false_alarms"].items():
            for level, row in by.items():
                low, high = row["expected"]
                print(f"{scene:<13} level {level:<5} alarms {row['alarms']:.2%}  expected [{low:.2%}, {high:.2%}]")
        for kind, by in found["novel_but_possible"].items():
            print(f"{kind:<13} " + "  ".join(f"{scene} {share:.1%}" for scene, share in by.items()))
        for name, row in found["single_clips"].items():
            print(f"{name:<13} single clips: AUROC {row['auroc']:.3f}, alarms at 5 % {row['alarms']:.1%}")
    found["cpu_seconds"] = round(time.process_time() - began, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
