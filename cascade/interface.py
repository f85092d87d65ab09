"""The Python interface: the commands' own verbs, with their flags as keywords, and records in the place of tables.

    from cascade import ask, compare, score
    run = ask("gpt-4o", "demo", captions="speech=faster-whisper", limit=10)
    print(score(run.path).scores["mmar"].accuracy)

A verb raises what its command would say in one line (`cascade.errors.UserError`); notes and progress go to stderr.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from cascade import comparing, datasets, marking, scoring
from cascade.comparing import Comparison
from cascade.errors import UnknownName, UserError
from cascade.runs import Heard, Run
from cascade.scoring import Summary
from cascade.types import Dataset

_COMMANDS_OWN = ("spec", "dry_run")  # a file of flags, and asking without asking


def load(name: str | Path, data: str | Path | None = None, *, audio: bool = True) -> Dataset:
    """The dataset of that name, or of a JSONL file; `data` is the folder that clips' paths are relative to.

    Without `audio`, the clips need not be there, and are not fetched. Raises DatasetError for a bad row.
    """
    return datasets.load(str(name), Path(data) if data else None, audio=audio)


def caption(dataset: str | Path = "mmar", captions: str | None = None, **flags: Any) -> list[Heard]:
    """What was heard of each item, an item and slot a record, from the cache or made now.

    `captions` is `slot=engine,…`; `flags` are those of `cascade caption`, with underscores (`limit=10`,
    `caption_param=["speech.model=large-v3"]`, `cache=Path(…)`). A clip that cannot be heard is a failure in its record.
    """
    from cascade import captioning
    from cascade.cli.requests import prepare

    job = prepare(_request(llm="fake", dataset=str(dataset), captions=captions, **flags))
    root = load(dataset, flags.get("data")).root if captioning.needs_clips(job.spec.captioners) else job.loaded.root
    return captioning.caption(job.items, root, job.spec.captioners, job.how)


def ask(llm: str, dataset: str | Path = "mmar", *, shuffle_choices: bool = False, **flags: Any) -> Run:
    """Caption and ask, as `cascade run` does: whatever the run's directory has not yet. Returns the run.

    `flags` are those of `cascade run`, with underscores (`captions="speech=whisper"`, `limit=10`,
    `param=["temperature=0.7"]`, `out=Path(…)`). What failed is in the run's log; `score` counts it.
    """
    from cascade.cli.requests import carry_out, prepare

    request = _request(llm=llm, dataset=str(dataset), **flags)
    return carry_out(prepare(request, order_seed=request.seed if shuffle_choices else None))


def score(
    source: str | Path, dataset: Dataset | None = None, *, extract: bool = False, by: str | tuple[str, ...] = ()
) -> Summary:
    """The scores of a run directory or an official prediction file; `dataset` has the questions of ids alone.

    `extract` reads a file's replies first, `by` names further tags. Shares are in [0, 1].
    """
    return scoring.score(Path(source), dataset, read_replies=extract, by=(by,) if isinstance(by, str) else by)


def compare(
    a: str | Path, b: str | Path, dataset: Dataset | None = None, *, scorer: str = "mmar", seed: int = 0
) -> Comparison:
    """The paired difference of two runs or prediction files, `a` − `b`, with its interval, tests and flipped items."""
    sides = [marking.judged(Path(source), dataset) for source in (a, b)]
    return comparing.compare(*sides, scorer=scorer, seed=seed)


def _request(**flags: Any) -> Any:
    from cascade.cli.requests import Request

    known = {one.name for one in fields(Request)}.difference(_COMMANDS_OWN)
    hints = get_type_hints(Request, include_extras=True)
    for name in flags:
        if name not in known:
            raise UnknownName("flag", name, known)
    return replace(Request(), **{name: _taken(name, value, *get_args(hints[name])) for name, value in flags.items()})


def _taken(name: str, value: Any, hint: Any, option: Any) -> Any:
    """A flag's value as the command would take it: a path may be text, a list of one its only value; bounds hold."""
    kinds = [hint] if get_origin(hint) is list else get_args(hint) or [hint]
    plain = [get_origin(one) or one for one in kinds]
    if isinstance(value, str) and Path in plain:
        return Path(value)
    if isinstance(value, str) and list in plain:
        return [value]
    taken = tuple({float: (int, float), list: (list, tuple)}.get(one, one) for one in plain)
    if not isinstance(value, taken):
        raise UserError(f"{name}={value!r}: this flag takes {' or '.join(one.__name__ for one in plain)}")
    if option.min is not None and value is not None and value < option.min:
        raise UserError(f"{name}={value!r}: the least is {option.min}")
    return value
