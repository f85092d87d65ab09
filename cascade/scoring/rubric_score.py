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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.errors import UserError
from cascade.io import jsonl
from cascade.io.jsonl import OMITTED
from cascade.prompting import evidence, templates
from cascade.prompting.templates import Template
from cascade.runs import call_log, costs, directory
from cascade.runs.call_log import CallLog, Inquiry, Question, Replies, SecondModel
from cascade.runs.served import Served, count_served
from cascade.scoring import export, outcomes, predictions, rubric_reply
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.rubric_reply import Criterion
from cascade.scoring.statistics import Rate, clustered, rate, with_groups
from cascade.scoring.summary import groups
from cascade.types import Completion, Dataset, Item, Prompt

CALLS = 5  # an item; arXiv 2602.14224
SEED = 42  # of each call; arXiv 2602.14224


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a judge sees of one item: the gold `answer` and `thinking`, and the `response` that it judges."""

    question: str
    answer: str
    thinking: str
    criteria: tuple[Criterion, ...]
    response: str


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
    null is unknown) are those of the log, `served` says who answered. `failures` has the first reason by item.
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
    served: tuple[Served, ...] | None = field(default=None, metadata=OMITTED)

    def __repr__(self) -> str:
        score = self.ours.whole.accuracy
        return f"Rating({self.run!r}, {self.judged} judged of {self.n} items, rubrics {score:.4f})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row a way of counting and value of a tag; tag and value are `""` for all items."""
        rows: list[dict[str, Any]] = []
        for name, scale in {"mmar": self.accuracy, "rubrics": self.ours, "official": self.official}.items():
            if scale is None:
                continue
            for tag, value, share in with_groups(scale.whole, scale.by):
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
        file = predictions.read_predictions(source, dataset)
        thinking, carried = file.thinking, file.carried
    items = {item.id: item for item in scored.items}
    if dataset:
        items.update((item.id, item) for item in dataset.items if item.id in items)
    if not any(item.reference.get("rubric") for item in items.values()):
        raise UserError(f"{source}: no item has a rubric; give the questions that have: --dataset mmar, or FILE.jsonl")
    cases: dict[str, Case] = {}
    unable: dict[str, str] = {}
    right = [score for score in scored.scores.values() if score.correct["mmar"]]
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
        question=item.question,
        answer=item.answer,
        thinking=str(item.reference.get("thinking") or "(none is given)"),
        criteria=rubric,
        response=f"{reasoning} The answer is {answer}.",
    )


def judge_log(source: Path, out: Path | None) -> CallLog:
    """Return the judge's log in `out`, else in the run, else in a folder below runs/ that is named after the file."""
    folder = source if source.is_dir() else Path("runs") / f"{source.stem}-judged"
    return CallLog(out or folder, call_log.JUDGE, source)


def judge_prompt(template: Template, case: Case) -> Prompt:
    """Return the messages for one item; `order` are a best and a worst reply, of which the model `fake` gives one."""
    criteria, best, worst = [], [], []
    for number, criterion in enumerate(case.criteria, 1):
        allowed = ", ".join(f"{choice:g}" for choice in criterion.choices)
        criteria.append(f"{number}. {criterion.name}\n   {criterion.scoring_point}\n   Allowed scores: {allowed}")
        best.append({"name": criterion.name, "score": max(criterion.choices)})
        worst.append({"name": criterion.name, "score": min(criterion.choices)})
    fields = {
        "question": case.question,
        "answer": case.answer,
        "thinking": case.thinking,
        "criteria": "\n".join(criteria),
        "response": case.response,
    }
    return Prompt(
        messages=templates.fill(template, fields),
        order=tuple(jsonl.dumps({"scores": scores}) for scores in (best, worst)),
    )


def inquiry(cases: Cases, seed: int = SEED) -> Inquiry[float]:
    """Return what a judge is asked: CALLS calls about each case, each of which gives a share of the points."""

    def questions(template: Template) -> list[Question]:
        asked = []
        for item, case in cases.cases.items():
            prompt = judge_prompt(template, case)
            digest = evidence.prompt_digest(prompt)
            asked += [Question(item, call, prompt, digest) for call in range(CALLS)]
        return asked

    def parse(question: Question, reply: Completion) -> float:
        criteria = cases.cases[question.item].criteria
        return rubric_reply.share(rubric_reply.read_scores(reply, criteria), criteria)

    return Inquiry(questions, parse, CALLS, {"seed": seed})


def rate_run(cases: Cases, judge: SecondModel, replies: Replies, by: Sequence[str] = ()) -> Rating:
    """Return the figures of the judge's replies, by the benchmarks' tags and those in `by`."""
    failures = dict(cases.unable)
    calls = dict.fromkeys(("read", "unreadable", "failed", "missing"), 0)
    shares: dict[str, list[float]] = {}
    for question, result in inquiry(cases).results(judge, replies):
        calls[result.kind] += 1
        if result.value is None:
            failures.setdefault(question.item, result.reason)
        else:
            shares.setdefault(question.item, []).append(result.value)
    scores = {item: rubric_reply.trimmed(of_item) for item, of_item in shares.items() if item not in failures}
    items, about = cases.scored.items, cases.scored.about
    ours = {item.id: scores.get(item.id, 0.0) for item in items}
    left_out = failures.keys() | cases.uncarried
    official = {item: score for item, score in ours.items() if item not in left_out}
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
        tokens=costs.total_tokens(sent, ("input", "output")),
        cost=costs.total_cost(sent),
        failures=failures,
        served=count_served(replies.values()) or None,
    )


def _scale(
    scores: Mapping[str, float],
    tags: Mapping[str, Mapping[str, Sequence[str]]],
    mean: Callable[[Sequence[Any]], Rate],
) -> Scale:
    """Return the mean of the items' scores, in all and by tag; groups without a scored item are left out."""
    by: dict[str, dict[str, Rate]] = {}
    for tag, values in tags.items():
        by[tag] = {}
        for value, names in values.items():
            if known := [scores[name] for name in names if name in scores]:
                by[tag][value] = mean(known)
    return Scale(whole=mean(list(scores.values())), by=by)
