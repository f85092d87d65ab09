"""The facts at the head of a report, in words, for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cascade.report.load import ReportData, ReportRun
from cascade.runs.describe import controls, with_answer_form
from cascade.runs.served import served_text
from cascade.types import SENT_AUDIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The title, the line under it, and (what, text) pairs: `brief` for the first screen, `more` for the rest."""

    title: str
    under: str
    brief: tuple[tuple[str, str], ...]
    more: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def facts(report: ReportData, missing_clips: int = 0) -> Facts:
    """Return the facts of the main run, and notes on what a reader may miss."""
    main, spec = report.main, report.main.spec
    own = [(captioner.slot, captioner.name) for captioner in spec.captioners]
    evidence = ["the clip itself" if name == SENT_AUDIO else f"{slot}: {name}" for slot, name in own]
    return Facts(
        title=f"{spec.llm.model.split('@')[0]} on {spec.dataset}",
        under=" · ".join(evidence) or "blind: no captions, the question alone",
        brief=tuple(_brief(main)),
        more=tuple(_more(main)),
        notes=tuple(_notes(report, missing_clips)),
    )


def _brief(run: ReportRun) -> Iterator[tuple[str, str]]:
    summary, spec, manifest = run.summary, run.spec, run.run.manifest
    only = ", ".join(f"{tag} = {' or '.join(values)}" for tag, values in spec.only.items())
    yield "items", f"{summary.n} ({only})" if only else str(summary.n)
    prompt = [with_answer_form(spec.prompt.template, spec)]
    given = "clip" if spec.prompt.audio else "clip's captions"
    words = {"mismatched": f"another {given}", "shuffled": "choices shuffled", "reversed": "the clip reversed"}
    prompt += [words.get(control, control) for control in controls(spec)]
    yield "prompt", ", ".join(prompt)
    if spec.llm.samples > 1:
        yield "samples", f"{spec.llm.samples} an item, which vote"
    if summary.served:
        yield "answers", served_text(summary.served)
    if summary.readings:
        yield "replies", str(summary.readings)
    yield "when", manifest.created[:16].replace("T", " ") + " UTC"
    reasoning = summary.tokens["reasoning"]
    tokens = f"{summary.tokens['input']:,} in, {summary.tokens['output']:,} out"
    yield "tokens", tokens + f" ({reasoning:,} of them reasoning)" * bool(reasoning)
    cost = "unknown" if summary.cost is None else f"${summary.cost:.2f}"
    if summary.captions_cost:
        cost += f" + ${summary.captions_cost:.2f} for captions"
    yield "cost", cost
    yield "cascade", manifest.sessions[-1].cascade


def _more(run: ReportRun) -> Iterator[tuple[str, str]]:
    spec, manifest = run.spec, run.run.manifest
    session = manifest.sessions[-1]
    yield "run", str(run.run.path)
    yield "dataset", " · ".join(filter(None, [spec.dataset, manifest.data_version, spec.dataset_digest]))
    yield "licence", manifest.licence or "not stated"
    yield "model", f"{spec.llm.model}{_params(spec.llm.params)}"
    for captioner in spec.captioners:
        yield captioner.slot, f"{captioner.name}, version {captioner.version}{_params(captioner.params)}"
    yield "prompt", f"{spec.prompt.template} · {spec.prompt.template_digest}"
    yield "sessions", f"{len(manifest.sessions)}, the last at {session.at[:16].replace('T', ' ')} UTC"
    yield "command", session.command or "not recorded"
    yield "code", ", ".join(f"{name} {commit}" for name, commit in session.git.items()) or "not recorded"
    yield "machine", f"Python {session.python} · {session.platform}"
    yield "packages", ", ".join(f"{name} {version}" for name, version in session.versions.items()) or "none"


def _params(params: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in params.items() if value != "")
    return f" ({shown})" if shown else ""


def _notes(report: ReportData, missing_clips: int) -> Iterator[str]:
    if missing_clips:
        yield f"Clips that are not where the run says they were, and cannot be played or drawn: {missing_clips}."
    for run in report.runs:
        if run.summary.unfinished:
            yield f"{run.name}: {run.summary.unfinished}."
        if run.summary.served and run.summary.served != report.main.summary.served:
            yield f"{run.name}: answers: {served_text(run.summary.served)}."
        if run.summary.inapplicable:
            yield f"{run.name}: not applicable to {run.summary.inapplicable} items, which are left out on both sides."
    for other, comparison in zip(report.others, report.comparisons, strict=True):
        if comparison.a.left_out or comparison.b.left_out:
            yield (
                f"{other.name}: paired on {comparison.n} items; {comparison.b.left_out} are only in "
                f"{report.main.name}, {comparison.a.left_out} only in {other.name}."
            )
