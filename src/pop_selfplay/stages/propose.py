"""Propose: from a document, a self-contained problem and a reference answer (method, "propose")."""

from pop_selfplay.core.parsing import Parsed, Proposal, Rejection, parse_proposal
from pop_selfplay.records import Document, Failure, Problem, Role
from pop_selfplay.stages.asking import Cast, Question, ask


async def propose(cast: Cast, document: Document, round_: int, episode_id: str) -> Problem | Failure:
    """Return the problem the proposer made of `document`, or of its title alone where the run shows it no document."""
    if cast.sees_document(Role.PROPOSER):
        messages = cast.domain.render("propose", document=document.text, title=document.title)
    else:
        messages = cast.domain.render("propose_without_document", title=document.title)

    def parse(completion: str) -> Parsed[Proposal] | Rejection:
        parsed = parse_proposal(completion)
        if isinstance(parsed, Parsed) and cast.domain.boxed and parsed.value.reference_answer.count("\\boxed{") != 1:
            return Rejection("no_final_answer", "the reference answer must hold exactly one \\boxed{}")
        return parsed

    proposal = await ask(cast, Question(round_, episode_id, Role.PROPOSER, "", messages), parse)
    if isinstance(proposal, Failure):
        return proposal
    return Problem(id=episode_id, document_id=document.id, text=proposal.problem, reference_answer=proposal.reference_answer)
