"""Screens: a window with a title, icons and a cursor, labelled fields and coloured buttons."""

from __future__ import annotations

import random

from ipcv.bench.scenes.drawing import paint_background, paint_shape
from ipcv.bench.scenes.lexicon import COLOURS, SHAPES, WORDS
from ipcv.bench.scenes.objects import SceneObject, draw_number
from ipcv.bench.scenes.sheet import Colour, Sheet, paper

SCREEN_KINDS = ("screen-title", "screen-icon", "screen-field", "screen-active", "screen-button")

_BAR, _ROW, _MARGIN = 38, 48, 14
_ARROW = ((0, 0), (0, 24), (6, 18), (11, 28), (15, 26), (10, 17), (18, 17))
_DARK, _LIGHT = (20, 20, 20), (245, 245, 245)
_ACCENT = (30, 110, 240)


def compose_screen(rng: random.Random, size: tuple[int, int]) -> Sheet:
    """A screen of `size` (width, height)."""
    sheet = Sheet.blank(rng, paint_background(rng, size))
    left, top = rng.randint(4, 12), rng.randint(4, 12)
    right, bottom = size[0] - rng.randint(4, 12), size[1] - rng.randint(4, 12)
    ground, ink = paper(rng)
    sheet.canvas.rectangle((left, top, right, bottom), fill=ground, outline=ink)
    words = rng.sample(WORDS, len(WORDS))
    _title_bar(sheet, rng, words.pop(), (left, top, right))
    rows = (bottom - top - _BAR - 8) // _ROW
    parts = [_icons, _buttons][: max(1, rows - 1)] if rows < 3 else [_icons, _buttons]
    if rows < 3:
        rng.shuffle(parts)
    plan = [*parts, *[_fields] * (1 if rows > len(parts) else 0)]
    rng.shuffle(plan)
    y = top + _BAR + 8
    for part in plan:
        count = min(4, rows - len(parts)) if part is _fields else 1
        part(sheet, rng, words, ink, (left + _MARGIN, y, right - _MARGIN), count)
        y += _ROW * count
    return sheet


def _title_bar(sheet: Sheet, rng: random.Random, word: str, edge: tuple[int, int, int]) -> None:
    left, top, right = edge
    fill, ink = ((60, 64, 72), _LIGHT) if rng.random() < 0.5 else ((205, 210, 218), _DARK)
    sheet.canvas.rectangle((left, top, right, top + _BAR), fill=fill)
    for k in range(3):
        x = right - 18 - 20 * k
        sheet.canvas.ellipse((x - 6, top + _BAR // 2 - 6, x + 6, top + _BAR // 2 + 6), outline=ink)
    i = sheet.write(word, left + _MARGIN, top + _BAR // 2 + sheet.font_size * 2 // 5, ink)
    sheet.ask("screen-title", "What word is the title?", word, source=i)


def _icons(
    sheet: Sheet,
    rng: random.Random,
    words: list[str],
    ink: Colour,
    area: tuple[int, int, int],
    count: int,
) -> None:
    """Shapes in a row; the tip of the cursor is in one of them."""
    left, top, right = area
    side = 36
    shapes = rng.sample(SHAPES, rng.randint(2, 4))
    colours = rng.sample(list(COLOURS), len(shapes))
    step = min((right - left) // len(shapes), rng.randint(60, 100))
    placed = []
    for k, (shape, colour) in enumerate(zip(shapes, colours, strict=True)):
        x = left + k * step
        item = SceneObject("shape", (x, top, x + side, top + side), shape=shape, colour=colour)
        paint_shape(sheet.image, item, rng)
        placed.append(sheet.add(item))
    i = rng.choice(placed)
    x, y = (round(c) + rng.randint(-3, 6) for c in sheet.objects[i].centre)
    arrow = [(x + a, y + b) for a, b in _ARROW]
    sheet.canvas.polygon(arrow, fill=_LIGHT, outline=_DARK)
    sheet.ask("screen-icon", "What shape is at the cursor?", sheet.objects[i].shape, source=i)


def _fields(
    sheet: Sheet,
    rng: random.Random,
    words: list[str],
    ink: Colour,
    area: tuple[int, int, int],
    count: int,
) -> None:
    """A label and a box with a number in each row; one box has the focus."""
    left, top, right = area
    own = [words.pop() for _ in range(count)]
    box_left = left + max(sheet.width(word) for word in own) + 16
    box_right = min(right, box_left + rng.randint(90, 180))
    active = rng.randrange(count)
    for k, word in enumerate(own):
        y = top + k * _ROW
        base = y + 18 + sheet.font_size * 2 // 5
        label = sheet.write(word, left, base, ink)
        outline, width = (_ACCENT, 4) if k == active else ((130, 130, 130), 1)
        sheet.canvas.rectangle((box_left, y, box_right, y + 36), _LIGHT, outline, width)
        number = draw_number(rng)
        i = sheet.write(number, box_left + 10, base, _DARK)
        sheet.ask("screen-field", f"What number is in the field {word}?", number, (label,), i)
        if k == active:
            caret = sheet.objects[i].box[2] + 4
            sheet.canvas.line((caret, y + 6, caret, y + 30), fill=_DARK, width=2)
            if count > 1:
                sheet.ask("screen-active", "What field is active?", word, source=label)


def _buttons(
    sheet: Sheet,
    rng: random.Random,
    words: list[str],
    ink: Colour,
    area: tuple[int, int, int],
    count: int,
) -> None:
    """Words on rounded boxes of distinct colours, as many as there is room for."""
    left, top, right = area
    most = rng.randint(2, 4)
    for colour in rng.sample(list(COLOURS), most):
        width = sheet.width(words[-1]) + 24
        if left + width > right:
            return
        fill = COLOURS[colour]
        sheet.canvas.rounded_rectangle((left, top, left + width, top + 36), 8, fill)
        word = words.pop()
        light = sum(fill) > 380
        base = top + 18 + sheet.font_size * 2 // 5
        i = sheet.write(word, left + 12, base, _DARK if light else _LIGHT, colour=colour)
        sheet.ask("screen-button", f"What word is on the button in {colour}?", word, (i,), i)
        left += width + 16
