"""Every rule that looks at features, against loops over Python lists."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ipcv import IPCV
from ipcv.vision.adapters.batched import _positions
from ipcv.vision.selection import Layout, choose
from ipcv.vision.selectors import SELECTORS

CELLS = {"stratified", "medoid"}


def mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def relative(before, after, places):
    return [math.dist(a, b) / math.hypot(*b) for b, a in zip(before, after, strict=True)]


def norm(before, after, places):
    return [math.hypot(*a) for a in after]


def attention(before, after, places):
    return [sum(cosine(a, b) for b in after) / len(after) for a in after]


def by_turns(scores, places):
    """Minus the place of each row in the order in which the cells give theirs."""
    cell = [(f, y // 2, x // 2) for f, y, x in places]
    better = [
        sum(cell[j] == cell[i] and (-scores[j], j) < (-scores[i], i) for j in range(len(scores)))
        for i in range(len(scores))
    ]
    order = sorted(range(len(scores)), key=lambda i: (better[i], -scores[i], i))
    return [-float(order.index(i)) for i in range(len(scores))]


def stratified(before, after, places):
    return by_turns([math.dist(a, b) for b, a in zip(before, after, strict=True)], places)


def medoid(before, after, places):
    cell = [(f, y // 2, x // 2) for f, y, x in places]
    means = {c: mean([a for a, d in zip(after, cell, strict=True) if d == c]) for c in set(cell)}
    return by_turns([-math.dist(a, means[c]) for a, c in zip(after, cell, strict=True)], places)


def k_center(before, after, places):
    center = mean(after)
    picks = [min(range(len(after)), key=lambda i: math.dist(after[i], center))]
    while len(picks) < len(after):
        rest = [i for i in range(len(after)) if i not in picks]
        picks.append(max(rest, key=lambda i: min(math.dist(after[i], after[j]) for j in picks)))
    return [-float(picks.index(i)) for i in range(len(after))]


def duplicates(before, after, places):
    return [
        min((math.dist(a, b) for b in after[:i]), default=math.inf) for i, a in enumerate(after)
    ]


def peaks(before, after, places):
    change = [math.dist(a, b) for b, a in zip(before, after, strict=True)]
    higher = [[b for b, other in zip(after, change, strict=True) if other > c] for c in change]
    return [
        c * min((math.dist(a, b) for b in others), default=math.inf)
        for a, c, others in zip(after, change, higher, strict=True)
    ]


def unexplained(before, after, places):
    change = [minus(a, b) for b, a in zip(before, after, strict=True)]
    errors = []
    for i, own in enumerate(before):
        near = sorted(range(len(before)), key=lambda j: math.dist(own, before[j]))[:11]
        errors.append(math.hypot(*minus(change[i], mean([change[j] for j in near]))))
    return errors


def redundancy(before, after, places):
    center = mean(after)
    states = [minus(a, center) for a in after]
    left, scores, turn = list(range(len(after))), [float(len(after))] * len(after), 0
    while len(left) > 1:
        similarity = {i: max(cosine(states[i], states[j]) for j in left[1::2]) for i in left[::2]}
        gone = sorted(similarity, key=lambda i: -similarity[i])[: (len(left) + 2) // 4]
        for i in gone:
            scores[i] = turn + (1 - similarity[i]) / 3
        left, turn = [i for i in left if i not in gone], turn + 1
    return scores


def contrast(before, after, places):
    cell = [(f, y // 2, x // 2) for f, y, x in places]
    first = [cell.index(c) for c in cell]
    return [math.inf if i == j else math.dist(after[i], after[j]) for i, j in enumerate(first)]


RULES = [
    attention,
    contrast,
    duplicates,
    k_center,
    medoid,
    norm,
    peaks,
    redundancy,
    relative,
    stratified,
    unexplained,
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


def score(name, before, after, places):
    lengths = (len(after),)
    layout = Layout(lengths, lengths, lambda: torch.tensor(places))
    return SELECTORS[name.replace("_", "-")](before, after, layout)


@each_rule
@given(st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 6)), st.integers(0, 1000))
def test_equals_loops(rule, grid, seed):
    if rule is medoid:  # of two patches, neither is nearer to their mean
        grid = grid[0], 2 * grid[1], 2 * grid[2]
    places = torch.cartesian_prod(*map(torch.arange, grid)).view(-1, 3).tolist()
    generator = torch.Generator().manual_seed(seed)
    before, after = torch.randn(2, len(places), 3, generator=generator, dtype=torch.float64)
    assume(rule is not k_center or len(places) != 2)  # the same
    expected = rule(before.tolist(), after.tolist(), places)
    found = score(rule.__name__, before.float(), after.float(), places)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-3, rtol=2e-3)


def tiles(num_tiles, rows, columns, protected, padding=None):
    length = protected + rows * columns
    layout = Layout(
        item_lengths=(num_tiles * length,),
        group_lengths=(length,) * num_tiles,
        positions=lambda: _positions(length, protected, columns, [num_tiles], torch.device("cpu")),
        protected=protected,
        rectangular=True,
    )
    if padding is None:
        return layout
    lengths = tuple(padding.view(num_tiles, -1).sum(1).tolist())
    return Layout(**vars(layout) | {"padding": padding, "padding_lengths": lengths})


def kept(selector, before, after, layout, ratio=0.6):
    return choose(before, after, layout, IPCV(reduction_ratio=ratio, selector=selector)).kept


@pytest.mark.parametrize("selector", sorted(SELECTORS))
def test_protected_rows_have_no_say(selector):
    plain, special = tiles(2, 4, 6, 0), tiles(2, 4, 6, 2)
    before, after = torch.randn(2, 48, 4)
    wide = torch.full((2, 2, 26, 4), 1e3)
    wide[:, :, 2:] = torch.stack([before, after]).view(2, 2, 24, 4)
    expected = kept(selector, before, after, plain).view(2, -1)
    found = kept(selector, *wide.flatten(1, 2), special).view(2, -1)[:, 2:]
    if selector != "random":  # noise for another length
        assert torch.equal(found % 26 - 2, expected % 24)


@pytest.mark.parametrize("selector", sorted(set(SELECTORS) - {"random", "uniform"}))
def test_padding_has_no_say(selector):
    is_padding = torch.zeros(2, 24, dtype=torch.bool)
    is_padding[0, 13:], is_padding[1, [3, 4, 5, 9, 10, 11]] = True, True
    layout = tiles(2, 4, 6, 0, is_padding.flatten())
    before, after = torch.randn(2, 48, 4)
    noise = torch.randn(2, 48, 4) * 100
    other = torch.where(is_padding.view(-1, 1), noise, torch.stack([before, after]))
    found = kept(selector, before, after, layout)
    assert not is_padding.flatten()[found].any()
    assert torch.equal(found, kept(selector, *other, layout))


@pytest.mark.parametrize("selector", sorted(SELECTORS))
def test_chunks_change_nothing(selector, monkeypatch):
    layout = tiles(3, 4, 6, 1)
    before, after = torch.randn(2, 75, 4)
    scores = SELECTORS[selector](before, after, layout)
    monkeypatch.setattr("ipcv.core.ops.NEIGHBOR_MEMORY_BUDGET", 500)
    torch.testing.assert_close(SELECTORS[selector](before, after, layout), scores)


@pytest.mark.parametrize("selector", sorted(SELECTORS))
def test_half_precision_and_equal_rows(selector):
    layout = tiles(1, 4, 4, 1)
    rows = torch.ones(17, 4, dtype=torch.bfloat16)
    found = kept(selector, rows, rows, layout, 0.5)
    assert len(found) == 9
    assert found[0] == 0


def test_duplicates_keep_one_of_each_kind():
    kinds = torch.tensor([0, 0, 1, 0, 2, 1, 2, 0])
    rows = torch.eye(3)[kinds]
    layout = Layout((8,), (8,), lambda: torch.zeros(8, 3, dtype=torch.int64))
    assert kept("duplicates", rows, rows, layout, 0.62).tolist() == [0, 2, 4]


def test_redundancy_removes_what_has_a_twin():
    rows = torch.eye(8)
    rows[4] = rows[1]  # compared: even rows to odd ones
    layout = Layout((8,), (8,), lambda: torch.zeros(8, 3, dtype=torch.int64))
    assert kept("redundancy", rows, rows, layout, 0.125).tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_stratified_takes_from_every_cell():
    layout = tiles(1, 4, 6, 1)
    before, after = torch.randn(2, 25, 4)
    own = kept("stratified", before, after, layout, 0.75)[1:] - 1
    cells = {(int(i) // 6 // 2, int(i) % 6 // 2) for i in own}
    assert len(own) == len(cells) == 6
