"""What was run, in words: the facts at the head of a report, for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cascade.report.load import ReportData, ReportRun
from cascade.scoring.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`title` and the line under it; `brief` stands on the first screen, `whole` is the rest, as (what, text)."""

    title: str
    under: str
    brief: tuple[tuple[str, str], ...]
    whole: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def facts(told: ReportData, unheard: int = 0) -> Facts:
    """What is told of the main run, and notes on what the reader may miss."""
    main, spec = told.main, told.main.run.spec
    model = spec.llm.model.split("@")[0]
    return Facts(
        title=f"{model} on {spec.dataset}",
        under=captions(main) if spec.captioners else "blind: no captions, the question alone",
        brief=tuple(_brief(main)),
        whole=tuple(_whole(main)),
        notes=tuple(_notes(told, unheard)),
    )


def captions(entry: ReportRun) -> str:
    """Slot and engine of each caption."""
    return " · ".join(f"{one.slot}: {one.name}" for one in entry.run.spec.captioners) or "none"


def _brief(entry: ReportRun) -> Iterator[tuple[str, str]]:
    summary, spec = entry.summary, entry.run.spec
    yield "items", f"{summary.n}{_chosen(entry)}"
    yield "prompt", f"{spec.prompt.template}{_controls(entry)}"
    if spec.llm.samples > 1:
        yield "samples", f"{spec.llm.samples} an item, which vote"
    yield "when", entry.run.manifest.created[:16].replace("T", " ") + " UTC"
    yield "tokens", tokens(summary)
    yield "cost", cost(summary)
    yield "cascade", entry.run.manifest.sessions[-1].cascade


def _chosen(entry: ReportRun) -> str:
    only = ", ".join(f"{tag} = {' or '.join(values)}" for tag, values in entry.run.spec.only.items())
    return f" ({only})" if only else ""


def _controls(entry: ReportRun) -> str:
    spec = entry.run.spec.prompt
    mismatched = ", another clip's captions" if spec.mismatch_seed is not None else ""
    return mismatched + (", choices shuffled" if spec.order_seed is not None else "")


def tokens(summary: Summary) -> str:
    """Tokens in and out."""
    counts = summary.tokens
    thought = f" ({counts['reasoning']:,} of them reasoning)" if counts["reasoning"] else ""
    return f"{counts['input']:,} in, {counts['output']:,} out{thought}"


def cost(summary: Summary) -> str:
    """What it cost, where that is known."""
    heard = f" + ${summary.captions_cost:.2f} for captions" if summary.captions_cost else ""
    return ("unknown" if summary.cost is None else f"${summary.cost:.2f}") + heard


def _whole(entry: ReportRun) -> Iterator[tuple[str, str]]:
    run, spec = entry.run, entry.run.spec
    last = run.manifest.sessions[-1]
    yield "run", str(run.path)
    yield "dataset", " · ".join(filter(None, [spec.dataset, run.manifest.data_version, spec.dataset_digest]))
    yield "licence", run.manifest.licence or "not said"
    yield "model", f"{spec.llm.model}{_params(spec.llm.params)}"
    for one in spec.captioners:
        yield one.slot, f"{one.name}, version {one.version}{_params(one.params)}"
    yield "prompt", f"{spec.prompt.template} · {spec.prompt.template_digest}"
    yield "sittings", f"{len(run.manifest.sessions)}, the last at {last.at[:16].replace('T', ' ')} UTC"
    yield "command", last.command or "not said"
    yield "code", ", ".join(f"{name} {commit}" for name, commit in last.git.items()) or "not said"
    yield "machine", f"Python {last.python} · {last.platform}"
    yield "packages", ", ".join(f"{name} {version}" for name, version in last.versions.items()) or "none"


def _params(params: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in params.items() if value != "")
    return f" ({shown})" if shown else ""


def _notes(told: ReportData, unheard: int) -> Iterator[str]:
    if unheard:
        yield f"Clips that are not where the run says they were, and cannot be played or drawn: {unheard}."
    for one, found in zip(told.others, told.against, strict=True):
        if found.a.left_out or found.b.left_out:
            yield (
                f"{one.name}: paired on {found.n} items; {found.a.left_out} are only in {told.main.name}, "
                f"{found.b.left_out} only in {one.name}."
            )
