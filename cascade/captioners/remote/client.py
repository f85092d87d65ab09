"""Clips sent to a model elsewhere: one event loop on a thread, asked from any thread, and clips as WAV bytes."""

from __future__ import annotations

import asyncio
import io
import threading
import wave
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from cascade.captioners import speech
from cascade.errors import UserError
from cascade.io import audio
from cascade.llms import credentials
from cascade.llms.budget import call_within
from cascade.llms.pacing import ConcurrencyLimit, call_within_limit
from cascade.llms.retry import retrying
from cascade.types import Caption, Host

if TYPE_CHECKING:
    from cascade.io.audio import Samples

NEEDS = {
    "litellm": "pip install 'audio-cascade[llm]'",
    **dict.fromkeys(("soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'"),
}
LONGEST = 600  # seconds a request, at most: endpoints refuse larger files

Asked = ParamSpec("Asked")
Reply = TypeVar("Reply")
Result = TypeVar("Result")


class Remote(Generic[Asked, Reply]):
    """A model behind an address, as a captioner: called with clips from any thread, and closed when all is done."""

    def __init__(
        self,
        opened: AbstractAsyncContextManager[Callable[Asked, Awaitable[Reply]]],
        host: Host,
        caption: Callable[[Callable[Asked, Reply], Path], Caption],
        cost: Callable[[Reply], float | None],
    ) -> None:
        """`opened` gives the model's call, `caption` what is made of a clip with it, `cost` a reply's US dollars.

        Raises what opening raises.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="remote")
        self._thread.start()
        self._opened, self._caption = opened, caption
        self._closing, self._closed = threading.Lock(), False

        async def open_() -> Callable[Asked, Awaitable[Reply]]:
            return await opened.__aenter__()

        try:
            self._call = retrying(_within(host, self._wait(open_()), cost), host.retries)
        except BaseException:
            self._stop()
            raise

    def __call__(self, clips: Sequence[Path], /) -> list[Caption]:
        return [self._caption(self._ask, clip) for clip in clips]

    def _ask(self, *asked: Asked.args, **named: Asked.kwargs) -> Reply:
        async def ask() -> Reply:
            return await self._call(*asked, **named)

        return self._wait(ask())

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        with self._closing:
            if self._closed:  # a lane may be at work still when all is given up
                coroutine.close()
                raise RuntimeError("the run has ended")
            asked = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return asked.result()

    def close(self) -> None:
        """Cancel what is in flight, and let go of connections and thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._opened.__aexit__(None, None, None)

        with self._closing:
            self._closed = True
            ended = asyncio.run_coroutine_threadsafe(end(), self._loop)
        ended.result()
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _within(
    host: Host, call: Callable[Asked, Awaitable[Reply]], cost: Callable[[Reply], float | None]
) -> Callable[Asked, Awaitable[Reply]]:
    """The call as fast as the provider lets it be, and within what may be spent; nothing bounds what a clip costs."""
    gate = ConcurrencyLimit(host.concurrency)

    async def complete(*asked: Asked.args, **named: Asked.kwargs) -> Reply:
        return await call_within_limit(
            gate, lambda: call_within(host.budget, None, lambda: call(*asked, **named), cost)
        )

    return complete


def affordable(model: str, host: Host) -> None:
    """Raise UserError where a budget is given and the provider's price is unknown; an endpoint of one's own is free."""
    if host.budget and model not in host.endpoints and credentials.listed(model) is None:
        raise UserError(f"--budget: the price of {model} is unknown; caption without --budget first (cascade caption)")


def lanes(params: object, host: Host) -> int:
    """Calls in flight at most."""
    return host.concurrency


def lacks(params: Any, host: Host) -> str:
    """What stands between this machine and `params.model`, with what to type; `""` where nothing is known to."""
    model = params.model
    if model in host.endpoints:
        return ""
    if credentials.unserved(model):
        return f"the address that serves {model} is missing: --caption-param SLOT.api_base=URL"
    missing = credentials.missing(model)
    return f"the key of {model} is missing: export {missing}=…" if missing else ""


def check(slot: str, rate: int, window: float) -> None:
    """Raise UserError for a rate or window that cannot be."""
    if rate not in range(8_000, 48_001) or rate % 10:
        raise UserError(f"{slot}.rate={rate}: 8000 to 48000 Hz, a multiple of 10")
    if not 1 <= window <= LONGEST:
        raise UserError(f"{slot}.window={window:g}: 1 to {LONGEST} seconds")


def windows(clip: Path, rate: int, window: float) -> Iterator[tuple[float, float, bytes]]:
    """(start, end, WAV file) of each window of a clip, cut at quiet moments; times in seconds. Raises ClipError."""
    longest = round(window * 10) * rate // 10
    for start, samples in speech.windows(audio.blocks(clip, rate, 30.0), longest, rate):
        yield start / rate, (start + len(samples)) / rate, wav(samples, rate)


def wav(samples: Samples, rate: int) -> bytes:
    """Mono samples in [-1, 1] as a WAV file of 16 bits; what lies beyond is clipped."""
    import numpy as np

    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", ""))
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()
