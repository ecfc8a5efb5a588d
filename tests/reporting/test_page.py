"""The report: one page with everything in it, the paper's numbers marked as theirs."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
import scripts
from browser import BROWSER, Browser, assert_readable
from finished_runs import finish
from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.page import collect
from fpinv.reporting.page.html import embedded, from_markdown
from fpinv.reporting.page.report import NOTICE
from fpinv.tasks.record import Record

report = scripts.load("report")
METRICS = {"psnr": 25.0, "ceiling_psnr": 30.0, "gap": 5.0, "latent_psnr": 30.0, "nfe_calls": 50}


def pictures(side, colour):
    names = ("original", "ceiling", "reconstruction")
    return {name: Image.new("RGB", (side, side), colour) for name in names}


@pytest.fixture
def runs(tmp_path):
    for k, inverter in enumerate(("ddim", "fpi")):
        records = [
            Record(f"e{j}", f"a <!-- <script> {j}", METRICS, {}, pictures(16, (90 * j, 9, 200)))
            for j in range(2)
        ]
        overrides = ["experiment=reconstruction_table", f"inverter={inverter}"]
        header = {"commit": "0123abc", "dataset": "scenes", "task": "reconstruction"}
        folder = tmp_path / "runs" / "all" / str(k)
        finish(folder, records, overrides, choices={"inverter": inverter}, header=header)
    return tmp_path / "runs"


VOID = ("html", "meta", "link", "img", "br", "source")


class Reader(HTMLParser):
    """Notes the sources and links of a page, and the tags that it leaves open."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.sources += [values[k] for k in ("src", "srcset", "data") if k in values]
        self.links += [values["href"]] if "href" in values else []
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


def written(tmp_path, *folders):
    out = tmp_path / "out" / "report"
    assert report.main([*map(str, folders), "--out", str(out)]) == 0
    return out.with_suffix(".html").read_text(), out.with_suffix(".md").read_text()


def test_page_is_whole_and_needs_nothing_else(runs, tmp_path):
    page, _ = written(tmp_path, runs)
    reader = Reader(page)
    assert not reader.open
    sources = [source for source in reader.sources if source]
    assert len(sources) == 2 * 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", page)
    assert "a &lt;!-- &lt;script&gt; 1" in page and page.count("<script>") == 1
    for fact in ("0123abc", "w = 1, N = 20", "25.00", "inverter fpi"):
        assert fact in page


def test_page_links_to_the_records(runs, tmp_path):
    page, text = written(tmp_path, runs)
    files = [link for link in Reader(page).links if not link.startswith(("#", "data:"))]
    assert len(files) == 3 and all((tmp_path / "out" / file).is_file() for file in files)
    assert (tmp_path / "out" / text.rpartition("Records: ")[2].split("\n")[0]).is_dir()


def test_page_marks_the_numbers_of_the_paper(runs, tmp_path):
    page, text = written(tmp_path, runs)
    paper = unescape(re.search(r'<aside class="block paper[^>]*>.*?</aside>', page, re.S)[0])
    assert page.count("<aside") == 1 and NOTICE in paper and "Fig. 3" in paper
    assert f"**{NOTICE}.**" in text and "> FPI, Fig. 3" in text
    for file in report.EXPERIMENTS.glob("*/paper.md"):
        assert file.read_text().startswith(("FPI, ", "IFE, ")), "it says whose numbers they are"


def test_section_of_results_equals_that_of_their_runs(runs, tmp_path):
    of_runs = collect(runs, report.EXPERIMENTS)
    of_results = collect(runs / "results", report.EXPERIMENTS)
    assert of_results.text == of_runs.text and of_results.title == of_runs.title
    assert [job.name for job in of_results.jobs] == ["all/0", "all/1"]
    assert len(of_runs.galleries) == 1 and not of_results.galleries
    page, text = written(tmp_path, runs, runs / "results")
    assert page.count("<section") == 2 + 1 and text.count("\n## The reconstruction table\n") == 2
    assert len(set(re.findall(r'<section id="([^"]+)"', page))) == 2 + 1, "with the glossary"


def test_page_embeds_the_pictures_of_results(tmp_path):
    folder = tmp_path / "demo" / "results"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "p.png")
    (folder / "results.md").write_text("all\n\n![p](p.png)\n")
    page, text = written(tmp_path, folder)
    assert [s[:15] for s in Reader(page).sources if s] == ["data:image/png;"]
    link = re.search(r"!\[p\]\((.*?)\)", text)[1]
    assert (tmp_path / "out" / link).resolve() == folder / "p.png"


def test_a_figure_follows_the_scheme_of_the_reader(tmp_path):
    for name, colour in (("f.png", "white"), ("f.dark.png", "black"), ("p.png", "red")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    html = from_markdown("![f](f.png)\n\n![p](p.png)", tmp_path)
    reader = Reader(html)
    assert not reader.open and html.count("<picture>") == html.count("<source") == 1
    assert reader.sources == [embedded(tmp_path / f) for f in ("f.dark.png", "f.png", "p.png")]
    assert 'media="(prefers-color-scheme: dark)"' in html


def test_headings_of_metrics_lead_to_their_meaning(runs, tmp_path):
    page, text = written(tmp_path, runs)
    targets = {link for link in Reader(page).links if link.startswith("#metric")}
    assert {"#metrics", "#metric-psnr", "#metric-gap", "#metric-nfe_calls"} <= targets
    assert all(f'id="{target[1:]}"' in page for target in targets)
    assert "- `gap`: what the reconstruction lacks of the ceiling (dB)" in text.splitlines()


def test_section_of_a_plain_sweep_names_the_varied_settings(tmp_path):
    for k, steps in enumerate((10, 20)):
        strip = {"strip": Image.new("RGB", (600, 300 // (k + 1)))}
        record = Record("e0", "p", {"psnr": 20.0 + k, "unknown": 1.0}, {}, strip)
        header = {"steps": 20, "task": "interpolation"}
        finish(tmp_path / "mine" / str(k), [record], [f"task.points={steps}"], header=header)
    section = collect(tmp_path / "mine", report.EXPERIMENTS)
    assert section.title.startswith("Interpolation: ") and section.title.endswith("by task.points")
    assert section.paper is None and section.keys == ["task.points"]
    assert section.text.splitlines()[0] == "| inverter | task.points | n | psnr |"
    tall, wide = section.galleries[0].examples[0][1]
    assert not tall.wide and wide.wide
    assert tall.data.startswith("data:image/jpeg") and wide.data.startswith("data:image/png")


def test_report_on_foreign_folders_ends_in_one_line(runs, tmp_path, capsys):
    finish(runs / "other" / "0", [Record("e", "p", METRICS)], ["experiment=frontier"])
    for folder, message in ((runs, "several experiments"), (tmp_path / "no", "no finished runs")):
        with pytest.raises(UserError, match=message):
            collect(folder, report.EXPERIMENTS)
        assert report.main([str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_markdown_shows_html_and_loads_nothing():
    assert "<b>" not in from_markdown("<b>x</b>") and 'src="http' not in from_markdown(
        "![p](http://x/p.png)"
    )


IN_VIEW = """[...document.querySelectorAll('.block td')].every(cell => {
  const place = cell.getBoundingClientRect();
  return place.left >= 0 && place.right <= innerWidth && place.width > 0;
})"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_costs_are_in_view_on_a_phone_without_scrolling(tmp_path):
    metrics = {**METRICS, "ssim": 0.5, "lpips_alex": 0.2, "seconds_per_image": 12.34}
    for k in range(2):
        record = Record("e", "p", metrics)
        finish(tmp_path / "mine" / str(k), [record], [f"steps={k}"], header={"task": "editing"})
    written(tmp_path, tmp_path / "mine")
    with Browser(tmp_path / "profile") as browser:
        browser.open(tmp_path / "out" / "report.html", 400)
        assert browser.ask("document.querySelectorAll('.block td').length") >= 2 * 8
        assert browser.ask(IN_VIEW)
        labels = browser.ask("[...document.querySelectorAll('td')].map(c => c.dataset.label)")
        assert "nfe_calls" in labels and "seconds_per_image" in labels


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_page_is_readable_at_any_width_and_by_keys(runs, tmp_path):
    written(tmp_path, runs)
    file = tmp_path / "out" / "report.html"
    with Browser(tmp_path / "profile") as browser:
        assert_readable(browser, file)
        browser.ask("document.querySelector('.zoom').focus()")
        browser.press("Enter")
        assert browser.ask("document.getElementById('large').open")
        browser.press("Escape")
        assert not browser.ask("document.getElementById('large').open")
        reached = set()
        for _ in range(12):
            browser.press("Tab")
            reached.add(browser.ask("document.activeElement.className"))
        assert "zoom" in reached and browser.complaints == []
        prompts = browser.ask("[...document.querySelectorAll('.prompt')].map(p => p.textContent)")
        assert prompts == ["a <!-- <script> 0", "a <!-- <script> 1"]


def test_a_run_of_its_own_has_a_page(run, tmp_path):
    assert run("limit=1", "hydra.run.dir=alone", "tracking.project='a|[b]'") == 0
    page, text = written(tmp_path, tmp_path / "alone")
    assert "## Reconstruction: fpi on " in text and "alone" not in text.partition("Records:")[0]
    assert "| fpi | 1 | 6.00 dB | 50.0 |" in text and "inverter fpi" not in page
    assert not Reader(page).open
