"""Pages: a title, lines of words in one or two columns, and a table of numbers."""

from __future__ import annotations

import random

from PIL import Image

from ipcv.bench.scenes.lexicon import WORDS
from ipcv.bench.scenes.objects import draw_number
from ipcv.bench.scenes.sheet import Colour, Sheet, paper

PAGE_KINDS = ("page-title", "page-after", "page-cell")

_MARGIN = 18
_TWO_COLUMNS = 400  # pixels of width from which a page may have two


def compose_page(rng: random.Random, size: tuple[int, int]) -> Sheet:
    """A page of `size` (width, height)."""
    ground, ink = paper(rng)
    sheet = Sheet.blank(rng, Image.new("RGB", size, ground))
    words = rng.sample(WORDS, len(WORDS))
    top = _title(sheet, rng, words.pop(), ink)
    line = round(1.5 * sheet.font_size)
    room = size[1] - top - _MARGIN
    rows = min(rng.randint(2, 4), (room - line) // (line + 8))
    if room < 5 * line and rng.random() < 0.5:  # no room for both
        rows = 0
    below = rows * (line + 8)
    columns = rng.randint(1, 2) if size[0] >= _TWO_COLUMNS else 1
    width = (size[0] - _MARGIN) // columns
    for column in range(columns):
        left = _MARGIN + column * width
        _lines(
            sheet, rng, words, ink, (left, top, left + width - _MARGIN, size[1] - below - _MARGIN)
        )
    if rows:
        _table(sheet, rng, rows, (_MARGIN, size[1] - below - _MARGIN // 2), ink)
    return sheet


def _title(sheet: Sheet, rng: random.Random, word: str, ink: Colour) -> int:
    """Print the title, and say where the space below it begins."""
    size = rng.randint(32, 38)
    spare = sheet.image.width - 2 * _MARGIN - sheet.width(word, size)
    left = _MARGIN + rng.choice((0, max(0, spare) // 2))
    i = sheet.write(word, left, _MARGIN + size, ink, size)
    sheet.ask("page-title", "What word is the title?", word, source=i)
    return _MARGIN + round(1.4 * size)


def _lines(
    sheet: Sheet,
    rng: random.Random,
    words: list[str],
    ink: Colour,
    area: tuple[int, int, int, int],
) -> None:
    """Fill an area (left, top, right, bottom) with words, which are taken from the list.

    What follows the last word of a line is not asked.
    """
    left, top, right, bottom = area
    gap = max(14, sheet.font_size * 2 // 3)
    for baseline in range(top + sheet.font_size, bottom, round(1.6 * sheet.font_size)):
        x, before = left, -1
        while words and x + sheet.width(words[-1]) <= right:
            word = words.pop()
            i = sheet.write(word, x, baseline, ink)
            if before >= 0:
                named = sheet.objects[before].text
                sheet.ask("page-after", f"What word is after {named}?", word, (before,), i)
            x, before = x + sheet.width(word) + gap, i


def _table(
    sheet: Sheet, rng: random.Random, rows: int, corner: tuple[int, int], ink: Colour
) -> None:
    """Numbers in a grid of lines, its upper left corner at `corner`, down to the bottom."""
    left, top = corner
    height = round(1.5 * sheet.font_size) + 8
    columns = min(rng.randint(2, 4), (sheet.image.width - 2 * left) // (3 * sheet.font_size))
    width = min((sheet.image.width - 2 * left) // columns, rng.randint(84, 130))
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * width, top + row * height
            sheet.canvas.rectangle((x, y, x + width, y + height), outline=ink)
            number = draw_number(rng)
            inset = (width - sheet.width(number)) // 2
            i = sheet.write(number, x + inset, y + height // 2 + sheet.font_size * 2 // 5, ink)
            text = f"What number is in row {row + 1} column {column + 1}?"
            sheet.ask("page-cell", text, number, source=i)
