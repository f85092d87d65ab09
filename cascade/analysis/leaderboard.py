"""Many runs as rows of one table: what each was, and its scores; runs over other items are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.errors import RunError, UserError
from cascade.io.digests import digest
from cascade.runs import describe, directory
from cascade.scoring import outcomes
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import summarize
from cascade.types import RunSpec

_DEEPEST = 4  # folders below one that is given


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRow:
    """One run. `items` says in words what it was asked, `items_digest` which items they are, question for question.

    `mmar` and `strict` have Wilson intervals; `by` has each tag's values by the official matcher. Costs are in US
    dollars; None is unknown, or nothing was paid for.
    """

    run: str
    model: str
    captions: str
    prompt: str
    items: str
    items_digest: str
    n: int
    mmar: Rate
    strict: Rate
    by: Mapping[str, Mapping[str, Rate]]
    coverage: float
    failed: int
    unread: int
    samples: int
    cost: float | None
    captions_cost: float | None


_Key = Callable[[BoardRow], "float | str | None"]
# What the board can be sorted by, and whether the highest is first.
SORTS: Mapping[str, tuple[_Key, bool]] = {
    "mmar": (lambda one: one.mmar.accuracy, True),
    "strict": (lambda one: one.strict.accuracy, True),
    "coverage": (lambda one: one.coverage, True),
    "n": (lambda one: one.n, True),
    "samples": (lambda one: one.samples, True),
    "cost": (lambda one: one.cost, False),
    "failed": (lambda one: one.failed, False),
    "unread": (lambda one: one.unread, False),
    "model": (lambda one: one.model, False),
    "captions": (lambda one: one.captions, False),
    "prompt": (lambda one: one.prompt, False),
    "run": (lambda one: one.run, False),
}


def board_rows(folders: Iterable[Path], by: Sequence[str], skip: Callable[[str], None]) -> list[BoardRow]:
    """The runs of these folders, each once. What cannot be read is told to `skip`, and passed over."""
    paths: dict[Path, Path] = {}
    for folder in folders:
        try:
            paths.update((path.resolve(), path) for path in _find_runs(folder, skip))
        except (UserError, OSError) as error:
            skip(str(error))
    rows = []
    for path in paths.values():
        try:
            rows.append(board_row(path, by))
        except (UserError, OSError) as error:
            skip(f"{path}: {error}" if str(path) not in str(error) else str(error))
    return rows


def _find_runs(folder: Path, skip: Callable[[str], None]) -> list[Path]:
    """Return the runs at or below a folder; report the folders beside them that hold none to `skip`.

    Raises RunError where there is no run.
    """
    runs = directory.find_runs(folder, _DEEPEST)
    if not runs:
        raise RunError(f"{folder}: this is no run, and there is none in it")
    if runs != [folder]:
        for path in sorted(folder.iterdir()):
            hidden = not path.is_dir() or path.name.startswith(".")
            if not hidden and not any(run.is_relative_to(path) for run in runs):
                skip(f"{path}: this is no run, and there is none in it")
    return runs


def board_row(path: Path, by: Sequence[str] = ()) -> BoardRow:
    """One run's row. Raises RunError where it cannot be read."""
    judged = outcomes.score_source(path)
    if judged.spec is None:
        raise RunError(f"{path}: this is no run directory")
    # A tag that this run's items do not have leaves its cells empty.
    has = [tag for tag in by if any(tag in item.tags or tag in item.reference for item in judged.items)]
    summary = summarize(judged, has)
    scores = summary.scores
    rates = {name: Rate(n=summary.n, accuracy=one.accuracy, ci95=one.ci95) for name, one in scores.items()}
    return BoardRow(
        run=str(path),
        model=summary.llm,
        captions=", ".join([describe.captioners_label(judged.spec), *describe.controls(judged.spec)]),
        prompt=summary.prompt,
        items=_items(judged.spec, len(judged.items)),
        items_digest=_items_digest(judged),
        n=summary.n,
        mmar=rates["mmar"],
        strict=rates["strict"],
        by={tag: scores["mmar"].by[tag] for tag in by if tag in scores["mmar"].by},
        coverage=summary.coverage,
        failed=summary.failed,
        unread=summary.unparsed,
        samples=summary.samples,
        cost=summary.cost,
        captions_cost=summary.captions_cost,
    )


def _items(spec: RunSpec, n: int) -> str:
    chosen = " ".join(f"{tag}={'|'.join(values)}" for tag, values in sorted(spec.only.items()))
    return f"{spec.dataset}{f' {chosen}' if chosen else ''}, {n}"


def _items_digest(judged: ScoredRun) -> str:
    """Of what is asked and what is right, in any order; what else a dataset says of an item may change."""
    return digest(sorted([item.id, item.question, list(item.choices), item.answer] for item in judged.items))


def ordered(rows: Sequence[BoardRow], sort: str) -> list[list[BoardRow]]:
    """The rows by which items they are of, most rows first, and in each group by one of SORTS; the unknown are last."""
    groups: dict[str, list[BoardRow]] = {}
    for row in rows:
        groups.setdefault(row.items_digest, []).append(row)
    return [_sorted(group, sort) for group in sorted(groups.values(), key=lambda group: (-len(group), group[0].items))]


def _sorted(rows: Sequence[BoardRow], sort: str) -> list[BoardRow]:
    key, highest_first = SORTS[sort]
    by_name = sorted(rows, key=lambda one: one.run)
    known = [one for one in by_name if key(one) is not None]
    return [
        *sorted(known, key=lambda one: key(one) or 0, reverse=highest_first),
        *(one for one in by_name if key(one) is None),
    ]


def named(groups: Sequence[Sequence[BoardRow]]) -> list[str]:
    """What each group's items are called: as its runs say, and with their digest where two would be called alike."""
    words = [group[0].items for group in groups]
    return [
        word if words.count(word) == 1 else f"{word} ({group[0].items_digest.removeprefix('b2:')[:8]})"
        for word, group in zip(words, groups, strict=True)
    ]
