"""Conversations to prompts: through a model's own chat template, or through ours when it is a base model and has none.

Ours, `chat_template.jinja`, is ChatML with the tokenizer's own end token after every turn: a base model knows that token, and
sees in its prompt that turns end with it. Synthesis and training fill the same template, and a trained model is saved with it.
vLLM takes the file by `--chat-template`. It only uses what every template engine knows: no filters, no macros.

Whatever a template asks for, the same conversation gives the same prompt on every day, and special tokens in it are its own:
what a message brings of them is made harmless here, beyond the table of `text/fencing.py`.
"""

import datetime
import json
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pop_selfplay.config import AS_IT_DOES, RoleThinking, Thinking
from pop_selfplay.errors import ModelRefused, RequestRefused
from pop_selfplay.records import Message
from pop_selfplay.text.fencing import TAGS

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


def switches(thinking: RoleThinking) -> dict[str, bool | int]:
    """Return what chat templates are told beside the conversation, by the names they know; nothing where nothing is wanted."""
    if thinking.enabled is None and thinking.budget is None:
        return {}
    enabled = thinking.enabled is not False
    budget = {} if thinking.budget is None else {"thinking_budget": thinking.budget}
    return {"enable_thinking": enabled, "thinking": enabled, **budget}


def require_switches(tokenizer: Any, thinking: Thinking, name: str) -> None:
    """Raise ModelRefused where `thinking` says what the chat template of the model called `name` cannot be told."""
    untold = _untold(thinking, lambda wanted: render_prompt(tokenizer, _ANY, wanted))
    if untold is not None:
        raise ModelRefused(f"{untold[0]} cannot be told to {name!r}: {untold[1]}")


def template_knows(folder: Path, thinking: Thinking) -> bool:
    """Tell whether the chat template of the model in `folder` can be told all that `thinking` says."""
    return _untold(thinking, partial(_filled_from, folder)) is None


def _untold(thinking: Thinking, render: Callable[[RoleThinking], str]) -> tuple[str, str] | None:
    """Return the first setting that makes no difference to a prompt, and what to do about it; None where all do."""
    of_roles = {f"thinking.roles.{role}": wanted for role, wanted in thinking.roles.items()}
    for where, wanted in {"thinking": thinking, **of_roles}.items():
        if wanted.enabled is not None and render(RoleThinking(enabled=True)) == render(RoleThinking(enabled=False)):
            return f"{where}.enabled {str(wanted.enabled).lower()}", _NO_SWITCH
        budgets = (RoleThinking(enabled=wanted.enabled, budget=tokens) for tokens in (512, 4096))
        if wanted.budget is not None and len(set(map(render, budgets))) == 1:
            return f"{where}.budget {wanted.budget}", _NO_BUDGET
    return None


def render_prompt(tokenizer: Any, messages: Sequence[Message], thinking: RoleThinking = AS_IT_DOES) -> str:
    """Return the text after which the model begins its answer, all special tokens written out, its `thinking` switched so.

    A template that refuses a system message gets the system text at the head of the user's. Raises RequestRefused, with the
    template's reason, when it refuses the conversation altogether.
    """
    given = switches(thinking)
    try:
        return _apply(tokenizer, messages, given, answer="")
    except (TemplateError, ValueError) as error:
        if messages[0].role != "system":
            raise RequestRefused(f"the model's chat template refuses this conversation: {error}") from error
    try:
        return _apply(tokenizer, without_system(messages), given, answer="")
    except (TemplateError, ValueError) as error:
        raise RequestRefused(
            f"the model's chat template refuses this conversation, with and without system: {error}"
        ) from error


def render_end(tokenizer: Any, messages: Sequence[Message], thinking: RoleThinking = AS_IT_DOES) -> str:
    """Return what the template writes after an answer to `messages` up to the last mark that can be seen, "" for nothing.

    The answer itself plays no part, so it does not matter what a template makes of it: some cut the reasoning from it, some add
    an empty one. Raises RequestRefused like `render_prompt`.
    """
    given = switches(thinking)
    try:
        text = _apply(tokenizer, messages, given, answer=_ANSWER)
    except (TemplateError, ValueError) as error:
        try:
            text = _apply(tokenizer, without_system(messages), given, answer=_ANSWER)
        except (TemplateError, ValueError):
            raise RequestRefused(f"the model's chat template refuses an answer: {error}") from error
    return text.rpartition(_ANSWER)[2].rstrip()


def opens_reasoning(prompt: str) -> bool:
    """Tell whether a prompt, or its end, has begun the model's reasoning for it, as DeepSeek-R1's template does."""
    return prompt.rstrip().endswith(OPENING)


def template_opens_reasoning(folder: Path) -> bool:
    """Tell whether the chat template of the model in `folder` begins the reasoning; False where there is none to be read."""
    return opens_reasoning(_filled_from(folder, AS_IT_DOES))


def _filled_from(folder: Path, thinking: RoleThinking) -> str:
    """Return a prompt through the template of the model in `folder`, "" where that cannot be done without its tokenizer."""
    template = _template_in(folder)
    if template is None:
        return ""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    try:
        return environment.from_string(template).render(
            messages=[{"role": "user", "content": "?"}],
            add_generation_prompt=True,
            bos_token="",
            eos_token="",
            strftime_now=DATE.strftime,
            **switches(thinking),
        )
    except TemplateError:
        return ""


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


DATE: Final = datetime.date(2026, 1, 1)
"""What a template is told that asks for today's date: prompts, stored calls and training agree on every day of a run."""

_ANY: Final = (Message(role="user", content="?"),)
_NO_SWITCH: Final = (
    "its chat template has no switch for thinking (enable_thinking or thinking). Leave the setting out, or take a model whose "
    "template has the switch"
)
_NO_BUDGET: Final = (
    "its chat template reads no thinking_budget, and nothing else holds a local model to one. Leave the setting out and limit "
    "the role's max_tokens, or use model.type vllm, which enforces a budget"
)
_ANSWER: Final = "q7Zk2vXw"  # no template changes or writes it
_TODAY: Final = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_SHOWN: Final = 30  # characters by which a content is found again in a prompt
_ENTITIES: Final = {"<": "&lt;", "[": "&#91;"}
_SPECIAL: Final[weakref.WeakKeyDictionary[Any, re.Pattern[str]]] = weakref.WeakKeyDictionary()


def _apply(tokenizer: Any, messages: Sequence[Message], given: Mapping[str, object], *, answer: str) -> str:
    """Return the conversation through the template, its contents as texts, or as lists of parts where it shows no others.

    The template is told `given`, too.
    """
    turns = [(message.role, _harmless(message.content, tokenizer)) for message in messages]
    if answer:
        turns.append(("assistant", answer))
    last = turns[-1][1].strip()[:_SHOWN]
    try:
        plain = _fill(tokenizer, [{"role": role, "content": text} for role, text in turns], given, not answer)
    except (TemplateError, ValueError):
        filled = _in_parts(tokenizer, turns, given, not answer)
        if filled is None or last not in filled:
            raise
        return filled
    filled = plain if last in plain else _in_parts(tokenizer, turns, given, not answer)
    return filled if filled is not None and last in filled else plain


def _in_parts(tokenizer: Any, turns: Sequence[tuple[str, str]], given: Mapping[str, object], ask: bool) -> str | None:
    conversation = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    try:
        return _fill(tokenizer, conversation, given, ask)
    except (TemplateError, ValueError, TypeError):
        return None


def _fill(tokenizer: Any, conversation: list[dict[str, Any]], given: Mapping[str, object], ask: bool) -> str:
    own = tokenizer.chat_template
    template = own.get("default") if isinstance(own, dict) else own
    dated = _TODAY.sub(lambda asked: repr(DATE.strftime(asked[2])), template) if isinstance(template, str) else template
    told = given if dated == template else {**given, "chat_template": dated}
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=ask, **told)
    return text


def _harmless(text: str, tokenizer: Any) -> str:
    """Return `text` without the tokenizer's special tokens: the first character of each stands apart or as an entity."""
    if tokenizer not in _SPECIAL:
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        special = {*getattr(tokenizer, "all_special_tokens", ()), *(token.content for token in added if token.special)}
        marks = sorted((one for one in special if one.strip("<>/ ").casefold() not in TAGS and not one.isalnum()), key=len)
        _SPECIAL[tokenizer] = re.compile("|".join(map(re.escape, reversed(marks))) or r"(?!)")
    return _SPECIAL[tokenizer].sub(lambda found: _ENTITIES.get(found[0][0], f"{found[0][0]} ") + found[0][1:], text)
