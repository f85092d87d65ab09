"""Checks of incoming replies: which model name the server reports, whether it replies at all, and whether it hears."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from msgspec import UNSET
from msgspec.structs import replace

from cascade.errors import ProviderStop
from cascade.io.terminal import note
from cascade.llms import litellm
from cascade.llms.prices import PUBLISHED_RATES
from cascade.runs.served import reported
from cascade.types import Answer, Completion, Failure, Prompt

_FIRST = 5  # the number of first replies that are checked for whether the model hears
_TRANSIENT_KINDS = frozenset({"connection", "timeout", "rate_limit", "server", "unreadable"})


class Result(Protocol):
    """A record of a call: the reply, or why there is none."""

    @property
    def result(self) -> Completion | Failure: ...


def watch_model_name(asked: str, earlier: Collection[Result]) -> Callable[[Completion | Failure], None]:
    """Return a function that takes each result, and says once that the server reports another model than before."""
    seen = {reported(reply.result) for reply in earlier if isinstance(reply.result, Completion)}
    silent = len(seen) > 1  # The user was told before.

    def watch(result: Completion | Failure) -> None:
        nonlocal silent
        if silent or not isinstance(result, Completion):
            return
        seen.add(reported(result))
        if len(seen) > 1:
            silent = True
            models = " and ".join(sorted(", ".join(filter(None, model)) or "no name" for model in seen))
            note(f"{asked}: the server reports several models in one log: {models}; score and verify count both")

    return watch


class SilenceLimit:
    """A count of questions in a row without an answer; too many stop the run, because the endpoint is unreachable."""

    def __init__(self, most: int, model: str) -> None:
        self._most, self._model, self._count = most, model, 0
        self.answered = False  # True after the first answer

    def count(self, result: Completion | Failure) -> None:
        """Count a result. Raises ProviderStop when too many in a row had no answer after all retries."""
        if isinstance(result, Completion):
            self.answered = True
        if isinstance(result, Completion) or result.kind not in _TRANSIENT_KINDS:
            self._count = 0
            return
        self._count += 1
        if self._count >= self._most:
            raise ProviderStop(
                f"{self._model}: {self._count} questions in a row had no answer "
                f"({result.kind}: {result.message}); when it answers again, the same command goes on"
            )


class HearingWatch:
    """Hold the first replies until one shows that the model hears, then pass the answers to `write`.

    Some servers drop the audio and answer as usual. Their prompt tokens then count the text alone. Every published
    model uses at least 6.25 tokens per second of audio (Gemma 3n). The threshold is the text's tokens by cl100k_base
    plus half of that: 62 tokens for MMAR's median of 20 s. On MMAR's 1000 questions o200k_base and the tokenizers of
    Qwen3, Llama 3 and Mistral differ from cl100k_base by -4 to +13 tokens in 98 of 100, with a caption by -7 to +22. A
    model counts as deaf only if all its first replies are below it.

    If the model is deaf, or the run ends before this is known, each held reply is written as a failure, to be asked
    again. `questions` is the number of questions; a `trusted` model is not checked.
    """

    def __init__(self, label: str, questions: int, write: Callable[[Answer], None], *, trusted: bool) -> None:
        self._label, self._most, self._write = label, min(questions, _FIRST), write
        self._hears, self._held = trusted, list[Answer]()
        self._reasons: dict[tuple[str, int], str] = {}  # why the usage seems to count text alone

    def measured(self, prompt: Prompt, answer: Answer) -> Answer:
        """Compare the token usage of an answer with its text, if the usage is known, and return the answer."""
        result = answer.result
        if answer.rounds:  # Later messages also contain findings.
            result = answer.rounds[0].reply
        if not self._hears and isinstance(result, Completion) and result.input_tokens and not result.audio_tokens:
            text, least = litellm.count_tokens(*prompt.texts()), prompt.seconds * PUBLISHED_RATES[0]
            if result.input_tokens <= text + least / 2:
                self._reasons[answer.item, answer.sample] = (
                    f"a reply counts {result.input_tokens} prompt tokens, where the text has about {text}, "
                    f"and {prompt.seconds:.1f} s of audio have {least:.0f} or more"
                )
        return answer

    def add(self, answer: Answer) -> None:
        """Write or hold a measured answer. Raises ProviderStop if the model does not hear."""
        reason = self._reasons.pop((answer.item, answer.sample), "")
        if self._hears or not reason:
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
                f"{self._label}: the server seems to drop the audio: {reason}; "
                "--accept-silent-audio goes on all the same"
            )

    def close(self) -> None:
        """Write the held answers: unchanged if the model hears, otherwise as failures."""
        for answer in self._held:
            result = answer.result
            if isinstance(result, Completion) and not self._hears:
                message = f"{result.input_tokens} prompt tokens leave no room for the audio"
                result = Failure(kind="audio_dropped", message=message, cost=result.cost, charged=result.charged)
                answer = replace(answer, rounds=UNSET)  # The rounds of a deaf model are not resumed.
            self._write(replace(answer, result=result))
        self._held.clear()
