"""Charts: bars, upright or lying, and pies with a legend; every value is printed."""

from __future__ import annotations

import random

from PIL import Image

from ipcv.bench.scenes.lexicon import COLOURS, WORDS
from ipcv.bench.scenes.objects import SceneObject
from ipcv.bench.scenes.sheet import Colour, Sheet, paper

CHART_KINDS = ("chart-value", "chart-colour", "chart-extreme", "chart-count")

_MARGIN, _ROW, _SQUARE = 16, 40, 28
_SHORT = 5  # letters of a label below an upright bar

Entry = tuple[str, str, int]
"""Label, colour, value."""


def compose_chart(rng: random.Random, size: tuple[int, int]) -> Sheet:
    """A chart of `size` (width, height)."""
    ground, ink = paper(rng)
    sheet = Sheet.blank(rng, Image.new("RGB", size, ground))
    sheet.font_size = min(sheet.font_size, 24)
    rng.choice((_upright, _lying, _pie))(sheet, rng, ink)
    return sheet


def _entries(rng: random.Random, most: int, letters: int) -> list[Entry]:
    """Two to `most` entries; the largest and the smallest value stand out by an eighth."""
    count = rng.randint(2, max(2, min(6, most)))
    labels = rng.sample([word for word in WORDS if len(word) <= letters], count)
    while True:
        values = [rng.randint(10, 99) for _ in range(count)]
        order = sorted(values)
        if order[-1] > 1.125 * order[-2] and order[1] > 1.125 * order[0]:
            colours = rng.sample(list(COLOURS), count)
            return list(zip(labels, colours, values, strict=True))


def _ask(sheet: Sheet, entries: list[Entry], placed: list[tuple[int, int, int]], part: str) -> None:
    """All questions; `placed` has the objects of each entry: label, mark, number."""
    for (label, colour, value), (word, mark, number) in zip(entries, placed, strict=True):
        sheet.ask("chart-value", f"What number is at {label}?", str(value), (word,), number)
        sheet.ask("chart-colour", f"What colour is at {label}?", colour, (word,), mark)
    values = [value for *_, value in entries]
    for name, extreme in (("largest", max(values)), ("smallest", min(values))):
        i = values.index(extreme)
        sheet.ask("chart-extreme", f"What is the {name}?", entries[i][0], source=placed[i][0])
    sheet.ask("chart-count", f"How many {part} are there?", str(len(entries)))


def _upright(sheet: Sheet, rng: random.Random, ink: Colour) -> None:
    """Bars that stand, labels below and values above them."""
    width, height = sheet.image.size
    slot = max(map(sheet.width, (word for word in WORDS if len(word) <= _SHORT))) + 12
    entries = _entries(rng, (width - 2 * _MARGIN) // slot, _SHORT)
    step = min((width - 2 * _MARGIN) // len(entries), rng.randint(slot, slot + 40))
    floor = height - _MARGIN - round(1.5 * sheet.font_size)
    scale = (floor - _MARGIN - 1.5 * sheet.font_size) / max(value for *_, value in entries)
    placed = []
    for k, (label, colour, value) in enumerate(entries):
        left = _MARGIN + k * step
        bar = (left + 4, round(floor - scale * value), left + step - 12, floor)
        mark = _bar(sheet, bar, colour)
        middle = (bar[0] + bar[2]) // 2
        word = sheet.write(
            label, middle - sheet.width(label) // 2, floor + round(1.1 * sheet.font_size), ink
        )
        text = str(value)
        number = sheet.write(text, middle - sheet.width(text) // 2, bar[1] - 5, ink)
        placed.append((word, mark, number))
    sheet.canvas.line((_MARGIN, floor, _MARGIN + step * len(entries), floor), fill=ink, width=2)
    _ask(sheet, entries, placed, "bars")


def _lying(sheet: Sheet, rng: random.Random, ink: Colour) -> None:
    """Bars that lie, labels left and values right of them."""
    width, height = sheet.image.size
    entries = _entries(rng, (height - 2 * _MARGIN) // _ROW, 6)
    step = min((height - 2 * _MARGIN) // len(entries), rng.randint(_ROW, _ROW + 24))
    wall = _MARGIN + max(sheet.width(label) for label, *_ in entries) + 12
    scale = (width - _MARGIN - wall - 3 * sheet.font_size) / max(v for *_, v in entries)
    placed = []
    for k, (label, colour, value) in enumerate(entries):
        top = _MARGIN + k * step
        base = top + (step - 8) // 2 + sheet.font_size * 2 // 5
        word = sheet.write(label, _MARGIN, base, ink)
        bar = (wall, top, round(wall + scale * value), top + step - 8)
        mark = _bar(sheet, bar, colour)
        placed.append((word, mark, sheet.write(str(value), bar[2] + 8, base, ink)))
    sheet.canvas.line((wall, _MARGIN - 6, wall, _MARGIN + step * len(entries)), fill=ink, width=2)
    _ask(sheet, entries, placed, "bars")


def _pie(sheet: Sheet, rng: random.Random, ink: Colour) -> None:
    """A pie, and below or beside it a legend of coloured squares, labels and values."""
    width, height = sheet.image.size
    beside = width >= height + _ROW
    across = min(height, width - 220) if beside else min(width, height - 3 * _ROW, 240)
    across -= 2 * _MARGIN
    left, top = (across + 2 * _MARGIN, _MARGIN) if beside else (_MARGIN, across + 2 * _MARGIN)
    entries = _entries(rng, (height - top - _MARGIN) // _ROW, 6)
    total, angle = sum(value for *_, value in entries), rng.uniform(0, 360)
    pie = (_MARGIN, _MARGIN, _MARGIN + across, _MARGIN + across)
    placed = []
    for k, (label, colour, value) in enumerate(entries):
        turn = 360 * value / total
        sheet.canvas.pieslice(pie, angle, angle + turn, COLOURS[colour], ink)
        angle += turn
        y = top + k * _ROW
        box = (left, y, left + _SQUARE, y + _SQUARE)
        sheet.canvas.rectangle(box, fill=COLOURS[colour])
        mark = sheet.add(SceneObject("shape", box, shape="square", colour=colour))
        base = y + _SQUARE // 2 + sheet.font_size * 2 // 5
        word = sheet.write(label, left + _SQUARE + 12, base, ink)
        number = sheet.write(str(value), left + _SQUARE + 12 + 5 * sheet.font_size, base, ink)
        placed.append((word, mark, number))
    _ask(sheet, entries, placed, "parts")


def _bar(sheet: Sheet, box: tuple[int, int, int, int], colour: str) -> int:
    sheet.canvas.rectangle(box, fill=COLOURS[colour])
    return sheet.add(SceneObject("bar", box, colour=colour))
