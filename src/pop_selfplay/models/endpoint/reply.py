"""What comes back: a chat completion in OpenAI's format, as the servers really write it, as completions.

Read leniently where nothing is lost by it: content as text or as a list of parts, counts that are missing, null or absurd, any
finish_reason, bytes and escapes that are no Unicode. Raises Unreadable for what has no answer in it. A form that another server
writes gets its case in the function that reads that field.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pop_selfplay.models.base import ChatRequest, Completion, Token
from pop_selfplay.models.chat_template import CLOSING, OPENING, after_opened_reasoning
from pop_selfplay.text.fencing import valid_unicode

_CUT_BY_TOKENS: Final = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_HALF_AN_ANSWER: Final = frozenset({"content_filter", "content-filter", "safety", "recitation", "error", "refusal"})
_MOST_TOKENS: Final = 2**53
_CHARACTERS_PER_TOKEN: Final = 4


class Unreadable(Exception):
    """A reply of status 200 without an answer in it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer. `cut`: tokens ran out, or the server broke it off; `whole`: it may have ended at the stop tag, which servers
    cut off.

    `tokens` is None where the server gave no probabilities.
    """

    text: str
    cut: bool
    whole: bool
    tokens: tuple[Token, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """All that is read of a reply. Counts are the server's, 0 where it gives none; `generated` is of all choices together."""

    choices: tuple[Choice, ...]
    prompt: int = 0
    cached: int = 0
    generated: int = 0

    @property
    def gives_logprobs(self) -> bool:
        return self.choices[0].tokens is not None

    @property
    def cost(self) -> int:
        """All tokens of the call, 0 where the server does not say."""
        return self.prompt + self.generated

    @property
    def leaves_reasoning(self) -> bool:
        """Whether an answer leaves a reasoning that it never entered: the prompt had opened it."""
        return any(CLOSING in choice.text and OPENING not in choice.text for choice in self.choices)

    def completions(self, request: ChatRequest, *, opened: bool = False, stopped: bool = True) -> list[Completion]:
        """Return one completion for each choice, in the server's order.

        `opened`: the prompt opened the reasoning, so that an answer which never leaves it is none. `stopped`: the server was
        told the stop tag; else the text is cut at it here.

        A server tells the tokens of a reply only as a whole. The prompt was read once, so the first completion has its tokens
        and the others have 0; what was generated is shared out by the length of the texts, to the token in sum.
        """
        generated = _shared_out(self.generated, [len(choice.text) for choice in self.choices])
        return [
            Completion(
                text=_ended(choice, request.stop, opened=opened, stopped=stopped),
                finish_reason="length" if choice.cut else "stop",
                prompt_tokens=self.prompt if number == 0 else 0,
                generated_tokens=generated[number],
                cached_tokens=self.cached if number == 0 else 0,
                tokens=choice.tokens or (),
            )
            for number, choice in enumerate(self.choices)
        ]


def read_json(body: bytes) -> Any:
    """Return the JSON of `body`, what is no UTF-8 in it replaced by U+FFFD. Raises Unreadable."""
    try:
        return json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"unreadable reply: {body[:200]!r}") from error


def read_reply(body: bytes, stop: str) -> Reply:
    """Return the answers of a chat completion to a request that stops at `stop`. Raises Unreadable where there is none."""
    data = read_json(body)
    listed = data.get("choices") if isinstance(data, dict) else None
    raw = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    if not raw:
        raise Unreadable(f"unreadable reply, without choices: {body[:200]!r}")
    if all(isinstance(item.get("index"), int) for item in raw):
        raw.sort(key=lambda item: item["index"])
    choices = tuple(_choice(item, stop) for item in raw)
    usage = _mapping(data.get("usage"))
    prompt = count(usage.get("prompt_tokens"))
    return Reply(
        choices,
        prompt,
        min(prompt, count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens"))),
        credible(count(usage.get("completion_tokens")), choices) if usage else 0,
    )


def count(value: Any) -> int:
    """Return a count of tokens, 0 for what is none: missing, null, negative, not finite, or more than could ever be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= _MOST_TOKENS else 0


def credible(generated: int, choices: Sequence[Choice]) -> int:
    """Return `generated`, or an estimate where the answers show that it is too small.

    There are at least as many tokens as came with their probabilities, and no tokenizer puts two words into one token on
    average. Of several answers some servers count only one (llama.cpp), so that less than a token for each word is not believed
    there. 0 stays 0: the server does not count.
    """
    words = sum(len(choice.text.split()) for choice in choices)
    told = sum(len(choice.tokens or ()) for choice in choices)
    if generated == 0 or generated >= max(told, words if len(choices) > 1 else words / 2):
        return generated
    return max(told, words, sum(len(choice.text) for choice in choices) // _CHARACTERS_PER_TOKEN)


def _choice(raw: dict[str, Any], stop: str) -> Choice:
    message = raw.get("message")
    text = _text(message) if isinstance(message, dict) else valid_unicode(str(raw.get("text") or ""))
    reason = raw.get("finish_reason")
    reason = reason.lower() if isinstance(reason, str) else ""
    cut = reason in _CUT_BY_TOKENS | _HALF_AN_ANSWER
    whole = not cut and not _ended_by_itself(raw, reason, stop)
    return Choice(text, cut, whole, _tokens(raw.get("logprobs")))


def _ended_by_itself(raw: dict[str, Any], reason: str, stop: str) -> bool:
    """Tell whether the server says that the model ended its turn, and not that our stop tag did.

    vLLM writes `stop_reason`: null for an end of turn, a number for a stop token, the text of a stop string. SGLang writes the
    same into `matched_stop`, but null where it does not know.
    """
    if "stop_reason" in raw and reason == "stop":
        return bool(raw["stop_reason"] != stop)
    return raw.get("matched_stop") not in (None, stop)


def _text(message: dict[str, Any]) -> str:
    """All that the model wrote. Servers with a reasoning parser split it in two; pairs for training need it whole."""
    thoughts, content = _parts(message.get("content"))
    for key in ("reasoning_content", "reasoning"):
        if isinstance(value := message.get(key), str):
            thoughts = thoughts or value
    return valid_unicode(f"<think>\n{thoughts}\n</think>\n\n{content}" if thoughts else content)


def _parts(content: Any) -> tuple[str, str]:
    """Return the reasoning and the answer in a message's content: a text, or a list of parts of either."""
    if isinstance(content, str):
        return "", content
    thoughts, answer = list[str](), list[str]()
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            answer.append(part)
        elif isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
            thoughts.append(_plain(part.get("thinking") or part.get("reasoning") or part.get("text")))
        elif isinstance(part, dict):
            answer.append(_plain(part.get("text")))
    return "".join(thoughts), "".join(answer)


def _plain(node: Any) -> str:
    """Return the text of a part, which may be a list of parts again."""
    if isinstance(node, list):
        return "".join(_plain(item.get("text") if isinstance(item, dict) else item) for item in node)
    return node if isinstance(node, str) else ""


def _tokens(logprobs: Any) -> tuple[Token, ...] | None:
    """Every generated token with its alternatives, the token itself among them; some servers list only others."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    found = []
    for at in filter(_is_likely, content):
        others = at.get("top_logprobs")
        likely = {at["token"]: float(at["logprob"])}
        likely |= {
            other["token"]: float(other["logprob"])
            for other in (others if isinstance(others, list) else ())
            if _is_likely(other)
        }
        found.append(Token(valid_unicode(at["token"]), tuple((valid_unicode(text), p) for text, p in likely.items())))
    return tuple(found)


def _is_likely(node: Any) -> bool:
    if not isinstance(node, dict) or not isinstance(node.get("token"), str):
        return False
    value = node.get("logprob")
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _ended(choice: Choice, stop: str, *, opened: bool, stopped: bool) -> str:
    """Return the text up to its stop tag, with the tag that the server cut off.

    That ours was hit shows in the tag that it closes being open at the end; asking the server to keep it would need an
    extension (vLLM's include_stop_str_in_output) that others refuse or ignore.
    """
    text = choice.text
    if opened and CLOSING not in text:
        return after_opened_reasoning(text)
    thoughts, closed, answer = text.rpartition(CLOSING)
    if not stopped and stop:
        head, found, _ = answer.partition(stop)
        return thoughts + closed + head + found
    is_open = bool(stop) and answer.rfind(stop.replace("</", "<", 1)) > answer.rfind(stop)
    return text + stop if is_open and choice.whole else text


def _mapping(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def _shared_out(total: int, lengths: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `lengths`, without losing any."""
    whole = sum(lengths)
    if whole == 0:
        return [total, *[0] * (len(lengths) - 1)]
    ends, passed = [0], 0
    for length in lengths:
        passed += length
        ends.append(round(total * passed / whole))
    return [end - start for start, end in pairwise(ends)]
