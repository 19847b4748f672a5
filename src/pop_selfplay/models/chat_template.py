"""Conversations to prompts: through a model's own chat template, or through ours when it is a base model and has none.

Ours, `chat_template.jinja`, is ChatML with the tokenizer's own end token after every turn: a base model knows that token, and
sees in its prompt that turns end with it. Synthesis and training fill the same template, and a trained model is saved with it.
vLLM takes the file by `--chat-template`. It only uses what every template engine knows: no filters, no macros.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pop_selfplay.errors import ModelRefused, RequestRefused
from pop_selfplay.records import Message

DEFAULT_TEMPLATE: Final = Path(__file__).with_name("chat_template.jinja")
"""For models without a chat template of their own."""

OPENING: Final = "<think>"
CLOSING: Final = "</think>"


def ensure_template(tokenizer: Any, name: str) -> bool:
    """Give a tokenizer without a chat template the default one, and return whether it had none.

    `name` stands for the model in messages. Raises ModelRefused when the tokenizer has no end token either.
    """
    if tokenizer.chat_template is not None:
        return False
    if not tokenizer.eos_token:
        raise ModelRefused(
            f"the tokenizer of {name!r} has neither a chat template nor an end token (eos_token), so that no answer could end: "
            "save it with one of them"
        )
    tokenizer.chat_template = DEFAULT_TEMPLATE.read_text(encoding="utf-8")
    return True


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return the text after which the model begins its answer, all special tokens written out.

    A template that refuses a system message gets the system text at the head of the user's. Raises RequestRefused, with the
    template's reason, when it refuses the conversation altogether.
    """
    try:
        return _apply(tokenizer, messages, answer="")
    except (TemplateError, ValueError) as error:
        if messages[0].role != "system":
            raise RequestRefused(f"the model's chat template refuses this conversation: {error}") from error
    try:
        return _apply(tokenizer, without_system(messages), answer="")
    except (TemplateError, ValueError) as error:
        raise RequestRefused(
            f"the model's chat template refuses this conversation, with and without system: {error}"
        ) from error


def render_end(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return what the template writes after an answer to `messages` up to the last mark that can be seen, "" for nothing.

    The answer itself plays no part, so it does not matter what a template makes of it: some cut the reasoning from it, some add
    an empty one. Raises RequestRefused like `render_prompt`.
    """
    try:
        text = _apply(tokenizer, messages, answer=_ANSWER)
    except (TemplateError, ValueError) as error:
        try:
            text = _apply(tokenizer, without_system(messages), answer=_ANSWER)
        except (TemplateError, ValueError):
            raise RequestRefused(f"the model's chat template refuses an answer: {error}") from error
    return text.rpartition(_ANSWER)[2].rstrip()


def opens_reasoning(prompt: str) -> bool:
    """Tell whether a prompt, or its end, has begun the model's reasoning for it, as DeepSeek-R1's template does."""
    return prompt.rstrip().endswith(OPENING)


def template_opens_reasoning(folder: Path) -> bool:
    """Tell whether the chat template of the model in `folder` begins the reasoning; False where there is none to be read."""
    template = _template_in(folder)
    if template is None:
        return False
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    try:
        rendered = environment.from_string(template).render(
            messages=[{"role": "user", "content": "?"}], add_generation_prompt=True, bos_token="", eos_token=""
        )
    except TemplateError:
        return False
    return opens_reasoning(rendered)


def _template_in(folder: Path) -> str | None:
    try:
        if (folder / "chat_template.jinja").is_file():
            return (folder / "chat_template.jinja").read_text(encoding="utf-8")
        template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    return template if isinstance(template, str) else None


def after_opened_reasoning(answer: str) -> str:
    """Return an answer to a prompt that opened the reasoning, with the opening in front where the answer never leaves it.

    Else a draft in the middle of the reasoning would pass for the answer. One that leaves it needs no opening to be read.
    """
    return answer if CLOSING in answer or answer.lstrip().startswith(OPENING) else f"{OPENING}\n{answer}"


def without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the conversation with the system text, if any, at the head of the first user message."""
    if messages[0].role != "system":
        return tuple(messages)
    system, first, *rest = messages
    return (first.model_copy(update={"content": f"{system.content}\n\n{first.content}"}), *rest)


_ANSWER: Final = "q7Zk2vXw"  # no template changes or writes it


def _apply(tokenizer: Any, messages: Sequence[Message], *, answer: str) -> str:
    conversation = [{"role": message.role, "content": message.content} for message in messages]
    if answer:
        conversation.append({"role": "assistant", "content": answer})
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=not answer)
    return text
