"""Whether a model hears the clips that it is sent, by the usage that its first replies report.

Some servers answer as usual and drop the audio. Their prompt tokens are then those of the text alone. A published model
has at least 6.25 tokens for a second of audio (Gemma 3n), so half of that, on top of the text by cl100k_base, lies
between the two. Other tokenizers count English text with some per cent more or fewer tokens than cl100k_base; a model
counts as deaf only if each of its first replies lies below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from cascade.errors import ProviderStop
from cascade.llms import litellm
from cascade.llms.prices import PUBLISHED_RATES
from cascade.types import Answer, Completion, Failure, Prompt

DROPPED = "audio_dropped"  # the kind of the failure
_FIRST = 5  # replies that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The prompt tokens of a reply, those of its text alone, and the seconds of audio that were sent with it."""

    prompt: int
    text: int
    seconds: float

    @property
    def is_of_text_alone(self) -> bool:
        """Whether so few tokens leave no room for the audio."""
        return self.prompt <= self.text + self.seconds * PUBLISHED_RATES[0] / 2


class HearingWatch:
    """Holds the first replies back until one of them shows that the model hears; `write` is given what may be kept.

    A reply that is held when the model turns out to be deaf, or when the run ends before that is known, is written as a
    failure, to be asked again. `questions` is their number.
    """

    def __init__(self, label: str, questions: int, write: Callable[[Answer], None]) -> None:
        self._label, self._most, self._write = label, min(questions, _FIRST), write
        self._usages: dict[tuple[str, int], Usage] = {}
        self._held: list[Answer] = []
        self._hears = False

    def measure(self, prompt: Prompt, answer: Answer) -> None:
        """Take down an answer's usage, unless the provider counted nothing or says itself that there was audio."""
        result = answer.result
        if not self._hears and isinstance(result, Completion) and result.input_tokens and not result.audio_tokens:
            text = litellm.count_tokens(*prompt.texts)
            self._usages[answer.item, answer.sample] = Usage(
                prompt=result.input_tokens, text=text, seconds=prompt.seconds
            )

    def add(self, answer: Answer) -> None:
        """Write or hold an answer that was measured. Raises ProviderStop where the model does not hear."""
        used = self._usages.pop((answer.item, answer.sample), None)
        if self._hears or used is None or not used.is_of_text_alone:
            if isinstance(answer.result, Completion):
                self._hears = True
                self.close()
            self._write(answer)
            return
        self._held.append(answer)
        if len(self._held) >= self._most:
            self._most = 1
            self.close()
            raise ProviderStop(
                f"{self._label}: the server seems to drop the audio: a reply counts {used.prompt} prompt tokens, where "
                f"the text has about {used.text} and {used.seconds:.1f} s of audio have "
                f"{used.seconds * PUBLISHED_RATES[0]:.0f} or more; --accept-silent-audio goes on all the same"
            )

    def close(self) -> None:
        """Write what is held: as it is where the model hears, else as failures."""
        for answer in self._held:
            result = answer.result
            if isinstance(result, Completion) and not self._hears:
                message = f"{result.input_tokens} prompt tokens leave no room for the audio"
                result = Failure(kind=DROPPED, message=message, cost=result.cost, charged=result.charged)
            self._write(replace(answer, result=result))
        self._held.clear()
