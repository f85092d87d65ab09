"""Official prediction files from a run: every item once, in the benchmark's own fields, with what was predicted.

| field | what stands in it |
|---|---|
| `answer_prediction` | the choice verbatim, or `""` where there is none: failed, unread, two choices named |
| `model_prediction` | the same, as MMAR's script read it until February 2026 and MMAU's page says |
| `model_output` | the same, as MMAU's script reads it |
| `thinking_prediction` | the model's reasoning and reply, under 10 000 characters; its last words are the choice |

MMAR's script reads `.jsonl`, MMAU's a `.json` array. A row without a prediction would leave the official denominator,
and a null or a blank line would end the script: there are none here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade.errors import RunError, UnknownName
from cascade.io import jsonl
from cascade.io.jsonl import to_json
from cascade.runs import directory
from cascade.runs.directory import Run
from cascade.scoring import voting
from cascade.scoring.outcomes import read_choices
from cascade.scoring.predictions import KEYS
from cascade.types import Answer, Choice, Completion, Item

SHAPES = ("mmar", "mmau")
LONGEST = 9_999  # characters of thinking_prediction; MMAR-Rubrics refuses 10 000
_CUT = "\n[…]\n"


def export(path: Path, shape: str | None = None, out: Path | None = None) -> Path:
    """Write a run's predictions, and say where: in the run directory unless `out` names a file.

    `shape` is `mmar` or `mmau`, by the run's dataset unless given. Raises RunError for a run that cannot be read.
    """
    run = directory.read_run(path)
    shape = shape or ("mmau" if run.spec.dataset == "mmau" else "mmar")
    if shape not in SHAPES:
        raise UnknownName("benchmark", shape, SHAPES)
    content = text(run, shape)
    target = out or path / ("predictions.json" if shape == "mmau" else "predictions.jsonl")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        jsonl.write_text(target, content)
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written there ({error.strerror}); name another file: --out FILE"
        ) from error
    return target


def text(run: Run, shape: str) -> str:
    """The content of a run's prediction file."""
    rows = predictions(run, shape)
    return "[\n" + ",\n".join(map(jsonl.dumps, rows)) + "\n]\n" if shape == "mmau" else jsonl.text(rows)


def predictions(run: Run, shape: str) -> list[dict[str, Any]]:
    """A row an item, in the run's order: the vote of its samples, and the thinking of the first that voted so."""
    samples = run.spec.llm.samples
    answers = {at: answer for at, answer in directory.last_answers(run.path).items() if at[1] < samples}
    read = read_choices(run.spec, run.items, answers.values())
    rows = []
    for item in run.items:
        choices = read.get(item.id, {})
        choice = voting.vote(choices) if choices else None
        voter = next((sample for sample, one in choices.items() if choice and one.text == choice.text), 0)
        rows.append(_row(item, shape, choice, answers.get((item.id, voter))))
    return rows


def _row(item: Item, shape: str, choice: Choice | None, answer: Answer | None) -> dict[str, Any]:
    said = choice.text if choice else ""
    question = {"question": item.question, "choices": list(item.choices), "answer": item.answer}
    return {
        "id": item.id,
        ("audio_id" if shape == "mmau" else "audio_path"): item.audio,
        **question,
        **item.tags,
        **to_json(item.reference),
        **dict.fromkeys(KEYS, said),
        "thinking_prediction": thinking(answer, said),
    }


def thinking(answer: Answer | None, choice: str) -> str:
    """The reasoning and the reply, cut in the middle where they are too long, and the choice at the end."""
    result = answer.result if answer else None
    if not isinstance(result, Completion):
        return ""
    said = "\n\n".join(part.strip() for part in (result.reasoning, result.text) if part.strip())
    end = f"\n\nAnswer: {choice}" if not said.endswith(choice) else ""
    room = LONGEST - len(end)
    if len(said) > room:
        # Where it began and where it arrived matter more than what lies between.
        head = (room - len(_CUT)) * 2 // 3
        said = said[:head] + _CUT + said[len(said) - (room - len(_CUT) - head) :]
    return said + end
