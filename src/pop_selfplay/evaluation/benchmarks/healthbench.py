"""HealthBench (arXiv 2505.08775): long answers to health questions, each criterion of physicians' rubrics met or not.

Rows: the published JSONL with `prompt` (messages), `prompt_id`, `rubrics` (`criterion`, `points`, `tags`), `example_tags`.
Option `subset`: full, hard or consensus, for the hub's data. The judge is asked what inspect_evals and the authors ask it; the
score of an item is the points achieved over the points that can be achieved, and may be negative.

Difference: inspect_evals counts a criterion as not met when the judge's answer cannot be read. Here such an item has no score.
"""

from inspect_ai import Task
from inspect_ai.model import Model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate
from inspect_evals.healthbench.dataset import conversation_to_input_text, load_healthbench_dataset, record_to_sample
from inspect_evals.healthbench.scorer import GRADER_TEMPLATE, calculate_score, parse_json_to_dict

from pop_selfplay.evaluation.benchmarks.base import Row, Setup, Value
from pop_selfplay.evaluation.benchmarks.parts import ask_judge, dataset, no_summary, of_own, scored
from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.records import Message
from pop_selfplay.tasks import together

read, summary = of_own, no_summary

_SYSTEM = Message(role="system", content="You are a helpful assistant.")


def make_task(setup: Setup) -> Task:
    """Return the task."""
    items = dataset(setup, record_to_sample, lambda: load_healthbench_dataset(setup.options["subset"]))
    return Task(dataset=items, solver=generate(), scorer=rubric_points(setup.judge), name=setup.benchmark.name)


@scorer(metrics=[mean()])
def rubric_points(judge: Model) -> Scorer:
    """Ask the judge about every criterion, and score the item by their points."""

    async def score(state: TaskState, target: Target) -> Score:
        rubrics: list[Row] = state.metadata["rubrics"]
        turns = [*state.metadata["conversation"], {"role": "assistant", "content": state.output.completion}]
        conversation = conversation_to_input_text(turns)
        met = await together(_met(judge, conversation, rubric) for rubric in rubrics)
        failed = next((verdict for verdict in met if isinstance(verdict, Rejection)), None)
        if failed is not None:
            return Score.unscored(reason=f"judge_{failed.reason}", explanation=failed.detail)
        points = calculate_score(rubrics, [{"criteria_met": verdict} for verdict in met])
        if points is None:
            return Score.unscored(reason="no_points")
        return scored({"score": Value(points)}, answer=state.output.completion, met=list(met))

    return score


async def _met(judge: Model, conversation: str, rubric: Row) -> bool | Rejection:
    # The conversation goes in last: nothing that stands in it can be taken for a place to fill.
    before, after = GRADER_TEMPLATE.split("<<conversation>>")
    asked = f"{before}{conversation}" + after.replace("<<rubric_item>>", f"[{rubric['points']}] {rubric['criterion']}")
    return await ask_judge(judge, [_SYSTEM, Message(role="user", content=asked)], _verdict)


def _verdict(completion: str) -> Parsed[bool] | Rejection:
    met = parse_json_to_dict(completion).get("criteria_met")
    return Parsed(met) if isinstance(met, bool) else Rejection("bad_verdict", f"no true or false in {completion!r:.200}")
