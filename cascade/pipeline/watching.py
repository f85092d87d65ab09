"""Checks on incoming replies: which model name the server reports, and whether it replies at all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from cascade.errors import ProviderStop
from cascade.io.terminal import note
from cascade.runs.served import reported
from cascade.types import Completion, Failure

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
