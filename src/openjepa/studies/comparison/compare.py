"""The whole comparison in one call: run what is missing, put the figures together, write the report.

    openjepa compare --quick
    openjepa compare --out runs/rivals
    openjepa compare runs/two-rooms --llm.url http://127.0.0.1:8080/v1

Writes `results.json` and `report.html`. `docs/rivals.md` has the rules, the trials and the measured numbers.
"""

import json
import sys
import time
from typing import Any

from openjepa.errors import ConfigError
from openjepa.files import replace_text
from openjepa.studies.comparison.findings import findings
from openjepa.studies.comparison.runner import cells_of, run_cells, scale_of, trials_of
from openjepa.studies.comparison.scale import CompareConfig, Scale
from openjepa.studies.comparison.trials import trial_table
from openjepa.studies.comparison.verdict import verdict


def run(config: CompareConfig, scale: Scale | None = None) -> dict[str, Any]:
    """Runs a comparison, or the trials of its settings; returns what the JSON file holds."""
    if config.run is not None:
        if config.quick or config.tune:
            raise ConfigError("`--quick` and `--tune` train the rivals; leave them out to compare a run with an LLM.")
        from openjepa.studies.comparison.language_players import compare_run

        return compare_run(config.run, config.llm, config.out)
    scale = scale or scale_of(config)
    start = time.perf_counter()
    if config.tune:
        cells = trials_of(scale)
        table = trial_table(run_cells(cells, scale, config))
        replace_text(config.out / "trials.json", json.dumps(table, indent=2) + "\n")
        print("\n".join(table["lines"]), file=sys.stdout, flush=True)
        return table
    from openjepa.studies.comparison.page import write_page

    results = run_cells(cells_of(scale), scale, config)
    found = findings(results, scale, quick=config.quick)
    if config.llm.url is not None:
        from openjepa.studies.comparison.language_cell import language_rows

        found["language"] = language_rows(scale, config)
    found["seconds"] = time.perf_counter() - start
    found["verdict"] = verdict(found)
    replace_text(config.out / "results.json", json.dumps(found, indent=2) + "\n")
    page = write_page(found, config.out / "report.html")
    print(f"\n{found['verdict'].replace('`', '')}\n\nreport: {page}", file=sys.stdout, flush=True)
    return found
