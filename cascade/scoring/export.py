"""Official prediction files from a run: every item once, in the benchmark's own fields, with its prediction.

| field | content |
|---|---|
| `answer_prediction` | the choice verbatim, or `""` where there is none: failed, unread, two choices named |
| `model_prediction` | the same, as MMAR's script read it until February 2026 and MMAU's page says |
| `model_output` | the same, as MMAU's script reads it |
| `thinking_prediction` | reasoning and reply, after those of rounds, under 10 000 characters; the choice is last |

MMAR's script reads `.jsonl`, MMAU's a `.json` array. A row without a prediction would leave the official denominator,
and a null or a blank line would end the script: there are none here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade.errors import RunError, UnknownName
from cascade.io import files, jsonl
from cascade.io.jsonl import to_json
from cascade.runs import directory
from cascade.runs.directory import Run
from cascade.scoring import voting
from cascade.scoring.outcomes import read_choices
from cascade.scoring.predictions import KEYS
from cascade.types import Answer, Choice, Completion

FILES = {"mmar": "predictions.jsonl", "mmau": "predictions.json"}
LONGEST = 9_999  # characters of thinking_prediction; MMAR-Rubrics refuses 10 000
_CUT = "\n[…]\n"


def export(path: Path, shape: str | None = None, out: Path | None = None) -> Path:
    """Write a run's predictions, in the run directory unless `out` names a file, and return the file's path.

    `shape` is as in `prediction_file`. Raises RunError for a run that cannot be read.
    """
    name, content = prediction_file(directory.read_run(path), shape)
    target = out or path / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(target, content)
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written there ({error.strerror}); name another file: --out FILE"
        ) from error
    return target


def prediction_file(run: Run, shape: str | None) -> tuple[str, str]:
    """Return the name and the content of a run's prediction file.

    `shape` is `mmar` or `mmau`; the default follows from the run's dataset. Raises UnknownName for another value.
    """
    shape = shape or ("mmau" if run.spec.dataset == "mmau" else "mmar")
    if shape not in FILES:
        raise UnknownName("benchmark", shape, FILES)
    rows = prediction_rows(run, shape)
    if shape == "mmau":
        return FILES[shape], "[\n" + ",\n".join(map(jsonl.dumps, rows)) + "\n]\n"
    return FILES[shape], jsonl.text(rows)


def prediction_rows(run: Run, shape: str) -> list[dict[str, Any]]:
    """Return one row per item, in the run's order: the vote of its samples, and the thinking of its first voter."""
    samples = run.spec.llm.samples
    answers = {key: answer for key, answer in directory.last_answers(run.path).items() if key[1] < samples}
    again = {answer.item for answer in answers.values() if answer.first}
    choices = read_choices(run.spec, run.items, answers.values(), again)
    rows = []
    for item in run.items:
        read = choices.get(item.id, {})
        vote = voting.vote(read) if read else Choice(text="", how="no reply")
        voter = next((sample for sample, choice in read.items() if choice.text == vote.text), 0)
        rows.append(
            {
                "id": item.id,
                "audio_id" if shape == "mmau" else "audio_path": item.audio,
                "question": item.question,
                "choices": list(item.choices),
                "answer": item.answer,
                **item.tags,
                **to_json(item.reference),
                **dict.fromkeys(KEYS, vote.text),
                "thinking_prediction": thinking(answers.get((item.id, voter)), vote.text),
            }
        )
    return rows


def thinking(answer: Answer | None, choice: str) -> str:
    """Return the reasoning and text of the earlier rounds and of the reply, with the choice at the end.

    A text that is too long is cut in the middle.
    """
    if answer is None or not isinstance(answer.result, Completion):
        return ""
    replies = [*(taken.reply for taken in answer.rounds or ()), answer.result]
    parts = [part.strip() for reply in replies for part in (reply.reasoning, reply.text)]
    text = "\n\n".join(filter(None, parts))
    end = "" if text.endswith(choice) else f"\n\nAnswer: {choice}"
    room = LONGEST - len(end)
    if len(text) > room:
        # The beginning and the end matter more than the middle.
        head = (room - len(_CUT)) * 2 // 3
        tail = room - len(_CUT) - head
        text = text[:head] + _CUT + text[len(text) - tail :]
    return text + end
