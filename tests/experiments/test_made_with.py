"""Which committed results were made by the weights that are shipped, and that the page says so."""

import json
import re
from pathlib import Path

import fpinv.models.scenes
from fpinv.models.origin import digest

ROOT = Path(__file__).parents[2]
SHIPPED = digest(Path(fpinv.models.scenes.__path__[0]))


def made_by_shipped_weights(file: Path) -> bool:
    """Return whether all jobs of a jobs.json were made by the shipped weights."""
    jobs = json.loads(file.read_text(encoding="utf-8"))
    return all(job["summary"].get("model_digest") == SHIPPED for job in jobs)


def test_page_of_results_says_which_were_made_by_the_shipped_weights():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    listed = re.search(r"<!-- shipped weights -->(.*?)<!-- end -->", page, re.DOTALL)[1]
    files = sorted((ROOT / "experiments").glob("*/*/results/jobs.json"))
    current = {file.parts[-3] for file in files if made_by_shipped_weights(file)}
    assert set(re.findall(r"`(\w+)`", listed)) == current
