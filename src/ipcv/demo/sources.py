"""Sources of what is asked about: a picture, a drawing or a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from ipcv.demo.drawings import CANVAS, CANVAS_SCRIPT, CANVAS_STYLE, decoded
from ipcv.inputs.media import is_video

SOURCES = A_PICTURE, A_DRAWING, A_CLIP = "Picture", "Drawing", "Clip"
"""What can be asked about."""

HEIGHT = 320
"""Of a picture or clip on the page."""


class Sources:
    """A choice and a part of the page for each of `SOURCES`, made on construction.

    Attributes:
        inputs: the choice and the parts, which give an event the arguments of `chosen`.
        drawing: of these the part for drawings.

    Args:
        first: the picture that is there at the start.
    """

    def __init__(self, first: Path) -> None:
        choice = gr.Radio(list(SOURCES), value=A_PICTURE, label="Ask about")
        # Groups are shown and hidden: of a part itself Gradio would make another for a visitor.
        with gr.Group() as shows_picture:
            picture = gr.Image(
                str(first),
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                label=A_PICTURE,
                height=HEIGHT,
                buttons=[],
            )
        with gr.Group(visible=False) as shows_drawing:
            self.drawing = gr.HTML(
                "",
                html_template=CANVAS,
                css_template=CANVAS_STYLE,
                js_on_load=CANVAS_SCRIPT,
            )
        with gr.Group(visible=False) as shows_clip:
            clip = gr.Video(label=A_CLIP, sources=["upload"], height=HEIGHT, buttons=[])
        picture.preprocess = clip.preprocess = _stored
        self.inputs = [choice, picture, self.drawing, clip]
        groups = [shows_picture, shows_drawing, shows_clip]
        choice.change(_show, choice, groups, api_visibility="private")

    def chosen(
        self, source: str, picture: str | None, drawing: str | None, clip: str | None
    ) -> Path:
        """The file of one of `SOURCES`. Raises `ValueError` where there is none."""
        given = {A_PICTURE: picture, A_DRAWING: drawing, A_CLIP: clip}[source]
        if not given:
            raise ValueError(f"there is no {source.lower()}")
        if source != A_DRAWING:
            return Path(given)
        part = self.drawing
        path = save_bytes_to_cache(decoded(given), "drawing.png", part.GRADIO_CACHE)
        part.temp_files.add(path)  # removed with uploads
        return Path(path)


def example(path: Path, question: str) -> list[str | None]:
    """What it is, the picture or the clip, and the question."""
    if is_video(path):
        return [A_CLIP, None, str(path), question]
    return [A_PICTURE, str(path), None, question]


def _stored(upload: Any) -> str | None:
    """Where an upload lies. Gradio would open it first, without bounds and a message."""
    return None if upload is None else upload.path


def _show(source: str) -> list[Any]:
    """What shows the part of this source and hides those of others."""
    return [gr.update(visible=name == source) for name in SOURCES]
