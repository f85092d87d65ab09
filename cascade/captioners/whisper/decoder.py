"""Whisper's greedy decoding with a fixed number of rows, each at its own place in a window of its own.

The tokens of `whisper.decoding.decode` at temperature 0, with its rules for blanks, suppressed tokens and timestamps.
What differs is the work: a row that ends is filled with the next window at once, so a transcript that goes on and on
holds nobody; keys and values lie in arrays of one size, so every step has one shape whatever the company; and a window
that does nothing but repeat itself is stopped, as `stop` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

TOKENS = 224  # a window, half of the decoder's context, as Whisper's own decoding has it
FIRST = 50  # the latest first timestamp, in steps of 0.02 s
LOOK = 16  # tokens between two looks at whether a window repeats itself


@dataclass(slots=True)
class Decoded:
    """What was decoded of one window, under Whisper's own names; `language_probability` is of the language heard."""

    window: Any
    words: Any
    language: str
    language_probability: float = 1.0
    no_speech_prob: float = 0.0
    tokens: list[int] = field(default_factory=list)
    total: float = 0.0
    text: str = ""

    @property
    def avg_logprob(self) -> float:
        """The mean log-probability a token, the end counted."""
        return self.total / (len(self.tokens) + 1)

    @property
    def compression_ratio(self) -> float:
        """How much zlib shortens the text: repetition shows."""
        from whisper.utils import compression_ratio

        return compression_ratio(self.text) if self.text else 0.0


class Decoder:
    """The text side of a Whisper model over `rows` windows at a time."""

    def __init__(self, model: Any, rows: int, language: str, stop: Callable[[float], bool]) -> None:
        """`language` is a code, or "" to detect it. `stop` is told how repetitive (compression ratio) a window is."""
        import torch

        self.model, self.rows, self.language, self.stop = model, rows, language, stop
        self.words = tokenizer(model)
        at, kind = model.decoder.positional_embedding.device, model.decoder.positional_embedding.dtype
        dims = model.dims
        wide = (len(model.decoder.blocks), rows, dims.n_text_head, -1, dims.n_text_state // dims.n_text_head)
        longest = TOKENS + len(self._prompt("en"))

        def empty(length: int) -> Any:
            return torch.zeros([length if size == -1 else size for size in wide], device=at, dtype=kind)

        self._keys, self._values = empty(longest), empty(longest)
        self._heard_keys, self._heard_values = empty(dims.n_audio_ctx), empty(dims.n_audio_ctx)
        self._numbers = torch.arange(dims.n_vocab, device=at)
        self._never = torch.zeros(dims.n_vocab, dtype=torch.bool, device=at)
        words = self.words
        special = [words.transcribe, words.translate, words.sot, words.sot_prev, words.sot_lm, words.no_speech]
        self._never[[*words.non_speech_tokens, *special, words.no_timestamps]] = True
        self._languages = torch.tensor(words.all_language_tokens, device=at) if model.is_multilingual else None
        self._blank = words.encode(" ")

    def decode(self, windows: Iterator[tuple[Any, Any]]) -> Iterator[Decoded]:
        """What is said in each of (window, features), as it is done; features have shape (1, positions, width)."""
        import torch

        held: list[Decoded | None] = [None] * self.rows
        asked = [[self.words.eot]] * self.rows  # the tokens of a row, its prompt first
        with torch.no_grad():
            while True:
                for row, one in enumerate(held):
                    if one is None and (coming := next(windows, None)):
                        held[row] = Decoded(coming[0], self.words, self.language or "en")
                        asked[row] = [self.words.sot]
                        self._show(row, coming[1])
                if not any(held):
                    return
                logits = self._step([tokens[-1] for tokens in asked], [len(tokens) - 1 for tokens in asked])
                self._begin(held, asked, logits)
                for row, token, probability in self._choose(held, asked, logits):
                    one = held[row]
                    if one and self._take(one, asked[row], token, probability):
                        held[row] = None
                        yield one

    def _prompt(self, language: str) -> list[int]:
        words = self.words
        return (
            [words.sot, words.to_language_token(language), words.transcribe]
            if self.model.is_multilingual
            else [words.sot]
        )

    def _show(self, row: int, features: Any) -> None:
        """Let a row attend to a window."""
        for layer, block in enumerate(self.model.decoder.blocks):
            shape = self._heard_keys.shape[3], self._heard_keys.shape[2], self._heard_keys.shape[4]
            self._heard_keys[layer, row] = block.cross_attn.key(features).view(shape).transpose(0, 1)
            self._heard_values[layer, row] = block.cross_attn.value(features).view(shape).transpose(0, 1)

    def _step(self, tokens: list[int], places: list[int]) -> Any:
        """The logits after each row's last token, shape (rows, vocabulary), as float32."""
        import torch
        from torch.nn.functional import linear
        from torch.nn.functional import scaled_dot_product_attention as attend

        decoder, rows = self.model.decoder, self._numbers[: self.rows]
        at = torch.tensor(places, device=self._numbers.device)
        x = decoder.token_embedding(torch.tensor(tokens, device=at.device)) + decoder.positional_embedding[at]
        seen = (self._numbers[: self._keys.shape[3]] <= at[:, None])[:, None, None]
        heads = (self.rows, self._keys.shape[2], 1, self._keys.shape[4])
        for layer, block in enumerate(decoder.blocks):
            own = block.attn_ln(x)
            self._keys[layer][rows, :, at] = block.attn.key(own).view(heads)[:, :, 0]
            self._values[layer][rows, :, at] = block.attn.value(own).view(heads)[:, :, 0]
            query = block.attn.query(own).view(heads)
            x = x + block.attn.out(attend(query, self._keys[layer], self._values[layer], seen).flatten(1))
            query = block.cross_attn.query(block.cross_attn_ln(x)).view(heads)
            x = x + block.cross_attn.out(attend(query, self._heard_keys[layer], self._heard_values[layer]).flatten(1))
            x = x + block.mlp(block.mlp_ln(x))
        return linear(decoder.ln(x), decoder.token_embedding.weight).float()

    def _begin(self, held: list[Decoded | None], asked: list[list[int]], logits: Any) -> None:
        """What the first token's logits tell of a window: whether it is speech, and in which language."""
        for row, one in enumerate(held):
            if one is None or len(asked[row]) > 1:
                continue
            one.no_speech_prob = float(logits[row].softmax(-1)[self.words.no_speech])
            if self._languages is not None:
                likely = logits[row, self._languages].softmax(-1)
                codes = self.words.all_language_codes
                if not self.language:
                    one.language = codes[int(likely.argmax())]
                one.language_probability = float(likely[codes.index(one.language)])

    def _choose(self, held: list[Decoded | None], asked: list[list[int]], logits: Any) -> list[tuple[int, int, float]]:
        """(row, token, log-probability) of the likeliest token that the rules allow, of each row past its prompt."""
        import torch

        first, bounds = self.words.timestamp_begin, [self._bounds(one) for one in held]
        texts, lows, highs = (
            torch.tensor(list(column), device=logits.device)[:, None] for column in zip(*bounds, strict=True)
        )
        is_time = self._numbers >= first
        allowed = torch.where(is_time, (self._numbers >= lows) & (self._numbers <= highs), self._numbers >= texts)
        allowed &= ~self._never
        for row, one in enumerate(held):
            if one and not one.tokens:
                allowed[row, [*self._blank, self.words.eot]] = False
        chances = logits.masked_fill(~allowed, -float("inf")).log_softmax(-1)
        # A timestamp it is where all timestamps together are likelier than any word.
        timed = chances[:, first:].logsumexp(-1) > chances[:, :first].amax(-1)
        allowed &= is_time | ~timed[:, None]
        best = logits.masked_fill(~allowed, -float("inf")).log_softmax(-1).max(-1)
        found = zip(range(self.rows), best.indices.tolist(), best.values.tolist(), strict=True)
        return [one for one in found if held[one[0]]]

    def _bounds(self, one: Decoded | None) -> tuple[int, int, int]:
        """The lowest word allowed, and the lowest and highest timestamp."""
        words = self.words
        first, last = words.timestamp_begin, self._numbers.shape[0] - 1
        if one is None or not one.tokens:
            return first, first, first + FIRST
        times = [token for token in one.tokens if token >= first]
        ends = one.tokens[-1] >= first
        if ends and (len(one.tokens) < 2 or one.tokens[-2] >= first):
            return 0, last + 1, last
        if ends:
            return words.eot, times[-1], last
        return 0, times[-1] + 1 if times else first, last

    def _take(self, one: Decoded, asked: list[int], token: int, probability: float) -> bool:
        """Let a row go on by a token; whether it is done."""
        prompt = self._prompt(one.language)
        if len(asked) < len(prompt):
            asked.append(prompt[len(asked)])
            return False
        one.total += probability
        if token != self.words.eot:
            one.tokens.append(token)
            asked.append(token)
        done = token == self.words.eot or len(one.tokens) == TOKENS
        if done or len(one.tokens) % LOOK == 0:
            one.text = self.words.decode([token for token in one.tokens if token < self.words.eot]).strip()
        return done or (len(one.tokens) % LOOK == 0 and self.stop(one.compression_ratio))


def beam_search(model: Any, windows: Iterator[tuple[Any, Any]], language: str, beams: int) -> Iterator[Decoded]:
    """What is said in each of (window, features), by Whisper's own beam search."""
    from whisper.decoding import DecodingOptions, decode

    words = tokenizer(model)
    for window, features in windows:
        half = str(features.dtype) == "torch.float16"
        options = DecodingOptions(language=language or None, temperature=0.0, beam_size=beams, fp16=half)
        (found,) = decode(model, features, options)
        chance = model.detect_language(features, words)[1][0] if model.is_multilingual else {"en": 1.0}
        one = Decoded(window, words, found.language, chance[found.language], found.no_speech_prob, found.tokens)
        one.total, one.text = found.avg_logprob * (len(found.tokens) + 1), found.text
        yield one


PRECISION = 0.02  # seconds a timestamp token


def tokenizer(model: Any) -> Any:
    """The tokenizer that goes with a model."""
    from whisper.tokenizer import get_tokenizer

    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages)


def spans(tokens: Sequence[int], words: Any) -> tuple[list[tuple[float, float, str]], float | None]:
    """(start, end, text) of each segment in seconds of the window, and up to where it is finished; None is all of it.

    `words` is the tokenizer. Two timestamps in a row part segments. After the last pair comes an unfinished segment,
    unless a single timestamp closes it: then there is no speech after that.
    """
    first = words.timestamp_begin
    cuts = [at + 1 for at, (one, two) in enumerate(pairwise(tokens)) if one >= first and two >= first]
    parts = [tokens[begin:end] for begin, end in pairwise([0, *cuts, len(tokens)])]
    found = [_span(part, first, words) for part in parts if part]
    closed = len(tokens) > 1 and tokens[-1] >= first and tokens[-2] < first
    return found, None if closed or not cuts else (tokens[cuts[-1] - 1] - first) * PRECISION


def _span(part: Sequence[int], first: int, words: Any) -> tuple[float, float, str]:
    times = [(token - first) * PRECISION for token in part if token >= first]
    text = words.decode([token for token in part if token < words.eot])
    start = times[0] if part[0] >= first else 0.0
    return start, times[-1] if part[-1] >= first and len(times) > 1 else 30.0, text
