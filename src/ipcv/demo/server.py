"""The page with a folder of its own, which goes when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipcv.demo.actions import Desk
    from ipcv.demo.page import Page


def require_gradio() -> None:
    """Raise `ImportError` where Gradio is missing, or PyAV for clips."""
    if find_spec("gradio") is None or find_spec("av") is None:
        raise ImportError("ipcv demo needs Gradio and PyAV: pip install 'ipcv[demo]'")


@contextmanager
def opened(desk: Desk) -> Iterator[Page]:
    """The page of a model. Examples, uploads and results lie in a folder, removed at the end."""
    require_gradio()
    with TemporaryDirectory(prefix="ipcv-demo-") as folder:
        files, samples = Path(folder) / "files", Path(folder) / "samples"
        samples.mkdir()
        os.environ |= {  # read when Gradio is imported, and whenever it stores a file
            "GRADIO_TEMP_DIR": str(files),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        from ipcv.demo.page import Page
        from ipcv.demo.samples import draw_samples

        page = Page(desk, draw_samples(samples))
        try:
            yield page
        finally:
            page.blocks.close(verbose=False)
