"""Count the votes of a user study.

python experiments/fpi/table1_user_study/tally.py study.key.json votes-*.json
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpinv.errors import UserError, command
from fpinv.reporting.tables import markdown
from fpinv.run.files import read_json

DRAWS = 4_000  # resamples of the edits behind an interval


@dataclass(frozen=True)
class Tally:
    """The outcome of a study.

    Arguments:
        counts: Votes by edit and method, shape (items, methods), items without a vote left out.
        methods: Names of the columns.
        sides: Votes by side.
        raters: Number of raters.
    """

    counts: np.ndarray
    methods: Sequence[str]
    sides: Mapping[int, int]
    raters: int

    @property
    def preferred(self) -> np.ndarray:
        """Return the share of all votes that each method got."""
        return self.counts.sum(0) / self.counts.sum()

    def intervals(self, seed: int = 0) -> np.ndarray:
        """Return the ends of the 95 % intervals of these shares, (2, methods).

        They are bootstrapped over edits: votes for one edit by several raters are not independent.
        """
        random = np.random.default_rng(seed)
        n = len(self.counts)
        resampled = random.multinomial(n, np.full(n, 1 / n), size=DRAWS) @ self.counts
        return np.percentile(resampled / resampled.sum(1, keepdims=True), [2.5, 97.5], axis=0)

    @property
    def agreement(self) -> tuple[float, float]:
        """Return the share of agreeing pairs of raters, and Fleiss' kappa; nan without a pair.

        References:
            Measuring nominal scale agreement among many raters (Fleiss, 1971),
            https://doi.org/10.1037/h0031619.
        """
        votes = self.counts.sum(1)
        several = votes > 1
        if not several.any():
            return float("nan"), float("nan")
        counts, votes = self.counts[several], votes[several]
        pairs = votes * (votes - 1)
        observed = float((((counts**2).sum(1) - votes) / pairs).mean())
        expected = float(((counts.sum(0) / counts.sum()) ** 2).sum())
        chance = 1 - expected
        return observed, (observed - expected) / chance if chance else float("nan")


def tally(key: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Tally:
    """Count exported votes by the key of their study.

    Raises:
        UserError: votes of another study or for a picture that it does not have, or two exports
            of one rater.
    """
    if not {"study", "items", "methods"} <= key.keys():
        raise UserError("the first file is no key of a study: give <name>.key.json first")
    items, methods = list(key["items"]), list(key["methods"])
    counts, sides = np.zeros((len(items), len(methods)), int), Counter[int]()
    raters: set[str] = set()
    for votes in files:
        if votes.get("study") != key["study"]:
            raise UserError(f"the votes of {votes.get('rater')!r} are of another study")
        if not {"rater", "votes"} <= votes.keys():
            raise UserError("a file of votes has no rater or no votes: export it anew")
        if votes["rater"] in raters:
            raise UserError(f"there are two files of rater {votes['rater']!r}: leave one out")
        raters.add(votes["rater"])
        for vote in votes["votes"]:
            owner = key["items"].get(vote["item"], {}).get("owners", {}).get(vote["choice"])
            if owner is None:
                raise UserError(f"rater {votes['rater']!r} chose a picture that the key lacks")
            counts[items.index(vote["item"]), methods.index(owner)] += 1
            sides[vote["side"]] += 1
    if not counts.any():
        raise UserError("there are no votes yet")
    return Tally(counts[counts.any(1)], methods, dict(sorted(sides.items())), len(raters))


def table(outcome: Tally) -> str:
    """Return the outcome as FPI's Table 1, in Markdown."""
    low, high = 100 * outcome.intervals()
    cells = [
        f"{100 * share:.1f} % ({a:.1f} to {b:.1f})"
        for share, a, b in zip(outcome.preferred, low, high, strict=True)
    ]
    agree, kappa = outcome.agreement
    total = int(outcome.counts.sum())
    sides = ", ".join(f"{100 * n / total:.0f} %" for n in outcome.sides.values())
    return (
        f"{markdown(['', *outcome.methods], [['preferred (95 %)', *cells]])}\n\n"
        f"{total} votes by {outcome.raters} raters on {len(outcome.counts)} edits; two raters "
        f"agree on {100 * agree:.0f} % (Fleiss' kappa {kappa:.2f}); votes by side: {sides}."
    )


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("key", type=Path, help="study.key.json")
    parser.add_argument("votes", type=Path, nargs="+", help="what the raters saved")
    options = parser.parse_args(arguments)
    print(table(tally(read_json(options.key), [read_json(file) for file in options.votes])))


if __name__ == "__main__":
    sys.exit(main())
