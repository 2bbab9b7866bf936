"""Three servers of one model compared: a plain one, a compressed one, and one with shorter prompts.

    python benchmarks/serving.py NAME PLAIN_URL COMPRESSED_URL SHORTER_URL

All start without memory of images (see ``docs/serving.md``). Adds to
``benchmarks/results/serving.json``, under the model's name.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any

from rich.progress import Progress

from ipcv.bench.servers import compare_servers, suite_prompts
from ipcv.core.output import write_json
from write_tables import RESULTS

JOBS = ((448, 1, 12), (896, 1, 6), (448, 4, 20), (896, 4, 12), (448, 16, 48), (896, 16, 32))
"""Pixels a side, clients, and prompts that count."""

PICTURES = ("page", "screen")

FILE = RESULTS / "serving.json"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("name", "plain", "compressed", "shorter"):
        parser.add_argument(name)
    options = parser.parse_args()
    servers = {"compressed": options.compressed, "shorter": options.shorter}
    rows: list[dict[str, Any]] = []
    with Progress() as progress:
        for size, clients, count in JOBS:
            prompts = suite_prompts(count + clients, size, PICTURES)
            for server, url in servers.items():
                task = progress.add_task(f"{size} px, {clients}, {server}", total=len(prompts))
                comparison = compare_servers(
                    url,
                    options.plain,
                    prompts,
                    concurrency=clients,
                    on_step=partial(progress.advance, task),
                )
                rows.append({"size": size, "server": server} | comparison.to_dict())
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    write_json(FILE, results | {options.name: rows})


if __name__ == "__main__":
    main()
