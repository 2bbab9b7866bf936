"""The tables of supported and refused models: one source for `ipcv models` and `docs/models.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ipcv.families import FAMILIES, UNSUPPORTED, EncoderKind

COLUMNS = (
    "family",
    "model types",
    "example checkpoint",
    "vision encoder",
    "patches compete within one",
    "published settings",
    "language model",
    "vLLM",
)
UNSUPPORTED_COLUMNS = ("model type", "why its vision encoder is not compressed")


def rows() -> Iterator[tuple[str, ...]]:
    """One row per family, a text per column."""
    for family in FAMILIES:
        usual = family.encoders[0]
        types = ", ".join(family.model_types)
        yield (
            family.name,
            types,
            family.checkpoint,
            usual.shape,
            family.item,
            _published(usual),
            "yes" if family.decoder else "no",
            "yes" if family.served else "no",
        )


def markdown() -> str:
    """The tables in Markdown, names as code."""
    supported = _markdown(COLUMNS, rows(), code=("model types", "example checkpoint"))
    refused = _markdown(UNSUPPORTED_COLUMNS, UNSUPPORTED.items(), code=("model type",))
    return f"## Supported\n\n{supported}\n\n## Not supported\n\n{refused}"


def _markdown(
    columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], code: tuple[str, ...]
) -> str:
    lines = [columns, ("---",) * len(columns)]
    for row in rows:
        lines.append(
            tuple(
                ", ".join(f"`{name}`" for name in text.split(", ")) if column in code else text
                for column, text in zip(columns, row, strict=True)
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _published(kind: EncoderKind) -> str:
    settings = kind.settings
    source = "given:" if kind.published else "scaled from"
    return (
        f"{source} p={settings.prune_layer}, A={settings.stabilization_layers} "
        f"of {kind.depth} blocks"
    )
