"""Sources of what is asked about: a picture or a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ipcv.inputs.media import is_video

SOURCES = A_PICTURE, A_CLIP = "Picture", "Clip"
"""What can be asked about."""


def stored(upload: Any) -> str | None:
    """Where an upload lies. Gradio would open it first, without bounds and a message."""
    return None if upload is None else upload.path


def chosen(source: str, *files: str | None) -> Path:
    """The file of one of `SOURCES`, of the files of all of them."""
    file = dict(zip(SOURCES, files, strict=True))[source]
    if file is None:
        raise ValueError(f"there is no {source.lower()}")
    return Path(file)


def show_source(source: str) -> list[Any]:
    """What shows the part of this source and hides those of others."""
    return [gr.update(visible=name == source) for name in SOURCES]


def example(path: Path, question: str) -> list[str | None]:
    """What it is, the picture or the clip, and the question."""
    if is_video(path):
        return [A_CLIP, None, str(path), question]
    return [A_PICTURE, str(path), None, question]
