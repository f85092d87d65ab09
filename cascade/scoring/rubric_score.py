"""Judged reasoning as figures: each item's rubric score, in ours and in the official way of counting.

| | an item whose judgement failed | a reply's scores go to the criteria |
|---|---|---|
| ours | counts as 0, and is counted | by name, by place where names say nothing |
| official | leaves the totals | by place |

An item that the official matcher calls wrong scores 0 in both, without a call. A judgement has failed when fewer than
five of its calls can be read, and where none could be made: no rubric, no reasoning, or 10 000 characters of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from cascade.scoring.rubric_reply import Marks
from cascade.scoring.statistics import Rate, clustered, rate
from cascade.scoring.summary import groups
from cascade.types import Completion, Dataset, Failure, Item

Share = TypeVar("Share", bound=float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """What there is to judge in a run or file: a case for each right item, or why there can be none.

    `uncarried` items have no prediction at all, and leave the official denominator.
    """

    judged: ScoredRun
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
    """A run's or file's judged reasoning. `right` = `judged` + `failed`; `why` has what failed, by reason.

    `calls` are replies that count: `read`, `unreadable`, `failed` (no reply), `missing` (not asked yet). `matched` says
    how replies were matched to criteria. `accuracy` is the official matcher's, `ours` and `official` are rubric scores;
    `official` is None where no item is left. `cost` is in US dollars, of the log's replies; null is unknown. `failures`
    has the first reason by item.
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
    """What there is to judge. `dataset` has the rubrics, where the source has not, and the questions of ids alone.

    Raises RunError or DatasetError for what cannot be read, and UserError where no item has a rubric.
    """
    judged = outcomes.score_source(source, dataset)
    told, carried = _told(source, dataset)
    known = {item.id: item for item in dataset.items} if dataset else {}
    items = {item.id: known.get(item.id, item) for item in judged.items}
    if not any(item.reference.get("rubric") for item in items.values()):
        raise UserError(f"{source}: no item has a rubric; give the questions that have: --dataset mmar, or FILE.jsonl")
    right = [one for one in judged.scores if one.correct["mmar"]]
    found: dict[str, Case] = {}
    unable: dict[str, str] = {}
    for one in right:
        try:
            found[one.item] = _case(items[one.item], told.get(one.item), one.choice.text)
        except ValueError as error:
            unable[one.item] = str(error)
    return Cases(
        judged=judged,
        right=frozenset(one.item for one in right),
        cases=found,
        unable=unable,
        uncarried=frozenset(items) - carried,
    )


def _told(source: Path, dataset: Dataset | None) -> tuple[Mapping[str, str], frozenset[str]]:
    """The reasoning by item, and which items carry a prediction: a run's are what it would export."""
    if source.is_dir():
        rows = export.predictions(directory.read_run(source), "mmar")
        return {row["id"]: row["thinking_prediction"] for row in rows}, frozenset(row["id"] for row in rows)
    file = predictions.read(source, dataset.items if dataset else None)
    return file.thought, file.carried


def _case(item: Item, reasoning: str | None, answer: str) -> Case:
    """Raises ValueError with the reason where the item cannot be judged."""
    wanted = rubric_reply.criteria(item.reference.get("rubric"))
    if reasoning is None:
        raise ValueError("no thinking_prediction")
    if len(reasoning) > rubric_reply.LONGEST:
        raise ValueError("the reasoning has 10000 characters or more")
    return Case(
        item=item.id,
        question=item.question,
        answer=item.answer,
        thinking=str(item.reference.get("thinking") or "(none is given)"),
        criteria=wanted,
        response=f"{reasoning} The answer is {answer}.",
    )


# What the judge said


def fingerprints(template: Template, found: Cases) -> dict[str, str]:
    """The digest of each case's messages, by item."""
    return {name: evidence.prompt_digest(judge_log.judge_prompt(template, case)) for name, case in found.cases.items()}


def calls_left(found: Cases, judge: Judge, said: Replies) -> list[tuple[Case, int]]:
    """Each case and call that has no readable reply yet, in order."""
    return [
        (found.cases[name], call)
        for name, digest in fingerprints(judge.prompt, found).items()
        for call in range(CALLS)
        if not isinstance(_marks(said.get((name, call, digest)), found.cases[name]), Marks)
    ]


def _marks(one: Judgement | None, case: Case) -> Marks | str:
    """What one call says; text is why it says nothing."""
    if one is None:
        return "not asked"
    if isinstance(one.result, Failure):
        return f"no reply: {one.result.kind}"
    try:
        return rubric_reply.marks(one.result, case.criteria)
    except ValueError as error:
        return f"unreadable: {error}"


def rate_run(found: Cases, judge: Judge, said: Replies, by: Sequence[str] = ()) -> Rating:
    """The figures of what the judge said, by the benchmarks' tags and those in `by`."""
    digests = fingerprints(judge.prompt, found)
    read = {
        name: [_marks(said.get((name, call, digests[name])), case) for call in range(CALLS)]
        for name, case in found.cases.items()
    }
    ours = {name: _item([one.share if isinstance(one, Marks) else None for one in each]) for name, each in read.items()}
    failures, official = dict(_failures(found, read, ours)), _official(found, read)
    items, about = found.judged.items, found.judged.about
    every = [one for each in read.values() for one in each]
    return Rating(
        run=str(about["run"]),
        dataset=str(about["dataset"]),
        judge=judge.llm.model,
        prompt=judge.template,
        prompt_digest=judge.template_digest,
        n=len(items),
        right=len(found.right),
        judged=len(found.right) - len(failures),
        failed=len(failures),
        why=dict(Counter(failures.values()).most_common()),
        calls=_kinds(every),
        matched=Counter(one.how for one in every if isinstance(one, Marks)),
        accuracy=_scale(items, {item.id: item.id in found.right for item in items}, by, rate),
        ours=_scale(items, {item.id: ours.get(item.id) or 0.0 for item in items}, by),
        official=_scale(items, official, by) if official else None,
        **_taken(said.values()),
        failures=failures,
    )


def _item(shares: Sequence[float | None]) -> float | None:
    """An item's score; None where one of its calls has none."""
    known = [share for share in shares if share is not None]
    return rubric_reply.trimmed(known) if len(known) == CALLS else None


def _official(found: Cases, read: Mapping[str, Sequence[Marks | str]]) -> dict[str, float]:
    """The scores that stay in the official totals, in the items' order."""
    scores = {item.id: 0.0 if item.id not in found.right else None for item in found.judged.items}
    for name, each in read.items():
        scores[name] = _item([one.by_place if isinstance(one, Marks) else None for one in each])
    return {name: score for name, score in scores.items() if score is not None and name not in found.uncarried}


def _failures(
    found: Cases, read: Mapping[str, Sequence[Marks | str]], ours: Mapping[str, float | None]
) -> Iterator[tuple[str, str]]:
    """Each right item without a score, and the first reason."""
    yield from found.unable.items()
    for name, score in ours.items():
        if score is None:
            yield name, next(one for one in read[name] if isinstance(one, str))


def _kinds(every: Sequence[Marks | str]) -> dict[str, int]:
    kinds = Counter("read" if isinstance(one, Marks) else one.partition(":")[0] for one in every)
    names = {"read": "read", "unreadable": "unreadable", "failed": "no reply", "missing": "not asked"}
    return {name: kinds[kind] for name, kind in names.items()}


def _scale(
    items: Sequence[Item],
    scores: Mapping[str, Share],
    by: Sequence[str],
    mean: Callable[[Sequence[Share]], Rate] = clustered,
) -> Scale:
    """The mean of these items' scores and by tag; groups without any are left out."""
    whole = mean(list(scores.values()))
    parts = {
        tag: {value: [scores[name] for name in names if name in scores] for value, names in values.items()}
        for tag, values in groups(items, by).items()
    }
    means = {tag: {value: mean(some) for value, some in values.items() if some} for tag, values in parts.items()}
    return Scale(whole=whole, by=means)


def _taken(said: Iterable[Judgement]) -> dict[str, Any]:
    """Tokens and cost of the calls in the log."""
    done = [one.result for one in said if isinstance(one.result, Completion)]
    costs = [one.cost for one in done if one.cost is not None]
    return {
        "tokens": {kind: sum(getattr(one, f"{kind}_tokens") or 0 for one in done) for kind in ("input", "output")},
        "cost": sum(costs) if costs and len(costs) == len(done) else None,
    }
