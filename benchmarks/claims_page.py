"""docs/claims.md and its plots, from the figures of claims_report.py. Every number and verdict on the page is put in here."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

from benchmarks.plots import Row, intervals

Figures = Mapping[str, Any]

ARM_NAMES: Final = {"both": "document for both", "proposer": "document for the proposer", "none": "no document"}
GROUPS: Final = ("self_play greedy", "self_play sampled", "held_out greedy", "held_out sampled")
MEASURES: Final = {
    "plants": 1,
    "effective plants": 1,
    "different questions": 1,
    "vendi": 1,
    "distinct_2": 3,
    "near_duplicates": 3,
}
"""Measure of diversity → digits shown."""

PAGE: Final = Template(
    """# The paper's claims, tested where the truth is known

Does self-play work for the reasons that the paper gives? In the pocket world every fact is made up, so whether an answer is
right is known exactly, and no judge has to be believed. Tables, plots and verdicts are written by the program that plays the
runs, whatever they show; the sentences between them are about the figures of this version:

<!-- not run: takes an hour; benchmarks/results has what it wrote -->
```bash
python benchmarks/pocket_study.py --claims
```

$count runs: seeds $seeds in three arms. In `both`, proposer and rubric writer see the document; in `proposer`, only the
proposer; in `none`, neither. All else is `pop quickstart`: 600 documents about 100 plants, 8 answers to each problem, one
round. The exam asks for facts by heart before and after, in words that no problem uses.

| claim | decided by | value [95 %] | effect | verdict |
| --- | --- | --- | --- | --- |
$verdicts

Intervals draw seeds and plants anew, because all seeds share the plants and the exam; those of diversity are Student's over
seeds. The effect is Cohen's h for shares: 0.2 is small, 0.5 medium, 0.8 large.

## (a), (b) What is learned, and thanks to which document

Gain in closed-book accuracy, in points. Before, the model knows $before of the facts about self-play plants (greedy).

$gains

![Gain in accuracy by arm](claims_gains.svg)

Held-out plants are in no document: what changes there is drift or sharpening, not knowledge. Sampled answers sharpen in every
arm, so only greedy ones tell what was learned. The proposer's document alone adds nothing: the solver never sees it, and a
rubric from memory rewards what the model believed anyway.

## (c) Best against worst, against all pairs

How often the truth orders two answers as the self-made scores do; ties of the truth count half, 50 % is chance. `all pairs`
are those that the scores tell apart. Rank correlations are means over problems.

$agreement

![Agreement with the truth](claims_agreement.svg)

As in the paper, best/worst is right more often than pairs taken at random, but by little: the ends of a ranking are safer than
its middle in every arm, and nowhere by much (paper, 5.5, against a stronger judge: rank correlation 0.33 without and 0.34 with
the document, best/worst 82 % and 85 %). With the document there is little room for it to show, because the pocket judge is
nearly always right. What counts far more is the document: it lifts best/worst from 60 % to nearly 100 %. That gap is much wider
than the paper's, perhaps because a large rubric writer knows by heart much of what a document says.

## (d) Problems with and without documents

Diversity of the starting model's problems, always of the same number. `title alone` is the arm `none`: the prompt names a
plant of the corpus. `nothing` has not even that. The model was never taught to propose without a subject, so about one call
in a hundred is well formed; each seed made up to 60 tries for each of 100 problems, and the fewest that came of it were
$few.

$diversity

![Effective number of plants](claims_diversity.svg)

What keeps problems diverse here is the subject that the corpus gives: a title does nearly as well as the whole document, and
without either, problems crowd on few plants. That last row is only as good as the pocket model is outside of what it was
taught: what is counted are the few calls that happened to be well formed.

## What this does not show

- One world, one model of 1.1 million parameters, one size of run. A large model knows much of what its documents say, and its
  judge errs more: expect smaller gains, and a smaller gap between the arms.
- The proposer of this world asks short questions about one plant. Whether a large model's problems collapse without documents
  is for [`pop audit`](audit.md) to say, on your own run.
- The seeds share weights, plants and documents; only sampling and the order of training differ.
"""
)


def write_page(figures: Figures, docs: Path) -> None:
    """Write claims.md and its plots into `docs`."""
    docs.mkdir(parents=True, exist_ok=True)
    few = figures["diversity"]["as many as from nothing"]
    page = PAGE.substitute(
        count=len(figures["seeds"]) * len(ARM_NAMES),
        seeds=", ".join(map(str, figures["seeds"])),
        before=points(figures["gain"]["self_play greedy"]["before"], " %"),
        verdicts="\n".join(verdicts(figures)),
        gains="\n".join(gain_table(figures["gain"])),
        agreement="\n".join(agreement_table(figures["agreement"])),
        diversity="\n".join(diversity_table(figures["diversity"])),
        few=few["n"],
    )
    (docs / "claims.md").write_text(page, encoding="utf-8")
    for name, plot in (("gains", _gain_plot), ("agreement", _agreement_plot), ("diversity", _diversity_plot)):
        (docs / f"claims_{name}.svg").write_text(plot(figures), encoding="utf-8")


def verdicts(figures: Figures) -> list[str]:
    """Return one line of the table for each claim and each figure that decides it."""
    gain, agreement, diverse = (figures[part] for part in ("gain", "agreement", "diversity"))
    self_play = gain["self_play greedy"]
    nothing = diverse["as many as from nothing"]["nothing"]["document minus"]["effective plants"]
    title = diverse["all"]["title alone"]["document minus"]["effective plants"]
    gap = "best_worst minus all_pairs"
    rows = [
        ("(a) self-play with documents improves accuracy", "gain, both", self_play["arms"]["both"], True),
        (
            "(b) less so, or not at all, without document for the rubric writer",
            "both minus proposer",
            self_play["both minus"]["proposer"],
            True,
        ),
        ("(b) … and for neither", "both minus none", self_play["both minus"]["none"], True),
        ("(c) best/worst is right more often than all pairs", "difference, both", agreement["both"][gap], True),
        ("(c) … without document", "difference, none", agreement["none"][gap], True),
        ("(d) problems collapse without documents", "effective plants, document minus nothing", nothing, False),
        ("(d) … with titles alone", "effective plants, document minus title", title, False),
    ]
    lines = []
    for claim, decided, value, share in rows:
        shown, effect = (points(value), f"h = {value['h']:.2f}") if share else (number(value, 1), "")
        lines.append(f"| {claim} | {decided} | {shown} | {effect} | {verdict(value)} |")
    return lines


def verdict(value: Figures) -> str:
    """Return what an interval says of the claim that the value is above 0."""
    if value["low"] is None or value["low"] <= 0 <= value["high"]:
        return "cannot be told"
    return "**holds**" if value["low"] > 0 else "**the opposite holds**"


def gain_table(gain: Figures) -> list[str]:
    lines = ["| plants, answers | " + " | ".join(ARM_NAMES.values()) + " | both minus none |", "| --- |" + " --- |" * 4]
    for group in GROUPS:
        cells = [f"{points(gain[group]['arms'][arm])}, h = {gain[group]['arms'][arm]['h']:.2f}" for arm in ARM_NAMES]
        lines.append(
            f"| {group.replace('_', ' ')} | " + " | ".join(cells) + f" | {points(gain[group]['both minus']['none'])} |"
        )
    seeds = [f"{arm}: " + ", ".join(f"{100 * v:+.1f}" for v in gain[GROUPS[0]]["arms"][arm]["seeds"]) for arm in ARM_NAMES]
    return [*lines, "", f"Single seeds, self play greedy: {'; '.join(seeds)}."]


def agreement_table(agreement: Figures) -> list[str]:
    lines = [
        "| arm | rank correlation | best/worst | all pairs | best/worst − all pairs | trained pairs |",
        "| --- |" + " --- |" * 5,
    ]
    for arm, name in ARM_NAMES.items():
        found = agreement[arm]
        apart = found["best_worst minus all_pairs"]
        cells = (
            number(found["spearman"], 2),
            *(percent(found[measure]) for measure in ("best_worst", "all_pairs")),
            f"{points(apart)}, h = {apart['h']:.2f}",
            percent(found["trained_pair"]),
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def diversity_table(diverse: Figures) -> list[str]:
    lines = ["| problems from | n | " + " | ".join(MEASURES) + " |", "| --- | --- |" + " --- |" * len(MEASURES)]
    for part in diverse.values():
        for source in (name for name in part if name != "n"):
            cells = [number(part[source][measure], digits) for measure, digits in MEASURES.items()]
            lines.append(f"| {source} | {part['n']} | " + " | ".join(cells) + " |")
    return lines


def points(value: Figures, unit: str = "") -> str:
    """Return a share, or a difference of shares, in points."""
    sign = "" if unit else "+"
    return f"{100 * value['mean']:{sign}.1f}{unit} [{100 * value['low']:{sign}.1f}, {100 * value['high']:{sign}.1f}]"


def percent(value: Figures) -> str:
    return points(value, " %")


def number(value: Figures, digits: int) -> str:
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _row(label: str, value: Figures, colour: int, scale: float = 100.0) -> Row:
    mean, low, high = (scale * value[part] for part in ("mean", "low", "high"))
    return Row(label, mean, low, high, [scale * seed for seed in value["seeds"]], colour)


def _gain_plot(figures: Figures) -> str:
    rows = [
        _row(f"{group.replace('_', ' ')}, {arm}", figures["gain"][group]["arms"][arm], colour)
        for group in GROUPS
        for colour, arm in enumerate(ARM_NAMES)
    ]
    return intervals("Gain in closed-book accuracy", "points, with 95 % intervals; dots are seeds", rows, line=0)


def _agreement_plot(figures: Figures) -> str:
    rows = [
        _row(
            f"{arm}, {measure.replace('_', '/' if measure == 'best_worst' else ' ')}",
            figures["agreement"][arm][measure],
            colour,
        )
        for arm in ARM_NAMES
        for colour, measure in enumerate(("best_worst", "all_pairs"))
    ]
    return intervals("How often self-made scores order two answers as the truth does", "%", rows, line=50)


def _diversity_plot(figures: Figures) -> str:
    rows = [
        _row(f"{source}, {part['n']} problems", part[source]["effective plants"], colour, 1.0)
        for part in figures["diversity"].values()
        for colour, source in enumerate(name for name in part if name != "n")
    ]
    return intervals("Effective number of plants that problems are about", "plants, with 95 % intervals; dots are seeds", rows)
