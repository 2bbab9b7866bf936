"""The same answer by other means: nothing is removed, dropped tokens are masked as keys."""

from contextlib import contextmanager

import torch

from ipcv.families import find_decoder


def dropped_columns(prefill, past=0):
    """Per layer and row, the positions in the sequence of the image tokens it does without."""
    images = [set() for _ in prefill.prompt.real]
    for run in prefill.prompt.runs:
        images[run.row] |= set(range(run.start, run.start + run.length))
    carried = [images if columns is None else columns.tolist() for columns in prefill.columns]
    return [
        [{c + past for c in image.difference(row)} for image, row in zip(images, rows, strict=True)]
        for rows in carried
    ]


@contextmanager
def masked(model, dropped):
    """Mask, in every layer, the keys of `dropped[layer][row]`."""
    decoder = find_decoder(model)
    hooks = []
    for index, layer in enumerate(decoder.layers):

        def hook(layer, args, kwargs, index=index):
            mask = mask_keys(decoder, index, args[0], kwargs, dropped[index])
            return args, kwargs | {"attention_mask": mask}

        hooks.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def mask_keys(decoder, index, hidden_states, kwargs, dropped):
    mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
    batch_size, length, _ = hidden_states.shape
    past = 0
    if cache is not None and index < len(cache.layers):
        past = cache.layers[index].get_seq_length()
    if mask is None:
        keys, queries = torch.arange(past + length), torch.arange(past, past + length)
        mask = (keys <= queries[:, None])[None, None]
    mask = mask.expand(batch_size, -1, -1, -1).clone()
    offset = past + length - mask.shape[-1]
    nothing = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    for row, columns in enumerate(dropped):
        mask[row, :, :, [c - offset for c in columns if c >= offset]] = nothing
    return mask
