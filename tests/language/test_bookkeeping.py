"""Where images are, which masks belong to what is left, and what a cache layer holds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ipcv.language.cache import Held, PrunedLayer
from ipcv.language.layout import PADDING, TEXT, PromptLayout
from ipcv.language.masks import causal_mask, pick_mask

SEGMENTS = st.lists(st.tuples(st.sampled_from([TEXT, 1, 2]), st.integers(1, 4)), max_size=5)


def padded(rows):
    width = max(map(len, rows))
    return torch.tensor([[PADDING] * (width - len(row)) + row for row in rows])


@given(rows=st.lists(SEGMENTS, min_size=1, max_size=3), data=st.data())
def test_pruned_layout(rows, data):
    rows = [[kind for kind, n in row for _ in range(n)] + [TEXT] for row in rows]
    layout = PromptLayout.of(padded(rows))
    assert list(layout.real) == [len(row) for row in rows]
    assert sum(run.length for run in layout.runs) == sum(k > 0 for row in rows for k in row)
    counts = [data.draw(st.integers(0, run.length)) for run in layout.runs]
    dropped = {
        (run.row, run.start + i)
        for run, count in zip(layout.runs, counts, strict=True)
        for i in range(count, run.length)
    }
    kinds = padded(rows)
    left = [
        [kind for column, kind in enumerate(row) if kind >= 0 and (i, column) not in dropped]
        for i, row in enumerate(kinds.tolist())
    ]
    expected = padded(left)
    pruned = layout.pruned(counts)
    assert pruned.width == expected.shape[1]
    assert list(pruned.real) == [len(row) for row in left]
    assert pruned.is_ragged == bool((expected == PADDING).any())
    is_image = torch.zeros_like(expected, dtype=torch.bool).flatten()
    if layout.runs:
        is_image[pruned.image_positions()] = True
    assert torch.equal(is_image.view_as(expected), expected > 0)
    assert all(pruned.first(row) == (expected[row] == PADDING).sum() for row in range(len(rows)))


def test_drafts_are_no_text_of_the_prompt():
    layout = PromptLayout.of(torch.tensor([[0, 1, 1, 0, 0, 0]]), drafts=2)
    assert layout.last == (3,)
    assert layout.runs[0].text_after == 1
    assert layout.pruned([1]).last == (2,)
    assert layout.pruned([1]).runs[0].start == 1


def test_tokens_of_the_encoder():
    """Images come before videos there; rows may be repeated behind it."""
    image, video = 1, 2
    rows = [[TEXT, video, video, TEXT, image, TEXT], [TEXT, image, image, TEXT, TEXT, TEXT]]
    once = PromptLayout.of(torch.tensor(rows))
    assert once.encoder_tokens(5).tolist() == [3, 4, 0, 1, 2]
    twice = PromptLayout.of(torch.tensor(rows).repeat_interleave(2, dim=0))
    assert twice.encoder_tokens(5).tolist() == [3, 4, 0] * 2 + [1, 2] * 2
    for wrong in (4, 6):
        with pytest.raises(RuntimeError, match="visual tokens that are expected"):
            once.encoder_tokens(wrong)


@pytest.mark.parametrize("additive", [False, True])
def test_masks(additive):
    causal = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    queries, keys = torch.tensor([[0, 3, 5], [-1, 2, 5]]), torch.tensor([[0, 3, 5], [-1, 2, 5]])
    expected = causal_mask(queries, keys)
    lowest = torch.finfo(torch.float32).min
    mask = torch.zeros(1, 1, 6, 6).masked_fill(~causal, lowest) if additive else causal
    picked = pick_mask(mask.expand(2, -1, -1, -1), queries, keys)
    visible = picked == 0 if additive else picked
    rows = queries >= 0  # of a query that is no token nobody reads the result
    assert torch.equal(visible[:, 0][rows], expected[:, 0][rows])
    padding = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
    assert pick_mask(padding, queries, keys).tolist() == [[True] * 3, [False, True, True]]


def layer(sliding_window=None):
    pruned = PrunedLayer(sliding_window)
    picked = torch.tensor([[0, 3], [-1, 2]])
    pruned.expect(Held(picked, recent=2, is_ragged=True), length=6)
    keys = torch.arange(8.0).view(2, 1, 4, 1)
    pruned.update(keys, -keys)
    return pruned


def columns(pruned):
    return pruned.held.columns(pruned.length, len(pruned.keys), torch.device("cpu")).tolist()


def test_cache_rows_follow():
    pruned = layer()
    assert columns(pruned) == [[0, 3, 4, 5], [-1, 2, 4, 5]]
    pruned.reorder_cache(torch.tensor([1, 0]))
    assert columns(pruned) == [[-1, 2, 4, 5], [0, 3, 4, 5]]
    assert pruned.keys[:, 0, 0, 0].tolist() == [4, 0]
    pruned.batch_repeat_interleave(2)
    assert columns(pruned)[1] == columns(pruned)[0] == [-1, 2, 4, 5]
    pruned.batch_select_indices(torch.tensor([3]))
    assert columns(pruned) == [[0, 3, 4, 5]]
    assert len(pruned.values) == 1


def test_cache_crops_text_only():
    pruned = layer()
    pruned.crop(-1)
    assert columns(pruned) == [[0, 3, 4], [-1, 2, 4]]
    assert pruned.get_seq_length() == 5
    with pytest.raises(RuntimeError, match="only the last 1"):
        pruned.crop(-2)
    pruned.reset()
    assert pruned.get_seq_length() == 0


def test_window_forgets_what_nobody_can_attend():
    pruned = layer(sliding_window=4)
    assert columns(pruned) == [[3, 4, 5], [2, 4, 5]]
    assert pruned.get_mask_sizes(1) == (4, 3)
    with pytest.raises(RuntimeError, match="activate_past_recording"):
        pruned.crop(-1)
    pruned.activate_past_recording()
    pruned.expect(Held(pruned.held.picked, 4, True), 8)
    pruned.update(torch.ones(2, 1, 2, 1), torch.ones(2, 1, 2, 1))
    pruned.crop(-1)
    assert columns(pruned) == [[4, 5, 6], [4, 5, 6]]
