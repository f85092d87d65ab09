"""Many runs as rows of one table: what each run was, and its scores; runs of different items are kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.analysis import published
from cascade.errors import RunError, UserError
from cascade.io.digests import digest
from cascade.io.jsonl import OMITTED
from cascade.runs import describe, directory
from cascade.runs.served import Served
from cascade.scoring import outcomes
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import Rate
from cascade.scoring.summary import summarize

if TYPE_CHECKING:
    from cascade.scoring.second_reader import Readings

KIND = "kind"  # groups the rows of a board, unless it is a tag of the items
_DEEPEST = 4  # folders below one that is given


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRow:
    """One run. `items` describes its items in words, `items_digest` identifies them by question, choices and answer.

    `by` has each tag's values by the official matcher. If a second reader was asked, `mmar_read` is `mmar` by the
    combined readings. `differs` names further settings of the run that not all runs of the board share. `kind` is the
    run's group in MMAR's table, if `by` asks for it. The other fields are those of the run's summary.
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
    mmar_read: Rate | None = field(default=None, metadata=OMITTED)
    readings: Readings | None = field(default=None, metadata=OMITTED)
    differs: str | None = field(default=None, metadata=OMITTED)
    served: tuple[Served, ...] | None = field(default=None, metadata=OMITTED)
    not_asked: int | None = field(default=None, metadata=OMITTED)
    kind: str | None = field(default=None, metadata=OMITTED)

    @property
    def origins(self) -> str:
        """Where the answers came from, or `""` where that was not recorded."""
        return ", ".join(dict.fromkeys(server.origin or "not recorded" for server in self.served or ()))


# The parts of specs that other columns show.
_SHOWN = ("model", "origin", "captions", "controls", "prompt", "answer_as", "samples", "dataset", "only", "limit")
# The columns that sort the board.
_HIGHEST_FIRST = ("mmar", "strict", "coverage", "n", "samples")
SORTS = (*_HIGHEST_FIRST, "cost", "failed", "unread", "model", "captions", "prompt", "run")


def board_rows(folders: Iterable[Path], by: Sequence[str], skip: Callable[[str], None]) -> list[BoardRow]:
    """Return a row for each run of these folders, without repeats.

    `skip` is called with a line for each run that cannot be read and for each folder that has no run.
    """
    paths: dict[Path, Path] = {}
    for folder in folders:
        runs = directory.find_runs(folder, _DEEPEST)
        paths.update((path.resolve(), path) for path in runs)
        places = [folder]
        if runs:
            places = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        for path in places:
            if runs != [folder] and not any(run.is_relative_to(path) for run in runs):
                skip(f"{path}: this is no run, and there is none in it")
    rows, specs = [], []
    for path in paths.values():
        try:
            scored = outcomes.score_source(path)
            rows.append(board_row(path, by, scored))
            specs.append(scored.spec)
        except (UserError, OSError) as error:
            reason = str(error)
            skip(reason if str(path) in reason else f"{path}: {reason}")
    differences = describe.differences(specs, _SHOWN)
    return [replace(row, differs=text or None) for row, text in zip(rows, differences, strict=True)]


def board_row(path: Path, by: Sequence[str], scored: ScoredRun) -> BoardRow:
    """Return a scored run's row. Raises RunError where it is none, or was asked nothing."""
    spec, items = scored.spec, scored.items
    if spec is None:
        raise RunError(f"{path}: this is no run directory")
    if not scored.choices and all(reply.startswith("caption: ") for reply in scored.replies.values()):
        raise RunError(f"{path}: no question was asked yet")
    # A tag that this run's items do not have leaves its cells empty.
    known: set[str] = set()
    for item in items:
        known.update(item.tags, item.reference)
    summary = summarize(scored, [tag for tag in by if tag in known])
    selection = [f"{tag}={'|'.join(values)}" for tag, values in sorted(spec.only.items())]
    left_out = f" ({summary.inapplicable} not applicable)" if summary.inapplicable else ""
    # The digest is of what is asked and what is right, in any order; the rest of an item may change.
    questions = sorted([item.id, item.question, list(item.choices), item.answer] for item in items)
    breakdown = summary.scores["mmar"].by
    return BoardRow(
        run=str(path),
        model=summary.llm,
        captions=", ".join([describe.captioners_label(spec), *describe.controls(spec)]),
        prompt=summary.prompt,
        items=f"{' '.join([spec.dataset, *selection])}, {len(items)}{left_out}",
        items_digest=digest(questions),
        n=summary.n,
        mmar=scored.rate("mmar"),
        strict=scored.rate("strict"),
        by={tag: breakdown[tag] for tag in by if tag in breakdown},
        coverage=summary.coverage,
        failed=summary.failed,
        unread=summary.unparsed,
        samples=summary.samples,
        cost=summary.cost,
        captions_cost=summary.captions_cost,
        mmar_read=scored.combined.rate("mmar") if scored.combined else None,
        readings=summary.readings,
        served=summary.served,
        not_asked=summary.not_asked,
        kind=published.run_kind(scored) if KIND in by and KIND not in known else None,
    )


def ordered(rows: Sequence[BoardRow], sort: str) -> list[list[BoardRow]]:
    """Return the rows in groups of the same items, the largest group first, each sorted by kind and by one of SORTS.

    Rows whose value is unknown are last of their kind.
    """
    field = f"{sort}.accuracy" if sort in ("mmar", "strict") else sort
    value = attrgetter(field)
    groups: dict[str, list[BoardRow]] = {}
    for row in rows:
        groups.setdefault(row.items_digest, []).append(row)
    board = []
    for group in sorted(groups.values(), key=lambda group: (-len(group), group[0].items)):
        group.sort(key=lambda row: row.run)
        known = [row for row in group if value(row) is not None]
        known.sort(key=value, reverse=sort in _HIGHEST_FIRST)
        group = known + [row for row in group if value(row) is None]
        board.append(sorted(group, key=lambda row: published.KINDS.index(row.kind) if row.kind else 0))
    return board


def named(groups: Sequence[Sequence[BoardRow]]) -> list[str]:
    """Return the name of each group's items, with their digest where two groups have the same name."""
    names = [group[0].items for group in groups]
    distinct = []
    for name, group in zip(names, groups, strict=True):
        if names.count(name) > 1:
            name = f"{name} ({group[0].items_digest.removeprefix('b2:')[:8]})"
        distinct.append(name)
    return distinct
