"""One batch, from prompts to completions: read each prompt once, then one token a step for every row that has not ended.

A row ends at an end token, when its text holds the request's stop tag, or when its tokens are used up. Rows that ended leave
the batch as soon as they are a quarter of it.

`Constraint` lets the rows with a form write nothing else: the library llguidance (extra `constrain`) reads the form's grammar
and says at each step which tokens may follow.

Keys and values of a batch that grow in place.

The library's plain cache layer copies all keys and values into new memory at each step, which for small models on a CPU costs
more than the model itself. Layers of other kinds (sliding windows, linear attention) stay the library's own.
"""

import threading
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, Protocol

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pop_selfplay.errors import ModelUnavailable
from pop_selfplay.method.parsing import grammar
from pop_selfplay.models.base import Completion
from pop_selfplay.models.chat_template import CLOSING, after_opened_reasoning, opens_reasoning
from pop_selfplay.models.local.loading import Loaded
from pop_selfplay.models.local.sampling import Row, Watcher, sampler_for

_TOKENS_OF_OPENING: Final = 16  # "<think>" and the white space after it
_LEAVE_AT: Final = 0.75  # of the rows in the batch still writing; each leave-taking copies the cache once


def grammars_of(tokenizer: Any, vocabulary: int, end_ids: Collection[int]) -> Any | None:
    """Return what reads grammars in the tokens of `tokenizer`, None where the library is not installed or cannot read them."""
    try:
        from llguidance.hf import from_tokenizer
    except ImportError:
        return None
    try:
        return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(end_ids))
    except ValueError:  # a tokenizer without a Rust part
        return None


class Constraint:
    """What the rows of a batch may write next; costs nothing where none has a form."""

    def __init__(self, grammars: Any, batch: Sequence[Row]) -> None:
        """`grammars` is what `grammars_of` returns; where it is None, rows are written freely."""
        self._matchers: dict[int, Any] = {}
        self._executor: Any = None
        self._places = torch.tensor([1 << place for place in range(8)], dtype=torch.uint8)
        for number, row in enumerate(batch):
            if grammars is not None and row.request.form is not None:
                from llguidance import LLExecutor, LLMatcher, grammar_from

                self._executor = self._executor or LLExecutor()
                self._matchers[number] = LLMatcher(grammars, grammar_from("gbnf", grammar(row.request.form)))

    def masked(self, rows: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """Return `logits` [rows, vocabulary] with −inf for what a row's form does not allow; `rows[place]` is behind a place.

        A row that the library can no longer follow goes on freely: the parser has the last word.
        """
        following = [
            (self._matchers[row], place)
            for place, row in enumerate(rows)
            if row in self._matchers and not self._matchers[row].is_error()
        ]
        if not following:
            return logits
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

        bits = allocate_token_bitmask(*logits.shape)
        fill_next_token_bitmask_par(self._executor, following, bits)
        # Eight tokens a byte until they are beside the logits: a step moves rows · vocabulary / 8 bytes to a GPU.
        octets = torch.from_numpy(bits).view(torch.uint8).to(logits.device)
        allowed = octets[..., None].bitwise_and(self._places.to(logits.device)).ne(0).flatten(1)[:, : logits.shape[1]]
        return logits.masked_fill(~allowed, -torch.inf)

    def note(self, row: int, token: int) -> None:
        """Take in the next token of a row."""
        matcher = self._matchers.get(row)
        if matcher is not None and not matcher.is_stopped():
            matcher.consume_token(token)


class Onlooker(Protocol):
    """Whoever looks on while a batch is written."""

    def note(self, rows: Sequence[int], logits: torch.Tensor) -> None:
        """Take in one step: `rows[place]` is the row of the batch behind `logits[place]`, [rows, vocabulary]."""


class Written(NamedTuple):
    """What a row wrote: its tokens, with the end token where there is one, and whether only the limit ended it."""

    tokens: list[int]
    by_limit: bool


class _Ended(NamedTuple):
    tokens: int
    by_limit: bool


@torch.inference_mode()
def decode(loaded: Loaded, batch: Sequence[Row], closing: threading.Event) -> list[Completion]:
    """Return the completions of `batch`, in order. Raises ModelUnavailable when `closing` is set before it is done."""
    watcher = Watcher(loaded.tokenizer, batch)
    return _completions(loaded, batch, write(loaded, batch, closing, watcher), watcher)


def write(loaded: Loaded, batch: Sequence[Row], closing: threading.Event, watcher: Onlooker | None = None) -> list[Written]:
    """Return what each row of `batch` writes, as tokens, in order; call it without gradients. Raises as `decode` does.

    A `watcher` is shown the logits of every step.
    """
    steps = max(row.max_new for row in batch)
    device = loaded.device
    written = torch.zeros((len(batch), steps), dtype=torch.long, device=device)
    ended: list[_Ended | None] = [None] * len(batch)
    watch = _StopWatch(loaded, batch)
    sampler = sampler_for([row.request for row in batch], steps, device)
    constraint = Constraint(loaded.grammars, batch)
    reader = _Reader(loaded, [row.prompt for row in batch], steps)
    rows = list(range(len(batch)))  # which row of the batch stands at which place of the model's input
    row_ids = torch.arange(len(batch), device=device)
    logits = reader.read_prompts()
    for step in range(steps):
        if closing.is_set():
            raise ModelUnavailable("the model was closed while it was writing")
        if watcher is not None:
            watcher.note(rows, logits)
        tokens = sampler.pick(constraint.masked(rows, logits), step)
        written[row_ids, step] = tokens
        for place, token in enumerate(tokens.tolist()):
            row = rows[place]
            if ended[row] is None:
                constraint.note(row, token)
                stopped = token in loaded.end_ids or watch.hit(row, token, written[row, : step + 1])
                if stopped or step + 1 == batch[row].max_new:
                    ended[row] = _Ended(step + 1, by_limit=not stopped)
        going = [place for place, row in enumerate(rows) if ended[row] is None]
        if not going:
            break
        if len(going) <= _LEAVE_AT * len(rows):
            kept = torch.tensor(going, device=device)
            rows, row_ids = [rows[place] for place in going], row_ids[kept]
            tokens, sampler = tokens[kept], sampler.keep(kept)
            reader.keep(kept)
        logits = reader.read(tokens)
    ends = [end for end in ended if end is not None]
    return [Written(tokens[: end.tokens], end.by_limit) for tokens, end in zip(written.tolist(), ends, strict=True)]


class _Reader:
    """Feeds tokens to the model and keeps what it has read: the cache, the mask of real tokens, each row's next position."""

    def __init__(self, loaded: Loaded, prompts: Sequence[list[int]], steps: int) -> None:
        self._model = loaded.model
        self._device = loaded.device
        self._cache = roomy_cache(loaded.model)
        self._prompts = prompts
        self._length = max(map(len, prompts))
        self._steps = steps

    def read_prompts(self) -> torch.Tensor:
        """Read all prompts, padded on the left, and return the logits after each, [rows, vocabulary]."""
        distinct = list(dict.fromkeys(map(tuple, self._prompts)))
        ids = torch.zeros((len(distinct), self._length), dtype=torch.long)
        self._mask = torch.ones((len(distinct), self._length + self._steps), dtype=torch.long)
        for place, prompt in enumerate(distinct):
            ids[place, self._length - len(prompt) :] = torch.tensor(prompt)
            self._mask[place, : self._length - len(prompt)] = 0
        self._mask = self._mask.to(self._device)
        positions = (self._mask[:, : self._length].cumsum(dim=1) - 1).clamp(min=0)
        self._next = positions[:, -1:] + 1
        logits = self._forward(ids.to(self._device), positions)
        place_of = {prompt: place for place, prompt in enumerate(distinct)}
        rows = torch.tensor([place_of[tuple(prompt)] for prompt in self._prompts], device=self._device)
        if len(distinct) < len(self._prompts):
            self.keep(rows)
        return logits[rows]

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token per row, [rows], and return the logits after it, [rows, vocabulary]."""
        self._length += 1
        positions, self._next = self._next, self._next + 1
        return self._forward(tokens[:, None], positions)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._cache.batch_select_indices(rows)
        self._mask, self._next = self._mask[rows], self._next[rows]

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask[:, : self._length],
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits


class _StopWatch:
    """Tells when a row's text has come to hold its stop tag, looking only after a token that can end one."""

    def __init__(self, loaded: Loaded, batch: Sequence[Row]) -> None:
        self._tokenizer = loaded.tokenizer
        self._stops = [row.request.stop for row in batch]
        self._opened = [in_reasoning(loaded, row) for row in batch]
        self._may_end = {stop: _tokens_with(loaded.tokenizer, stop[-1]) for stop in set(self._stops) if stop}

    def hit(self, row: int, token: int, written: torch.Tensor) -> bool:
        """Tell whether `token`, the last of `written`, has completed the row's stop tag."""
        stop = self._stops[row]
        if not stop or token not in self._may_end[stop]:
            return False
        tail = written[-2 * len(stop) :].tolist()  # a tag has no more tokens than characters, but for stray bytes
        if stop not in self._tokenizer.decode(tail, skip_special_tokens=True):
            return False
        # A tag amid reasoning that the prompt opened belongs to a draft.
        return not self._opened[row] or CLOSING in self._tokenizer.decode(written.tolist(), skip_special_tokens=True)


def _tokens_with(tokenizer: Any, character: str) -> frozenset[int]:
    """The tokens whose text holds `character`, which must be ASCII: vocabularies write other characters in several ways."""
    return frozenset(token for piece, token in tokenizer.get_vocab().items() if character in piece)


def _completions(loaded: Loaded, batch: Sequence[Row], written: Sequence[Written], watcher: Watcher) -> list[Completion]:
    texts = loaded.tokenizer.batch_decode([row.tokens for row in written], skip_special_tokens=True)
    return [
        Completion(
            text=_through(text, row.request.stop, opened=in_reasoning(loaded, row)),
            finish_reason="length" if wrote.by_limit else "stop",
            prompt_tokens=len(row.prompt),
            generated_tokens=len(wrote.tokens),
            tokens=watcher.tokens(number, wrote.tokens),
        )
        for number, (row, text, wrote) in enumerate(zip(batch, texts, written, strict=True))
    ]


def in_reasoning(loaded: Loaded, row: Row) -> bool:
    """Tell whether the row's prompt has begun the reasoning."""
    return opens_reasoning(loaded.tokenizer.decode(row.prompt[-_TOKENS_OF_OPENING:], skip_special_tokens=False))


def _through(text: str, stop: str, *, opened: bool) -> str:
    """Cut what the last token wrote beyond the stop tag; a tag amid reasoning that the prompt `opened` is none."""
    thoughts, closed, answer = text.rpartition(CLOSING) if opened else ("", "", text)
    if opened and not closed:
        return after_opened_reasoning(text)
    head, found, _ = answer.partition(stop) if stop else (answer, "", "")
    return thoughts + closed + head + found


_GROWTH: Final = 1.5


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # the library is untyped
    """A cache layer with room to spare: `keys` and `values` are views of larger memory, [rows, heads, tokens, width]."""

    _key_room: torch.Tensor
    _value_room: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens and return all keys and values. The further arguments are other layers' business."""
        used = self.get_seq_length()
        end = used + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_room, self._value_room = _room(key_states, end), _room(value_states, end)
        elif end > self._key_room.shape[-2]:
            self._key_room, self._value_room = (_room(old, int(_GROWTH * end)) for old in (self._key_room, self._value_room))
            self._key_room[..., :used, :] = self.keys
            self._value_room[..., :used, :] = self.values
        self._key_room[..., used:end, :] = key_states
        self._value_room[..., used:end, :] = value_states
        self._look(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may come several times."""
        self._key_room = self._key_room.index_select(0, indices)
        self._value_room = self._value_room.index_select(0, indices)
        self._look(self.keys.shape[-2])

    def _look(self, end: int) -> None:
        self.keys, self.values = self._key_room[..., :end, :], self._value_room[..., :end, :]


def roomy_cache(model: Any) -> Any:
    """Return an empty cache for `model`."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _room(like: torch.Tensor, tokens: int) -> torch.Tensor:
    return like.new_empty((*like.shape[:-2], tokens, like.shape[-1]))
