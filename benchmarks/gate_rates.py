"""How often the gate blocks what is equal, passes what is worse and finds what is worse; beside it, what others do.

    python benchmarks/gate_rates.py --quick     under a minute, small counts; exit code 1 when a target is missed
    python benchmarks/gate_rates.py --full      10,000 runs each; writes results/gate_rates.md and .json
    python benchmarks/gate_rates.py --cost      seconds and memory of one gate() on large runs; exit code as above

The true drop of all simulated data is known (`rates/data.py`), the rule is the product's own (`rates/rules.py`), and
the targets are those of `rates/plan.py`. A target counts as missed when the figure lies beyond it by more than three
standard errors. An interrupted full run goes on where it stopped, as long as the code is the same. Rows on real answers
need `../shared/suites` beside the repository, rows on other tools `pip install 'aigate[rivals]'`; without them the rest
is run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rates import gated, report
from rates.plan import configurations
from rates.rivals import RIVALS
from rates.running import code_digest, one_thread, results_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SOURCES = (HERE / "rates", HERE.parent / "src" / "aigate" / "stats")

COSTS = (
    {"n": 2_000, "metrics": 5, "slices": 5, "looks": 5, "most_s": 3, "most_mib": 500},
    {"n": 100_000, "metrics": 1, "slices": 0, "looks": 1, "most_s": 20, "most_mib": None},
)


def main(arguments: list[str] | None = None) -> int:
    """Run, write, print; 0 when no target is missed."""
    options = _options(arguments)
    started = time.monotonic()
    one_thread()
    if options.mode == "cost":
        return _priced()
    chosen = configurations(quick=options.mode == "quick", rivals=not options.no_rivals)
    if options.only:
        chosen = [c for c in chosen if options.only in f"{c.section}: {c.name}"]
    for rival in sorted({rival.package for rival in RIVALS.values() if rival.installed is None}):
        print(f"{rival} is not installed: no rows on it", file=sys.stderr)
    checkpoint = options.out / "gate_rates.partial.jsonl" if options.mode == "full" else None
    options.out.mkdir(parents=True, exist_ok=True)
    results = results_of(chosen, processes=options.processes, checkpoint=checkpoint, code=code_digest(*SOURCES))
    document: dict[str, Any] = {
        "mode": options.mode,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": report.machine(),
        "processes": options.processes,
        "rows": report.rows_of(chosen, results),
        "agreement": gated.agreement(48 if options.mode == "quick" else 480),
        "costs": _costs() if options.mode == "full" else [],
        "seeds": {f"{c.section}: {c.name}": c.seed for c in chosen},
        "seconds": {f"{c.section}: {c.name}": results[c.key]["seconds"] for c in chosen},
    }
    # Rows that an earlier, interrupted run left in the checkpoint cost their time too.
    counted = sum(document["seconds"].values()) / options.processes
    document["minutes"] = max(counted, time.monotonic() - started) / 60.0
    return _written(document, options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="small counts, for CI")
    mode.add_argument("--full", dest="mode", action="store_const", const="full", help="the committed table")
    mode.add_argument("--cost", dest="mode", action="store_const", const="cost", help="time and memory of gate() alone")
    parser.add_argument("--processes", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--only", default="", help="only configurations whose 'section: name' contains this; printed, not written"
    )
    parser.add_argument("--no-rivals", action="store_true", help="leave other tools out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result (full mode)")
    return parser.parse_args(arguments)


def _costs() -> list[dict[str, Any]]:
    rows = []
    for row in COSTS:
        size = {key: row[key] for key in ("n", "metrics", "slices", "looks")}
        name = f"n = {row['n']:,}, {row['metrics']} metric(s) x {row['slices']} slices, {row['looks']} look(s)"
        rows.append({**row, "name": name, **gated.cost(**size)})
    return rows


def _priced() -> int:
    """Time and memory of whole gates, on the machine as it is; 0 when no target is missed."""
    costs = _costs()
    print(report.cost_table(costs))
    return 0 if all(report.affordable(row) for row in costs) else 1


def _written(document: dict[str, Any], options: argparse.Namespace) -> int:
    page = report.markdown(document)
    if document["mode"] == "full" and not options.only:  # a part must not take the place of the whole table
        (options.out / "gate_rates.md").write_text(page, encoding="utf-8")
        (options.out / "gate_rates.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(page)
    good = report.nothing_missed(document)
    print(f"{document['minutes']:.1f} minutes; {'no target missed' if good else 'TARGETS MISSED'}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
