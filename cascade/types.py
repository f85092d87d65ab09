"""The records of cascade, and the protocols of its parts that can be replaced.

Records are frozen and take keywords only. What is asked (`RunSpec` and the specs in it, hashed) and how it
is done (`Execution`, `Host`, in `execution.py`) are separate types, so the identity of a run needs no list of
exceptions. What is stored is a `Record`; what only lives in memory and holds paths (`Dataset`) is a dataclass.
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
Repeats = Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # how often an item is asked about; checked where it is read


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The base of everything that is stored as JSON: its fields in their order; an unknown field is refused.

    The members of a union have a `tag`, which stands first in their JSON as `"type"`. A record holds plain values, so
    that it is in no reference cycle and the garbage collector need not know it (`gc=False`).
    """


class Item(Record, frozen=True, kw_only=True):
    """One multiple-choice question about one clip.

    `audio` is the clip's path as the dataset writes it, relative to the dataset's root. `tags` (modality, category, …)
    only group scores. `reference` is what the benchmark says about the clip (cue, rubric, url, …): no prompt sees it.
    """

    id: str
    audio: str
    question: str
    choices: tuple[str, ...]
    answer: str
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    reference: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def tag(self, name: str) -> str | None:
        """Return the value of a tag, None without one; `language` is the reference's where no tag has that name."""
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
    """Checked items and where their clips are. `digest` names the bytes of the dataset's file."""

    name: str
    digest: str
    root: Path
    items: tuple[Item, ...]
    version: str = ""
    licence: str = ""


class CaptionerSpec(Record, frozen=True, kw_only=True):
    """Which engine fills a slot, with every parameter filled in; hashed into each caption's key."""

    slot: str
    name: str
    version: str
    params: Params


class Caption(Record, frozen=True, kw_only=True):
    """The text of one clip. `""` is a finding (silence, no speech), not a failure.

    `meta` is JSON: segment times in seconds, language, probabilities, the device, whatever a later filter may want.
    """

    text: str
    meta: Mapping[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionInput:
    """What a caption is made from where it depends on more than a clip.

    `question` and `choices` are in the canonical form of `prompting.listening`, `""` and none where the engine is not
    to see them. `evidence` is the text of other captions, for an engine that reads captions and no `clip`.
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

    `mismatch_seed` gives every item another clip's captions, `order_seed` shuffles the choices; None leaves both alone.
    `audio` is the slot in which the clip itself is sent; a run of captions alone leaves it out of the JSON.
    `headings` has the headings of slots whose engine has one of its own; runs of older versions have the slots' names.
    """

    template: str
    template_digest: str
    slots: tuple[str, ...]
    mismatch_seed: int | None = None
    order_seed: int | None = None
    audio: str | msgspec.UnsetType = msgspec.UNSET
    headings: Mapping[str, str] | msgspec.UnsetType = msgspec.UNSET


class LLMSpec(Record, frozen=True, kw_only=True):
    """The model by its litellm name (or `local`, `local:…`, `fake`), its parameters, and samples an item.

    `answer_as` is `choice` where the reply is forced to be one of the choices; a free text leaves it out of the JSON.
    `origin` is the address that is asked, without secrets; the provider's own, as in older runs, leaves it out.
    """

    model: str
    params: Params = msgspec.field(default_factory=dict)
    samples: Repeats = 1
    answer_as: Literal["choice"] | msgspec.UnsetType = msgspec.UNSET
    origin: str | msgspec.UnsetType = msgspec.UNSET


class RoundsSpec(Record, frozen=True, kw_only=True):
    """How a model may ask for more about the clip before it answers: in up to `most` rounds.

    `engines` are those that it may ask; the slot of each is the name by which it asks. `form` is that of a request: the
    provider's tool `calls`, or lines of `text`. `version` counts the changes of what the model is told about it.
    `when` is `split` where all samples are asked without rounds first, and only the items whose samples disagree are
    asked again with them; rounds for every item leave it out of the JSON.
    """

    most: int
    engines: tuple[CaptionerSpec, ...]
    form: Literal["calls", "text"]
    version: str
    when: Literal["split"] | msgspec.UnsetType = msgspec.UNSET


class RunSpec(Record, frozen=True, kw_only=True):
    """Everything that can change a result. Holds no path, device, key, time limit or concurrency.

    A run without rounds leaves `rounds` out of the JSON, as older runs do.
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
    """Chat messages (`role`, `content`), and the choices in the order in which they stand in them.

    `content` is text, or for a model that hears the list of texts and clips that chat endpoints take. `clip` is the
    digest of the clip that is sent with the text, `seconds` its length.
    """

    messages: tuple[Mapping[str, Any], ...]
    order: tuple[str, ...] = ()
    clip: str = ""
    seconds: float = 0.0

    def texts(self, clip: str = "") -> list[str]:
        """Return the text of each message, with `clip` in the place of the clip."""
        texts: list[str] = []
        for message in self.messages:
            parts = message["content"] or ""  # A message that only calls functions has no content.
            if isinstance(parts, str):
                parts = [{"text": parts}]
            texts.append("".join(part.get("text", clip) for part in parts))
        return texts


# Providers' words for a reply that is whole. Any other word, `length` among them, means that the reply was cut.
_NATURAL_ENDS = """
stop end_turn stop_sequence eos eos_token end_of_sequence end_of_text endoftext complete completed finished done
tool_calls tool_call tool_use function_call
"""
_TOKEN_LIMITS = "length max_tokens max_output_tokens max_completion_tokens model_length token_limit"


class ToolCall(Record, frozen=True, kw_only=True):
    """A call of a tool as the model wrote it; `arguments` is JSON text, or what the model took for it."""

    id: str
    name: str
    arguments: str


class Completion(Record, frozen=True, kw_only=True, tag="completion"):
    """What a model said, as it said it. `finish` is the provider's reason (`stop`, `length`, …); None is unknown.

    `model` and `fingerprint` are what the server says of itself. `cost` is in US dollars; `sent` are the parameters as
    they went out, without the messages. `charged` is what all tries of the call counted against a budget, where that is
    not `cost`: a reply of unknown cost counts as its bound, and as 0 where it had none. `audio_tokens` are those of the
    input that the provider counts as audio, where it says so. `calls` are the tools that the model calls with its text,
    `thinking_blocks` its signed thoughts, which some providers want back unchanged with the results of the calls.
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
        """Whether the reply was cut: the provider's reason is none of its words for a natural end."""
        return self.finish is not None and self.finish.lower() not in _NATURAL_ENDS.split()

    @property
    def cut_where(self) -> str:
        """How a cut reply was cut, in words: at the token limit, or for the reason that the provider names."""
        if (self.finish or "").lower() in _TOKEN_LIMITS.split():
            return "cut at the token limit"
        return f"cut by the provider ({self.finish})"


class Failure(Record, frozen=True, kw_only=True, tag="failure"):
    """Why there is no result. Recorded, counted as wrong, tried again on resume; never text that could be read.

    `cost` is in US dollars, where the provider charges for what it held back; `charged` is a completion's.
    """

    kind: str
    message: str
    cost: float | None = None
    charged: float | msgspec.UnsetType = msgspec.UNSET


class Finding(Record, frozen=True, kw_only=True):
    """What came of one request that a model made in a round: `text` is what the model was shown.

    `tool` and `arguments` are the request as it was understood, with times in seconds. `key` is that of the caption in
    the cache, `""` where the request failed. `cost` is in US dollars; None is unknown.
    """

    tool: str
    arguments: Params
    text: str
    key: str = ""
    seconds: float = 0.0
    cost: float | None = 0.0


class Round(Record, frozen=True, kw_only=True):
    """A model's message that asks for more, and the findings that it was shown, a request each."""

    reply: Completion
    findings: tuple[Finding, ...]


class Answer(Record, frozen=True, kw_only=True):
    """One line of a run's log: what became of one sample of one item.

    `prompt` is the digest of the messages sent, `captions` the cache key behind each slot, `seconds` the time the call
    took, `at` the moment it ended in UTC (ISO 8601). `params` are the model's parameters as they were asked for.
    `audio` is the digest of the clip as it was sent, where one was. `origin` is the address or the provider that was
    asked, where the model does not run here; the first line of a log names the `run` that it belongs to, by the digest
    of its identity. Logs of older versions have neither.
    `rounds` are those before the result, in a run that has rounds. A line after each round has the failure `unfinished`
    in the result's place; the cost of a line is that of its own calls. `first` is the reply without rounds of a sample
    that is asked again with them; `seconds` has its time, too.
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
    """The choice that a reply settles on, verbatim, or `""` where it settles on none; `how` says by which rule."""

    text: str
    how: str


class Score(Record, frozen=True, kw_only=True):
    """One judged sample: scorer name → right or wrong."""

    item: str
    sample: int
    choice: Choice
    correct: Mapping[str, bool]
    tags: Mapping[str, str]


class Captioner(Protocol):
    """An engine, built once, that turns clips into captions: as many as it was given, in their order.

    A clip that it cannot hear is a `Failure` in its place, or raises `ClipError`: a batch that raises is tried again
    clip by clip. An engine whose captions depend on the question gets `CaptionInput`s in the place of paths.
    """

    def __call__(self, clips: Sequence[Any], /) -> Sequence[Caption | Failure]: ...


class Lookup(Protocol):
    """A captioner that looks up what is known of an item (and its clip) instead of hearing it. Raises `ItemError`."""

    def __call__(self, item: Item, clip: Path, /) -> Caption: ...


class Backend(Protocol):
    """Where captioners run. Yields each clip, or `CaptionInput`, once, as it is done, in any order."""

    def __call__(
        self, spec: CaptionerSpec, host: Host, clips: Sequence[Any], /
    ) -> Iterator[tuple[Any, Caption | Failure]]: ...


class LLM(Protocol):
    """One request to a model. Raises `Transient` (try again), `ReplyError` (record and go on) or `ProviderStop`."""

    def __call__(self, prompt: Prompt, params: Params, /) -> Awaitable[Completion]: ...


class Scorer(Protocol):
    """Whether a prediction (a choice verbatim, or `""`) answers the item."""

    def __call__(self, item: Item, prediction: str, /) -> bool: ...


class CaptionRecord(Record, frozen=True, kw_only=True):
    """One caption of one item: its cache key (`""` where there is no clip to make one from), and what came of it.

    `question` is the digest of the item's question and choices where the caption depends on them.
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
        """The caption, or None where it failed."""
        return None if self.text is None else Caption(text=self.text, meta=self.meta)


class Shard(Record, frozen=True, kw_only=True):
    """Which items a run has: those of `shard` (`"2/4"`), among `total`.

    `places` has the indexes of these items among all of them, from 0, as differences between neighbours.
    """

    shard: Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d{0,8}/[1-9]\d{0,8}\Z")]
    places: str
    total: int

    def positions(self) -> list[int]:
        """Return the indexes of its items among all of them, from 0. Raises ValueError where `places` is malformed."""
        return list(accumulate(map(int, self.places.split())))
