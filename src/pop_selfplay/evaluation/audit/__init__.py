"""Audit of a run: can its signal be trusted? (paper, 5.5, and much that it does not ask)

    audit.py       the whole audit, from a run directory to its figures
    findings.py    figures, families, and what makes a warning
    thresholds.py  every limit, in one table
    material.py    what is looked at: the round, its episodes, a sample of them
    playing.py     what the audit plays itself with the run's models, written down in audit.db
    yardsticks.py  what answers are compared with: the truth, a second judge
    gap.py diversity.py rubrics.py bias.py modes.py hacking.py yields.py   one family of figures each

A family is a function from what was gathered to a `Family`; it never blames and never raises for what cannot be measured, but
says why. The next family is a file here, a line in `audit.py`, and rows in `thresholds.py`.
"""
