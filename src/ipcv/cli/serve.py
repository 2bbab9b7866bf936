"""`ipcv serve`: a thin front on `vllm serve`."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from typer import Option

from ipcv.cli import terminal
from ipcv.cli.options import FileOption, MethodOption, RatioOption, SetOption, vision_settings
from ipcv.cli.plan import show_plan
from ipcv.integrations.vllm.settings import KEY, split


def serve(
    model: Annotated[str, typer.Argument(help="Folder or hub id.", show_default=False)],
    vllm_flags: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- VLLM_FLAGS]", help="Any flags of vllm serve.", show_default=False
        ),
    ] = None,
    file: FileOption = None,
    method: MethodOption = None,
    reduction_ratio: RatioOption = None,
    values: SetOption = None,
    keep_tokens: Annotated[
        float | None,
        Option(
            help="Fraction of the visual tokens that the language model gets.", show_default="all"
        ),
    ] = None,
    attention: Annotated[
        str, Option(help="How kept patches ask all: auto, sdpa, flash or full.")
    ] = "auto",
    encoder_graphs: Annotated[
        bool, Option("--encoder-graphs", help="Capture blocks of the encoder as CUDA graphs.")
    ] = False,
    require_active: Annotated[
        bool, Option(help="Whether a worker that would not compress must end the server.")
    ] = True,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print settings, tokens and FLOPs, and start nothing.")
    ] = False,
) -> None:
    """Serve a model with vLLM, its vision encoder compressed: an OpenAI-compatible server.

    The log says "IPCV configured" with the effective settings, and "IPCV active" once per worker.
    """
    named = {
        "method": method,
        "settings": None if file is None else str(file.resolve()),
        "keep_tokens": keep_tokens,
        "attention": attention,
        "encoder_graphs": encoder_graphs or None,
    }
    given = vision_settings(reduction_ratio, values)
    given |= {name: value for name, value in named.items() if value is not None}
    split(given)
    if dry_run:
        show_plan(model, given)
        return
    flags = vllm_flags or []
    if _has(flags, "--additional-config"):
        raise ValueError(
            "ipcv serve makes --additional-config itself: "
            'with more in it, use vllm serve and add {"ipcv": {...}}'
        )
    if require_active and _has(flags, "--worker-extension-cls"):
        raise ValueError(
            "ipcv serve makes --worker-extension-cls itself, to be sure that every worker "
            "compresses: with another one, add --no-require-active"
        )
    plugins = os.environ.get("VLLM_PLUGINS")
    if plugins is not None and "ipcv" not in plugins.split(","):
        raise ValueError(f"VLLM_PLUGINS is {plugins!r}, which leaves ipcv out: add ipcv to it")
    if find_spec("vllm") is None:
        raise ImportError("ipcv serve needs vLLM: pip install 'ipcv[vllm]'")
    ours = ["--additional-config", json.dumps({KEY: given})]
    if require_active:
        ours += ["--worker-extension-cls", "ipcv.integrations.vllm.worker.Compressing"]
    _run(["serve", model, *ours, *flags])


def _has(flags: list[str], name: str) -> bool:
    return any(flag.replace("_", "-").startswith(name) for flag in flags)


def _run(arguments: list[str]) -> None:
    """Run the `vllm` command in this process."""
    terminal.give_back()
    with TemporaryDirectory(prefix="ipcv-metrics-") as folder:
        # Read when prometheus_client is first imported: workers' counters, too, are in /metrics.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        from pydantic import ValidationError
        from vllm.entrypoints.cli.main import main

        sys.argv = ["vllm", *arguments]
        try:
            main()
        except ValidationError as error:
            raise ValueError("; ".join(one["msg"] for one in error.errors())) from None
        except RuntimeError as error:
            raise ValueError(f"vLLM: {error}") from None
