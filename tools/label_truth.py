"""Labels from the pocket world's truth, and what the audit makes of them: does the way from labels to figures hold?

python -m tools.label_truth runs/quickstart-seed5 [--labels 60]

Copies the run, labels so many of its scored problems by what the best and the worst answer are truly worth, as a person who
knows everything would, and audits it without calling a model. The labels must agree with the truth (κ = 1), and the corrected
estimate, from the labelled problems and the judge's lead on all, must cover how often the best answer really is the better one.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pop_selfplay as pop
from pop_selfplay import labels
from pop_selfplay.evaluation.audit.sample import Options, gather
from pop_selfplay.labels import Label
from pop_selfplay.pocket.world import truth_score
from pop_selfplay.results.audit import MeasuredFigure
from pop_selfplay.runs.session import watch_session
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stats.comparisons import above
from pop_selfplay.viewer.reading import show


class Agreement(NamedTuple):
    """What the audit says of the labels, beside the truth over all problems. Shares are in [0, 1], with 95 % intervals."""

    problems: int
    labels: int
    truth: float
    kappa: float
    judge_kappa: float
    labelled: tuple[float, float, float]
    corrected: tuple[float, float, float]

    @property
    def covered(self) -> bool:
        _, low, high = self.corrected
        return low <= self.truth <= high


def true_labels(run: Path) -> Iterator[tuple[Label, float]]:
    """Yield a preference for each problem of the audited round whose truth is known, in an order by a hash, and its worth."""
    with watch_session(run) as session:
        round_ = gather(session, Options(play=False)).round
        for id_ in sorted(session.journal.finished_episodes(round_), key=lambda id_: derive_seed("label", id_)):
            shown = show(session, id_)
            if shown is None or shown.extremes is None or shown.episode.problem is None:
                continue
            best, worst = shown.extremes
            one, other = (truth_score(shown.episode.problem, shown.answer(index)) for index in (best, worst))
            if one is not None and other is not None:
                right = above(one, other)
                said = {"candidate": best, "other": worst, "better": {1.0: "first", 0.5: "tie", 0.0: "second"}[right]}
                given = {"episode": id_, "kind": "preference", "author": "the truth", "time": labels.now()}
                yield Label.model_validate(given | said), right


def agreement(run: Path, count: int) -> Agreement:
    """Label `count` problems of a copy of the run, audit it, and return what became of the labels."""
    found = list(true_labels(run))
    with tempfile.TemporaryDirectory(prefix="pop-label-truth-") as folder:
        copy = Path(shutil.copytree(run, Path(folder) / "run", ignore=shutil.ignore_patterns(labels.FILE, "audit*", "models")))
        labels.add(copy, [label for label, _ in found[:count]])
        result = pop.audit(copy, play=False)
    family = next(family for family in result.families if family.name == "people")
    figures = {figure.name: figure for figure in family.figures if isinstance(figure, MeasuredFigure)}

    def value(name: str) -> tuple[float, float, float]:
        figure = figures[name]
        assert figure.mean is not None and figure.low is not None and figure.high is not None, figure
        return float(figure.mean), float(figure.low), float(figure.high)

    return Agreement(
        problems=len(found),
        labels=min(count, len(found)),
        truth=sum(right for _, right in found) / len(found),
        kappa=value("preferences_truth_kappa")[0],
        judge_kappa=value("preferences_kappa")[0],
        labelled=value("best_worst"),
        corrected=value("best_worst_corrected"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the pocket world, such as pop quickstart makes")
    parser.add_argument("--labels", type=int, default=60, help="problems to label")
    arguments = parser.parse_args()
    found = agreement(arguments.run, arguments.labels)

    def said(value: tuple[float, float, float]) -> str:
        return "{:.1%} [{:.1%}, {:.1%}]".format(*value)

    sys.stdout.write(
        f"problems whose truth is known          {found.problems:,}, labelled {found.labels:,}\n"
        f"labels against the truth, κ            {found.kappa:.3f}\n"
        f"labels against the run's judge, κ      {found.judge_kappa:.3f}\n"
        f"best above worst: labelled problems    {said(found.labelled)}\n"
        f"    corrected, for all problems        {said(found.corrected)}\n"
        f"    the truth over all problems        {found.truth:.1%}, {'covered' if found.covered else 'NOT covered'}\n"
    )
    sys.exit(0 if found.covered and found.kappa == 1 else 1)


if __name__ == "__main__":
    main()
