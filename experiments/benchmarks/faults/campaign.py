"""Break runs in every way, and count what is lost.

python experiments/benchmarks/faults/campaign.py
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from captions import captions
from disk import disk_faults
from flips import bit_flips
from forked import Trial
from kills import kills
from models import model_folders
from pictures import picture_files

CAMPAIGNS: dict[str, Callable[[Path, float], Iterator[Trial]]] = {
    "kills": lambda scratch, share: kills(scratch, round(60 * share)),
    "disk": lambda scratch, share: disk_faults(scratch),
    "pictures": lambda scratch, share: picture_files(scratch),
    "captions": lambda scratch, share: captions(scratch),
    "models": lambda scratch, share: model_folders(scratch),
    "flips": lambda scratch, share: bit_flips(scratch, round(400 * share)),
}
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run campaigns, print and write their table; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("campaigns", nargs="*", default=list(CAMPAIGNS), metavar="campaign",
                        help=f"of {', '.join(CAMPAIGNS)}; all by default")  # fmt: skip
    parser.add_argument("--share", type=float, default=1.0, help="part of the kills and flips")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args(arguments)
    _import_once()
    trials: list[Trial] = []
    for name in options.campaigns:
        with tempfile.TemporaryDirectory() as scratch:
            for trial in CAMPAIGNS[name](Path(scratch).resolve(), options.share):
                trials.append(trial)
                if trial.outcome == "lost":
                    print(f"lost: {trial.campaign}, {trial.fault}: {trial.detail}", flush=True)
    print(table(trials))
    _write(options.results, [*_others(options.results, options.campaigns), *trials])
    return int(any(trial.outcome == "lost" for trial in trials))


def _others(results: Path, campaigns: Sequence[str]) -> list[Trial]:
    """Return the trials of earlier calls, but for the campaigns that were made again."""
    file = results / "trials.json"
    entries = json.loads(file.read_text()) if file.is_file() else []
    return [Trial(**entry) for entry in entries if entry["campaign"] not in campaigns]


def _write(results: Path, trials: Sequence[Trial]) -> None:
    """Write the trials in the order of the campaigns, and their table."""
    ordered = sorted(trials, key=lambda trial: list(CAMPAIGNS).index(trial.campaign))
    results.mkdir(parents=True, exist_ok=True)
    (results / "table.md").write_text(table(ordered) + "\n")
    lines = json.dumps([asdict(trial) for trial in ordered], indent=1)
    (results / "trials.json").write_text(lines + "\n")


def _import_once() -> None:
    """Import what every forked command needs, with one thread, since threads do not fork."""
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    import fpinv.run.job
    import fpinv.tasks.reconstruction  # noqa: F401


def table(trials: Sequence[Trial]) -> str:
    """Return the counts of outcomes as a Markdown table."""
    counts = Counter((trial.campaign, trial.outcome) for trial in trials)
    lines = ["| fault | tried | right | refused in one line | lost |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(trial.campaign for trial in trials):
        right, refused, lost = (counts[name, end] for end in ("right", "refused", "lost"))
        lines.append(f"| {name} | {right + refused + lost} | {right} | {refused} | {lost} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
