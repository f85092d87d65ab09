"""Items as the page's script gets them: a light index that is searched at once, and details that are unpacked late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from cascade.prompting import evidence
from cascade.prompting.templates import Template
from cascade.report import timeline
from cascade.report.load import ReportData, ReportRun
from cascade.types import Answer, Caption, CaptionRecord, Choice, Completion, Item, Prompt

TAGS = {"modality": "modality", "layer": "category", "sub": "sub-category"}
_SAID = 400  # characters of another run's reply: where it ends is where it answers


def index(told: ReportData, clips: Mapping[str, int]) -> list[dict[str, Any]]:
    """A record an item, in the order in which they were asked; `clips` gives each clip's place in the page's list."""
    causes = told.causes
    return [_line(told, item, clips[item.audio], causes.get(item.id)) for item in told.main.run.items]


def _line(told: ReportData, item: Item, clip: int, cause: str | None) -> dict[str, Any]:
    main = told.main
    score = main.scores[item.id]
    sampled = [_result(main.answers.get((item.id, sample))) for sample in range(main.run.spec.llm.samples)]
    found = {
        "id": item.id,
        "q": item.question,
        **{key: str(item.tags[tag]) for key, tag in TAGS.items() if tag in item.tags},
        "gold": item.answer,
        "said": score.choice.text,
        "st": main.status(item.id),
        "o": [one.status(item.id) for one in told.others],
        "empty": [slot for slot, one in _slots(main, item) if one.text is not None and not one.text.strip()],
        "lost": [slot for slot, one in _slots(main, item) if one.text is None],
        "clip": clip,
        "tok": sum(one.output_tokens or 0 for one in sampled if one),
        "s": _finite(sum(main.answers[item.id, at].seconds for at in _asked(main, item))) or 0,
    }
    if main.run.spec.llm.samples > 1:
        found["vote"] = score.choice.how
    if score.correct["mmar"] != score.correct["strict"]:
        found["loose"] = 1
    if cause:
        found["why"] = cause
    return found


def _asked(entry: ReportRun, item: Item) -> list[int]:
    return [sample for sample in range(entry.run.spec.llm.samples) if (item.id, sample) in entry.answers]


def _result(answer: Answer | None) -> Completion | None:
    return answer.result if answer and isinstance(answer.result, Completion) else None


def _slots(entry: ReportRun, item: Item) -> Iterator[tuple[str, CaptionRecord]]:
    heard = entry.heard.get(item.id, {})
    return ((slot, heard[slot]) for slot in entry.run.spec.prompt.slots if slot in heard)


# Details


def details(told: ReportData) -> Iterator[dict[str, Any]]:
    """What is shown of each item when it is opened, in the index's order."""
    template = Template(name=told.main.run.spec.prompt.template, text=told.main.run.manifest.template)
    for item in told.main.run.items:
        yield {
            "choices": list(item.choices),
            "heard": [_heard(told.main, slot, one) for slot, one in _slots(told.main, item)],
            "replies": list(_replies(told.main, item, template)),
            "others": [_other(one, item) for one in told.others],
            "cue": _cue(item.reference.get("cue")),
            "thinking": str(item.reference.get("thinking") or ""),
        }


def _heard(entry: ReportRun, slot: str, one: CaptionRecord) -> dict[str, Any]:
    engine = next((spec.name for spec in entry.run.spec.captioners if spec.slot == slot), "")
    told: dict[str, Any] = {"slot": slot, "engine": engine}
    if one.failure:
        return {**told, "failure": f"{one.failure.kind}: {one.failure.message}"}
    facts = {"language": one.meta.get("language"), "seconds": _finite(one.meta.get("seconds"))}
    known = {name: value for name, value in facts.items() if isinstance(value, str | float)}
    return {**told, "text": one.text, "times": timeline.timeline_spans(one.meta), **known}


def _finite(value: Any) -> float | None:
    """A number as the page can hold it: JSON has no NaN, but files that were made elsewhere may."""
    return round(float(value), 5) if isinstance(value, int | float) and isfinite(value) else None


def _replies(entry: ReportRun, item: Item, template: Template) -> Iterator[dict[str, Any]]:
    """Each sample's prompt, reply and how it was read; a prompt that is the first one's is not told again."""
    first: Prompt | None = None
    for sample in _asked(entry, item):
        answer, choice = entry.answers[item.id, sample], entry.judged.read.get(item.id, {}).get(sample)
        found = _reply(answer, choice)
        shown = _prompt(entry, item, template, sample)
        if shown and (first is None or shown.messages != first.messages):
            found["prompt"] = [dict(message) for message in shown.messages]
            # A question that was not asked has no prompt in the log to compare with.
            found["same"] = not answer.prompt or evidence.prompt_digest(shown) == answer.prompt
        first = first or shown
        yield found


def _prompt(entry: ReportRun, item: Item, template: Template, sample: int) -> Prompt | None:
    """What the sample was shown, rendered again; None where a caption is missing, and nothing was asked."""
    spec, heard = entry.run.spec.prompt, entry.heard.get(item.id, {})
    captions: dict[str, Caption] = {slot: one.caption for slot, one in heard.items() if one.caption is not None}
    if not captions.keys() >= set(spec.slots):
        return None
    return evidence.build_prompt(spec, template, item.id, item.question, item.choices, captions, sample)


def _reply(answer: Answer, choice: Choice | None) -> dict[str, Any]:
    result, told = answer.result, {"sample": answer.sample, "seconds": _finite(answer.seconds)}
    if not isinstance(result, Completion):
        return {**told, "failure": f"{result.kind}: {result.message}"}
    counts = {"in": result.input_tokens, "out": result.output_tokens, "thought": result.reasoning_tokens}
    facts = {"finish": result.finish, "cost": _finite(result.cost), **counts}
    kept = {name: value for name, value in facts.items() if value is not None}
    read = {"choice": choice.text, "how": choice.how} if choice else {}
    return {**told, "text": result.text, "reasoning": result.reasoning, **read, **kept}


def _other(entry: ReportRun, item: Item) -> dict[str, Any]:
    if item.id not in entry.scores:
        return {}
    choice, said = entry.scores[item.id].choice, entry.judged.said.get(item.id, "")
    ending = said if len(said) <= _SAID else "…" + said[1 - _SAID :]
    return {"choice": choice.text, "how": choice.how, "end": ending}


def _cue(value: Any) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)] if value else []


# What can be looked for


def facets(told: ReportData) -> list[dict[str, Any]]:
    """The filters that these runs have, each with its options as (value, what it is called); the script counts."""
    found = [
        _facet("st", "result", [(name, name) for name in ("right", "wrong", "unread", "failed")], "chips"),
        _facet("why", "ears or brain", _causes(told), "chips"),
        _facet("flag", "across runs", _flags(told), "chips"),
        *(_facet(key, key if key != "sub" else "sub-category", _values(told, tag)) for key, tag in TAGS.items()),
        _facet("heard", "captions", _captions(told)),
        _facet("vs", "against one run", _against(told.others)),
    ]
    return [one for one in found if one["options"]]


def _facet(key: str, label: str, options: Sequence[tuple[str, str]], kind: str = "select") -> dict[str, Any]:
    return {"key": key, "label": label, "kind": kind, "options": [list(option) for option in options]}


def _causes(told: ReportData) -> list[tuple[str, str]]:
    if not told.causes:
        return []
    unknown = [("unknown", "unknown")] if "unknown" in told.causes.values() else []
    return [("ears", "ears"), ("brain", "brain"), *unknown]


def _flags(told: ReportData) -> list[tuple[str, str]]:
    if not told.others:
        return []
    blind = [("blind", "blind got it too")] if told.control("blind") else []
    return [("only", "only this run right"), *blind, ("none", "no run right")]


def _values(told: ReportData, tag: str) -> list[tuple[str, str]]:
    by = told.main.summary.scores["mmar"].by.get(tag, {})
    return [(value, value) for value in by]


def _captions(told: ReportData) -> list[tuple[str, str]]:
    slots = told.main.run.spec.prompt.slots
    each = [(f"empty:{slot}", f"{slot} empty") for slot in slots]
    return [("empty", "any empty"), *each, ("lost", "one failed")] if slots else []


def _against(others: Sequence[ReportRun]) -> list[tuple[str, str]]:
    return [
        option
        for at, one in enumerate(others)
        for option in ((f"won:{at}", f"right here, not in: {one.name}"), (f"lost:{at}", f"right only in: {one.name}"))
    ]
