"""The user study: a blinded page, and votes that come back as a table."""

import html
import json
import re
import subprocess

import numpy as np
import pytest
import scripts
from browser import BROWSER, Browser, assert_readable
from PIL import Image

from fpinv.errors import UserError
from fpinv.run.folder import RunFolder
from fpinv.tasks.record import Record

build = scripts.load("fpi/table1_user_study/build")
tally = scripts.load("fpi/table1_user_study/tally")

COLOURS = {"fpi": (200, 0, 0), "edict": (0, 200, 0), "null_text": (0, 0, 200)}
HOSTILE = "<!-- <script> </script> & {{ 1 }} edit"


def finished_run(folder, colour, count=6, original=5):
    run = RunFolder(folder)
    for k in range(count):
        images = {
            "original": Image.new("RGB", (8, 8), (original, k, 0)),
            "edit": Image.new("RGB", (8, 8), (*colour[:2], colour[2] + k)),
        }
        texts = {"target": f"{HOSTILE} {k}"}
        run.append(Record(f"e{k}", f"source {k}", {}, {}, images, texts=texts))
    return folder


@pytest.fixture
def runs(tmp_path):
    return {name: finished_run(tmp_path / name, colour) for name, colour in COLOURS.items()}


def study_of(page):
    return json.loads(re.search(r'application/json">(.*?)</script>', page, re.S)[1])


def test_page_is_whole_and_blind(runs):
    page, key = build.build(runs, items=4, seed=0)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert not any(name in page for name in runs)
    study = study_of(page)
    assert len(study["items"]) == 4 and all(len(i["edits"]) == 3 for i in study["items"])
    for item in study["items"]:
        number = int(item["after"].split()[-1])
        assert item["before"] == f"source {number}"
        owners = key["items"][item["id"]]["owners"]
        assert key["items"][item["id"]]["example"] == f"e{number}"
        assert sorted(owners.values()) == sorted(runs)
        for edit in item["edits"]:
            file = runs[owners[edit["token"]]] / "images" / f"e{number}" / "edit.png"
            assert edit["picture"] == build.embedded(file)


def test_seed_determines_the_choice_of_edits(runs):
    choices = [
        [i["example"] for i in build.build(runs, 3, seed)[1]["items"].values()]
        for seed in (0, 0, 1)
    ]
    assert choices[0] == choices[1] != choices[2]


def test_incomparable_runs_are_refused(runs, tmp_path):
    different = {"fpi": runs["fpi"], "x": finished_run(tmp_path / "x", (1, 1, 1), original=9)}
    with pytest.raises(UserError, match="no edit in common"):
        build.build(different, 3, 0)
    with pytest.raises(UserError, match="nowhere: no run's folder"):
        build.build({"fpi": runs["fpi"], "y": tmp_path / "nowhere"}, 3, 0)
    bare = RunFolder(tmp_path / "bare")
    bare.append(Record("e0", "p"))
    with pytest.raises(UserError, match="no pictures of edits; run task=editing"):
        build.build({"fpi": runs["fpi"], "z": bare.path}, 3, 0)
    for arguments, message in ((["a"], "'a' names no method"), (["a=b"], "two methods or more")):
        with pytest.raises(UserError, match=message):
            build.runs_of(arguments)


def votes_of(key, rater, choose):
    """Return the page's export for a rater whose method for item k is ``choose(k)``."""
    votes = []
    for number, (id, item) in enumerate(key["items"].items()):
        token = next(t for t, owner in item["owners"].items() if owner == choose(number))
        votes.append({"item": id, "choice": token, "side": number % 3})
    return {"study": key["study"], "rater": rater, "votes": votes}


def test_tally_of_votes_is_the_table(runs):
    _, key = build.build(runs, 6, 0)
    raters = [votes_of(key, "a", lambda k: "fpi"), votes_of(key, "b", lambda k: "fpi")]
    raters.append(votes_of(key, "c", lambda k: "edict" if k < 3 else "null_text"))
    outcome = tally.tally(key, raters)
    assert outcome.counts.sum() == 18 and outcome.raters == 3
    share = dict(zip(outcome.methods, outcome.preferred, strict=True))
    assert share == pytest.approx({"fpi": 12 / 18, "edict": 3 / 18, "null_text": 3 / 18})
    low, high = outcome.intervals()
    assert ((low <= outcome.preferred) & (outcome.preferred <= high)).all()
    assert (low[0], high[0]) == pytest.approx((2 / 3, 2 / 3))  # every edit has two of its votes
    assert outcome.agreement[0] == pytest.approx(1 / 3)
    text = tally.table(outcome)
    assert "| fpi | edict | null_text |" in text and "66.7 % (66.7 to 66.7)" in text
    assert "18 votes by 3 raters on 6 edits" in text


def test_kappa_of_a_published_example():
    """Fleiss (1971) as tabulated in Wikipedia's article: 14 raters, 10 subjects, kappa .210."""
    rows = (
        "0 0 0 0 14/0 2 6 4 2/0 0 3 5 6/0 3 9 2 0/2 2 8 1 1/"
        "7 7 0 0 0/3 2 6 3 0/2 5 3 2 2/6 5 2 1 0/0 2 2 3 7"
    )
    counts = np.array([[int(n) for n in row.split()] for row in rows.split("/")])
    outcome = tally.Tally(counts, "abcde", {}, 14)
    assert outcome.agreement == (pytest.approx(0.378, abs=1e-3), pytest.approx(0.210, abs=1e-3))


def test_bootstrap_interval_covers_a_known_share():
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(20):
        counts = random.multinomial(3, [0.6, 0.4], size=60)
        low, high = tally.Tally(counts, "ab", {}, 3).intervals()
        hits += low[0] <= 0.6 <= high[0]
    assert hits >= 16


def test_foreign_votes_are_refused(runs):
    _, key = build.build(runs, 2, 0)
    good = votes_of(key, "a", lambda k: "fpi")
    for files, message in (
        ([good, good], "two files of rater 'a'"),
        ([good | {"study": "x"}], "of another study"),
        ([good | {"votes": [{"item": "item000", "choice": "x", "side": 0}]}], "the key lacks"),
        ([good | {"votes": []}], "no votes yet"),
    ):
        with pytest.raises(UserError, match=message):
            tally.tally(key, files)


def test_key_of_the_page_counts_its_votes(runs, tmp_path, capsys):
    out = tmp_path / "out" / "study"
    named = [f"{name}={folder}" for name, folder in runs.items()]
    assert build.main([*named, "--out", str(out), "--items", "5"]) == 0
    key = json.loads(out.with_suffix(".key.json").read_text())
    votes = tmp_path / "votes.json"
    votes.write_text(json.dumps(votes_of(key, "a", lambda k: "edict")))
    assert tally.main([str(out.with_suffix(".key.json")), str(votes)]) == 0
    assert "5 votes by 1 raters on 5 edits" in capsys.readouterr().out
    assert build.main(["fpi", "x=y"]) == tally.main([str(tmp_path / "no"), str(votes)]) == 2
    assert capsys.readouterr().err.count("\n") == 2


SCRIPT = """
<script>
// A rater who likes some pictures, closes the page after 25 votes, and leaves a trace in the end.
addEventListener("load", () => {{
  const liked = new Set({liked});
  const visits = JSON.parse(localStorage.getItem("visits") || "[]");
  document.getElementById("rater").value = "robot {name}";
  document.getElementById("who").requestSubmit();
  const votes = () => Object.keys(state.votes).length;
  const visit = {{ before: votes(), order: state.order.map(o => o.item.id) }};
  const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {{ key }}));
  while (shown < state.order.length && (visits.length || votes() < 25)) {{
    const pictures = [...document.querySelectorAll("#edits img")];
    press(String(pictures.findIndex(picture => liked.has(picture.src)) + 1));
  }}
  press("ArrowLeft");
  visits.push({{ ...visit, after: votes() }});
  localStorage.setItem("visits", JSON.stringify(visits));
  if (visits.length < 2) {{ location.reload(); return; }}
  document.body.insertAdjacentHTML("beforeend", "<pre id=trace></pre>");
  document.getElementById("trace").textContent = JSON.stringify({{ visits, votes: exported() }});
}});
</script>
"""


def rate(page, folder, name, liked):
    """Return the trace of a scripted rater who opens the page in a browser."""
    file = folder / "study.html"
    script = SCRIPT.format(name=name, liked=json.dumps(liked))
    file.write_text(page.replace("</html>", script))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / name}", "--virtual-time-budget=10000"]
    process = subprocess.run(
        [*command, file.as_uri()], capture_output=True, text=True, timeout=300
    )
    trace = re.search(r'<pre id="trace">(.*?)</pre>', process.stdout, re.S)
    assert trace, process.stderr[-2000:]
    return json.loads(html.unescape(trace[1]))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_page_is_readable_at_any_width_and_shows_prompts_as_they_are(runs, tmp_path):
    file = tmp_path / "study.html"
    file.write_text(build.build(runs, 6, 0)[0])
    begin = "$('rater').value = 'x'; $('who').requestSubmit()"
    with Browser(tmp_path / "profile") as browser:
        assert_readable(browser, file)
        assert_readable(browser, file, begin)
        assert browser.ask("$('after').textContent").startswith(HOSTILE)
        assert browser.ask("document.querySelectorAll('#edits img').length") == 3


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_scripted_raters_vote_leave_and_come_back(tmp_path):
    runs = {n: finished_run(tmp_path / n, c, count=60) for n, c in COLOURS.items()}
    page, key = build.build(runs, 60, 0)
    liked = [build.embedded(file) for file in (runs["fpi"] / "images").glob("*/edit.png")]
    a, b = (rate(page, tmp_path, name, liked) for name in "ab")
    for trace in (a, b):
        assert [(v["before"], v["after"]) for v in trace["visits"]] == [(0, 25), (25, 60)]
        assert trace["visits"][0]["order"] == trace["visits"][1]["order"]
    assert a["visits"][0]["order"] != b["visits"][0]["order"]

    outcome = tally.tally(key, [a["votes"], b["votes"]])
    assert outcome.preferred.tolist() == [1, 0, 0] and outcome.counts.sum() == 120
    assert outcome.agreement[0] == 1
    assert len(outcome.sides) == 3 and all(20 <= n <= 60 for n in outcome.sides.values())


def test_swapped_files_and_a_study_of_nothing_are_refused_in_one_line(runs, tmp_path, capsys):
    _, key = build.build(runs, 6, 0)
    votes = {"study": key["study"], "rater": "x", "votes": []}
    with pytest.raises(UserError, match="the first file is no key of a study"):
        tally.tally(votes, [key])
    with pytest.raises(UserError, match="has no rater or no votes"):
        tally.tally(key, [{"study": key["study"]}])
    arguments = [f"{name}={folder}" for name, folder in runs.items()]
    assert build.main([*arguments, "--items", "0"]) == 2
    assert "--items 0 leaves nothing to judge" in capsys.readouterr().err


def test_the_two_files_have_the_whole_name_that_was_given(runs, tmp_path):
    arguments = [f"{name}={folder}" for name, folder in runs.items()]
    assert build.main([*arguments, "--out", str(tmp_path / "study-1.5")]) == 0
    assert {file.name for file in tmp_path.glob("study-1*")} == {
        "study-1.5.html",
        "study-1.5.key.json",
    }
