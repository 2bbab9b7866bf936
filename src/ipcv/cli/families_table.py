"""The table of supported models: one source for `ipcv models` and for docs/models.md."""

from __future__ import annotations

from collections.abc import Iterator

from ipcv.families import FAMILIES, EncoderKind

COLUMNS = (
    "family",
    "model types",
    "example checkpoint",
    "vision encoder",
    "patches compete within one",
    "preset",
    "vLLM",
)


def rows() -> Iterator[tuple[str, ...]]:
    """One row per family, a text per column."""
    for family in FAMILIES:
        usual = family.encoders[0]
        types = ", ".join(family.model_types)
        served = "yes" if family.served else "no"
        yield (
            family.name,
            types,
            family.checkpoint,
            usual.shape,
            family.item,
            _preset(usual),
            served,
        )


def markdown() -> str:
    """The table in Markdown, names as code."""
    code = ("model types", "example checkpoint")
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in rows():
        lines.append(
            tuple(
                ", ".join(f"`{name}`" for name in text.split(", ")) if column in code else text
                for column, text in zip(COLUMNS, row, strict=True)
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _preset(kind: EncoderKind) -> str:
    settings = kind.settings
    source = "published:" if kind.published else "scaled from"
    return (
        f"{source} p={settings.prune_layer}, A={settings.stabilization_layers} "
        f"of {kind.depth} blocks"
    )
