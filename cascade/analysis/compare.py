"""Paired differences: the same items answered twice, by runs or in prediction files, and what chance would do to them.

The intervals of two separate scores say little about their difference: what counts are the items that only one of the
two gets right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from cascade.errors import UnknownName, UserError
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.outcomes import ScoredRun
from cascade.scoring.statistics import detectable, holm, mcnemar, paired_bootstrap, rate
from cascade.scoring.summary import groups
from cascade.types import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: where it is from, its accuracy on the items of both, how many items only it has."""

    run: str
    llm: str
    accuracy: float
    ci95: tuple[float, float]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """How many items only one of the two gets right; the exact, two-sided p; `p_holm` is adjusted for its family."""

    only_a: int
    only_b: int
    p: float
    p_holm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """A paired difference, `a` − `b`, with a 95 % bootstrap interval over items."""

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
    """An item that only one of the two (`right`: `a` or `b`) gets right, and what was read of each."""

    item: str
    right: str
    answer: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A and B on the items that both have. Holm's correction is over the values of each tag.

    `detectable` is the least true difference that this many items, apart as often as these, would show four times in
    five.
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

    def __repr__(self) -> str:
        low, high = self.ci95
        return (
            f"Comparison({self.a.run!r}, {self.b.run!r}, {self.n} items, "
            f"difference {self.difference:+.4f} [{low:+.4f}, {high:+.4f}])"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row a value of a tag; tag and value are `""` for all items."""
        groups = [("", "", overall(self))]
        for tag, values in self.by.items():
            groups += [(tag, value, pair) for value, pair in values.items()]
        return [{"tag": tag, "value": value, **pair.to_row()} for tag, value, pair in groups]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Several runs on the items that all have: each one's difference to each other one, row − column.

    `p_holm` is McNemar's p, adjusted over all pairs; the diagonal is null.
    """

    n: int
    scorer: str
    runs: tuple[Side, ...]
    difference: tuple[tuple[float, ...], ...]
    p_holm: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Right or wrong by item id for each side, on the items of all."""

    items: tuple[Item, ...]
    right: tuple[Mapping[str, bool], ...]
    said: tuple[Mapping[str, str], ...]
    sides: tuple[Side, ...]


def compare(a: ScoredRun, b: ScoredRun, *, scorer: str = "mmar", by: Sequence[str] = (), seed: int = 0) -> Comparison:
    """The paired difference of two runs or files by one scorer, by tag too; `seed` is the bootstrap's.

    Raises UserError where they have no item in common, or different questions under one id.
    """
    pairs = _paired([a, b], scorer)
    whole = _difference(pairs, [item.id for item in pairs.items], seed)
    broken = {
        tag: _corrected({value: _difference(pairs, names, seed) for value, names in values.items()})
        for tag, values in groups(pairs.items, by).items()
    }
    return Comparison(
        n=whole.n,
        scorer=scorer,
        a=pairs.sides[0],
        b=pairs.sides[1],
        difference=whole.difference,
        ci95=whole.ci95,
        mcnemar=whole.mcnemar,
        detectable=detectable(whole.n, (whole.mcnemar.only_a + whole.mcnemar.only_b) / whole.n),
        by=broken,
        flipped=tuple(_flips(pairs)),
    )


def overall(found: Comparison) -> PairedDifference:
    """The difference over all items, in the shape of those by tag."""
    return PairedDifference(
        n=found.n,
        a=found.a.accuracy,
        b=found.b.accuracy,
        difference=found.difference,
        ci95=found.ci95,
        mcnemar=found.mcnemar,
    )


def matrix(sources: Sequence[ScoredRun], *, scorer: str = "mmar") -> Matrix:
    """Each of several runs or files against each other one. Raises as `compare` does."""
    pairs, count = _paired(sources, scorer), len(sources)
    names = [item.id for item in pairs.items]
    tests = {
        (row, column): _apart(pairs.right[row], pairs.right[column], names)
        for row, column in combinations(range(count), 2)
    }
    adjusted = dict(zip(tests, holm([mcnemar(*apart) for apart in tests.values()]), strict=True))
    shares = [side.accuracy for side in pairs.sides]
    return Matrix(
        n=len(pairs.items),
        scorer=scorer,
        runs=pairs.sides,
        difference=tuple(tuple(row - column for column in shares) for row in shares),
        p_holm=tuple(
            tuple(adjusted.get((min(row, column), max(row, column))) for column in range(count)) for row in range(count)
        ),
    )


def _paired(sources: Sequence[ScoredRun], scorer: str) -> _Pairs:
    if scorer not in SCORERS:
        raise UnknownName("scorer", scorer, SCORERS)
    known = [{item.id: item for item in source.items} for source in sources]
    items = tuple(item for name, item in known[0].items() if all(name in other for other in known))
    if not items:
        raise UserError(f"{_name(sources[0])} and {_name(sources[-1])} have no item in common: nothing can be paired")
    for item in items:
        for source, other in zip(sources, known, strict=True):
            if _question(other[item.id]) != _question(item):
                raise UserError(
                    f"{_name(sources[0])} and {_name(source)} have different questions as {item.id!r}: "
                    "they are of different versions of the dataset"
                )
    return _Pairs(
        items=items,
        right=tuple({one.item: one.correct[scorer] for one in source.scores} for source in sources),
        said=tuple({one.item: one.choice.text for one in source.scores} for source in sources),
        sides=tuple(_side(source, items, scorer) for source in sources),
    )


def _name(source: ScoredRun) -> str:
    return str(source.about["run"])


def _question(item: Item) -> tuple[object, ...]:
    return item.question, sorted(item.choices), item.answer


def _side(source: ScoredRun, items: Sequence[Item], scorer: str) -> Side:
    right = {one.item: one.correct[scorer] for one in source.scores}
    share = rate([right[item.id] for item in items])
    return Side(
        run=_name(source),
        llm=str(source.about["llm"]),
        accuracy=share.accuracy,
        ci95=share.ci95,
        left_out=len(source.items) - len(items),
    )


def _apart(a: Mapping[str, bool], b: Mapping[str, bool], names: Iterable[str]) -> tuple[int, int]:
    """How many items only the one and only the other gets right."""
    counts = Counter((a[name], b[name]) for name in names)
    return counts[True, False], counts[False, True]


def _difference(pairs: _Pairs, names: Sequence[str], seed: int) -> PairedDifference:
    n, (a, b) = len(names), pairs.right
    only_a, only_b = _apart(a, b, names)
    return PairedDifference(
        n=n,
        a=sum(a[name] for name in names) / n,
        b=sum(b[name] for name in names) / n,
        difference=(only_a - only_b) / n,
        ci95=paired_bootstrap(only_a, only_b, n, seed),
        mcnemar=McNemar(only_a=only_a, only_b=only_b, p=mcnemar(only_a, only_b)),
    )


def _corrected(values: Mapping[str, PairedDifference]) -> dict[str, PairedDifference]:
    adjusted = holm([one.mcnemar.p for one in values.values()])
    return {
        value: replace(one, mcnemar=replace(one.mcnemar, p_holm=p_holm))
        for (value, one), p_holm in zip(values.items(), adjusted, strict=True)
    }


def _flips(pairs: _Pairs) -> list[Flip]:
    (right_a, right_b), (said_a, said_b) = pairs.right, pairs.said
    return [
        Flip(
            item=item.id,
            right="a" if right_a[item.id] else "b",
            answer=item.answer,
            a=said_a[item.id],
            b=said_b[item.id],
        )
        for item in pairs.items
        if right_a[item.id] != right_b[item.id]
    ]
