"""The commands' verbs as functions, with the flags' names and units, and records in the place of tables.

    import cascade
    run = cascade.run("gpt-4o", "demo", captions="speech=faster-whisper", limit=10)
    print(cascade.score(run.path).scores["mmar"].accuracy)

A parameter is the flag of that name with underscores for dashes; where a flag is repeatable, a text or a sequence of
texts. The run that `run` returns may stand wherever a run's path may. A result has `to_rows()`: a list of dicts, which
`pandas.DataFrame` takes as it is. A verb raises what its command would print in one line (`cascade.errors.UserError`);
notes and progress go to stderr.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec

from cascade.analysis import ablation
from cascade.analysis import compare as comparisons
from cascade.analysis import verify as verification
from cascade.analysis.ablation import Family
from cascade.analysis.compare import Comparison
from cascade.analysis.verify import Verdict
from cascade.answer import ClipAnswer, answer_of
from cascade.captioning.generate import Captions
from cascade.datasets import registry
from cascade.errors import UnknownName, UserError
from cascade.pipeline import ablation_plan, jobs, second_model
from cascade.pipeline.request import check_request
from cascade.report.page import write_report
from cascade.runs.call_log import READER, CallLog
from cascade.runs.directory import Run
from cascade.scoring import outcomes, rubric_score, second_reader
from cascade.scoring.matchers.registry import SCORERS
from cascade.scoring.rubric_score import Rating
from cascade.scoring.summary import Summary, summarize
from cascade.types import Dataset

P = ParamSpec("P")


def load(name: str | Path, data: str | Path | None = None, *, audio: bool = True) -> Dataset:
    """Return the dataset of that name, or of a JSONL file; `data` is the folder that clips' paths are relative to.

    Without `audio`, the clips need not be there, and are not fetched. Raises DatasetError for a bad row.
    """
    return registry.load(str(name), _path(data), audio=audio)


def caption(
    dataset: str | Path = "mmar",
    captions: str | None = None,
    *,
    data: str | Path | None = None,
    caption_param: str | Sequence[str] | None = None,
    digest: str | None = None,
    digest_question: bool = False,
    limit: int | None = None,
    only: str | Sequence[str] | None = None,
    shard: str | None = None,
    cache: str | Path | None = None,
    concurrency: int = 16,
    retries: int = 6,
    timeout: float = 600.0,
    backend: str = "local",
    worker: str | Sequence[str] | None = None,
    device: str = "auto",
    batch: int = 32,
    threads: int = 0,
) -> Captions:
    """Return the captions of each item, from the cache or made now.

    `captions` is `slot=engine,…`. A clip that cannot be decoded is a failure in its record.
    """
    request = check_request({**locals(), "llm": "fake"})  # No model is asked.
    return Captions(jobs.make_captions(jobs.prepare(request)))


def run(
    llm: str = "local",
    dataset: str | Path = "mmar",
    *,
    data: str | Path | None = None,
    captions: str | None = None,
    caption_param: str | Sequence[str] | None = None,
    digest: str | None = None,
    digest_question: bool = False,
    prompt: str | Path | None = None,
    answer_as: str | None = None,
    rounds: int = 0,
    rounds_when: str | None = None,
    rounds_with: str | None = None,
    tools: str | None = None,
    param: str | Sequence[str] | None = None,
    reasoning_effort: str | None = None,
    max_tokens: int | None = None,
    thinking_budget: int | None = None,
    samples: int = 1,
    limit: int | None = None,
    only: str | Sequence[str] | None = None,
    shard: str | None = None,
    seed: int = 0,
    shuffle_choices: bool = False,
    budget: float | None = None,
    price: str | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    api_base: str | None = None,
    same_model: bool = False,
    accept_silent_audio: bool = False,
    concurrency: int = 16,
    retries: int = 6,
    timeout: float = 600.0,
    rpm: float | None = None,
    tpm: float | None = None,
    backend: str = "local",
    worker: str | Sequence[str] | None = None,
    device: str = "auto",
    batch: int = 32,
    threads: int = 0,
) -> Run:
    """Caption and ask whatever the run's directory lacks, and return the run.

    What failed is in the run's log; `score` counts it.
    """
    return jobs.carry_out(jobs.prepare(check_request(locals())), outcomes.read_reply)


def _or_run(ask: Callable[P, ClipAnswer]) -> Callable[P, ClipAnswer]:
    """Return `ask` so that the first version's `ask(llm, dataset, …)`, which is now `run`, works until the next one."""

    @wraps(ask)
    def ask_or_run(*args: P.args, **kwargs: P.kwargs) -> Any:
        if len(args) > 2 or kwargs.keys() & {"clip", "question", "choices"}:
            return ask(*args, **kwargs)
        warnings.warn("ask(llm, dataset) is now run(llm, dataset)", DeprecationWarning, stacklevel=2)
        former: Callable[..., Run] = run
        return former(*args, **kwargs)

    return ask_or_run


@_or_run
def ask(
    clip: str | Path,
    question: str,
    choices: Sequence[str],
    *,
    llm: str = "local",
    captions: str | None = None,
    caption_param: str | Sequence[str] | None = None,
    prompt: str | Path | None = None,
    answer_as: str | None = None,
    param: str | Sequence[str] | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    api_base: str | None = None,
    accept_silent_audio: bool = False,
    retries: int = 6,
    timeout: float = 600.0,
    device: str = "auto",
    threads: int = 0,
) -> ClipAnswer:
    """Ask one question about one clip, and return the answer.

    Raises UserError for a clip that is no file, or fewer than two choices. A failed caption or reply is in the answer.
    """
    if isinstance(choices, str) or len(choices) < 2:
        raise UserError(f"choices={choices!r}: give two or more")
    return answer_of(Path(clip), question, choices, check_request(locals()))


def ablate(
    llm: str = "local",
    dataset: str | Path = "mmar",
    *,
    variants: str | Sequence[str] = ablation_plan.KINDS,
    arms: str | None = None,
    scorer: str = "mmar",
    data: str | Path | None = None,
    captions: str | None = None,
    caption_param: str | Sequence[str] | None = None,
    digest: str | None = None,
    digest_question: bool = False,
    prompt: str | Path | None = None,
    answer_as: str | None = None,
    rounds: int = 0,
    rounds_when: str | None = None,
    rounds_with: str | None = None,
    tools: str | None = None,
    param: str | Sequence[str] | None = None,
    reasoning_effort: str | None = None,
    max_tokens: int | None = None,
    thinking_budget: int | None = None,
    samples: int = 1,
    limit: int | None = None,
    only: str | Sequence[str] | None = None,
    seed: int = 0,
    budget: float | None = None,
    price: str | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    api_base: str | None = None,
    same_model: bool = False,
    accept_silent_audio: bool = False,
    concurrency: int = 16,
    retries: int = 6,
    timeout: float = 600.0,
    rpm: float | None = None,
    tpm: float | None = None,
    backend: str = "local",
    worker: str | Sequence[str] | None = None,
    device: str = "auto",
    batch: int = 32,
    threads: int = 0,
) -> Family:
    """Run the sources alone, left out, and the controls, and return them beside the full set.

    `variants` are kinds of runs (`alone`, `leave-one-out`, `blind`, `mismatched`, `mismatched-audio`, `silence`,
    `reversed`, `oracle`, `shuffled`), as a sequence or joined by commas; `arms` (`question`, `digest`, `rounds`, joined
    by commas) take their place. `out` is the folder of all runs.
    """
    request = check_request(locals())
    if scorer not in SCORERS:
        raise UnknownName("scorer", scorer, SCORERS)
    whole = jobs.prepare(request)
    kinds = variants if arms is None else ablation_plan.arm_kinds(whole.spec, arms)
    family = ablation_plan.variant_jobs(whole, kinds, seed, request.out)
    runs = ablation_plan.carry_out_family(family, outcomes.read_reply)
    sources = [outcomes.score_source(run.path) for run in runs]
    return ablation.read_family(sources, scorer=scorer, effort=arms is not None)


def score(
    source: str | PathLike[str],
    dataset: Dataset | str | Path | None = None,
    data: str | Path | None = None,
    *,
    extract: bool = False,
    by: str | Sequence[str] = (),
) -> Summary:
    """Return the scores of a run directory or an official prediction file; `dataset` has the questions of ids alone.

    `extract` reads a file's replies first, `by` names further tags. Shares are in [0, 1].
    """
    questions = registry.load_questions(dataset, data)
    return summarize(outcomes.score_source(Path(source), questions, read_replies=extract), _tags(by))


def compare(
    a: str | PathLike[str],
    b: str | PathLike[str],
    dataset: Dataset | str | Path | None = None,
    data: str | Path | None = None,
    *,
    scorer: str = "mmar",
    by: str | Sequence[str] = (),
    extract: bool = False,
    seed: int = 0,
) -> Comparison:
    """Return the paired difference of two runs or prediction files, `a` − `b`, with its interval, tests and flips.

    `seed` has no effect: nothing is drawn any more.
    """
    questions = registry.load_questions(dataset, data)
    sides = [outcomes.score_source(Path(source), questions, read_replies=extract) for source in (a, b)]
    return comparisons.compare(*sides, scorer=scorer, by=_tags(by))


def _path(path: str | Path | None) -> Path | None:
    return Path(path) if path else None


def _tags(by: str | Sequence[str]) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else tuple(by)


def report(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | Path | None = None,
    *,
    embed_audio: bool = False,
    format: str = "html",
) -> Path:
    """Write one page of runs and return its path: `out`, else `report.html` (or `.md`) in the first run.

    `format` is `html`, with each clip to listen to, or `md`, tables alone. Raises UserError where it cannot be written.
    """
    if isinstance(sources, str | PathLike):
        sources = [sources]
    return write_report([Path(source) for source in sources], _path(out), embed_audio=embed_audio, form=format)


def judge(
    source: str | PathLike[str],
    judge: str | None = None,
    dataset: Dataset | str | Path | None = None,
    data: str | Path | None = None,
    *,
    judge_prompt: str | Path = "judge",
    param: str | Sequence[str] | None = None,
    max_tokens: int | None = None,
    seed: int = rubric_score.SEED,
    by: str | Sequence[str] = (),
    budget: float | None = None,
    price: str | None = None,
    out: str | Path | None = None,
    api_base: str | None = None,
    same_model: bool = False,
    concurrency: int = 16,
    retries: int = 6,
    timeout: float = 600.0,
    rpm: float | None = None,
    tpm: float | None = None,
) -> Rating:
    """Return the ratings of the reasoning of right answers, by MMAR-Rubrics.

    `judge` is the model that is asked for what the log lacks; without it the log is only read. `out` is the log's
    folder. A judgement that failed counts as 0.
    """
    flags = {**locals(), "llm": judge, "prompt": judge_prompt}
    del flags["dataset"]  # It joins a file of ids, and may be a Dataset.
    cases = rubric_score.judge_cases(Path(source), registry.load_questions(dataset, data))
    log = rubric_score.judge_log(Path(source), _path(out))
    if judge is not None:
        second_model.ask_or_plan(check_request(flags), log, rubric_score.inquiry(cases, seed))
    return rubric_score.rate_run(cases, *log.read(), _tags(by))


def read(
    source: str | PathLike[str],
    reader: str | None = None,
    dataset: Dataset | str | Path | None = None,
    data: str | Path | None = None,
    *,
    reader_prompt: str | Path = "read",
    param: str | Sequence[str] | None = None,
    max_tokens: int | None = None,
    by: str | Sequence[str] = (),
    budget: float | None = None,
    price: str | None = None,
    out: str | Path | None = None,
    api_base: str | None = None,
    same_model: bool = False,
    concurrency: int = 16,
    retries: int = 6,
    timeout: float = 600.0,
    rpm: float | None = None,
    tpm: float | None = None,
) -> Summary:
    """Return the scores of a run or prediction file, those by a second reader of its unread replies beside the rules'.

    `reader` is the model that is asked for what the log lacks; without it the log is only read. `out` is the log's
    folder.
    """
    flags = {**locals(), "llm": reader, "prompt": reader_prompt}
    del flags["dataset"]  # It joins a file of ids, and may be a Dataset.
    path, folder, questions = Path(source), _path(out), registry.load_questions(dataset, data)
    log = CallLog(outcomes.reader_folder(path, folder), READER, path)
    if reader is not None:
        unread = outcomes.score_source(path, questions, read_replies=True, reader=folder).unread_replies
        second_model.ask_or_plan(check_request(flags), log, second_reader.inquiry(unread))
    log.read()
    return summarize(outcomes.score_source(path, questions, read_replies=True, reader=folder), _tags(by))


def verify(run: str | PathLike[str]) -> Verdict:
    """Return what could be derived again from a run directory, and what in it does not match."""
    return verification.verify(Path(run))


# Importing the folder `cascade.report` has bound that attribute of the package to the module: the verb takes its place.
vars(sys.modules["cascade"])["report"] = report
