"""Right or wrong: every item of a run or prediction file, by each scorer, on the choice that its reply settles on.

What was not answered is wrong, and named. What only runs or only files need is imported where it is needed: a thousand
predictions are scored in less time than all of it takes to load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.errors import RunError
from cascade.scoring import voting
from cascade.scoring.matchers.registry import SCORERS
from cascade.types import Answer, Choice, Completion, Dataset, Failure, Item, RunSpec, Score

_SHOWN = 160  # characters of a reply: where it ends is where it answers


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """Every item of a run or file with its score, in their order.

    `failed` have no reply. `said` is the (first) reply or failure as it came; `read` is what each sample's reply
    settles on; `about` is what a summary says of where all this comes from; `spec` is a run's, a file has none.
    """

    items: Sequence[Item]
    scores: Sequence[Score]
    failed: frozenset[str]
    about: Mapping[str, Any]
    said: Mapping[str, str]
    read: voting.ReadChoices = field(default_factory=dict)
    samples: int = 1
    seed: int | None = None
    spec: RunSpec | None = None


def score_source(source: Path, dataset: Dataset | None = None, *, read_replies: bool = False) -> ScoredRun:
    """Each item's score, of a run directory or an official prediction file; `dataset` has the questions of ids alone.

    A file's predictions are judged as they stand; `read_replies` extracts a choice from each first. Raises RunError or
    DatasetError for what cannot be read.
    """
    return _judged_run(source) if source.is_dir() else _judged_file(source, dataset, read_replies)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadItem:
    """An item without an answer: by which rule, and the end of what was said on one line."""

    item: str
    why: str
    said: str


def unread_items(judged: ScoredRun) -> list[UnreadItem]:
    """The items that failed, whose reply names no choice, or several, or whose prediction is no choice verbatim."""
    found = []
    for item, score in zip(judged.items, judged.scores, strict=True):
        said = " ".join(judged.said.get(item.id, "").split())
        if score.choice.text.strip() not in {choice.strip() for choice in item.choices} - {""}:
            why = "failed" if item.id in judged.failed else score.choice.how
            found.append(
                UnreadItem(item=item.id, why=why, said=said if len(said) <= _SHOWN else "…" + said[1 - _SHOWN :])
            )
    return found


def score_items(items: Iterable[Item], choices: Mapping[str, Choice]) -> list[Score]:
    """Every item with the choice that was made for it; an item without one is judged as no answer."""
    scores, none = [], Choice(text="", how="no reply")
    for item in items:
        choice = choices.get(item.id, none)
        correct = {name: rule(item, choice.text) for name, rule in SCORERS.items()}
        scores.append(Score(item=item.id, sample=0, choice=choice, correct=correct, tags=item.tags))
    return scores


# Runs


def _judged_run(path: Path) -> ScoredRun:
    from cascade.runs import directory

    run = directory.read_run(path)
    if not run.items:
        raise RunError(f"{path}/items.jsonl: there are no items; run it again with the command that made it")
    asked, samples = {item.id for item in run.items}, run.spec.llm.samples
    answers = [
        one for (item, sample), one in directory.last_answers(path).items() if item in asked and sample < samples
    ]
    read = read_choices(run.spec, run.items, answers)
    voted = {item: voting.vote(choices) for item, choices in read.items()}
    return ScoredRun(
        items=run.items,
        scores=score_items(run.items, voted),
        failed=frozenset(asked) - voted.keys(),
        said=_said(answers),
        read=read,
        samples=samples,
        seed=run.spec.prompt.order_seed,
        spec=run.spec,
        about={
            "run": str(path),
            "dataset": run.spec.dataset,
            "llm": run.spec.llm.model,
            "captions": {spec.slot: spec.name for spec in run.spec.captioners},
            "prompt": run.spec.prompt.template,
            "tokens": _tokens(answers),
            "cost": _cost(answers),
            "captions_cost": _captions_cost(path),
            "samples": samples,
            "shuffled": run.spec.prompt.order_seed is not None,
        },
    )


def read_choices(spec: RunSpec, items: Iterable[Item], answers: Iterable[Answer]) -> dict[str, dict[int, Choice]]:
    """The choice that each reply settles on, by item id and sample; failures are not in it."""
    from cascade.prompting import evidence

    known = {item.id: item for item in items}
    read: dict[str, dict[int, Choice]] = {}
    for answer in sorted(answers, key=lambda answer: answer.sample):
        item = known.get(answer.item)
        if isinstance(answer.result, Completion) and item:
            shown = evidence.order_choices(item.choices, item.id, spec.prompt.order_seed, answer.sample)
            read.setdefault(item.id, {})[answer.sample] = _choice(answer.result, shown)
    return read


def _choice(completion: Completion, shown: Sequence[str]) -> Choice:
    # A reply that was cut at its token limit is an unfinished thought, whatever it named on the way.
    if completion.finish == "length":
        return Choice(text="", how="truncated")
    from cascade.scoring.extraction.extract import extract

    return extract(completion.text, shown)


def _said(answers: Iterable[Answer]) -> dict[str, str]:
    said: dict[str, str] = {}
    for answer in sorted(answers, key=lambda answer: answer.sample):
        one = answer.result
        said.setdefault(answer.item, f"{one.kind}: {one.message}" if isinstance(one, Failure) else one.text)
    return said


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
    from cascade.runs import directory

    heard = directory.read_captions(path) if (path / "captions.jsonl").exists() else []
    return _sum(list({one.key: one.meta["cost"] for one in heard if "cost" in one.meta}.values()))


# Prediction files


def _judged_file(path: Path, dataset: Dataset | None, read_replies: bool) -> ScoredRun:
    from cascade.scoring import predictions

    file = predictions.read(path, dataset.items if dataset else None)
    known = {item.id: item for item in file.items}
    said = {name: text for name, text in file.said.items() if text is not None}
    choices = {name: _as_read(text, known[name], read_replies) for name, text in said.items()}
    scores = score_items(file.items, choices)
    carried = [one.correct["mmar"] for one in scores if one.item in file.carried]
    return ScoredRun(
        items=file.items,
        scores=scores,
        failed=frozenset(known) - choices.keys(),
        said=said,
        about={
            "run": str(path),
            "dataset": dataset.name if dataset else "",
            "llm": "",
            "official_denominator": sum(carried) / len(carried) if carried else None,
        },
    )


def _as_read(text: str, item: Item, read_replies: bool) -> Choice:
    if not read_replies:
        return Choice(text=text, how="as it stands")
    from cascade.scoring.extraction.extract import extract

    return extract(text, item.choices)
