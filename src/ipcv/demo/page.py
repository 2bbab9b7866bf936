"""The page: its parts, and what happens when one of them is used."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ipcv.bench.html import table
from ipcv.core.lines import one_line
from ipcv.demo.actions import DEMO_PIXELS, BothWays, Desk
from ipcv.demo.links import MOST_LETTERS, PageState, from_query, to_query
from ipcv.demo.search import STEPS, cheapest
from ipcv.demo.sliders import methods_of
from ipcv.demo.sources import Sources, example
from ipcv.inputs.prompt import FRAMES
from ipcv.settings.methods import VISION, make

KEEP_SECONDS = 3600
"""After that, uploaded files are removed; all are when the page ends."""

SYSTEM_FONTS = ("system-ui", "sans-serif")
CSS = """
.result p { font-size: 1.1em; }
.result table { width: 100%; border: none !important; }
.result tr { border: none !important; }
.result :is(th, td) {
  border: solid var(--border-color-primary) !important;
  border-width: 0 0 1px !important;
  padding: 0.25rem 0.3rem !important;
  text-align: right;
}
.result :is(th, td):first-child { text-align: left; }
.result td + td { overflow-wrap: anywhere; }
.result :is(th, td:first-child) { overflow-wrap: normal; word-break: normal; }
footer { display: none !important; }
"""

WAITING = "<p>Ask: answers, times, what is kept and where errors are left will be shown here.</p>"


class Page:
    """The parts of the page, built on construction; `blocks` is what Gradio launches.

    Args:
        desk: the model. All visitors share it; nothing else of one reaches another.
        samples: files, and questions about them; the first is shown at the start.
    """

    def __init__(self, desk: Desk, samples: Sequence[tuple[Path, str]]) -> None:
        self.desk = desk
        preset = desk.default()
        self.method = next(name for name, kind in VISION.items() if type(preset) is kind)
        self.sliders = methods_of({name: desk.default(name) for name in VISION}, desk.depth)
        self.blocks = gr.Blocks(
            title="ipcv", analytics_enabled=False, delete_cache=(KEEP_SECONDS, KEEP_SECONDS)
        )
        with self.blocks:
            self._build(samples)
            self._connect(samples[0][1])

    def launch(self, host: str, port: int | None) -> str:
        """Serve the page in the background: its address. Raises `OSError` for a port in use."""
        theme = gr.themes.Default(font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace"))
        self.blocks.queue(default_concurrency_limit=1)
        address: str
        try:
            _, address, _ = self.blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size="20mb",
                enable_monitoring=False,
                ssr_mode=False,
                footer_links=[],
                theme=theme,
                css=CSS,
            )
        except OSError:
            at = f"{host}, port {port or '7860 to 7959'}"
            raise OSError(f"{at}: in use, or no address of this machine") from None
        return address

    def _build(self, samples: Sequence[tuple[Path, str]]) -> None:
        gr.Markdown(
            "# ipcv\nAsk a model about a picture, a drawing or a clip, with and without "
            f"compression of its vision encoder. The model: {self.desk.name}. What has more "
            f"than {DEMO_PIXELS:,} pixels, of a clip in {FRAMES} frames, is scaled down; files "
            "are removed when the page ends."
        )
        with gr.Row():
            with gr.Column(min_width=320):
                self.sources = Sources(samples[0][0])
                self._build_question(samples)
                self._build_settings()
                self.ask = gr.Button("Ask", variant="primary")
                self.search = gr.Button("Find the cheapest setting whose answer does not change")
            with gr.Column(min_width=320):
                self.result = gr.HTML(WAITING, elem_classes="result")
                with gr.Row():
                    self.kept, self.errors = (
                        gr.Image(
                            label=label,
                            interactive=False,
                            min_width=200,
                            elem_classes="drawn",
                            buttons=["fullscreen"],
                        )
                        for label in ("Patches kept", "Errors of the visual tokens")
                    )
                self.link = gr.Markdown()

    def _build_question(self, samples: Sequence[tuple[Path, str]]) -> None:
        self.question = gr.Textbox(samples[0][1], label="Question", max_length=MOST_LETTERS)
        choice, picture, _, clip = self.sources.inputs
        # Not gr.Examples, which makes other parts for a visitor.
        names = gr.Dataset(
            components=["textbox"],
            samples=[[path.stem] for path, _ in samples],
            type="index",
            label="Examples",
        )
        names.click(
            lambda index: example(*samples[index]),
            names,
            [choice, picture, clip, self.question],
            api_visibility="private",
        )

    def _build_settings(self) -> None:
        self.choice = gr.Dropdown(list(VISION), value=self.method, label="Method")
        self.groups: list[gr.Group] = []
        self.scales: dict[tuple[str, str], gr.Slider] = {}
        for name, sliders in self.sliders.items():
            with gr.Group(visible=name == self.method) as group:
                for one in sliders:
                    self.scales[name, one.name] = gr.Slider(
                        one.lowest, one.highest, one.default, step=one.step, label=one.label
                    )
            self.groups.append(group)

    def _connect(self, question: str) -> None:
        scales = list(self.scales.values())
        given = [*self.sources.inputs, self.question, self.choice, *scales]
        shown = [self.result, self.kept, self.errors, self.link]
        model: dict[str, Any] = {"concurrency_id": "model", "api_visibility": "private"}
        self.choice.change(self._show_group, self.choice, self.groups, api_visibility="private")
        gr.on([self.ask.click, self.question.submit], self._compare, given, shown, **model)
        self.search.click(
            self._search, given, [self.choice, *scales], show_progress_on=self.result, **model
        ).success(self._compare, given, shown, **model)
        default = PageState(question, self.method)

        def restore(request: gr.Request) -> list[Any]:
            if not request.query_params:  # somebody may be typing already
                return [gr.skip()] * (2 + len(scales))
            state = from_query(dict(request.query_params), self.sliders, default)
            return [state.question, *self._positions(state)]

        self.blocks.load(
            restore, None, [self.question, self.choice, *scales], api_visibility="private"
        )

    def _show_group(self, method: str) -> list[Any]:
        return [gr.update(visible=name == method) for name in self.sliders]

    def _compare(
        self,
        source: str,
        picture: str | None,
        drawing: str | None,
        clip: str | None,
        question: str,
        method: str,
        *positions: float,
    ) -> tuple[str, Any, Any, str]:
        state = self._state(question, method, positions)
        try:
            settings = {s.name: s.read(state.positions[s.name]) for s in self.sliders[method]}
            base = self.desk.default(method).to_dict()
            setting = make(VISION[method], base | settings)
            file = self.sources.chosen(source, picture, drawing, clip)
            both = self.desk.compare(file, question, setting)
        except (ValueError, OSError) as error:
            raise gr.Error(one_line(error), print_exception=False) from None
        link = f"[Link to this question and these settings](?{to_query(state)})"
        errors = gr.update(value=both.errors, label=f"Errors, up to {both.highest_error:.2f}")
        return _result(both), both.overlay, errors, link

    def _search(
        self,
        source: str,
        picture: str | None,
        drawing: str | None,
        clip: str | None,
        question: str,
        method: str,
        *positions: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way to ask for one
    ) -> list[Any]:
        def on_step(done: int, what: str) -> None:
            progress((done, STEPS), desc=what)

        try:
            file = self.sources.chosen(source, picture, drawing, clip)
            found = cheapest(self.desk, file, question, on_step)
        except (ValueError, OSError) as error:
            raise gr.Error(one_line(error), print_exception=False) from None
        if found is None:
            raise gr.Error("no setting that was tried keeps the answer", print_exception=False)
        settings = found.setting.to_dict()
        positions_found = {
            one.name: one.position(settings[one.name]) for one in self.sliders[found.method]
        }
        return self._positions(PageState(question, found.method, positions_found))

    def _state(self, question: str, method: str, positions: Sequence[float]) -> PageState:
        """What is chosen, of all sliders only those of the method."""
        pairs = zip(self.scales, positions, strict=True)
        return PageState(question, method, {name: at for (of, name), at in pairs if of == method})

    def _positions(self, state: PageState) -> list[Any]:
        """The method, and the position of every slider; those of other methods stay."""
        own = [
            state.positions[name] if of == state.method else gr.skip() for of, name in self.scales
        ]
        return [state.method, *own]


def _result(both: BothWays) -> str:
    """The table, under what to conclude from it."""
    measured, compared = both.report.rows()
    cells = {label: [escape(cell) for cell in row] for label, row in (measured | compared).items()}
    return table(both.report.to_dict()["conclusion"], list(both.report.runs), cells)
