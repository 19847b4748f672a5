"""What a run needs of its domain: the prompts that its settings use, final answers in a box, a truth to compare with."""

from pop_selfplay.config import PocketCorpus, RunConfig, Synthesis
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ConfigError, DomainError
from pop_selfplay.judging import ScoringMode, prompts_of
from pop_selfplay.records import Role


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
