"""Solve: many candidates for one problem, without the document (method, "solve")."""

from collections.abc import Callable
from functools import partial

from pop_selfplay.method.echo import ECHO, repeats_problem
from pop_selfplay.method.parsing import Parsed, Rejection, answer_form, parse_answer
from pop_selfplay.records import Candidate, Failure, Problem, Role
from pop_selfplay.stages.calls import NO_STOP, Cast, Question, ask_each, server_failure


async def solve(cast: Cast, problem: Problem, round_: int, indices: range | None = None) -> tuple[Candidate, ...] | Failure:
    """Return the valid candidates of the `indices` asked for, by default all `synthesis.candidates`, in their order.

    While no more than `min_valid_share` of them are valid, those that failed are tried again, up to the solver's attempts.
    """
    asked = range(cast.synthesis.candidates) if indices is None else indices
    wanted = len(asked)
    messages = cast.domain.render("solve", problem=problem.text)
    tagged = cast.synthesis.solver.answer_tag
    form, stop = (answer_form(boxed=cast.domain.boxed), "") if tagged else (None, NO_STOP)
    parsed_by = partial(_parsed_by, problem, tagged=tagged, boxed=cast.domain.boxed)
    found: dict[int, Candidate] = {}
    last = Failure(stage=Role.SOLVER.value, reason="not_asked")
    outcomes: list[Candidate | Failure] = []
    for attempt in range(cast.synthesis.solver.attempts):
        missing = [index for index in asked if index not in found]
        questions = [Question(round_, problem.id, Role.SOLVER, str(index), messages, stop, form=form) for index in missing]
        outcomes = await ask_each(cast, questions, parsed_by, attempt)
        for outcome in outcomes:
            if isinstance(outcome, Candidate):
                found[outcome.index] = outcome
            else:
                last = outcome
        if len(found) > cast.synthesis.min_valid_share * wanted:
            return tuple(found[index] for index in sorted(found))
        if outcomes and (refused := server_failure(Role.SOLVER, outcomes, len(outcomes))):
            return refused
    if refused := server_failure(Role.SOLVER, outcomes, cast.synthesis.min_valid_share * wanted - len(found)):
        return refused
    detail = f"{len(found)} of {wanted} candidates valid; the last failure: {last.reason}, {last.detail}"
    return Failure(stage=Role.SOLVER.value, reason="too_few_valid", detail=detail)


def _parsed_by(
    problem: Problem, question: Question, *, tagged: bool, boxed: bool
) -> Callable[[str], Parsed[Candidate] | Rejection]:
    def parse(completion: str) -> Parsed[Candidate] | Rejection:
        answer = parse_answer(completion, tagged=tagged, boxed=boxed)
        if isinstance(answer, Rejection):
            return answer
        if repeats_problem(answer.value, problem.text):
            return Rejection(ECHO, "the answer is the problem again")
        made = Candidate(index=int(question.item), completion=completion, answer=answer.value)
        return Parsed(made, answer.repaired, answer.open_ended)

    return parse
