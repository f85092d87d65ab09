"""Scores of judged reasoning: each item's rubric score, as counted here and as counted by the official script.

| | an item whose judgement failed |
|---|---|
| ours | counts as 0, and is counted as failed |
| official | leaves the totals |

An item that the official matcher calls wrong scores 0 in both, without a call. A judgement fails when fewer than five
of its calls can be read, and where none can be made: no rubric, no reasoning, or 10 000 characters of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cascade.errors import UserError
from cascade.prompting import evidence
from cascade.prompting.templates import Template
from cascade.runs import directory, judge_log
from cascade.runs.judge_log import CALLS, Case, Judge, Judgement, Replies
from cascade.scoring import export, outcomes, predictions, rubric_reply
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import Rate, clustered, rate
from cascade.scoring.summary import groups
from cascade.types import Dataset, Failure, Item

Share = TypeVar("Share", bound=float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """The items to judge in a run or file: a case for each right item, or the reason why it is `unable` to be judged.

    `uncarried` items have no prediction at all, and leave the official denominator.
    """

    scored: ScoredRun
    right: frozenset[str]
    cases: Mapping[str, Case]
    unable: Mapping[str, str]
    uncarried: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One way of counting: the mean over items, in [0, 1], with an interval over items, and by tag."""

    whole: Rate
    by: Mapping[str, Mapping[str, Rate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A run's or file's judged reasoning. `right` = `judged` + `failed`; `why` counts the failed by reason.

    `calls` are replies that count: `read`, `unreadable`, `failed` (no reply), `missing` (not asked yet). `matched` are
    the read ones by how their scores were matched to criteria: always by `place`. `accuracy` is the official matcher's,
    `ours` and `official` are rubric scores; `official` is None where no item is left. `tokens` and `cost` (US dollars;
    null is unknown) are those of the log. `failures` has the first reason by item.
    """

    run: str
    dataset: str
    judge: str
    prompt: str
    prompt_digest: str
    n: int
    right: int
    judged: int
    failed: int
    why: Mapping[str, int]
    calls: Mapping[str, int]
    matched: Mapping[str, int]
    accuracy: Scale
    ours: Scale
    official: Scale | None
    tokens: Mapping[str, int]
    cost: float | None
    failures: Mapping[str, str]

    def __repr__(self) -> str:
        score = self.ours.whole.accuracy
        return f"Rating({self.run!r}, {self.judged} judged of {self.n} items, rubrics {score:.4f})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row a way of counting and value of a tag; tag and value are `""` for all items."""
        rows: list[dict[str, Any]] = []
        for name, scale in {"mmar": self.accuracy, "rubrics": self.ours, "official": self.official}.items():
            if scale is None:
                continue
            groups = [("", "", scale.whole)]
            for tag, values in scale.by.items():
                groups += [(tag, value, share) for value, share in values.items()]
            for tag, value, share in groups:
                row = {"scale": name, "tag": tag, "value": value, "n": share.n, "score": share.accuracy}
                rows.append({**row, "low": share.ci95[0], "high": share.ci95[1]})
        return rows


def judge_cases(source: Path, dataset: Dataset | None = None) -> Cases:
    """Return the cases of a run or prediction file.

    `dataset` has the rubrics, where the source has none, and the questions of ids alone. Raises RunError or
    DatasetError for what cannot be read, and UserError where no item has a rubric.
    """
    scored = outcomes.score_source(source, dataset)
    if source.is_dir():
        # A run is judged on the reasoning that it would export.
        rows = export.prediction_rows(directory.read_run(source), "mmar")
        thinking: Mapping[str, str] = {row["id"]: row["thinking_prediction"] for row in rows}
        carried = frozenset(thinking)
    else:
        file = predictions.read_predictions(source, dataset.items if dataset else None)
        thinking, carried = file.thinking, file.carried
    items = {item.id: item for item in scored.items}
    if dataset:
        items.update((item.id, item) for item in dataset.items if item.id in items)
    if not any(item.reference.get("rubric") for item in items.values()):
        raise UserError(f"{source}: no item has a rubric; give the questions that have: --dataset mmar, or FILE.jsonl")
    cases: dict[str, Case] = {}
    unable: dict[str, str] = {}
    right = [score for score in scored.scores if score.correct["mmar"]]
    for score in right:
        try:
            cases[score.item] = _case(items[score.item], thinking.get(score.item), score.choice.text)
        except ValueError as error:
            unable[score.item] = str(error)
    return Cases(
        scored=scored,
        right=frozenset(score.item for score in right),
        cases=cases,
        unable=unable,
        uncarried=frozenset(items) - carried,
    )


def _case(item: Item, reasoning: str | None, answer: str) -> Case:
    """Return an item's case. Raises ValueError with the reason where the item cannot be judged."""
    rubric = rubric_reply.criteria(item.reference.get("rubric"))
    if reasoning is None:
        raise ValueError("no thinking_prediction")
    if len(reasoning) > export.LONGEST:
        raise ValueError("the reasoning has 10000 characters or more")
    return Case(
        item=item.id,
        question=item.question,
        answer=item.answer,
        thinking=str(item.reference.get("thinking") or "(none is given)"),
        criteria=rubric,
        response=f"{reasoning} The answer is {answer}.",
    )


def fingerprints(template: Template, cases: Cases) -> dict[str, str]:
    """Return the digest of each case's messages, by item."""
    return {item: evidence.prompt_digest(judge_log.judge_prompt(template, case)) for item, case in cases.cases.items()}


def calls_left(cases: Cases, judge: Judge, replies: Replies) -> list[tuple[Case, int]]:
    """Return each case and call that has no readable reply yet, in order."""
    left = []
    for item, digest in fingerprints(judge.prompt, cases).items():
        case = cases.cases[item]
        calls = [_read_call(replies.get((item, call, digest)), case) for call in range(CALLS)]
        left += [(case, number) for number, call in enumerate(calls) if call.kind != "read"]
    return left


@dataclass(frozen=True, slots=True, kw_only=True)
class _CallResult:
    """One call: its kind, as in `Rating.calls`, and the share of the points that it gives, or why it gives none."""

    kind: str
    share: float = 0.0
    reason: str = ""


def _read_call(judgement: Judgement | None, case: Case) -> _CallResult:
    if judgement is None:
        return _CallResult(kind="missing", reason="not asked")
    if isinstance(judgement.result, Failure):
        return _CallResult(kind="failed", reason=f"no reply: {judgement.result.kind}")
    try:
        scores = rubric_reply.read_scores(judgement.result, case.criteria)
    except ValueError as error:
        return _CallResult(kind="unreadable", reason=f"unreadable: {error}")
    return _CallResult(kind="read", share=rubric_reply.share(scores, case.criteria))


def rate_run(cases: Cases, judge: Judge, replies: Replies, by: Sequence[str] = ()) -> Rating:
    """Return the figures of the judge's replies, by the benchmarks' tags and those in `by`."""
    scores: dict[str, float] = {}
    failures = dict(cases.unable)
    calls = dict.fromkeys(("read", "unreadable", "failed", "missing"), 0)
    for name, digest in fingerprints(judge.prompt, cases).items():
        results = [_read_call(replies.get((name, call, digest)), cases.cases[name]) for call in range(CALLS)]
        for result in results:
            calls[result.kind] += 1
        if reasons := [result.reason for result in results if result.reason]:
            failures[name] = reasons[0]
        else:
            scores[name] = rubric_reply.trimmed([result.share for result in results])
    items, about = cases.scored.items, cases.scored.about
    ours = {item.id: scores.get(item.id, 0.0) for item in items}
    official = {}
    for item in items:
        if item.id not in failures and item.id not in cases.uncarried:
            official[item.id] = ours[item.id]
    tags = groups(items, by)
    sent = [judgement.result for judgement in replies.values()]
    return Rating(
        run=str(about["run"]),
        dataset=str(about["dataset"]),
        judge=judge.llm.model,
        prompt=judge.template,
        prompt_digest=judge.template_digest,
        n=len(items),
        right=len(cases.right),
        judged=len(scores),
        failed=len(failures),
        why=dict(Counter(failures.values()).most_common()),
        calls=calls,
        matched={"place": calls["read"]} if calls["read"] else {},
        accuracy=_scale({item.id: item.id in cases.right for item in items}, tags, rate),
        ours=_scale(ours, tags, clustered),
        official=_scale(official, tags, clustered) if official else None,
        tokens=outcomes.total_tokens(sent, ("input", "output")),
        cost=outcomes.total_cost(sent),
        failures=failures,
    )


def _scale(
    scores: Mapping[str, Share],
    tags: Mapping[str, Mapping[str, Sequence[str]]],
    mean: Callable[[Sequence[Share]], Rate],
) -> Scale:
    """Return the mean of the items' scores, in all and by tag; groups without a scored item are left out."""
    by: dict[str, dict[str, Rate]] = {}
    for tag, values in tags.items():
        by[tag] = {}
        for value, names in values.items():
            if known := [scores[name] for name in names if name in scores]:
                by[tag][value] = mean(known)
    return Scale(whole=mean(list(scores.values())), by=by)
