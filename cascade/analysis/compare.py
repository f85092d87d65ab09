"""Paired differences: the same items answered twice, by runs or in prediction files, with intervals and tests.

The intervals of two separate scores say little about their difference, which depends on the items that only one of the
two gets right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

from cascade.errors import UnknownName, UserError
from cascade.io.jsonl import OMITTED
from cascade.runs import describe
from cascade.runs.served import Served
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import detectable, holm, mcnemar, paired_interval, rate
from cascade.scoring.summary import groups
from cascade.scoring.voting import Agreement
from cascade.types import Item

if TYPE_CHECKING:
    from cascade.scoring.second_reader import Readings

Key = TypeVar("Key")
SIGNIFICANT = 0.05  # a corrected p under it supports a difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the compared runs: its accuracy on the items of all, and how many of its items are left out.

    `differs` names the settings of the run, other than its model, that not all of these runs share. The other fields
    are those of its summary.
    """

    run: str
    llm: str
    accuracy: float
    ci95: tuple[float, float]
    left_out: int
    readings: Readings | None = field(default=None, metadata=OMITTED)
    served: tuple[Served, ...] | None = field(default=None, metadata=OMITTED)
    not_asked: int | None = field(default=None, metadata=OMITTED)
    inapplicable: int | None = field(default=None, metadata=OMITTED)
    differs: str | None = field(default=None, metadata=OMITTED)
    agreement: Agreement | None = field(default=None, metadata=OMITTED)

    @property
    def label(self) -> str:
        """What was run, in brackets: the model, what else differs, and to how many items it does not apply."""
        inapplicable = ""
        if self.inapplicable:
            inapplicable = f"not applicable to {self.inapplicable} items, left out on all sides"
        parts = "; ".join(filter(None, [self.llm.split("@")[0], self.differs, inapplicable]))
        return f" ({parts})" if parts else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """The number of items that only one of the two gets right, and the exact, two-sided p of McNemar's test.

    `p_holm` is adjusted for the family of tests, None where there is none.
    """

    only_a: int
    only_b: int
    p: float
    p_holm: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the test, corrected where it is one of several, supports a difference."""
        return (self.p if self.p_holm is None else self.p_holm) < SIGNIFICANT


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """A paired difference, `a` − `b`, with Tango's 95 % score interval."""

    n: int
    a: float
    b: float
    difference: float
    ci95: tuple[float, float]
    mcnemar: McNemar

    def to_row(self) -> dict[str, Any]:
        """Return the figures as one flat row."""
        shares = {"n": self.n, "a": self.a, "b": self.b, "difference": self.difference}
        test = self.mcnemar
        counts = {"only_a": test.only_a, "only_b": test.only_b, "p": test.p, "p_holm": test.p_holm}
        return {**shares, "low": self.ci95[0], "high": self.ci95[1], **counts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """An item that only one of the two (`right`: `a` or `b`) gets right, and the choice of each."""

    item: str
    right: str
    answer: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A and B on the items of both. Holm's correction is over the values of each tag.

    `detectable` is the smallest true difference that a test of as many items, of which as many are discordant, detects
    with a power of 80 %. `combined` is the same by the rules' readings or else a second reader's, where the same model
    read both.
    """

    n: int
    scorer: str
    a: Side
    b: Side
    difference: float
    ci95: tuple[float, float]
    mcnemar: McNemar
    detectable: float
    by: Mapping[str, Mapping[str, PairedDifference]]
    flipped: tuple[Flip, ...]
    combined: Comparison | None = field(default=None, metadata=OMITTED)

    def __repr__(self) -> str:
        low, high = self.ci95
        return (
            f"Comparison({self.a.run!r}, {self.b.run!r}, {self.n} items, "
            f"difference {self.difference:+.4f} [{low:+.4f}, {high:+.4f}])"
        )

    @property
    def whole(self) -> PairedDifference:
        """The difference over all items, in the form of those by tag."""
        shares = {"a": self.a.accuracy, "b": self.b.accuracy, "difference": self.difference}
        return PairedDifference(n=self.n, ci95=self.ci95, mcnemar=self.mcnemar, **shares)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per value of a tag; tag and value are `""` for all items."""
        groups = [("", "", self.whole)]
        for tag, values in self.by.items():
            groups += [(tag, value, pair) for value, pair in values.items()]
        return [{"tag": tag, "value": value, **pair.to_row()} for tag, value, pair in groups]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Several runs on the items of all: each run's difference to each other run, row − column.

    `p_holm` is McNemar's p, adjusted over all pairs; the diagonal is null. `combined` is as in a `Comparison`.
    """

    n: int
    scorer: str
    runs: tuple[Side, ...]
    difference: tuple[tuple[float, ...], ...]
    p_holm: tuple[tuple[float | None, ...], ...]
    combined: Matrix | None = field(default=None, metadata=OMITTED)


def compare(a: ScoredRun, b: ScoredRun, *, scorer: str = "mmar", by: Sequence[str] = ()) -> Comparison:
    """Return the paired difference of two runs or files by one scorer, by tag too.

    Raises UserError where they have no item in common, or different questions under one id.
    """
    items, (right_a, right_b), sides = _pair([a, b], scorer)
    whole = _difference(right_a, right_b, [item.id for item in items])
    by_tag = {}
    for tag, values in groups(items, by).items():
        differences = {value: _difference(right_a, right_b, ids) for value, ids in values.items()}
        by_tag[tag] = adjust_family(differences)
    flipped = []
    for item in items:
        if right_a[item.id] != right_b[item.id]:
            right = "a" if right_a[item.id] else "b"
            texts = {"a": a.scores[item.id].choice.text, "b": b.scores[item.id].choice.text}
            flipped.append(Flip(item=item.id, right=right, answer=item.answer, **texts))
    combined = _combined([a, b])
    return Comparison(
        n=whole.n,
        scorer=scorer,
        a=sides[0],
        b=sides[1],
        difference=whole.difference,
        ci95=whole.ci95,
        mcnemar=whole.mcnemar,
        detectable=detectable(whole.n, (whole.mcnemar.only_a + whole.mcnemar.only_b) / whole.n),
        by=by_tag,
        flipped=tuple(flipped),
        combined=compare(*combined, scorer=scorer, by=by) if combined else None,
    )


def _combined(sources: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Return the sources by their combined readings, where one model read the replies of all, else none."""
    models = {source.readings.model for source in sources if source.readings}
    combined = [source.combined for source in sources if source.combined]
    return combined if len(models) == 1 and len(combined) == len(sources) else []


def matrix(sources: Sequence[ScoredRun], *, scorer: str = "mmar") -> Matrix:
    """Return the differences of several runs or files to each other. Raises as `compare` does."""
    items, right, sides = _pair(sources, scorer)
    ids = [item.id for item in items]
    p_values = {}
    for row, column in combinations(range(len(sources)), 2):
        p_values[row, column] = _difference(right[row], right[column], ids).mcnemar.p
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    difference, p_holm = [], []
    for row, side in enumerate(sides):
        difference.append(tuple(side.accuracy - other.accuracy for other in sides))
        columns = range(len(sources))
        p_holm.append(tuple(adjusted.get((min(row, column), max(row, column))) for column in columns))
    combined = _combined(sources)
    return Matrix(
        n=len(ids),
        scorer=scorer,
        runs=tuple(sides),
        difference=tuple(difference),
        p_holm=tuple(p_holm),
        combined=matrix(combined, scorer=scorer) if combined else None,
    )


def adjust_family(differences: Mapping[Key, PairedDifference]) -> dict[Key, PairedDifference]:
    """Return the differences with their p values adjusted over all of them by Holm's method."""
    adjusted = {}
    p_values = holm([difference.mcnemar.p for difference in differences.values()])
    for (key, difference), p_holm in zip(differences.items(), p_values, strict=True):
        adjusted[key] = replace(difference, mcnemar=replace(difference.mcnemar, p_holm=p_holm))
    return adjusted


def _pair(sources: Sequence[ScoredRun], scorer: str) -> tuple[list[Item], list[dict[str, bool]], list[Side]]:
    """Return the items of all sources, and for each source right or wrong by item, and its side."""
    if scorer not in SCORERS:
        raise UnknownName("scorer", scorer, SCORERS)
    names = [str(source.about["run"]) for source in sources]
    asked = [{item.id: (item.question, sorted(item.choices), item.answer) for item in run.items} for run in sources]
    shared = set(asked[0]).intersection(*asked)
    items = [item for item in sources[0].items if item.id in shared]
    if not items:
        raise UserError(f"{names[0]} and {names[-1]} have no item in common: nothing can be paired")
    for item in items:
        for name, other in zip(names, asked, strict=True):
            if other[item.id] != asked[0][item.id]:
                raise UserError(
                    f"{names[0]} and {name} have different questions as {item.id!r}: "
                    "they are of different versions of the dataset"
                )
    right = [source.correct(scorer) for source in sources]
    sides = []
    differences = describe.differences([source.spec for source in sources], ["model"])
    for name, source, correct, differs in zip(names, sources, right, differences, strict=True):
        share = rate([correct[item.id] for item in items])
        sides.append(
            Side(
                run=name,
                llm=str(source.about["llm"]),
                accuracy=share.accuracy,
                ci95=share.ci95,
                left_out=len(source.items) - len(items),
                readings=source.readings,
                served=source.about.get("served"),
                not_asked=source.about.get("not_asked"),
                inapplicable=source.about.get("inapplicable"),
                differs=differs or None,
                agreement=source.agreement(scorer, items),
            )
        )
    return items, right, sides


def _difference(a: Mapping[str, bool], b: Mapping[str, bool], ids: Sequence[str]) -> PairedDifference:
    n = len(ids)
    counts = Counter((a[item], b[item]) for item in ids)
    only_a, only_b = counts[True, False], counts[False, True]
    return PairedDifference(
        n=n,
        a=sum(a[item] for item in ids) / n,
        b=sum(b[item] for item in ids) / n,
        difference=(only_a - only_b) / n,
        ci95=paired_interval(only_a, only_b, n),
        mcnemar=McNemar(only_a=only_a, only_b=only_b, p=mcnemar(only_a, only_b)),
    )
