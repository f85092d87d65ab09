"""A remote model as a captioner: one event loop on a thread, called from any thread, and clips as WAV files."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from cascade.captioners import speech
from cascade.errors import Transient, UserError
from cascade.io import audio, encoding
from cascade.llms import credentials
from cascade.llms.budget import call_within
from cascade.llms.pacing import ConcurrencyLimit, call_within_limit, retrying
from cascade.types import Caption, Host

NEEDS = {
    "litellm": "pip install 'audio-cascade[llm]'",
    **dict.fromkeys(("soundfile", "av", "soxr"), "pip install 'audio-cascade[local]'"),
}
PAGE = re.compile(r"\s*<(?:!doctype|html|\?xml)\b", re.IGNORECASE)
LONGEST = 600  # seconds a request, at most: endpoints refuse larger files

Asked = ParamSpec("Asked")
Reply = TypeVar("Reply")
Result = TypeVar("Result")
Form = TypeVar("Form")
_KEPT_CLIPS = 4


class RemoteCaptioner(Generic[Asked, Reply]):
    """A captioner that asks a remote model. It is called with clips from any thread, and closed when all is done."""

    def __init__(
        self,
        connection: AbstractAsyncContextManager[Callable[Asked, Awaitable[Reply]]],
        host: Host,
        caption: Callable[[Callable[Asked, Reply], Path], Caption],
        cost: Callable[[Reply], float | None],
        rejects: Callable[[Reply], bool],
        model: str,
    ) -> None:
        """Open the connection. Raises what opening raises.

        `connection` gives the model's call, `caption` makes a clip's caption with it, `cost` returns a reply's price in
        US dollars, `rejects` whether a reply is no text of a clip: it is unreadable then. A `model` that is in no price
        list is free.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="remote")
        self._thread.start()
        self._connection, self._caption = connection, caption
        self._closing, self._closed = threading.Lock(), False
        limit = ConcurrencyLimit(host.concurrency)
        bound = 0.0 if credentials.listed(model) is None else None

        try:
            call = self._wait(connection.__aenter__)

            async def limited(*asked: Asked.args, **named: Asked.kwargs) -> Reply:
                # Nothing bounds what a clip costs, so the budget has no estimate.
                reply = await call_within_limit(
                    limit, lambda: call_within(host.budget, bound, lambda: call(*asked, **named), cost)
                )
                if rejects(reply):
                    raise Transient("unreadable", "the reply's text is a page or another format than was asked for")
                return reply

            self._call = retrying(limited, host.retries)
        except BaseException:
            self._stop()
            raise

    def __call__(self, clips: Sequence[Path], /) -> list[Caption]:
        return [self._caption(self._ask, clip) for clip in clips]

    def _ask(self, *asked: Asked.args, **named: Asked.kwargs) -> Reply:
        return self._wait(lambda: self._call(*asked, **named))

    def _wait(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Make a call on the loop's thread and return its result."""

        async def run() -> Result:
            return await call()

        with self._closing:
            if self._closed:  # another thread may still call when the run is given up
                raise RuntimeError("the run has ended")
            future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return future.result()

    def close(self) -> None:
        """Cancel the calls in flight, close the connection and end the thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._connection.__aexit__(None, None, None)

        with self._closing:
            self._closed = True
            ended = asyncio.run_coroutine_threadsafe(end(), self._loop)
        ended.result()
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RecentClips(Generic[Form]):
    """A cache of the last few encoded clips, so that all questions about a clip share one encoding.

    The first thread that needs a clip encodes it, and the others wait for it. A changed file is encoded again.
    """

    def __init__(self, encode: Callable[[Path], Form]) -> None:
        self._encode, self._lock = encode, threading.Lock()
        self._forms: dict[tuple[Path, int, int], Future[Form]] = {}  # the last used at the end

    def __call__(self, clip: Path) -> Form:
        status = clip.stat()
        key = clip, status.st_size, status.st_mtime_ns
        with self._lock:
            known = self._forms.pop(key, None)
            form = self._forms[key] = known or Future[Form]()
            for oldest in list(self._forms)[:-_KEPT_CLIPS]:
                del self._forms[oldest]
        if known is None:
            try:
                form.set_result(self._encode(clip))
            except BaseException as error:
                form.set_exception(error)  # for the threads that wait
                raise
        return form.result()


def lanes(params: object, host: Host) -> int:
    """Return the calls in flight at most."""
    return host.concurrency


def rejects(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether a text is of another format than a caption, by the pattern of its beginning."""
    return pattern.match(text) is not None


def lacks(params: Any, host: Host) -> str:
    """Return what is missing before `params.model` can be asked and what to type; "" where nothing is known to be."""
    model = params.model
    if problem := credentials.unsendable(model, host.endpoints.get(model)):
        return problem
    if model in host.endpoints:
        return ""
    if credentials.unserved(model):
        return f"the address that serves {model} is missing: --caption-param SLOT.api_base=URL"
    if key := credentials.missing(model):
        return f"the key of {model} is missing: export {key}=…"
    return ""


def check(place: str, params: Any, host: Host) -> None:
    """Raise UserError for a rate or window that cannot be, and for a budget where the model's price is unknown."""
    if params.rate not in range(8_000, 48_001) or params.rate % 10:
        raise UserError(f"{place}.rate={params.rate}: 8000 to 48000 Hz, a multiple of 10")
    if not 1 <= params.window <= LONGEST:
        raise UserError(f"{place}.window={params.window:g}: 1 to {LONGEST} seconds")
    model = params.model
    # An endpoint of the user's own is free.
    if host.budget and model not in host.endpoints and credentials.listed(model) is None:
        raise UserError(f"--budget: the price of {model} is unknown; caption without --budget first (cascade caption)")


def wav_windows(blocks: audio.Blocks, window: float) -> Iterator[tuple[float, float, bytes]]:
    """Yield (start, end, WAV file) of each window, cut at quiet moments; times in seconds. Raises ClipError."""
    rate = blocks.rate
    longest = round(window * 10) * rate // 10
    for start, samples in speech.split_windows(blocks, longest, rate):
        yield start / rate, (start + len(samples)) / rate, encoding.wav(samples, rate)
