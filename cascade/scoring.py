"""Scores: items and answers → right or wrong by each scorer → accuracy with intervals, by tag, beside chance.

Every item of a run or file is in every denominator: what was not answered is wrong, and counted. Reading alone: a run
is scored without its model, its cache or its audio. What only runs or only files need is imported where it is needed:
a thousand predictions are scored in less time than all of it takes to load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade import sampling
from cascade.errors import RunError, UserError
from cascade.scorers import SCORERS
from cascade.stats import Rate, rate
from cascade.types import Answer, Choice, Completion, Dataset, Failure, Item, RunSpec, Score

TAGS = ("modality", "category", "sub-category", "task", "difficulty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerResult:
    """One scorer's accuracy over all items, and by each tag's values.

    For runs also accuracy over samples by the place at which the gold choice was shown; with several samples an item,
    `accuracy` is the vote's, and `pass_at` has pass@k for each k, of which pass@1 is the mean over samples.
    """

    accuracy: float
    ci95: tuple[float, float]
    by: Mapping[str, Mapping[str, Rate]]
    pass_at: Mapping[str, Rate] = field(default_factory=dict)
    by_gold_position: Mapping[str, Rate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run's or file's scores. `n` is every item, `answered` = n − failed, `coverage` = (answered − unparsed) / n.

    `failed` items have no reply; `unparsed` replies name no choice, `truncated` ones among them were cut at the token
    limit (all samples are counted). With several `samples` an item, `ties` are items whose vote has no winner; they
    are unparsed too. `chance` is the accuracy of a uniform choice. `official_denominator`, for files, is the accuracy
    over the rows that carry a prediction, which is what the official script prints. `cost` is in US dollars, what the
    captions cost when they were made aside (`captions_cost`); null is unknown.
    """

    run: str
    dataset: str
    llm: str
    n: int
    answered: int
    failed: int
    unparsed: int
    truncated: int
    coverage: float
    chance: Mapping[str, float]
    scores: Mapping[str, ScorerResult]
    official_denominator: float | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    tokens: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(("input", "output", "reasoning"), 0))
    cost: float | None = None
    captions_cost: float | None = None
    samples: int = 1
    ties: int = 0
    shuffled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """Scores and, beside them, which of them have no reply, and what each sample's reply settles on."""

    scores: Sequence[Score]
    failed: frozenset[str]
    read: sampling.Read = field(default_factory=dict)
    samples: int = 1
    seed: int | None = None


def score(
    source: Path, dataset: Dataset | None = None, *, read_replies: bool = False, by: Sequence[str] = ()
) -> Summary:
    """The scores of a run directory or of an official prediction file (joined with `dataset` where it has ids alone).

    A file's predictions are scored as they stand; `read_replies` extracts a choice from each first. `by` names tags to
    break down by, besides those of the benchmarks. Raises RunError or DatasetError for what cannot be read.
    """
    return _score_run(source, by) if source.is_dir() else _score_file(source, dataset, read_replies, by)


def judge(items: Iterable[Item], choices: Mapping[str, Choice], sample: int = 0) -> list[Score]:
    """Every item with the choice that was made for it; an item without one is judged as no answer."""
    none = Choice(text="", how="no reply")
    return [_judge(item, choices.get(item.id, none), sample) for item in items]


def _judge(item: Item, choice: Choice, sample: int) -> Score:
    correct = {name: rule(item, choice.text) for name, rule in SCORERS.items()}
    return Score(item=item.id, sample=sample, choice=choice, correct=correct, tags=item.tags)


# Runs


def _score_run(path: Path, by: Sequence[str]) -> Summary:
    from cascade import runs

    run = runs.read(path)
    if not run.items:
        raise RunError(f"{path}/items.jsonl: there are no items; run it again with the command that made it")
    asked, samples = {item.id for item in run.items}, run.spec.llm.samples
    answers = [one for (item, sample), one in runs.answers(path).items() if item in asked and sample < samples]
    read = read_choices(run.spec, run.items, answers)
    voted = {item: sampling.vote(choices) for item, choices in read.items()}
    return _summary(
        _Judged(
            scores=judge(run.items, voted),
            failed=frozenset(asked) - voted.keys(),
            read=read,
            samples=samples,
            seed=run.spec.prompt.order_seed,
        ),
        run.items,
        by,
        run=str(path),
        dataset=run.spec.dataset,
        llm=run.spec.llm.model,
        captions={spec.slot: spec.name for spec in run.spec.captioners},
        prompt=run.spec.prompt.template,
        tokens=_tokens(answers),
        cost=_cost(answers),
        captions_cost=_captions_cost(path),
        samples=samples,
        shuffled=run.spec.prompt.order_seed is not None,
    )


def read_choices(spec: RunSpec, items: Iterable[Item], answers: Iterable[Answer]) -> dict[str, dict[int, Choice]]:
    """The choice that each reply settles on, by item id and sample; failures are not in it."""
    from cascade import prompting

    known = {item.id: item for item in items}
    read: dict[str, dict[int, Choice]] = {}
    for answer in sorted(answers, key=lambda answer: answer.sample):
        item = known.get(answer.item)
        if isinstance(answer.result, Completion) and item:
            shown = prompting.order(item.choices, item.id, spec.prompt.order_seed, answer.sample)
            read.setdefault(item.id, {})[answer.sample] = _choice(answer.result, shown)
    return read


def _choice(completion: Completion, shown: Sequence[str]) -> Choice:
    # A reply that was cut at its token limit is an unfinished thought, whatever it named on the way.
    if completion.finish == "length":
        return Choice(text="", how="truncated")
    from cascade.extracting import extract

    return extract(completion.text, shown)


def _completions(answers: Iterable[Answer]) -> list[Completion]:
    return [answer.result for answer in answers if isinstance(answer.result, Completion)]


def _tokens(answers: Iterable[Answer]) -> dict[str, int]:
    done = _completions(answers)
    return {kind: sum(getattr(one, f"{kind}_tokens") or 0 for one in done) for kind in ("input", "output", "reasoning")}


def _cost(answers: Sequence[Answer]) -> float | None:
    """The answers' price; what a provider charged for what it held back is in it."""
    charged = [one.result.cost for one in answers if isinstance(one.result, Failure) and one.result.cost]
    return _sum([one.cost for one in _completions(answers)], *charged)


def _sum(costs: Sequence[float | None], *more: float) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) + sum(more) if known and len(known) == len(costs) else None


def _captions_cost(path: Path) -> float | None:
    """What the captions by providers cost when they were made; null where there are none, or a price is unknown."""
    from cascade import runs

    heard = runs.captions(path) if (path / "captions.jsonl").exists() else []
    return _sum(list({one.key: one.meta["cost"] for one in heard if "cost" in one.meta}.values()))


# Prediction files


def _score_file(path: Path, dataset: Dataset | None, read_replies: bool, by: Sequence[str]) -> Summary:
    from cascade import predictions

    file = predictions.read(path, dataset.items if dataset else None)
    known = {item.id: item for item in file.items}
    said = {name: text for name, text in file.said.items() if text is not None}
    choices = {name: _as_read(text, known[name], read_replies) for name, text in said.items()}
    judged = _Judged(scores=judge(file.items, choices), failed=frozenset(known) - choices.keys())
    carried = [one.correct["mmar"] for one in judged.scores if one.item in file.carried]
    return _summary(
        judged,
        file.items,
        by,
        run=str(path),
        dataset=dataset.name if dataset else "",
        llm="",
        official_denominator=sum(carried) / len(carried) if carried else None,
    )


def _as_read(text: str, item: Item, read_replies: bool) -> Choice:
    if not read_replies:
        return Choice(text=text, how="as it stands")
    from cascade.extracting import extract

    return extract(text, item.choices)


# Summaries


def _summary(judged: _Judged, items: Sequence[Item], by: Sequence[str], **about: Any) -> Summary:
    """The figures, and `about`: the fields of a Summary that say where they come from."""
    n, failed = len(judged.scores), len(judged.failed)
    unparsed = sum(not one.choice.text.strip() for one in judged.scores) - failed
    return Summary(
        n=n,
        answered=n - failed,
        failed=failed,
        unparsed=unparsed,
        truncated=sum(one.how == "truncated" for read in judged.read.values() for one in read.values()),
        ties=sum(one.choice.how == sampling.TIE for one in judged.scores),
        coverage=(n - failed - unparsed) / n,
        chance=chance(items),
        scores={name: _scorer_result(judged, items, name, by) for name in SCORERS},
        **about,
    )


def chance(items: Sequence[Item]) -> dict[str, float]:
    """The accuracy that a uniform choice among each item's choices is expected to have, by scorer."""
    return {
        name: sum(sum(rule(item, choice) for choice in item.choices) / len(item.choices) for item in items) / len(items)
        for name, rule in SCORERS.items()
    }


def _scorer_result(judged: _Judged, items: Sequence[Item], scorer: str, by: Sequence[str]) -> ScorerResult:
    scores, rule = judged.scores, SCORERS[scorer]
    whole = rate([one.correct[scorer] for one in scores])
    present = [tag for tag in dict.fromkeys((*TAGS, *by)) if any(tag in one.tags for one in scores)]
    if lacking := [tag for tag in by if tag not in present]:
        known = sorted({tag for one in scores for tag in one.tags})
        raise UserError(f"--by {lacking[0]}: no item has that tag (there is: {', '.join(known) or 'none'})")
    counts = sampling.right(items, judged.read, rule, judged.samples) if judged.samples > 1 else []
    placed = sampling.by_position(items, judged.read, rule, judged.samples, judged.seed) if judged.read else {}
    return ScorerResult(
        accuracy=whole.accuracy,
        ci95=whole.ci95,
        by={tag: _broken_down(scores, scorer, tag) for tag in present},
        pass_at=sampling.pass_at(counts, judged.samples) if counts else {},
        by_gold_position=placed,
    )


def _broken_down(scores: Sequence[Score], scorer: str, tag: str) -> dict[str, Rate]:
    """The rate of each value of a tag, the most frequent value first."""
    groups: dict[str, list[bool]] = {}
    for one in scores:
        if tag in one.tags:
            groups.setdefault(one.tags[tag], []).append(one.correct[scorer])
    return {value: rate(groups[value]) for value in sorted(groups, key=lambda value: (-len(groups[value]), value))}
