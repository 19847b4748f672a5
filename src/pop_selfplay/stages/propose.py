"""Propose: from a document, a self-contained problem and a reference answer (method, "propose")."""

from pop_selfplay.domains import Domain
from pop_selfplay.method.parsing import Parsed, Proposal, Rejection, parse_proposal, proposal_form
from pop_selfplay.method.problems import boxed_reference, copies_document, points_at_text, repeats_reference
from pop_selfplay.records import Document, Failure, Message, Problem, Role
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.text.overlap import contaminated


async def propose(cast: Cast, document: Document, round_: int, episode_id: str) -> Problem | Failure:
    """Return the problem the proposer made of `document`, or of its title alone where the run shows it no document."""
    messages = proposer_prompt(cast.domain, document, shown=cast.sees_document(Role.PROPOSER))

    def parse(completion: str) -> Parsed[Proposal] | Rejection:
        parsed = parse_proposal(completion)
        if not isinstance(parsed, Rejection) and cast.domain.boxed:
            parsed = _boxed(parsed)
        return parsed if isinstance(parsed, Rejection) else _refused(cast, parsed.value, document) or parsed

    form = proposal_form(boxed=cast.domain.boxed)
    proposal = await ask(cast, Question(round_, episode_id, Role.PROPOSER, "", messages, form=form), parse)
    if isinstance(proposal, Failure):
        return proposal
    return Problem(id=episode_id, document_id=document.id, text=proposal.problem, reference_answer=proposal.reference_answer)


def proposer_prompt(domain: Domain, document: Document, *, shown: bool) -> tuple[Message, ...]:
    """Return the proposer's conversation about `document`; unless it is `shown`, about its title alone."""
    if shown:
        return domain.render("propose", document=document.text, title=document.title)
    return domain.render("propose_without_document", title=document.title)


def _boxed(parsed: Parsed[Proposal]) -> Parsed[Proposal] | Rejection:
    answer = boxed_reference(parsed.value.reference_answer)
    if isinstance(answer, Rejection):
        return answer
    return Parsed(Proposal(parsed.value.problem, answer.value), parsed.repaired or answer.repaired)


def _refused(cast: Cast, proposal: Proposal, document: Document) -> Rejection | None:
    """Return why the problem is not fit to be asked, None where it is."""
    if contaminated(proposal.problem, cast.benchmarks):
        return Rejection("contaminated", "the problem shares 13 words in a row with a benchmark")
    if not cast.domain.problem_checks:
        return None
    if pointer := points_at_text(proposal.problem):
        return Rejection("points_at_text", f"{pointer!r} points at a text that the solver does not see")
    if repeats_reference(proposal.problem, proposal.reference_answer):
        return Rejection("repeats_reference", "the problem holds the reference answer")
    if copies_document(proposal.problem, document.text):
        return Rejection("copies_document", "the problem is a passage of the document, and asks nothing")
    return None
