"""Score every item of a run or prediction file as right or wrong, by each scorer, from the choice of its reply.

An item without an answer is wrong, and listed as failed; an item that a run does not apply to is left out. Modules that
only runs or only prediction files need are imported where they are used, because scoring a thousand predictions takes
less time than importing all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from cascade.errors import NOT_APPLICABLE, RunError
from cascade.io import jsonl
from cascade.runs import costs
from cascade.runs.describe import caption_costs, with_answer_form
from cascade.runs.served import count_served
from cascade.scoring import voting
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.statistics import Rate, rate
from cascade.types import Answer, CaptionRecord, Choice, Completion, Dataset, Failure, Item, RunSpec, Score

if TYPE_CHECKING:
    from cascade.scoring.second_reader import Readings, ShownReply

_NOTHING: Mapping[str, Any] = {}
TRUNCATED = "truncated"  # the `how` of a reply that was cut at its token limit
CUT = "cut"  # the `how` of a reply that was cut for another reason
_REASONS = {
    "empty": "the reply is empty",
    "no choice named": "no rule finds a choice in it",
    "several choices": "it names several choices",
    "several answers": "two of its answers contradict each other",
    "label against text": "its letter and its text are different choices",
    "label or text": "its letter labels one choice and is the text of another",
    "label with another value": "the value after its letter is no choice",
    "denied": "it rejects the choice that it names",
    "denied or weighed": "it rejects the choice that it names, or is unsure of it",
    "taken back": "it takes its answer back",
    "truncated": "the reply was cut at its token limit",
    "cut": "the provider cut the reply, and not at a token limit",
    voting.TIE: "a tie: two choices have the same number of votes",
    "as it stands": "the prediction is not the exact text of a choice",
}
_ENDING = 160  # characters of a reply's end that are shown, because models state their answer there


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """The items of a run or file, and their scores by item id, both in the source's order.

    `failed` items have no reply. `replies` has each item's first reply or failure as text, `choices` the choice of each
    sample's reply, `about` the fields of a summary that describe the source. A file has no `spec`. `reasoned` says
    whether any reply came with separate reasoning, as text or as tokens. `unread_replies` are the replies that a second
    reader should read. If it has read some, `readings` counts its replies, and `combined` is the source scored by the
    rules' choices or, where the rules have none, the reader's.
    """

    items: Sequence[Item]
    scores: Mapping[str, Score]
    failed: frozenset[str]
    about: Mapping[str, Any]
    replies: Mapping[str, str]
    choices: voting.ReadChoices = field(default_factory=dict)
    spec: RunSpec | None = None
    reasoned: bool = False
    unread_replies: Sequence[ShownReply] = ()
    readings: Readings | None = None
    combined: ScoredRun | None = None

    @property
    def unread(self) -> int:
        """The number of items that have a reply, but no choice."""
        return sum(not score.choice.text.strip() for score in self.scores.values()) - len(self.failed)

    def correct(self, scorer: str) -> dict[str, bool]:
        """Return whether each item is right by this scorer, by item id."""
        return {item: score.correct[scorer] for item, score in self.scores.items()}

    def rate(self, scorer: str) -> Rate:
        """Return the share of items that are right by this scorer, with its interval."""
        return rate(list(self.correct(scorer).values()))

    def agreement(self, scorer: str, items: Sequence[Item]) -> voting.Agreement | None:
        """Return how far the samples of these items agree; None if each item has one sample."""
        samples = self.spec.llm.samples if self.spec else 1
        if samples == 1:
            return None
        return voting.agreement(items, self.choices, SCORERS[scorer], samples, self.correct(scorer))


def score_source(
    source: Path, dataset: Dataset | None = None, *, read_replies: bool = False, reader: Path | None = None
) -> ScoredRun:
    """Score each item of a run directory or an official prediction file.

    `dataset` has the questions of a file that has only ids. A file's predictions are scored unchanged, unless
    `read_replies` extracts a choice from each first. `reader` is the folder of a second reader's log, if not the usual
    one. Raises RunError or DatasetError for a source that cannot be read.
    """
    folder = reader_folder(source, reader)
    has_log = (folder / "reader.jsonl").exists()
    if source.is_dir():
        scored = _score_directory(source)
    else:
        scored = _score_file(source, dataset, as_choices=read_replies, extracted=read_replies or has_log)
    if not has_log:
        return scored
    from cascade.runs.call_log import READER, CallLog
    from cascade.scoring import second_reader

    log = CallLog(folder, READER)
    if not log.exists():
        return scored
    model, logged = log.read()
    readings, choices = second_reader.combine(scored.choices, scored.unread_replies, model, logged)
    combined = changed(scored, readings=readings, scores=score_items(scored.items, choices), choices=choices)
    return changed(scored, readings=readings, combined=combined)


def reader_folder(source: Path, out: Path | None) -> Path:
    """Return the folder of a second reader's log: `out`, otherwise the run, otherwise `NAME-read` beside the file NAME.

    An older version left the suffix out of NAME. Its folder is still used if it has a log and the other does not exist.
    """
    if out or source.is_dir():
        return out or source
    folder, older = source.with_name(f"{source.name}-read"), source.with_name(f"{source.stem}-read")
    return older if (older / "reader.jsonl").exists() and not folder.exists() else folder


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadItem:
    """An unread or failed item: the reason in words (`why`), and the end of its reply on one line (`said`)."""

    item: str
    why: str
    said: str


def unread_items(scored: ScoredRun) -> list[UnreadItem]:
    """Return the items that failed, whose reply names no or several choices, or whose prediction is no choice."""
    unread = []
    combined = (scored.combined or scored).scores
    for item in scored.items:
        score, second = scored.scores[item.id], combined[item.id]
        if score.choice.text.strip() in {choice.strip() for choice in item.choices} - {""}:
            continue
        why = "failed"
        if item.id not in scored.failed:
            # The reason of the rules comes first, then that of a second reader after a semicolon.
            rule, semicolon, reader = joined_how(score.choice, second.choice).partition("; ")
            why = why_unread(rule) + semicolon + reader
        reply = " ".join(scored.replies.get(item.id, "").split())
        if len(reply) > _ENDING:
            reply = "…" + reply[1 - _ENDING :]
        unread.append(UnreadItem(item=item.id, why=why, said=reply))
    return unread


def why_unread(how: str) -> str:
    """Return in words why the rules read no choice from a reply; `how` is that of its Choice."""
    reason = how.rpartition(": ")[2]
    return _REASONS.get(reason, reason)


def joined_how(choice: Choice, second: Choice) -> str:
    """Return the `how` of the rules' choice and, if it differs, that of the choice with a second reader."""
    return choice.how if choice.how == second.how else f"{choice.how}; {second.how}"


def score_items(items: Iterable[Item], choices: voting.ReadChoices) -> dict[str, Score]:
    """Return the score of the vote of each item's samples, by item id; an item without a choice has no answer."""
    scores, no_reply = {}, {0: Choice(text="", how="no reply")}
    verdicts: dict[tuple[bool, ...], dict[str, bool]] = {}  # Items with the same verdict share one mapping.
    for item in items:
        choice = voting.vote(choices.get(item.id, no_reply))
        verdict = tuple(scorer(item, choice.text) for scorer in SCORERS.values())
        correct = verdicts.setdefault(verdict, dict(zip(SCORERS, verdict, strict=True)))
        scores[item.id] = Score(item=item.id, sample=0, choice=choice, correct=correct, tags=item.tags)
    return scores


# Run directories


def _score_directory(path: Path) -> ScoredRun:
    from cascade.runs import directory
    from cascade.scoring import second_reader

    run = directory.read_run(path)
    if not run.items:
        raise RunError(f"{path}/items.jsonl: there are no items; run it again with the command that made it")
    known, samples = {item.id for item in run.items}, run.spec.llm.samples
    last: dict[tuple[str, int], Answer] = {}
    reasoned, again = False, set[str]()
    for answer in jsonl.records(Answer, path / "log.jsonl", growing=True):
        if answer.item in known and answer.sample < samples:
            reply = answer.result
            reasoned |= isinstance(reply, Completion) and bool(reply.reasoning or reply.reasoning_tokens)
            result = costs.total(answer)
            if answer.first:
                again.add(answer.item)
            # Scoring does not need the emptied fields, and without them a long log takes little memory.
            if isinstance(result, Completion):
                result = replace(result, reasoning="", sent=_NOTHING)
            short = {"prompt": "", "at": "", "captions": _NOTHING, "params": _NOTHING, "rounds": UNSET, "first": UNSET}
            last[answer.item, answer.sample] = replace(answer, result=result, **short)
    answers = sorted(last.values(), key=lambda answer: answer.sample)
    del last  # The keys of a long log take a tenth of the memory.
    failures = {answer.item: answer.result for answer in answers if isinstance(answer.result, Failure)}
    inapplicable = {item: failure for item, failure in failures.items() if failure.kind == NOT_APPLICABLE}
    items = [item for item in run.items if item.id not in inapplicable]
    if not items:
        first = next(iter(inapplicable.values())).message
        raise RunError(f"{path}: not applicable to any of its {len(known)} items, nothing to score; the first: {first}")
    choices = read_choices(run.spec, items, answers, again)
    replies: dict[str, str] = {}
    unread = []
    for answer in answers:
        if isinstance(answer.result, Failure):
            replies.setdefault(answer.item, f"{answer.result.kind}: {answer.result.message}")
        else:
            replies.setdefault(answer.item, answer.result.text)
        choice = choices.get(answer.item, {}).get(answer.sample)
        if choice is not None and not choice.text and choice.how not in (TRUNCATED, CUT):
            unread.append(answer)
    return ScoredRun(
        items=items,
        scores=score_items(items, choices),
        failed=frozenset(known) - inapplicable.keys() - choices.keys(),
        replies=replies,
        choices=choices,
        spec=run.spec,
        reasoned=reasoned,
        about={
            **_describe_run(path, run.spec, [answer.result for answer in answers]),
            "served": count_served(answers) or None,
            "not_asked": len(run.items) * samples - len(answers) or None,
            "inapplicable": len(inapplicable) or None,
            "asked_again": len(again) if run.spec.rounds and run.spec.rounds.when else None,
        },
        unread_replies=[reply for reply in second_reader.show_replies(run.spec, items, unread) if reply.text],
    )


def _describe_run(path: Path, spec: RunSpec, results: Sequence[Completion | Failure]) -> dict[str, Any]:
    """Return the fields of a summary that describe a run: its spec, its tokens and its costs."""
    prices: dict[str, float | None] = {}
    origins = Counter[str]()
    if (path / "captions.jsonl").exists():
        for caption in jsonl.records(CaptionRecord, path / "captions.jsonl"):
            prices |= caption_costs([caption])
            if "origin" in caption.meta:
                origins[f"{caption.slot} from {caption.meta['origin']}"] += 1
    return {
        "run": str(path),
        "dataset": spec.dataset,
        "llm": spec.llm.model,
        "captions": {captioner.slot: captioner.name for captioner in spec.captioners},
        "prompt": with_answer_form(spec.prompt.template, spec),
        "tokens": costs.total_tokens(results, ("input", "output", "reasoning")),
        "cost": costs.total_cost(results),
        "captions_cost": costs.sum_known(list(prices.values())) if prices else None,
        "captions_from": dict(origins) or None,
        "samples": spec.llm.samples,
        "shuffled": spec.prompt.order_seed is not None,
    }


def read_choices(
    spec: RunSpec, items: Iterable[Item], answers: Iterable[Answer], again: Collection[str]
) -> dict[str, dict[int, Choice]]:
    """Return the choice that each reply settles on, by item id and sample, without failures.

    Items whose samples disagree are left out, too, where they have yet to be asked `again` for that.
    """
    from cascade.prompting import evidence

    known = {item.id: item for item in items}
    choices: dict[str, dict[int, Choice]] = {}
    for answer in sorted(answers, key=lambda answer: answer.sample):
        item, reply = known.get(answer.item), answer.result
        if item is None or isinstance(reply, Failure):
            continue
        order = evidence.order_choices(item.choices, item.id, spec.prompt.order_seed, answer.sample)
        choices.setdefault(item.id, {})[answer.sample] = read_reply(reply, order)
    if spec.rounds and spec.rounds.when:
        from cascade.prompting.rounds import disagree

        for name in choices.keys() - again:
            texts = [choice.text for choice in choices[name].values()]
            if len(texts) == spec.llm.samples and disagree(texts):
                del choices[name]
    return choices


def read_reply(reply: Completion, choices: Sequence[str]) -> Choice:
    """Return the choice that a reply settles on, from the choices as they were shown to the model."""
    from cascade.scoring.extraction.extract import extract

    if not reply.is_cut:
        return extract(reply.text, choices)
    # A reply that was cut may name a choice that the model would have rejected later.
    how = TRUNCATED if "token limit" in reply.cut_where else CUT
    return Choice(text="", how=how)


# Prediction files


def _score_file(path: Path, dataset: Dataset | None, *, as_choices: bool, extracted: bool) -> ScoredRun:
    """Score a file's predictions unchanged or, with `as_choices`, by the choices that are `extracted` from them."""
    from cascade.scoring import predictions

    file = predictions.read_predictions(path, dataset)
    known = {item.id: item for item in file.items}
    rules: dict[str, dict[int, Choice]] = {}
    unread: list[ShownReply] = []
    if extracted:
        from cascade.scoring import second_reader
        from cascade.scoring.extraction.extract import extract

        for name, text in file.texts.items():
            choice = extract(text, known[name].choices)
            rules[name] = {0: choice}
            if not choice.text:
                unread.append(second_reader.show_reply(name, 0, text, known[name].choices))
    choices = rules
    if not as_choices:
        choices = {name: {0: Choice(text=text, how="as it stands")} for name, text in file.texts.items()}
    scores = score_items(file.items, choices)
    official: float | None = None
    if file.carried:
        official = sum(scores[name].correct["mmar"] for name in file.carried) / len(file.carried)
    return ScoredRun(
        items=file.items,
        scores=scores,
        failed=frozenset(known) - file.texts.keys(),
        replies=file.texts,
        about={
            "run": str(path),
            "dataset": dataset.name if dataset else "",
            "llm": "",
            "official_denominator": official,
            "as_it_stands": (extracted and not as_choices) or None,
        },
        choices=rules,
        unread_replies=[reply for reply in unread if reply.text],
    )
