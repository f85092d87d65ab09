"""The commands' verbs as functions, with the flags' names and units, and records in the place of tables.

    import cascade
    run = cascade.run("gpt-4o", "demo", captions="speech=faster-whisper", limit=10)
    print(cascade.score(run.path).scores["mmar"].accuracy)

A verb raises what its command would print in one line (`cascade.errors.UserError`); notes and progress go to stderr.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.analysis import compare as comparisons
from cascade.analysis.compare import Comparison
from cascade.datasets import registry
from cascade.errors import UserError
from cascade.pipeline import jobs
from cascade.pipeline.request import Request, request
from cascade.runs.directory import Run
from cascade.scoring import outcomes, summary
from cascade.scoring.extraction.extract import extract
from cascade.scoring.summary import Summary
from cascade.types import CaptionRecord, Choice, Completion, Dataset, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnswer:
    """The answer to one question about one clip: the choice that the reply names, the captions and the reply."""

    choice: Choice
    captions: tuple[CaptionRecord, ...]
    result: Completion | Failure

    @property
    def reply(self) -> str:
        """The reply's text without outer white space; `""` where there is none."""
        return self.result.text.strip() if isinstance(self.result, Completion) else ""


def load(name: str | Path, data: str | Path | None = None, *, audio: bool = True) -> Dataset:
    """Return the dataset of that name, or of a JSONL file; `data` is the folder that clips' paths are relative to.

    Without `audio`, the clips need not be there, and are not fetched. Raises DatasetError for a bad row.
    """
    return registry.load(str(name), Path(data) if data else None, audio=audio)


def caption(dataset: str | Path = "mmar", captions: str | None = None, **flags: Any) -> list[CaptionRecord]:
    """Return the captions of each item, an item and slot a record, from the cache or made now.

    `captions` is `slot=engine,…`. A clip that cannot be decoded is a failure in its record.
    """
    return jobs.make_captions(jobs.prepare(request(llm="fake", dataset=str(dataset), captions=captions, **flags)))


def run(llm: str = "local", dataset: str | Path = "mmar", **flags: Any) -> Run:
    """Caption and ask whatever the run's directory lacks, as `cascade run` does, and return the run.

    What failed is in the run's log; `score` counts it.
    """
    return jobs.carry_out(jobs.prepare(request(llm=llm, dataset=str(dataset), **flags)))


def ask(clip: str | Path, question: str, choices: Sequence[str] = (), **flags: Any) -> Any:
    """Ask one question about one clip, and return the answer, as `cascade ask` does.

    Raises UserError for a clip that is no file, or fewer than two choices.
    """
    if not choices:
        warnings.warn("ask(llm, dataset) is now run(llm, dataset)", DeprecationWarning, stacklevel=2)
        return run(str(clip), question, **flags)
    if len(choices) < 2:
        raise UserError(f"choices={list(choices)!r}: give two or more")
    return answer_of(Path(clip), question, choices, request(**flags))


def answer_of(clip: Path, question: str, choices: Sequence[str], wanted: Request) -> ClipAnswer:
    """Return the answer to a question about a clip, as a request's model and captioners give it."""
    item, captions, answer = jobs.ask_clip(clip, question, choices, wanted)
    choice = Choice(text="", how="no reply")
    if isinstance(answer.result, Completion) and answer.result.text:
        choice = extract(answer.result.text, item.choices)
    return ClipAnswer(choice=choice, captions=tuple(captions), result=answer.result)


def score(
    source: str | Path, dataset: Dataset | None = None, *, extract: bool = False, by: str | Sequence[str] = ()
) -> Summary:
    """Return the scores of a run directory or an official prediction file; `dataset` has the questions of ids alone.

    `extract` reads a file's replies first, `by` names further tags. Shares are in [0, 1].
    """
    return summary.score_run(
        Path(source), dataset, read_replies=extract, by=(by,) if isinstance(by, str) else tuple(by)
    )


def compare(
    a: str | Path, b: str | Path, dataset: Dataset | None = None, *, scorer: str = "mmar", seed: int = 0
) -> Comparison:
    """Return the paired difference of two runs or prediction files, `a` − `b`, with its interval, tests and flips."""
    sides = [outcomes.score_source(Path(source), dataset) for source in (a, b)]
    return comparisons.compare(*sides, scorer=scorer, seed=seed)
