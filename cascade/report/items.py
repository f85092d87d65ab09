"""Items as the page's script gets them: a light index that is searched at once, and details that are unpacked late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from cascade.analysis.ablation import UNKNOWN
from cascade.prompting.evidence import build_prompt, prompt_digest
from cascade.prompting.rounds import offered, opening, request_text
from cascade.prompting.templates import Template
from cascade.report.load import CAUSES, TAGS, ReportData, ReportRun
from cascade.report.timeline import timeline_spans
from cascade.runs.costs import total
from cascade.scoring.outcomes import joined_how
from cascade.types import SENT_AUDIO, Answer, CaptionRecord, Completion, Item, Prompt, Round

_REPLY_END = 400  # characters of another run's reply: the end is where it answers


def index(report: ReportData, clips: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return one record per item, in the order of the run; `clips` gives each clip's place in the page's list."""
    main = report.main
    samples = range(main.spec.llm.samples)
    records = []
    for item in main.run.items:
        score = main.scored.scores[item.id]
        answers = [main.answers[item.id, sample] for sample in samples if (item.id, sample) in main.answers]
        replies = [reply for answer in answers if isinstance(reply := total(answer), Completion)]
        captions = _captions(main, item)
        record = {
            "id": item.id,
            "q": item.question,
            **{key: str(item.tags[tag]) for key, (tag, _) in TAGS.items() if tag in item.tags},
            "gold": item.answer,
            "choice": score.choice.text,
            "st": main.status(item.id),
            "o": [other.status(item.id) for other in report.others],
            "empty": [caption.slot for caption in captions if caption.text is not None and not caption.text.strip()],
            "lost": [caption.slot for caption in captions if caption.text is None],
            "clip": clips[item.audio],
            "tok": sum(reply.output_tokens or 0 for reply in replies),
            "s": _finite(sum(answer.seconds for answer in answers)) or 0,
        }
        if main.spec.llm.samples > 1:
            record["vote"] = score.choice.how
        if score.correct["mmar"] != score.correct["strict"]:
            record["loose"] = 1
        if item.id in report.causes:
            record["why"] = report.causes[item.id]
        records.append(record)
    return records


def _captions(run: ReportRun, item: Item) -> list[CaptionRecord]:
    """Return an item's captions: those of its prompt and, where that shows a digest, those that were merged."""
    by_slot = run.captions.get(item.id, {})
    return [by_slot[captioner.slot] for captioner in run.spec.captioners if captioner.slot in by_slot]


def details(report: ReportData, clips: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield what is shown of each item when it is opened, in the index's order; `clips` are those of `index`."""
    main = report.main
    template = Template(name=main.spec.prompt.template, text=main.run.manifest.template)
    places = {item.id: clips[item.audio] for item in main.run.items}
    engines = {captioner.slot: captioner.name for captioner in main.spec.captioners}
    for item in main.run.items:
        cue = item.reference.get("cue") or []
        if not isinstance(cue, list):
            cue = [cue]
        yield {
            "choices": list(item.choices),
            "captions": [
                _caption(caption, engines.get(caption.slot, ""), places.get(caption.item))
                for caption in _captions(main, item)
            ],
            "replies": list(_replies(main, item, template)),
            "others": [_other(other, item) for other in report.others],
            "cue": [str(part) for part in cue],
            "thinking": str(item.reference.get("thinking") or ""),
        }


def _caption(caption: CaptionRecord, engine: str, place: int | None = None) -> dict[str, Any]:
    """Return a caption, or what was sent of a clip with the clip's place."""
    record: dict[str, Any] = {"slot": caption.slot, "engine": engine}
    if engine == SENT_AUDIO:
        record = {"slot": caption.slot, "engine": "", "clip": place}
    if caption.failure:
        record["failure"] = f"{caption.failure.kind}: {caption.failure.message}"
        return record
    record |= {"text": caption.text, "times": timeline_spans(caption.meta)}
    if caption.meta.get("truncated") is True:
        record["truncated"] = True
    if isinstance(answers := caption.meta.get("answers"), list):
        record["answers"] = " ".join(map(str, answers))
    language, seconds = caption.meta.get("language"), _finite(caption.meta.get("seconds"))
    if isinstance(language, str | float):
        record["language"] = f"{language}, doubtful" if caption.meta.get("language_doubt") else language
    if seconds is not None:
        record["seconds"] = seconds
    return record


def _finite(value: Any) -> float | None:
    """Return a number as the page can hold it: JSON has no NaN, but files that were made elsewhere may."""
    return round(float(value), 5) if isinstance(value, int | float) and isfinite(value) else None


def _replies(run: ReportRun, item: Item, template: Template) -> Iterator[dict[str, Any]]:
    """Yield each sample's reply, its choice and its prompt; a prompt that equals the first one is left out."""
    first: Prompt | None = None
    for sample in range(run.spec.llm.samples):
        if (item.id, sample) not in run.answers:
            continue
        answer = run.answers[item.id, sample]
        record: dict[str, Any] = {"sample": sample, "seconds": _finite(answer.seconds)}
        if answer.audio:
            record["audio"] = answer.audio
        if answer.first:
            record["first"] = answer.first.text
        if answer.rounds:
            record["rounds"] = [_round(taken) for taken in answer.rounds]
        result = total(answer)
        if isinstance(result, Completion):
            record |= _completion(result)
            if choice := run.scored.choices.get(item.id, {}).get(sample):
                second = (run.scored.combined or run.scored).choices[item.id][sample]
                record |= {"choice": choice.text, "how": joined_how(choice, second)}
        else:
            record["failure"] = f"{result.kind}: {result.message}"
        prompt = _prompt(run, item, template, answer)
        if prompt and (first is None or prompt.messages != first.messages):
            texts = zip(prompt.messages, prompt.texts(f"<the clip {prompt.clip}>"), strict=True)
            record["prompt"] = [{**message, "content": text} for message, text in texts]
            # A question that was not asked has no prompt in the log to compare with.
            record["same"] = not answer.prompt or prompt_digest(prompt) == answer.prompt
        first = first or prompt
        yield record


def _round(taken: Round) -> dict[str, Any]:
    """Return what the model wrote in a round, and each request with what came of it; `start` and `end` in seconds."""
    findings = []
    for finding in taken.findings:
        start, end = _finite(finding.arguments.get("start", 0)), _finite(finding.arguments.get("end"))
        part: dict[str, Any] = {"text": finding.text, "seconds": _finite(finding.seconds)}
        part["request"] = request_text(finding, times=end is None)
        if end is not None:
            part |= {"start": start, "end": end}
        findings.append(part)
    return {"text": taken.reply.text, "findings": findings}


def _completion(completion: Completion) -> dict[str, Any]:
    known = {
        "finish": completion.finish,
        "cost": _finite(completion.cost),
        "in": completion.input_tokens,
        "out": completion.output_tokens,
        "thought": completion.reasoning_tokens,
    }
    record: dict[str, Any] = {"text": completion.text, "reasoning": completion.reasoning}
    return record | {name: value for name, value in known.items() if value is not None}


def _prompt(run: ReportRun, item: Item, template: Template, answer: Answer) -> Prompt | None:
    """Return the prompt of an answer, rendered again; None if a caption is missing, so that nothing was asked."""
    spec = run.spec.prompt
    records = run.captions.get(item.id, {})
    captions = {slot: record.caption for slot, record in records.items() if record.caption is not None}
    if not captions.keys() >= set(spec.slots):
        return None
    prompt = build_prompt(spec, template, item.id, item.question, item.choices, captions, answer.sample)
    offer = offered(run.spec.rounds, answer)
    return opening(prompt, offer) if offer else prompt


def _other(run: ReportRun, item: Item) -> dict[str, Any]:
    if item.id not in run.scored.scores:
        return {}
    choice = run.scored.scores[item.id].choice
    reply = run.scored.replies.get(item.id, "")
    if len(reply) > _REPLY_END:
        reply = "…" + reply[1 - _REPLY_END :]
    return {"choice": choice.text, "how": choice.how, "end": reply}


def facets(report: ReportData) -> list[dict[str, Any]]:
    """Return the filters that these runs have, each with its options as [value, label]; the script counts."""
    facets = [_facet("st", "result", ["right", "wrong", "unread", "failed"], "chips")]
    if report.causes:
        causes = [cause for cause in CAUSES if cause != UNKNOWN or UNKNOWN in report.causes.values()]
        facets.append(_facet("why", "perception or reasoning", causes, "chips"))
    if report.others:
        flags = [("only", "only this run right"), ("none", "no run right")]
        if report.control("blind"):
            flags.insert(1, ("blind", "blind got it too"))
        if report.audio_alone:
            flags.append(("audio", "heard, but wrong with captions"))
        facets.append(_facet("flag", "across runs", flags, "chips"))
    by_tag = report.main.summary.scores["mmar"].by
    for key, (tag, label) in TAGS.items():
        if by_tag.get(tag):
            facets.append(_facet(key, label, by_tag[tag]))
    if captioners := report.main.spec.captioners:
        empty = [(f"empty:{captioner.slot}", f"{captioner.slot} empty") for captioner in captioners]
        facets.append(_facet("captions", "captions", [("empty", "any empty"), *empty, ("lost", "one failed")]))
    against = []
    for place, other in enumerate(report.others):
        against.append((f"won:{place}", f"right here, not in: {other.name}"))
        against.append((f"lost:{place}", f"right only in: {other.name}"))
    if against:
        facets.append(_facet("vs", "against one run", against))
    return facets


def _facet(key: str, label: str, options: Iterable[str | tuple[str, str]], kind: str = "select") -> dict[str, Any]:
    """Return a filter with its options as (value, label); an option that is a text is both."""
    pairs = [[option, option] if isinstance(option, str) else list(option) for option in options]
    return {"key": key, "label": label, "kind": kind, "options": pairs}
