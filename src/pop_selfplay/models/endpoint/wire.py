"""What goes over the wire: a request as JSON, a reply as completions. OpenAI's chat format, only its plain parameters."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel, Field

from pop_selfplay.models.base import ChatRequest, Completion, Token

_SEED_RANGE: Final = 2**31 - 1


def payload(model: str, requests: Sequence[ChatRequest]) -> dict[str, Any]:
    """Return the JSON that asks for all of `requests`, which differ only by their seeds; the first one's seed is sent."""
    request = requests[0]
    schema = {"name": request.role.value, "schema": request.schema, "strict": True}
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        # Our seeds have up to 63 bits, servers take 31. Modulo a Mersenne prime, every bit of ours still counts.
        "seed": request.seed % _SEED_RANGE,
        **({"n": len(requests)} if len(requests) > 1 else {}),
        **({"stop": [request.stop]} if request.stop else {}),
        **({"response_format": {"type": "json_schema", "json_schema": schema}} if request.schema else {}),
        **({"logprobs": True, "top_logprobs": request.top_logprobs} if request.top_logprobs else {}),
    }


class _ReplyMessage(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def text(self) -> str:
        """All that the model wrote. Servers with a reasoning parser split it in two; pairs for training need it whole."""
        reasoning, content = self.reasoning_content or self.reasoning, self.content or ""
        return f"<think>\n{reasoning}\n</think>\n\n{content}" if reasoning else content


class _Likely(BaseModel):
    token: str
    logprob: float


class _TokenLogprobs(_Likely):
    top_logprobs: list[_Likely] = []


class _Logprobs(BaseModel):
    content: list[_TokenLogprobs] | None = None


class _Choice(BaseModel):
    message: _ReplyMessage
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    def tokens(self) -> tuple[Token, ...]:
        """Every generated token with its alternatives, the token itself among them; some servers list only others."""
        content = self.logprobs.content if self.logprobs else None
        return tuple(
            Token(
                at.token,
                tuple(
                    (text, p)
                    for text, p in (
                        {at.token: at.logprob} | {likely.token: likely.logprob for likely in at.top_logprobs}
                    ).items()
                ),
            )
            for at in content or ()
        )


class _CachedTokens(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _CachedTokens | None = None


class Reply(BaseModel):
    """The part of a chat completion that we read."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None

    @property
    def gives_logprobs(self) -> bool:
        return self.choices[0].logprobs is not None and self.choices[0].logprobs.content is not None

    @property
    def cost(self) -> int:
        """All tokens of the call, 0 where the server does not say."""
        return self.usage.prompt_tokens + self.usage.completion_tokens if self.usage else 0

    def completions(self, request: ChatRequest) -> list[Completion]:
        """Return one completion for each choice, in the server's order.

        A server tells the tokens of a reply only as a whole. The prompt was read once, so the first completion has its tokens
        and the others have 0; what was generated is shared out by the length of the texts, to the token in sum.
        """
        usage = self.usage or _Usage()
        details = usage.prompt_tokens_details
        generated = _shared_out(usage.completion_tokens, [len(choice.message.text()) for choice in self.choices])
        return [
            Completion(
                text=_with_stop(choice, request.stop),
                finish_reason="length" if choice.finish_reason == "length" else "stop",
                prompt_tokens=usage.prompt_tokens if number == 0 else 0,
                generated_tokens=generated[number],
                cached_tokens=(details.cached_tokens or 0) if details and number == 0 else 0,
                tokens=choice.tokens(),
            )
            for number, choice in enumerate(self.choices)
        ]


def _with_stop(choice: _Choice, stop: str) -> str:
    """Return the text with the stop tag that the server cut off.

    That ours was hit shows in the tag that it closes being open at the end; asking the server to keep it would need an
    extension (vLLM's include_stop_str_in_output) that others refuse or ignore.
    """
    text = choice.message.text()
    is_open = bool(stop) and text.rfind(stop.replace("</", "<", 1)) > text.rfind(stop)
    return text + stop if is_open and choice.finish_reason == "stop" else text


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
