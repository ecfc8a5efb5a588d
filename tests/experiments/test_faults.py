"""The judgement of faults: right, refused in one line, or lost."""

import json

import pytest
from scripts import beside_its_modules


@pytest.fixture
def campaign():
    """Return the campaign, whose modules lie beside it."""
    with beside_its_modules("benchmarks/faults/campaign") as campaign:
        yield campaign


def write(folder, rows):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def row(id, psnr, error=None):
    return {"id": id, "error": error, "psnr": psnr, "seconds_per_image": psnr, "series": [psnr]}


def test_records_are_compared_but_for_times_and_rounding(campaign, tmp_path):
    from forked import compare, rows

    whole = rows(write(tmp_path / "whole", [row("a", 20.0), row("b", 30.0)]))
    close = write(tmp_path / "close", [row("b", 30.0001), row("a", 20.0)])
    other = write(tmp_path / "other", [row("a", 20.0), row("b", 30.1)])
    short = write(tmp_path / "short", [row("a", 20.0), row("b", None, error="damaged")])
    assert compare(close, whole) == ""
    assert compare(other, whole) == "the records of b differ"
    assert compare(short, whole) == "1 of 2 records are missing"
    assert "FileNotFoundError" in compare(tmp_path, whole)


@pytest.mark.parametrize(
    "code, text, difference, outcome",
    [
        (0, "", "", "right"),
        (0, "", "the records of b differ", "lost"),
        (2, "error: no such file", "1 of 2 records are missing", "refused"),
        (1, "error: no such file", "1 of 2 records are missing", "lost"),
        (2, "error: a\nerror: b", "", "lost"),
        (2, "Traceback (most recent call last)\nerror: a", "", "lost"),
        (-9, "", "", "lost"),
    ],
)
def test_a_refusal_is_one_line_and_no_traceback(campaign, code, text, difference, outcome):
    from forked import Output, judged

    assert judged("kills", "a fault", Output(code, text), difference).outcome == outcome


def test_campaigns_that_are_not_made_again_keep_their_trials(campaign, tmp_path, monkeypatch):
    from forked import Trial

    def trials(outcome):
        return lambda scratch, share: iter([Trial("kills", "SIGKILL", outcome)])

    monkeypatch.setattr(campaign, "_import_once", lambda: None)
    (tmp_path / "trials.json").write_text(
        json.dumps([vars(Trial("disk", "full", "refused")), vars(Trial("kills", "x", "lost"))])
    )
    monkeypatch.setitem(campaign.CAMPAIGNS, "kills", trials("right"))
    assert campaign.main(["kills", "--results", str(tmp_path)]) == 0
    written = (tmp_path / "table.md").read_text()
    assert "| kills | 1 | 1 | 0 | 0 |\n| disk | 1 | 0 | 1 | 0 |" in written
    monkeypatch.setitem(campaign.CAMPAIGNS, "kills", trials("lost"))
    assert campaign.main(["kills", "--results", str(tmp_path)]) == 1
