"""The answer to one question about one clip, without a run directory: captioned, asked and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cascade.captioners import speech
from cascade.captioning import generate
from cascade.errors import UserError
from cascade.io.terminal import note
from cascade.llms import connect
from cascade.pipeline import asking, questions, specs
from cascade.pipeline.request import Request
from cascade.prompting.evidence import captions_by_item
from cascade.runs.describe import truncated_captions
from cascade.scoring import outcomes
from cascade.types import CaptionRecord, Choice, Completion, Failure, Item


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
    """Return the answer to a question about a clip, as a request's model and captioners give it.

    Raises UserError where the clip is needed and is no file. A failed caption or reply is in the answer.
    """
    captioners = specs.select_captioners(specs.caption_sources(request.captions, "demo"), request.caption_param)
    if captioners.audio and not clip.is_file():
        problem = "no such file"
        if clip.exists():
            problem = "a folder" if clip.is_dir() else "not a regular file"
        raise UserError(f"{clip}: {problem}; CLIP is one audio file")
    template = specs.choose_template(request.prompt, captioners.specs)
    prompt = specs.prompt_spec(template, captioners.specs)
    llm, how = specs.model_and_execution(request, captioners)
    connect.check(llm, how, audio=bool(prompt.audio))
    item = Item(id=clip.name, audio=str(clip.absolute()), question=question, choices=tuple(choices), answer=choices[0])
    captions = generate.caption([item], Path(), captioners.specs, how)
    for line in [*speech.english_only(captions, doubtful=True), *truncated_captions(captions)]:
        note(line)
    built = questions.build_question(item, 0, prompt, template, captions_by_item(captions).get(item.id, {}))
    if encode := questions.encoder(captioners.specs):
        built = replace(built, clip=clip, encode=encode)
    result = asking.ask_single(built, llm, how).result
    choice = Choice(text="", how="no reply")
    if isinstance(result, Completion) and result.text:
        choice = outcomes.read_reply(result, item.choices)
    return ClipAnswer(choice=choice, captions=tuple(captions), result=result)
