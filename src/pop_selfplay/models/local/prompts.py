"""Conversations to token ids, through the tokenizer's chat template.

A template that refuses a system message gets the system text at the head of the user's. A tokenizer without a template gets
`PLAIN_TEMPLATE`: each turn as "Role: text", and "Assistant:" to be continued.
"""

from collections.abc import Sequence
from typing import Final

from jinja2 import TemplateError

from pop_selfplay.errors import RequestRefused
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.local.loading import Loaded
from pop_selfplay.records import Message

PLAIN_TEMPLATE: Final = (
    "{{ bos_token or '' }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def encode(loaded: Loaded, requests: Sequence[ChatRequest]) -> list[list[int] | RequestRefused]:
    """Return each request's prompt as token ids, or why it cannot be asked. Equal conversations are encoded once."""
    ids: dict[tuple[Message, ...], list[int] | RequestRefused] = {}
    texts: dict[tuple[Message, ...], str] = {}
    for request in requests:
        messages = request.messages
        if messages not in ids and messages not in texts:
            text = _render(loaded, messages)
            if isinstance(text, RequestRefused):
                ids[messages] = text
            else:
                texts[messages] = text
    if texts:
        # The template has written all special tokens already.
        encoded = loaded.tokenizer(list(texts.values()), add_special_tokens=False)["input_ids"]
        ids.update(zip(texts, (_fitting(loaded, prompt) for prompt in encoded), strict=True))
    return [ids[request.messages] for request in requests]


def _render(loaded: Loaded, messages: tuple[Message, ...]) -> str | RequestRefused:
    try:
        return _apply(loaded, messages)
    except TemplateError as error:
        if messages[0].role != "system":
            return RequestRefused(f"the model's chat template refuses this conversation: {error}")
    try:
        return _apply(loaded, _without_system(messages))
    except TemplateError as error:
        return RequestRefused(f"the model's chat template refuses this conversation, with and without system: {error}")


def _apply(loaded: Loaded, messages: tuple[Message, ...]) -> str:
    text: str = loaded.tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in messages],
        chat_template=None if loaded.tokenizer.chat_template else PLAIN_TEMPLATE,
        add_generation_prompt=True,
        tokenize=False,
    )
    return text


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    system, first, *rest = messages
    return (first.model_copy(update={"content": f"{system.content}\n\n{first.content}"}), *rest)


def _fitting(loaded: Loaded, prompt: list[int]) -> list[int] | RequestRefused:
    if not prompt:
        return RequestRefused("the prompt is empty")
    if len(prompt) >= loaded.context:
        return RequestRefused(
            f"the prompt has {len(prompt)} tokens and the model's context {loaded.context}: shorten the document"
        )
    return prompt
