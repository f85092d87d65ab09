"""Who answered: the origins that were asked, and the models that the servers report, counted over the records of a log.

Logs of older versions name no origin; a log where nothing tells two servers apart has no count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.types import Answer, Completion

if TYPE_CHECKING:  # Scoring does not need this module, whose import would take a tenth of the time of a score.
    from cascade.runs.call_log import LoggedCall


@dataclass(frozen=True, slots=True)
class Served:
    """How many `answers` came from an origin, by the model and fingerprint that it reports; `""` is unknown."""

    origin: str
    model: str
    fingerprint: str
    answers: int


def count_served(records: Iterable[Answer | LoggedCall]) -> tuple[Served, ...]:
    """Return the servers of the completions in their order; none for old logs in which one model answered."""
    counts = Counter[tuple[str, str, str]]()
    for record in records:
        if isinstance(record.result, Completion):
            model, fingerprint = reported(record.result)
            counts[record.origin or "", model, fingerprint] += 1
    if len(counts) < 2 and not any(origin for origin, _, _ in counts):
        return ()
    return tuple(Served(*server, answers=count) for server, count in counts.items())


def reported(result: Completion) -> tuple[str, str]:
    """Return the model and the fingerprint that the server reports; `""` where it reports none."""
    return result.model or "", result.fingerprint or ""


def served_text(servers: Sequence[Served], *, models: bool = False) -> str:
    """Return in words who answered; with the models that the servers report if these differ, or with `models`."""
    models = models or len({(server.model, server.fingerprint) for server in servers}) > 1
    parts = []
    for server in servers:
        names = ", ".join(filter(None, [server.model, server.fingerprint]))
        origin = server.origin or "an address that was not recorded"
        parts.append(f"{server.answers} from {origin}" + f" ({names})" * bool(models and names))
    return ", ".join(parts)
