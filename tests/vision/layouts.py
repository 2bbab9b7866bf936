"""Layouts of rows for tests of what is kept."""

import torch

from ipcv.vision.adapters.packed import grid_positions
from ipcv.vision.adapters.rectangles import positions_in_tiles
from ipcv.vision.layout import Layout


def packed(*grids):
    """Images or videos of these frames, rows and columns."""
    lengths = tuple(t * h * w for t, h, w in grids)
    return Layout(lengths, lengths, lambda: grid_positions(grids, 2, torch.device("cpu")))


def tiles(num_tiles, rows, columns, protected, padding=None):
    """One image of several tiles."""
    length = protected + rows * columns
    layout = Layout(
        item_lengths=(num_tiles * length,),
        group_lengths=(length,) * num_tiles,
        positions=lambda: positions_in_tiles(
            length, protected, columns, [num_tiles], torch.device("cpu")
        ),
        protected=protected,
        rectangular=True,
    )
    if padding is None:
        return layout
    lengths = tuple(padding.view(num_tiles, -1).sum(1).tolist())
    return Layout(**vars(layout) | {"padding": padding, "padding_lengths": lengths})
