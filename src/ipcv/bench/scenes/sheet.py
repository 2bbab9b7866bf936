"""A picture under way: what is painted, the objects on it, and all questions about them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from ipcv.bench.scenes.drawing import FONTS, load_font
from ipcv.bench.scenes.objects import Box, SceneObject
from ipcv.bench.scenes.questions import Question

Colour = tuple[int, int, int]
PRINT = (20, 28)
"""Font sizes of running print, in pixels."""


@dataclass
class Sheet:
    """An image with its objects and questions; `font` and `font_size` are those of its print."""

    image: Image.Image
    font: str
    font_size: int
    objects: list[SceneObject] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    @classmethod
    def blank(cls, rng: random.Random, image: Image.Image) -> Sheet:
        """A sheet on an image, with a font of its own."""
        return cls(image, rng.choice(FONTS), rng.randint(*PRINT))

    @property
    def canvas(self) -> ImageDraw.ImageDraw:
        """What draws on the image."""
        return ImageDraw.Draw(self.image)

    def add(self, item: SceneObject) -> int:
        """Note an object, and say its index."""
        self.objects.append(item)
        return len(self.objects) - 1

    def width(self, text: str, font_size: int | None = None) -> int:
        """Pixels from the left to the right edge of the ink."""
        left, _, right, _ = load_font(self.font, font_size or self.font_size).getbbox(text)
        return round(right - left)

    def write(
        self,
        text: str,
        left: int,
        baseline: int,
        ink: Colour,
        font_size: int | None = None,
        colour: str = "",
    ) -> int:
        """Print a word or a number, and say its index; `colour` is what it is printed on."""
        size = font_size or self.font_size
        font = load_font(self.font, size)
        edges = font.getbbox(text, anchor="ls")
        box: Box = (
            left,
            round(baseline + edges[1]),
            round(left + edges[2] - edges[0]),
            round(baseline + edges[3]),
        )
        self.canvas.text((left - edges[0], baseline), text, fill=ink, font=font, anchor="ls")
        kind = "number" if text.isdigit() else "word"
        return self.add(
            SceneObject(kind, box, colour=colour, text=text, font=self.font, font_size=size)
        )

    def ask(
        self, kind: str, text: str, answer: str, about: tuple[int, ...] = (), source: int = -1
    ) -> None:
        """Note a question."""
        self.questions.append(Question(kind, text, answer, about, source))


def paper(rng: random.Random) -> tuple[Colour, Colour]:
    """A paper and the ink on it: mostly dark on light."""
    light = rng.randint(225, 255)
    tint = tuple(min(255, max(0, light - rng.randint(0, 14))) for _ in range(3))
    dark = tuple(rng.randint(0, 50) for _ in range(3))
    return (dark, tint) if rng.random() < 0.2 else (tint, dark)  # type: ignore[return-value]
