"""Settings of both sides in a JSON file, such as `ipcv tune` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipcv.core.output import check_writable, write_json
from ipcv.settings.methods import LANGUAGE, VISION, from_named, named
from ipcv.settings.presets import Preset

SIDES = {"vision", "language"}
EVIDENCE = "evidence"


def load(path: str | Path) -> Preset:
    """Settings for both sides, as `compress` takes them: `ipcv.compress(model, *ipcv.load(path))`.

    The file holds `vision`, an object with the name of the `method` and its settings; `language`,
    likewise or null; and `evidence`, which is not read.

    Raises:
        ValueError: no such file, no JSON, an unknown method or setting, or one out of range.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"settings {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"settings {path} are no JSON") from None
    try:
        return _preset(content)
    except ValueError as error:
        raise ValueError(f"settings {path}: {error}") from None


def save(path: str | Path, settings: Preset, evidence: Mapping[str, Any] | None = None) -> None:
    """Write what `load` reads, whole or not at all.

    Args:
        path: the file.
        settings: for both sides.
        evidence: JSON types that say why these.

    Raises:
        ValueError: the file cannot be written.
    """
    path = Path(path)
    check_writable(path)
    sides = {side: named(method) for side, method in settings._asdict().items()}
    write_json(path, {**sides, EVIDENCE: dict(evidence or {})})


def _preset(content: Any) -> Preset:
    if not isinstance(content, dict) or not isinstance(content.get("vision"), dict):
        raise ValueError('an object with "vision" is needed, which has a "method" and its settings')
    if unknown := sorted(content.keys() - SIDES - {EVIDENCE}):
        raise ValueError(f"unknown keys {', '.join(unknown)}")
    language = content.get("language")
    if not isinstance(language, dict | None):
        raise ValueError(f"language must be an object or null, got {language!r}")
    vision = from_named(content["vision"], VISION)
    return Preset(vision, None if language is None else from_named(language, LANGUAGE))
