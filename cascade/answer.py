"""The answer to one question about one clip, where making meets reading: asked, captioned, and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.pipeline import jobs
from cascade.pipeline.request import Request
from cascade.scoring import outcomes
from cascade.types import CaptionRecord, Choice, Completion, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnswer:
    """The answer to one question about one clip: the choice that the reply names, the captions and the reply."""

    choice: Choice
    captions: tuple[CaptionRecord, ...]
    result: Completion | Failure

    def __repr__(self) -> str:
        return f"ClipAnswer({self.choice.text!r})"

    @property
    def reply(self) -> str:
        """The reply's text without outer white space; `""` where there is none."""
        return self.result.text.strip() if isinstance(self.result, Completion) else ""

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row, with each caption's text under its slot."""
        row = {
            "answer": self.choice.text,
            "how": self.choice.how,
            "reply": self.reply,
            "failure": self.result.message if isinstance(self.result, Failure) else None,
            "cost": self.result.cost,
        }
        return [row | {caption.slot: caption.text for caption in self.captions}]


def answer_of(clip: Path, question: str, choices: Sequence[str], request: Request) -> ClipAnswer:
    """Return the answer to a question about a clip, as a request's model and captioners give it."""
    item, captions, answer = jobs.ask_clip(clip, question, choices, request)
    choice = Choice(text="", how="no reply")
    if isinstance(answer.result, Completion) and answer.result.text:
        choice = outcomes.read_reply(answer.result, item.choices)
    return ClipAnswer(choice=choice, captions=tuple(captions), result=answer.result)
