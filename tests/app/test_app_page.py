"""The page: its command line, its answers to a client, and a visit by a browser."""

import gc
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from browser import BROWSER, Browser
from PIL import Image

import fpinv
from fpinv.app.__main__ import main
from fpinv.app.workbench import InvertedPhoto, Request, Workbench
from fpinv.tasks.record import Record

# gradio and what it imports warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore")

PRESS = "[...document.querySelectorAll('button')].find(b => b.textContent.trim() == '{}').click()"
STEPS = """(() => {
    const field = document.querySelector("input[type=number][aria-label*=steps]");
    field.value = 4;
    field.dispatchEvent(new Event("input", {bubbles: true}));
})()"""
PICTURES = ("original", "ceiling", "reconstruction", "difference", "edit", "mask")


def test_missing_gradio_is_one_line_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "fpinv.app.page", raising=False)
    assert main(["model=sd15"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("pip install gradio")


@pytest.mark.parametrize("error", [OSError("no port"), ValueError("invalid literal 'abc'")])
def test_an_address_that_cannot_be_had_is_one_line(monkeypatch, capsys, bench, error):
    def launch(bench):
        raise error

    page = types.SimpleNamespace(launch=launch)
    monkeypatch.setitem(sys.modules, "fpinv.app.page", page)
    gradio = types.ModuleType("gradio")
    gradio.__spec__ = ModuleSpec("gradio", None)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.setenv("GRADIO_SERVER_PORT", "abc")
    assert main(["scenes"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be served at GRADIO_SERVER_PORT=abc" in line and str(error) in line


def test_unknown_argument_is_one_line(capsys):
    assert main(["sd15", "more"]) == 2
    assert capsys.readouterr().err.startswith("error: unrecognized arguments: more")


@pytest.fixture(scope="module")
def bench():
    return Workbench(fpinv.load_model("scenes", device="cpu"))


@pytest.fixture(scope="module")
def page(bench):
    """Return the page, which is served on a free port."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install gradio")
    from fpinv.app.page import launch

    page = launch(bench)
    yield page
    page.close()
    gc.collect()  # here, where warnings of the sockets and loops that gradio leaves are ignored


@pytest.fixture
def client(page):
    from gradio_client import Client

    client = Client(page.local_url, verbose=False)
    yield client
    client.close()


@pytest.fixture
def scene(bench, tmp_path):
    from gradio_client import handle_file

    example = bench.examples[0]
    example.open().save(tmp_path / "scene.png")
    return [handle_file(tmp_path / "scene.png"), example.prompt]


def test_unknown_model_is_one_line(page, capsys):
    assert main(["model=sceens"]) == 2
    assert "sceens" in capsys.readouterr().err.splitlines()[-1]


def test_client_gets_pictures_numbers_and_an_edit(client, bench, scene):
    *pictures, numbers, _, _ = client.predict(*scene, "ddim", 4, 1.0, api_name="/invert")
    assert "| evaluations |" in numbers and "| 4 |" in numbers
    original, *rest = [Image.open(file).convert("RGB") for file in pictures]
    small = original.resize((64, 64), Image.Resampling.NEAREST)
    assert small.tobytes() == bench.examples[0].open().tobytes()
    assert all(picture.tobytes() != original.tobytes() for picture in rest)
    target = bench.examples[0].case.edit
    edited, mask = client.predict(target.prompt, target.blend[0], 0.8, 0.4, 3.0, api_name="/edit")
    assert Path(edited).exists() and mask["visible"] and Path(mask["value"]).exists()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [(0, None, "there is no picture"), (3, 5000, "5000"), (2, "ddmi", "ddmi")],
)
def test_errors_are_one_line(client, scene, place, value, words):
    fields = [*scene, "ddim", 4, 1.0]
    fields[place] = value
    with pytest.raises(Exception, match=words) as caught:
        client.predict(*fields, api_name="/invert")
    assert "Traceback" not in str(caught.value)


def test_words_in_errors_are_no_markup(client, scene):
    client.predict(*scene, "ddim", 4, 1.0, api_name="/invert")
    with pytest.raises(Exception, match="&lt;toy&gt;"):
        client.predict("a photo of a star", "<toy>", 0.8, 0.4, 3.0, api_name="/edit")


def test_results_of_a_picture_that_was_changed_meanwhile_are_dropped(page, bench):
    from fpinv.app.page import Answers

    answers, request = Answers(bench, []), Request("a.png", "a red star", "ddim", 4, 1.0)
    trip = InvertedPhoto(request, Record("picture", "a red star"))
    assert answers.drop_outdated(trip, "b.png") == answers.drop_outdated(trip, None)
    assert answers.drop_outdated(trip, "b.png") == answers.clear()
    kept = answers.drop_outdated(trip, "a.png")
    assert len(kept) == len(answers.clear()) and not set(map(repr, kept)) & {"None"}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
@pytest.mark.parametrize("width", [400, 1600])
def test_visitor_inverts_and_edits_a_scene(page, bench, width, tmp_path):
    grounds, example = set(), bench.examples[0]
    with Browser(tmp_path / "profile") as browser:
        for dark in (False, True):
            browser.visit(page.local_url, width, dark)
            browser.wait("document.querySelectorAll('.gallery-item').length")
            browser.ask("document.querySelector('.gallery-item').click()")
            browser.wait("!!document.querySelector('#picture img')")
            texts = browser.ask("[...document.querySelectorAll('textarea')].map(t => t.value)")
            assert texts == [example.prompt, example.case.edit.prompt, *example.case.edit.blend]
            browser.ask(STEPS)
            browser.ask(PRESS.format("Edit"))
            browser.wait("!!document.querySelector('#edit img')")
            for name in PICTURES:  # those out of sight are not loaded
                browser.ask(f"document.querySelector('#{name}').scrollIntoView()")
                browser.wait(f"document.querySelector('#{name} img').naturalWidth == 256")
            assert browser.ask("document.querySelectorAll('#numbers td')[3].innerText") == "20"
            assert browser.ask("document.documentElement.scrollWidth") <= width
            grounds.add(browser.ask("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2, "a light and a dark one"
        assert browser.complaints == []
        elsewhere = [url for url in browser.requests if not url.startswith(("data:", "blob:"))]
        assert {url[: len(page.local_url)] for url in elsewhere} == {page.local_url}
