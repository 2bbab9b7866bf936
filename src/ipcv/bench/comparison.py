"""Two servers' replies to the same prompts, and what they tell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Request:
    """A question about images.

    Attributes:
        images: as URLs; `data:` URLs hold the image itself.
        question: the text behind them.
        answer: the right answer, if known.
    """

    images: tuple[str, ...]
    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Reply:
    """What came back: the text, and the seconds until its first token and its end.

    Attributes:
        prompt_tokens: of the prompt with its images, if the server says so.
    """

    text: str
    first_token: float
    total: float
    prompt_tokens: int | None = None


@dataclass(frozen=True)
class Turn:
    """Replies to prompts that were asked at once, and the seconds until the last one."""

    replies: Sequence[Reply]
    seconds: float


@dataclass
class Served:
    """A server's replies, in the order of the prompts, turn by turn.

    Attributes:
        url: of the server's OpenAI-compatible API.
        model: as the server calls it.
    """

    url: str
    model: str
    turns: list[Turn] = field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        """One per prompt."""
        return [reply for turn in self.turns for reply in turn.replies]

    def summary(self, prompts: Sequence[Request]) -> dict[str, Any]:
        """The numbers as JSON types; times in milliseconds."""
        first = [1e3 * reply.first_token for reply in self.replies]
        lengths = [reply.prompt_tokens for reply in self.replies if reply.prompt_tokens is not None]
        total = [1e3 * reply.total for reply in self.replies]
        graded = [
            reply.text.strip() == prompt.answer
            for reply, prompt in zip(self.replies, prompts, strict=True)
            if prompt.answer is not None
        ]
        return {
            "url": self.url,
            "model": self.model,
            "ttft_ms_median": statistics.median(first),
            "ttft_ms_p90": _p90(first),
            "latency_ms_median": statistics.median(total),
            "requests_per_second": len(self.replies) / sum(turn.seconds for turn in self.turns),
            "prompt_tokens_mean": statistics.mean(lengths) if lengths else None,
            "accuracy": sum(graded) / len(graded) if graded else None,
        }


@dataclass(frozen=True)
class Comparison:
    """Two servers, asked the same."""

    prompts: Sequence[Request]
    concurrency: int
    compressed: Served
    baseline: Served

    @property
    def agreement(self) -> float:
        """The share of prompts that both answer in the same words."""
        pairs = zip(self.compressed.replies, self.baseline.replies, strict=True)
        return sum(a.text == b.text for a, b in pairs) / len(self.prompts)

    @property
    def speedups(self) -> list[float]:
        """Of the first token, turn by turn: the ratio of both servers' medians."""
        pairs = zip(self.baseline.turns, self.compressed.turns, strict=True)
        return [_first_token(baseline) / _first_token(compressed) for baseline, compressed in pairs]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON types."""
        return {
            "prompts": len(self.prompts),
            "concurrency": self.concurrency,
            "baseline": self.baseline.summary(self.prompts),
            "compressed": self.compressed.summary(self.prompts),
            "agreement": self.agreement,
            "ttft_speedup": statistics.median(self.speedups),
            "ttft_speedup_min": min(self.speedups),
            "ttft_speedup_max": max(self.speedups),
        }

    def to_table(self) -> Table:
        """The same, for people."""
        table = Table(
            title=f"{len(self.prompts)} prompts, {self.concurrency} at a time",
            caption=f"same answer: {self.agreement:.1%}\n"
            f"first token {statistics.median(self.speedups):.2f} times as early "
            f"({min(self.speedups):.2f} to {max(self.speedups):.2f} in {len(self.speedups)} turns)",
        )
        for column in ("", "baseline", "compressed"):
            table.add_column(column, justify="right" if column else "left")
        sides = [side.summary(self.prompts) for side in (self.baseline, self.compressed)]
        rows = {
            "time to first token, median ms": "{ttft_ms_median:.0f}",
            "time to first token, 90 % below ms": "{ttft_ms_p90:.0f}",
            "whole answer, median ms": "{latency_ms_median:.0f}",
            "requests per second": "{requests_per_second:.2f}",
        }
        if all(side["prompt_tokens_mean"] is not None for side in sides):
            rows["tokens of a prompt, mean"] = "{prompt_tokens_mean:.0f}"
        if all(side["accuracy"] is not None for side in sides):
            rows["right answers"] = "{accuracy:.1%}"
        for label, template in rows.items():
            table.add_row(label, *(template.format(**side) for side in sides))
        return table


def _first_token(turn: Turn) -> float:
    return statistics.median(reply.first_token for reply in turn.replies)


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10)[-1] if len(values) > 1 else values[0]
