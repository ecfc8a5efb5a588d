"""The page, made with gradio. It loads nothing from other machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from fpinv.app.workbench import SIDE, InvertedPhoto, Request, Workbench
from fpinv.editing.recipe import PromptToPrompt
from fpinv.errors import UserError
from fpinv.run.messages import explain_and_log
from fpinv.tasks.domains import foreign_pictures
from fpinv.tasks.reconstruction import DIFFERENCE_GAIN

P = ParamSpec("P")
T = TypeVar("T")

FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
"""Fonts of the machine, as gradio would ask a server for its own."""

CSS = """
.gradio-container {max-width: 1280px !important; margin: auto}
#numbers table {width: 100%}
#numbers :is(td, th) {padding: 4px !important; word-break: normal; overflow-wrap: normal}
@media (max-width: 480px) {#numbers table {font-size: 12px}}
"""
CRISP = """
.gradio-container img {image-rendering: pixelated}
#picture img {width: 100%; height: 100%; object-fit: contain}
"""
"""Style that shows small pictures large and in squares."""

LABELS = {
    "original": "original",
    "ceiling": "ceiling",
    "reconstruction": "reconstruction",
    "difference": f"difference × {DIFFERENCE_GAIN}",
}
"""Labels of the pictures of a round trip."""

WORDS = (
    "The *ceiling* is the picture after the autoencoder alone, and the *gap* is what the "
    "reconstruction lacks of it. *Evaluations* are network calls of the inversion; *seconds* are "
    "those of inversion and reconstruction."
)

NO_EDIT = (None, gr.update(value=None, visible=False))
"""No edit, and no place for its mask."""

QUEUE = {"concurrency_id": "model", "concurrency_limit": 1}
"""One job at a time, since an edit takes hold of the model's attention."""


def in_a_line(action: Callable[P, T]) -> Callable[P, T]:
    """Return a function whose errors the page shows in one line."""

    @wraps(action)
    def careful(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return action(*args, **kwargs)
        except Exception as error:
            line = escape(explain_and_log(error, None), quote=False)
            raise gr.Error(line, print_exception=False) from error

    return careful


def launch(bench: Workbench) -> gr.Blocks:
    """Return the page of a model, which is served from now on; ``local_url`` is its address.

    gradio reads port and host from ``GRADIO_SERVER_PORT`` and ``GRADIO_SERVER_NAME``.
    """
    page, small = build(bench), min(bench.model.image_size) < SIDE
    page.launch(
        theme=gr.themes.Default(**FONTS),
        css=CSS + CRISP if small else CSS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=True,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    return page


def build(bench: Workbench) -> gr.Blocks:
    """Return the page of a model."""
    title = f"fpinv · {bench.model.name}"
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.Markdown(f"# {title}\n\n{_limits(bench)}")
        with gr.Row():
            with gr.Column(scale=2):
                request, examples, invert = _request(bench)
            with gr.Column(scale=3):
                trip = [gr.State(), *_round_trip()]
        with gr.Row():
            with gr.Column(scale=2):
                target, edit = _target(bench)
            with gr.Column(scale=3):
                edited = _edited()
        fields, files = [*trip, *edited], [sample[0]["path"] for sample in examples.samples]
        answers = Answers(bench, files)
        start = [*request[:2], *target[:2]]
        examples.click(answers.choose, examples, start, show_progress="hidden")
        request[0].change(answers.clear, None, fields, show_progress="hidden")
        trial = answers.invert, [trip[0], *request], fields
        invert_event = invert.click(*trial, api_name="invert", **QUEUE)
        inverted = edit.click(*trial, api_visibility="private", **QUEUE)
        edit_event = inverted.success(
            answers.edit, [trip[0], *target], edited, api_name="edit", **QUEUE
        )
        drop = answers.drop_outdated, [trip[0], request[0]], fields
        for event in (invert_event, edit_event):
            event.success(*drop, api_visibility="private", show_progress="hidden")
    return page


@dataclass(frozen=True)
class Answers:
    """The answers of the page to what a visitor does.

    Arguments:
        bench: The model with all that the page does.
        files: The examples' pictures, which the page shows already: written anew, they would be
            incomplete for a moment.
    """

    bench: Workbench
    files: Sequence[str]

    def choose(self, number: int) -> tuple[Any, ...]:
        """Return picture, caption, target prompt and words of the example of a number."""
        example = self.bench.examples[number]
        assert example.case is not None
        edit = example.case.edit
        return self.files[number], example.prompt, edit.prompt, "; ".join(edit.blend)

    @in_a_line
    def invert(self, trip: InvertedPhoto | None, *fields: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Return a round trip, its pictures and numbers, and no edit yet."""
        request = Request(*fields)
        if trip is None or trip.request != request:
            trip = self.bench.invert(request)
        pictures = [trip.pictures[name] for name in LABELS]
        return trip, *pictures, f"{trip.table}\n\n{WORDS}", *NO_EDIT

    @in_a_line
    def edit(self, trip: InvertedPhoto | None, *fields: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Return an edit of the last inversion, and its mask."""
        if trip is None:
            raise UserError("there is nothing to edit: invert a picture first")
        edited = self.bench.edit(trip, *fields)
        return edited.picture, gr.update(value=edited.mask, visible=edited.mask is not None)

    def drop_outdated(self, trip: InvertedPhoto, photo: str | None) -> tuple[Any, ...]:
        """Return nothing to show where the picture was changed during the work, else no change."""
        empty = self.clear()
        return empty if photo != trip.request.photo else (gr.skip(),) * len(empty)

    def clear(self) -> tuple[Any, ...]:
        """Return nothing to show, as the picture is another."""
        return None, *[None] * len(LABELS), None, *NO_EDIT


def _limits(bench: Workbench) -> str:
    """Return a sentence about the pictures that the model does not know, if there are any."""
    line = foreign_pictures(bench.model, None)
    return f"{line[0].upper()}{line[1:]}." if line else ""


def _request(bench: Workbench) -> tuple[list[gr.components.Component], gr.Dataset, gr.Button]:
    """Return the fields of an inversion, its examples and its button."""
    names = sorted(bench.inverters, key=lambda name: name != "fpi")
    # As a file, because fpinv reads pictures in its own way.
    picture = gr.Image(
        elem_id="picture",
        label="picture",
        type="filepath",
        image_mode=None,
        format="png",
        sources=["upload", "clipboard"],
        height=SIDE,
    )
    examples = gr.Dataset(
        components=[gr.Image(format="png", visible=False)],
        samples=[[example.open()] for example in bench.examples],
        type="index",
        layout="gallery",
        label="or a scene with an edit",
        visible=bool(bench.examples),
    )
    caption = gr.Textbox(label="caption", lines=2, placeholder="a cat on a sofa")
    with gr.Row():
        numbers = [
            gr.Dropdown(names, value=names[0], label="inverter", min_width=160),
            gr.Slider(1, 100, 50, step=1, label="steps", min_width=160),
            gr.Slider(0, 15, 1, step=0.5, label="guidance", min_width=160),
        ]
    return [picture, caption, *numbers], examples, gr.Button("Invert", variant="primary")


def _round_trip() -> list[gr.components.Component]:
    """Return the places for the pictures of a round trip, and for its numbers."""
    names = list(LABELS)
    pictures = [*_side_by_side(names[:2]), *_side_by_side(names[2:])]
    return [*pictures, gr.Markdown(elem_id="numbers")]


def _side_by_side(names: Sequence[str]) -> list[gr.components.Component]:
    with gr.Row():
        return [_picture(name, LABELS[name]) for name in names]


def _picture(name: str, label: str, **settings: Any) -> gr.Image:  # noqa: ANN401
    """Return the place for a picture that the page shows."""
    return gr.Image(
        elem_id=name,
        label=label,
        format="png",
        interactive=False,
        buttons=["download"],
        **settings,
    )


def _target(bench: Workbench) -> tuple[list[gr.components.Component], gr.Button]:
    """Return the fields of an edit, in the order of its arguments, and its button."""
    recipe, words = PromptToPrompt(), bench.has_words
    target = gr.Textbox(label="edit to", lines=2, placeholder="a dog on a sofa")
    blend = gr.Textbox(
        label="words that may change", info="with semicolons between; empty: all", visible=words
    )
    with gr.Row():
        numbers = [
            gr.Slider(0, 1, recipe.cross_steps, label="cross steps", visible=words, min_width=160),
            gr.Slider(0, 1, recipe.self_steps, label="self steps", min_width=160),
            gr.Slider(0, 15, 3, step=0.5, label="guidance of the edit", min_width=160),
        ]
    return [target, blend, *numbers], gr.Button("Edit", variant="primary")


def _edited() -> list[gr.components.Component]:
    """Return the places for an edit and its mask."""
    with gr.Row():
        return [
            _picture("edit", "edit"),
            _picture("mask", "mask (dark: held)", visible=False),
        ]
