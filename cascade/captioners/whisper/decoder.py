"""Whisper's greedy decoding with a fixed number of rows, each at its own position in a window of its own.

The tokens are those of `whisper.decoding.decode` at temperature 0, with its rules for blanks, suppressed tokens and
timestamps. What differs is the work:

* A row that ends takes the next window at once, so a long transcript delays no other.
* Keys and values lie in arrays of one size, so every step has one shape whatever the batch neighbours are.
* A window that only repeats itself is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from typing import Any

from cascade.captioners.speech import MAX_TOKENS

LATEST_START = 50  # the latest first timestamp, in timestamp tokens
CHECK_EVERY = 16  # tokens between two checks of whether a window repeats itself
PRECISION = 0.02  # seconds a timestamp token
_WHISPER = Lock()


@dataclass(slots=True)
class DecodedWindow:
    """The transcript of one window, under Whisper's own names; `window` is whatever the caller passed with it."""

    window: Any
    tokenizer: Any
    language: str
    language_probability: float | None = None
    no_speech_prob: float = 0.0
    tokens: list[int] = field(default_factory=list)
    total_logprob: float = 0.0
    text: str = ""

    @property
    def avg_logprob(self) -> float:
        """The mean log-probability a token, the end token included."""
        return self.total_logprob / (len(self.tokens) + 1)

    @property
    def compression_ratio(self) -> float:
        """How much zlib shortens the text, which shows repetition."""
        from whisper.utils import compression_ratio

        return compression_ratio(self.text) if self.text else 0.0


class Decoder:
    """The text decoder of a Whisper model over `rows` windows at a time."""

    def __init__(self, model: Any, rows: int, language: str, hopeless: float) -> None:
        """Allocate the rows. `language` is a code, or "" to detect it.

        A window is stopped where its compression ratio is above `hopeless`.
        """
        import torch

        self.model, self.rows, self.language, self.hopeless = model, rows, language, hopeless
        self.tokenizer = tokenizer = load_tokenizer(model)
        device, dtype = model.decoder.positional_embedding.device, model.decoder.positional_embedding.dtype
        dims = model.dims
        layers, heads, width = len(model.decoder.blocks), dims.n_text_head, dims.n_text_state // dims.n_text_head

        def zeros(length: int) -> Any:
            return torch.zeros([layers, rows, heads, length, width], device=device, dtype=dtype)

        longest = MAX_TOKENS + len(self._prompt("en"))
        self._keys, self._values = zeros(longest), zeros(longest)
        self._audio_keys, self._audio_values = zeros(dims.n_audio_ctx), zeros(dims.n_audio_ctx)
        self._numbers = torch.arange(dims.n_vocab, device=device)
        self._suppressed = torch.zeros(dims.n_vocab, dtype=torch.bool, device=device)
        tasks = [tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm]
        others = [tokenizer.no_speech, tokenizer.no_timestamps]
        self._suppressed[[*tokenizer.non_speech_tokens, *tasks, *others]] = True
        self._languages = torch.tensor(tokenizer.all_language_tokens, device=device) if model.is_multilingual else None
        self._blank = tokenizer.encode(" ")

    def decode(self, windows: Iterator[tuple[Any, Any]]) -> Iterator[DecodedWindow]:
        """Yield each (window, features) decoded, as it ends; features have shape (1, positions, width)."""
        import torch

        rows: list[DecodedWindow | None] = [None] * self.rows
        inputs = [[self.tokenizer.eot]] * self.rows  # the tokens of a row, its prompt first
        with torch.no_grad():
            while True:
                for number, decoded in enumerate(rows):
                    if decoded is None and (following := next(windows, None)):
                        rows[number] = DecodedWindow(following[0], self.tokenizer, self.language or "en")
                        inputs[number] = [self.tokenizer.sot]
                        self._attend_to(number, following[1])
                if not any(rows):
                    return
                logits = self._step([tokens[-1] for tokens in inputs], [len(tokens) - 1 for tokens in inputs])
                tokens, probabilities = self._choose(rows, logits)
                for number, decoded in enumerate(rows):
                    if decoded and len(inputs[number]) == 1:
                        self._read_first(decoded, logits[number])
                    if decoded and self._append(decoded, inputs[number], tokens[number], probabilities[number]):
                        rows[number] = None
                        yield decoded

    def _prompt(self, language: str) -> list[int]:
        if not self.model.is_multilingual:
            return [self.tokenizer.sot]
        return [self.tokenizer.sot, self.tokenizer.to_language_token(language), self.tokenizer.transcribe]

    def _attend_to(self, row: int, features: Any) -> None:
        """Let a row attend to the features of a window."""
        _, _, heads, length, width = self._audio_keys.shape
        for layer, block in enumerate(self.model.decoder.blocks):
            keys, values = block.cross_attn.key(features), block.cross_attn.value(features)
            self._audio_keys[layer, row] = keys.view(length, heads, width).transpose(0, 1)
            self._audio_values[layer, row] = values.view(length, heads, width).transpose(0, 1)

    def _step(self, tokens: list[int], positions: list[int]) -> Any:
        """Return the logits after each row's last token, shape (rows, vocabulary), as float32."""
        import torch
        from torch.nn.functional import linear
        from torch.nn.functional import scaled_dot_product_attention as attend

        decoder, rows = self.model.decoder, self._numbers[: self.rows]
        at = torch.tensor(positions, device=self._numbers.device)
        x = decoder.token_embedding(torch.tensor(tokens, device=at.device)) + decoder.positional_embedding[at]
        visible = (self._numbers[: self._keys.shape[3]] <= at[:, None])[:, None, None]
        heads = (self.rows, self._keys.shape[2], 1, self._keys.shape[4])
        for layer, block in enumerate(decoder.blocks):
            normed = block.attn_ln(x)
            self._keys[layer][rows, :, at] = block.attn.key(normed).view(heads)[:, :, 0]
            self._values[layer][rows, :, at] = block.attn.value(normed).view(heads)[:, :, 0]
            query = block.attn.query(normed).view(heads)
            x = x + block.attn.out(attend(query, self._keys[layer], self._values[layer], visible).flatten(1))
            query = block.cross_attn.query(block.cross_attn_ln(x)).view(heads)
            x = x + block.cross_attn.out(attend(query, self._audio_keys[layer], self._audio_values[layer]).flatten(1))
            x = x + block.mlp(block.mlp_ln(x))
        return linear(decoder.ln(x), decoder.token_embedding.weight).float()

    def _read_first(self, decoded: DecodedWindow, logits: Any) -> None:
        """Read from the first token's logits whether a window is speech, and in which language."""
        decoded.no_speech_prob = float(logits.softmax(-1)[self.tokenizer.no_speech])
        if self._languages is None:
            return
        probabilities = logits[self._languages].softmax(-1)
        codes = self.tokenizer.all_language_codes
        if not self.language:
            decoded.language = codes[int(probabilities.argmax())]
        decoded.language_probability = float(probabilities[codes.index(decoded.language)])

    def _choose(self, rows: list[DecodedWindow | None], logits: Any) -> tuple[list[int], list[float]]:
        """Return each row's likeliest token that the rules allow, and its log-probability."""
        import torch

        first = self.tokenizer.timestamp_begin
        bounds = torch.tensor([self._bounds(decoded) for decoded in rows], device=logits.device)
        lowest_text, lowest_time, highest_time = bounds.T[:, :, None]
        is_time = self._numbers >= first
        in_time = (self._numbers >= lowest_time) & (self._numbers <= highest_time)
        allowed = torch.where(is_time, in_time, self._numbers >= lowest_text) & ~self._suppressed
        for number, decoded in enumerate(rows):
            if decoded and not decoded.tokens:
                allowed[number, [*self._blank, self.tokenizer.eot]] = False
        logs = logits.masked_fill(~allowed, -float("inf")).log_softmax(-1)
        # The next token is a timestamp where all timestamps together are likelier than any text token.
        timed = logs[:, first:].logsumexp(-1) > logs[:, :first].amax(-1)
        allowed &= is_time | ~timed[:, None]
        best = logits.masked_fill(~allowed, -float("inf")).log_softmax(-1).max(-1)
        return best.indices.tolist(), best.values.tolist()

    def _bounds(self, decoded: DecodedWindow | None) -> tuple[int, int, int]:
        """Return the lowest text token allowed, and the lowest and highest timestamp."""
        first, last = self.tokenizer.timestamp_begin, self._numbers.shape[0] - 1
        if decoded is None or not decoded.tokens:
            return first, first, first + LATEST_START
        tokens = decoded.tokens
        times = [token for token in tokens if token >= first]
        if tokens[-1] < first:
            lowest = times[-1] + 1 if times else first
            return 0, lowest, last
        if len(tokens) < 2 or tokens[-2] >= first:
            return 0, last + 1, last
        return self.tokenizer.eot, times[-1], last

    def _append(self, decoded: DecodedWindow, tokens: list[int], token: int, probability: float) -> bool:
        """Append a token to a row, the prompt's until that is complete; return whether the window is done."""
        prompt = self._prompt(decoded.language)
        if len(tokens) < len(prompt):
            tokens.append(prompt[len(tokens)])
            return False
        decoded.total_logprob += probability
        if token != self.tokenizer.eot:
            decoded.tokens.append(token)
            tokens.append(token)
        done = token == self.tokenizer.eot or len(decoded.tokens) == MAX_TOKENS
        check = len(decoded.tokens) % CHECK_EVERY == 0
        if done or check:
            words = [token for token in decoded.tokens if token < self.tokenizer.eot]
            decoded.text = self.tokenizer.decode(words).strip()
        return done or (check and decoded.compression_ratio > self.hopeless)


def beam_search(model: Any, windows: Iterator[tuple[Any, Any]], language: str, beams: int) -> Iterator[DecodedWindow]:
    """Yield each (window, features) decoded by Whisper's own beam search."""
    from whisper.decoding import DecodingOptions, decode

    tokenizer = load_tokenizer(model)
    for window, features in windows:
        half = str(features.dtype) == "torch.float16"
        options = DecodingOptions(language=language or None, temperature=0.0, beam_size=beams, fp16=half)
        probabilities = dict[str, float]()
        # Whisper keeps keys and values in hooks on the model, which calls from several threads would share.
        with _WHISPER:
            (result,) = decode(model, features, options)
            if model.is_multilingual:
                probabilities = model.detect_language(features, tokenizer)[1][0]
        yield DecodedWindow(
            window=window,
            tokenizer=tokenizer,
            language=result.language,
            language_probability=probabilities.get(result.language),
            no_speech_prob=result.no_speech_prob,
            tokens=result.tokens,
            total_logprob=result.avg_logprob * (len(result.tokens) + 1),
            text=result.text,
        )


def load_tokenizer(model: Any) -> Any:
    """Return the tokenizer that goes with a model."""
    from whisper.tokenizer import get_tokenizer

    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages)


def split_segments(tokens: Sequence[int], tokenizer: Any) -> tuple[list[tuple[float, float, str]], float | None]:
    """Return (start, end, text) of each segment in seconds of the window, and the end of what is finished.

    Two timestamps in a row separate segments. After the last pair comes an unfinished segment, unless a single
    timestamp closes it: then no speech follows. The second value is None where nothing is unfinished.
    """
    first = tokenizer.timestamp_begin
    cuts = [at + 1 for at, pair in enumerate(pairwise(tokens)) if min(pair) >= first]
    segments = []
    for begin, end in pairwise([0, *cuts, len(tokens)]):
        part = tokens[begin:end]
        if not part:
            continue
        times = [(token - first) * PRECISION for token in part if token >= first]
        start = times[0] if part[0] >= first else 0.0
        stop = times[-1] if part[-1] >= first and len(times) > 1 else 30.0
        segments.append((start, stop, tokenizer.decode([token for token in part if token < tokenizer.eot])))
    is_closed = len(tokens) > 1 and tokens[-1] >= first and tokens[-2] < first
    if is_closed or not cuts:
        return segments, None
    return segments, (tokens[cuts[-1] - 1] - first) * PRECISION
