"""The records of cascade, and the protocols of its parts that can be replaced.

Records are frozen and take keywords only. The question (`RunSpec` and the specs in it, which are hashed) and the
execution (`Execution`, `Host`, in `execution.py`) have separate types, so that the identity of a run needs no list of
exceptions. Stored values are of type `Record`; a value that is only in memory and has paths (`Dataset`) is a dataclass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec

from cascade.execution import Execution as Execution  # Plug-ins import both from here.
from cascade.execution import Host as Host

Params = Mapping[str, Any]
SENT_AUDIO = "audio"  # the captioner that sends the clip itself, and its slot
Repeats = Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # the number of samples of an item; checked on reading


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The base of everything that is stored as JSON, with its fields in their order; unknown fields are refused.

    The members of a union have a `tag`, which is the first field of their JSON, `"type"`. A record has plain values, so
    it is never in a reference cycle, and the garbage collector need not track it (`gc=False`).
    """


class Item(Record, frozen=True, kw_only=True):
    """One multiple-choice question about one clip.

    `audio` is the clip's path as the dataset writes it, relative to the dataset's root. `tags` (modality, category, …)
    only group scores. `reference` is the benchmark's information on the clip (cue, rubric, url, …), never in a prompt.
    """

    id: str
    audio: str
    question: str
    choices: tuple[str, ...]
    answer: str
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    reference: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def tag(self, name: str) -> str | None:
        """Return the value of a tag, None without one; without a tag `language`, that of the reference counts."""
        value = self.tags.get(name)
        if value is None and name == "language":
            value = self.reference.get(name)
        return None if value is None else str(value)


def tag_names(items: Iterable[Item]) -> list[str]:
    """Return the names of all tags that any of the items has, sorted."""
    names = {name for item in items for name in (*item.tags, "language") if item.tag(name) is not None}
    return sorted(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Checked items and the folder of their clips, `root`. `digest` is that of the dataset's file."""

    name: str
    digest: str
    root: Path
    items: tuple[Item, ...]
    version: str = ""
    licence: str = ""


class CaptionerSpec(Record, frozen=True, kw_only=True):
    """The engine of a slot, with all its parameters; it is hashed into each caption's key."""

    slot: str
    name: str
    version: str
    params: Params


class Caption(Record, frozen=True, kw_only=True):
    """The text of one clip. `""` is a result (silence, no speech), not a failure.

    `meta` is JSON for later filters: segment times in seconds, language, probabilities, the device and more.
    """

    text: str
    meta: Mapping[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionInput:
    """The input of a caption that depends on more than a clip.

    `question` and `choices` are in the canonical form of `prompting.listening`, and empty if the engine must not see
    them. `evidence` is the text of other captions, for an engine that reads captions and no `clip`.
    """

    clip: Path | None = None
    question: str = ""
    choices: tuple[str, ...] = ()
    evidence: str = ""

    @property
    def name(self) -> str:
        """The name of the clip, for messages."""
        return self.clip.name if self.clip else "the captions"


class PromptSpec(Record, frozen=True, kw_only=True):
    """A template by name and digest, and the slots whose captions fill its evidence block, in order.

    `mismatch_seed` gives every item another clip's captions, `order_seed` shuffles the choices; None does neither.
    `audio` is the slot in which the clip itself is sent; a run without sent clips leaves it out of the JSON.
    `headings` has the headings that engines define for their slots; runs of older versions use the slots' names.
    """

    template: str
    template_digest: str
    slots: tuple[str, ...]
    mismatch_seed: int | None = None
    order_seed: int | None = None
    audio: str | msgspec.UnsetType = msgspec.UNSET
    headings: Mapping[str, str] | msgspec.UnsetType = msgspec.UNSET


class LLMSpec(Record, frozen=True, kw_only=True):
    """The model by its litellm name (or `local`, `local:…`, `fake`), its parameters, and the samples per item.

    `answer_as` is `choice` if the reply is forced to be one of the choices; it is left out of the JSON for free text.
    `origin` is the address that is asked, without secrets; it is left out for the provider's own, as in older runs.
    """

    model: str
    params: Params = msgspec.field(default_factory=dict)
    samples: Repeats = 1
    answer_as: Literal["choice"] | msgspec.UnsetType = msgspec.UNSET
    origin: str | msgspec.UnsetType = msgspec.UNSET


class RoundsSpec(Record, frozen=True, kw_only=True):
    """The rounds, up to `most`, in which a model may ask for more about the clip before it answers.

    `engines` are those that it may ask, each by the name of its slot. `form` is the form of a request: the provider's
    tool `calls`, or lines of `text`. `version` counts the changes of the instructions that the model gets about rounds.
    `when` is `split` if all samples are first asked without rounds, and only the items whose samples disagree are asked
    again with rounds; it is left out of the JSON for rounds of every item.
    """

    most: int
    engines: tuple[CaptionerSpec, ...]
    form: Literal["calls", "text"]
    version: str
    when: Literal["split"] | msgspec.UnsetType = msgspec.UNSET


class RunSpec(Record, frozen=True, kw_only=True):
    """Everything that can change a result; it has no path, device, key, time limit or concurrency.

    A run without rounds leaves `rounds` out of the JSON, like older runs.
    """

    dataset: str
    dataset_digest: str
    captioners: tuple[CaptionerSpec, ...]
    prompt: PromptSpec
    llm: LLMSpec
    limit: int | None = None
    only: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    rounds: RoundsSpec | msgspec.UnsetType = msgspec.UNSET


class Prompt(Record, frozen=True, kw_only=True):
    """Chat messages (`role`, `content`), and the choices in the order in which the messages list them.

    `content` is text, or, for a model that hears, the list of texts and clips that chat endpoints accept. `clip` is the
    digest of the clip that is sent with the text, `seconds` its length.
    """

    messages: tuple[Mapping[str, Any], ...]
    order: tuple[str, ...] = ()
    clip: str = ""
    seconds: float = 0.0

    def texts(self, clip: str = "") -> list[str]:
        """Return the text of each message, with the text `clip` in place of the clip."""
        texts: list[str] = []
        for message in self.messages:
            parts = message["content"] or ""  # A message that only calls functions has no content.
            if isinstance(parts, str):
                parts = [{"text": parts}]
            texts.append("".join(part.get("text", clip) for part in parts))
        return texts


# The finish reasons of complete replies. Any other reason, such as `length`, means that the reply was cut.
_NATURAL_ENDS = """
stop end_turn stop_sequence eos eos_token end_of_sequence end_of_text endoftext complete completed finished done
tool_calls tool_call tool_use function_call
"""
_TOKEN_LIMITS = "length max_tokens max_output_tokens max_completion_tokens model_length token_limit"


class ToolCall(Record, frozen=True, kw_only=True):
    """A call of a tool as the model wrote it; `arguments` is text that should be JSON."""

    id: str
    name: str
    arguments: str


class Completion(Record, frozen=True, kw_only=True, tag="completion"):
    """A model's unchanged reply. `finish` is the provider's finish reason (`stop`, `length`, …); None is unknown.

    `model` and `fingerprint` are those that the server reports. `cost` is in US dollars. `sent` are the parameters of
    the request, without the messages. `charged` is the charge of all tries of the call against a budget, if it is not
    `cost`: a reply of unknown cost is charged its bound, or 0 without one. `audio_tokens` are the input tokens that the
    provider reports as audio. `calls` are the tools that the model calls with its text, `thinking_blocks` its signed
    thoughts, which some providers require unchanged with the results of the calls.
    """

    text: str
    reasoning: str = ""
    finish: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None
    sent: Params = msgspec.field(default_factory=dict)
    fingerprint: str | msgspec.UnsetType = msgspec.UNSET
    charged: float | msgspec.UnsetType = msgspec.UNSET
    audio_tokens: int | msgspec.UnsetType = msgspec.UNSET
    calls: tuple[ToolCall, ...] | msgspec.UnsetType = msgspec.UNSET
    thinking_blocks: tuple[Mapping[str, str], ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_cut(self) -> bool:
        """Whether the reply was cut: its finish reason is known and is not that of a complete reply."""
        return self.finish is not None and self.finish.lower() not in _NATURAL_ENDS.split()

    @property
    def cut_where(self) -> str:
        """Where the reply was cut, in words: at the token limit, or by the provider with its finish reason."""
        if (self.finish or "").lower() in _TOKEN_LIMITS.split():
            return "cut at the token limit"
        return f"cut by the provider ({self.finish})"


class Failure(Record, frozen=True, kw_only=True, tag="failure"):
    """The reason for a missing result. It is recorded, counted as wrong, tried again on resume, and never read as text.

    `cost` is in US dollars, if the provider charges for a reply that it held back; `charged` is as in a `Completion`.
    """

    kind: str
    message: str
    cost: float | None = None
    charged: float | msgspec.UnsetType = msgspec.UNSET


class Finding(Record, frozen=True, kw_only=True):
    """The result of one request that a model made in a round; `text` is shown to the model.

    `tool` and `arguments` are the interpreted request, with times in seconds. `key` is the cache key of the caption,
    `""` if the request failed. `cost` is in US dollars; None is unknown.
    """

    tool: str
    arguments: Params
    text: str
    key: str = ""
    seconds: float = 0.0
    cost: float | None = 0.0


class Round(Record, frozen=True, kw_only=True):
    """A model's message that asks for more, and the findings that it was shown, one for each request."""

    reply: Completion
    findings: tuple[Finding, ...]


class Answer(Record, frozen=True, kw_only=True):
    """One line of a run's log: the result of one sample of one item.

    `prompt` is the digest of the messages sent, `captions` the cache key of each slot's caption, `seconds` the duration
    of the call, `at` the time of its end in UTC (ISO 8601). `params` are the requested parameters of the model.
    `audio` is the digest of the clip as it was sent. `origin` is the address or the provider that was asked, if the
    model does not run on this machine. `run` is in the first line of a log: the digest of the identity of its run. Logs
    of older versions have neither.
    `rounds` are those before the result, in a run with rounds. A line after each round has the failure `unfinished` as
    its result; the cost of a line is that of its own calls. `first` is the reply without rounds of a sample that is
    asked again with rounds; `seconds` includes its duration.
    """

    item: str
    sample: int
    prompt: str
    captions: Mapping[str, str]
    result: Completion | Failure
    seconds: float
    at: str
    params: Params = msgspec.field(default_factory=dict)
    audio: str | msgspec.UnsetType = msgspec.UNSET
    origin: str | msgspec.UnsetType = msgspec.UNSET
    run: str | msgspec.UnsetType = msgspec.UNSET
    rounds: tuple[Round, ...] | msgspec.UnsetType = msgspec.UNSET
    first: Completion | msgspec.UnsetType = msgspec.UNSET


class Choice(Record, frozen=True, kw_only=True):
    """The choice that a reply settles on, verbatim, or `""` if it settles on none; `how` names the rule."""

    text: str
    how: str


class Score(Record, frozen=True, kw_only=True):
    """One scored sample; `correct` has right or wrong by the name of the scorer."""

    item: str
    sample: int
    choice: Choice
    correct: Mapping[str, bool]
    tags: Mapping[str, str]


class Captioner(Protocol):
    """An engine, built once, that returns one caption for each clip, in their order.

    The result for an unreadable clip is a `Failure`, or the engine raises `ClipError`: then the batch is tried again
    clip by clip. An engine whose captions depend on the question gets `CaptionInput`s instead of paths.
    """

    def __call__(self, clips: Sequence[Any], /) -> Sequence[Caption | Failure]: ...


class Lookup(Protocol):
    """A captioner that looks up the caption of an item and its clip instead of hearing the clip. Raises `ItemError`."""

    def __call__(self, item: Item, clip: Path, /) -> Caption: ...


class Backend(Protocol):
    """Runs a captioner on clips. Yields each clip, or `CaptionInput`, once, with its result, in any order."""

    def __call__(
        self, spec: CaptionerSpec, host: Host, clips: Sequence[Any], /
    ) -> Iterator[tuple[Any, Caption | Failure]]: ...


class LLM(Protocol):
    """One request to a model. Raises `Transient` (try again), `ReplyError` (record and go on) or `ProviderStop`."""

    def __call__(self, prompt: Prompt, params: Params, /) -> Awaitable[Completion]: ...


class Scorer(Protocol):
    """Returns whether a prediction (a choice verbatim, or `""`) answers the item."""

    def __call__(self, item: Item, prediction: str, /) -> bool: ...


class CaptionRecord(Record, frozen=True, kw_only=True):
    """One caption of one item: its cache key (`""` if the clip cannot be read), and its text or failure.

    `question` is the digest of the item's question and choices, if the caption depends on them.
    """

    item: str
    slot: str
    key: str
    text: str | None = None
    meta: Mapping[str, Any] = msgspec.field(default_factory=dict)
    failure: Failure | None = None
    question: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def caption(self) -> Caption | None:
        """The caption, or None if it failed."""
        return None if self.text is None else Caption(text=self.text, meta=self.meta)


class Shard(Record, frozen=True, kw_only=True):
    """The items of a run that has only those of a `shard` (`"2/4"`), of `total` items.

    `places` has the indexes of these items among all of them, from 0, as differences between neighbours.
    """

    shard: Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d{0,8}/[1-9]\d{0,8}\Z")]
    places: str
    total: int

    def positions(self) -> list[int]:
        """Return the indexes of the shard's items among all items, from 0. Raises ValueError for malformed `places`."""
        return list(accumulate(map(int, self.places.split())))
