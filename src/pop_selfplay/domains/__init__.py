"""A domain is a folder: `domain.yaml` and one prompt file per role. This module loads a domain and fills its prompts.

To add one, copy a folder next to this file (or anywhere on disk, and write `domain: ./my_domain`), and edit the texts.

A prompt file holds a `<!-- system -->` part (optional) and a `<!-- user -->` part with `{{name}}` places. All places are filled
in one pass and every filled value is fenced, so nothing inside a document or an answer can change a prompt's structure.

| file | filled with |
| --- | --- |
| propose.md | document, title |
| propose_without_document.md | title |
| solve.md | problem |
| rubric.md | document, problem, reference_answer, candidates |
| rubric_without_document.md | problem, candidates |
| the judge's | as the scoring modes declare (judging/): rate.md, rate_criterion.md, rate_logprob.md, compare.md, anchor.md |

Besides these, every key under `values:` in domain.yaml can be used in every prompt. `check_domain` says what a run needs of its
domain: the prompts that its settings use, final answers in a box, a truth to compare with.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from pop_selfplay.config import PocketCorpus, RunConfig, Synthesis, complaints, read_yaml
from pop_selfplay.errors import ConfigError, DomainError
from pop_selfplay.judging import MODES, PromptFile, ScoringMode, prompts_of
from pop_selfplay.method.echo import FixedText, fixed_text
from pop_selfplay.records import Message, Record, Role
from pop_selfplay.text.fencing import fence

PLACES: Final[dict[str, frozenset[str]]] = {
    "propose": frozenset({"document", "title"}),
    "propose_without_document": frozenset({"title"}),
    "solve": frozenset({"problem"}),
    "rubric": frozenset({"document", "problem", "reference_answer", "candidates"}),
    "rubric_without_document": frozenset({"problem", "candidates"}),
}
"""Prompt → its places, for the roles that make what is judged. `prompt_files` adds the judge's."""
_ROLES: Final = {
    "propose": Role.PROPOSER,
    "propose_without_document": Role.PROPOSER,
    "solve": Role.SOLVER,
    "rubric": Role.RUBRIC_WRITER,
    "rubric_without_document": Role.RUBRIC_WRITER,
}
"""Whom a prompt asks; the judge by all others."""
BUILT_IN: Final = Path(__file__).parent
_PLACE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_PART: Final = re.compile(r"^<!-- (system|user) -->[ \t]*\n", re.MULTILINE)


class Prompt(Record):
    """One role's prompt with its places still open. `system` is empty when the domain has no system message."""

    name: str
    system: str
    user: str

    @property
    def places(self) -> frozenset[str]:
        """The places that are open in it."""
        return frozenset(match[1] for match in _PLACE.finditer(self.system + self.user))

    def fixed(self, trusted: Mapping[str, str]) -> str:
        """Return all that it says, with the places open that are not `trusted` ones."""
        return _PLACE.sub(lambda match: trusted.get(match[1], match[0]), f"{self.system}\n\n{self.user}")

    def fill(self, values: Mapping[str, str], trusted: Mapping[str, str]) -> tuple[Message, ...]:
        """Return the conversation with every place filled: `values` are fenced, `trusted` ones (the domain's own) are not."""
        parts = (Message(role="system", content=self.system), Message(role="user", content=self.user))
        filled = {**trusted, **{name: fence(value) for name, value in values.items()}}
        return tuple(
            Message(role=part.role, content=_PLACE.sub(lambda match: filled[match[1]], part.content))
            for part in parts
            if part.content
        )


class Spread(Record):
    """Which candidates the rubric writer is shown: about `count`, spread over length, each cut to `max_words`."""

    count: int = Field(default=10, ge=1)
    max_words: int | None = Field(default=None, ge=1)


class Domain(Record):
    """A set of prompts and rules. Build one with `load_domain`."""

    name: str
    description: str
    spread: Spread = Spread()
    boxed: bool = Field(default=False, description="the reference answer must end in exactly one \\boxed{} value")
    problem_checks: bool = Field(
        default=True,
        description="refuse problems that point at a text, repeat the reference answer, the document or nearly each other",
    )
    logprob_stop: str = Field(default="}", min_length=1, description="text that ends a judgement by rate_logprob.md")
    values: dict[str, str] = Field(default_factory=dict)
    prompts: dict[str, Prompt] = Field(default_factory=dict)

    def render(self, prompt: str, **values: str) -> tuple[Message, ...]:
        """Return the messages of `prompt` (a name of `prompt_files`) filled with `values`.

        Raises DomainError when the domain has no such prompt file, KeyError (our bug) when a place gets no value.
        """
        self.require([prompt])
        return self.prompts[prompt].fill(values, self.values)

    def uses(self, prompt: str, place: str) -> bool:
        """Return whether `prompt` has the place `{{place}}`. Raises DomainError when the domain has no such prompt file."""
        self.require([prompt])
        return place in self.prompts[prompt].places

    def fixed_text(self, role: Role) -> FixedText:
        """Return what the prompts of a role say whatever they are filled with: no answer may be a copy of that."""
        own = [prompt for name, prompt in self.prompts.items() if _ROLES.get(name, Role.JUDGE) is role]
        return fixed_text(tuple(prompt.fixed(self.values) for prompt in own))

    def require(self, prompts: Iterable[str]) -> None:
        """Raise DomainError unless the domain has every one of `prompts`."""
        missing = [f"{prompt}.md" for prompt in prompts if prompt not in self.prompts]
        if missing:
            raise DomainError(f"domain {self.name!r} has no {', '.join(missing)}, which this run needs: add the file")


def load_domain(name_or_path: str) -> Domain:
    """Load a built-in domain by name, or a domain folder by path.

    Raises DomainError when the folder, domain.yaml or a prompt file is missing or malformed.
    """
    folder = BUILT_IN / name_or_path if (BUILT_IN / name_or_path / "domain.yaml").is_file() else Path(name_or_path)
    settings = folder / "domain.yaml"
    if not settings.is_file():
        known = ", ".join(sorted(path.parent.name for path in BUILT_IN.glob("*/domain.yaml")))
        raise DomainError(f"no domain {name_or_path!r}: built in are {known}; a path must be a folder with a domain.yaml")
    try:
        values = read_yaml(settings, "domain")
        named = {"name": folder.name, **values} if isinstance(values, dict) else values
        domain = Domain.model_validate(named)
    except ConfigError as error:
        raise DomainError(str(error)) from error
    except ValidationError as error:
        raise DomainError(f"{settings} is not a valid domain:\n  " + "\n  ".join(complaints(error, Domain))) from error
    prompts = dict(_prompts(folder, frozenset(domain.values)))
    for needed in ("propose", "solve", "rubric"):
        if needed not in prompts:
            raise DomainError(f"domain folder {folder} has no {needed}.md: add the file")
    return domain.model_copy(update={"prompts": prompts})


def prompt_files() -> dict[str, PromptFile]:
    """Return every prompt that a domain may have: those of `PLACES`, and those that a scoring mode asks the judge by."""
    by_mode = {file.name: file for mode in MODES.values() for file in mode.prompts}
    return by_mode | {name: PromptFile(name, places) for name, places in PLACES.items()}


def _prompts(folder: Path, own: frozenset[str]) -> Iterator[tuple[str, Prompt]]:
    """Yield the prompts of a domain by name; `own` are the places that the domain itself fills."""
    for name, file in prompt_files().items():
        path = folder / f"{name}.md"
        if path.is_file():
            yield name, _fit(path, load_prompt(path, file.places | own), file)
        elif file.text:
            yield name, _prompt(Path(f"{name}.md"), file.text, file.places)


def load_prompt(path: Path, allowed: frozenset[str]) -> Prompt:
    """Read one prompt file, which may use the places `allowed`. Raises DomainError when it is malformed."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DomainError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    return _prompt(path, text, allowed)


def with_prompt(domain: Domain, name: str, path: Path) -> Domain:
    """Return the domain with the file at `path` in place of its prompt `name`. Raises DomainError when that is malformed."""
    if not path.is_file():
        raise DomainError(f"there is no prompt file {path}: check the name")
    file = prompt_files()[name]
    prompt = _fit(path, load_prompt(path, file.places | frozenset(domain.values)), file)
    return domain.model_copy(update={"prompts": {**domain.prompts, name: prompt.model_copy(update={"name": name})}})


def _fit(path: Path, prompt: Prompt, file: PromptFile) -> Prompt:
    if file.either and len(file.either & prompt.places) != 1:
        raise DomainError(f"{path} must have a place for either {' or '.join(sorted(file.either))}, for one of them")
    return prompt


def _prompt(path: Path, text: str, allowed: frozenset[str]) -> Prompt:
    """Return the prompt that `text` holds; `path` is what it is called."""
    pieces = _PART.split(text)
    parts = {pieces[i]: pieces[i + 1].strip() for i in range(1, len(pieces), 2)}
    if pieces[0].strip() or "user" not in parts or len(pieces) != 1 + 2 * len(parts):
        raise DomainError(f"{path} needs one '<!-- user -->' part, after an optional '<!-- system -->' part, and nothing else")
    unknown = {match[1] for match in _PLACE.finditer(text)} - allowed
    if unknown:
        raise DomainError(f"{path} uses {sorted(unknown)}; it may use {sorted(allowed)}")
    return Prompt(name=path.stem, system=parts.get("system", ""), user=parts["user"])


def check_domain(config: RunConfig, domain: Domain) -> None:
    """Raise DomainError or ConfigError for a config that needs what its domain does not have."""
    domain.require(prompts_needed(config.synthesis))
    if lacking := unfit_domain(config.synthesis.mode, domain):
        raise DomainError(f"{lacking}: use another")
    if config.stop.min_agreement is not None and not domain.boxed and not isinstance(config.corpus, PocketCorpus):
        raise ConfigError(
            f"stop.min_agreement {config.stop.min_agreement} needs a known truth: corpus.type pocket, or a domain with boxed "
            f"answers, which {domain.name!r} is not; remove the rule"
        )


def prompts_needed(synthesis: Synthesis) -> tuple[str, ...]:
    """Return the names of the domain's prompts that a run with these settings uses."""
    propose = "propose" if Role.PROPOSER in synthesis.document_for else "propose_without_document"
    rubric = "rubric" if Role.RUBRIC_WRITER in synthesis.document_for else "rubric_without_document"
    return propose, "solve", *((rubric,) if synthesis.mode.needs_rubric else ()), *prompts_of(synthesis.mode)


def unfit_domain(mode: ScoringMode, domain: Domain) -> str:
    """Return why candidates cannot be scored by `mode` in this domain, prompts aside; "" where they can."""
    if mode.needs_boxed and not domain.boxed:
        return f"scoring {mode.name} needs final answers in a box, and domain {domain.name!r} asks for none"
    return ""
