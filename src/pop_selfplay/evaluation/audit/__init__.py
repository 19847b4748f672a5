"""Audit of a run: can its signal be trusted? (paper, 5.5, and more)

    audit.py       the whole audit, from a run directory to its figures
    findings.py    every limit in one table; figures, families, and what makes a warning
    sample.py      what is audited: the round, its episodes, a sample of them
    probes.py      what the audit plays itself with the run's models, stored in audit.db
    references.py  what answers are compared with: the truth, final answers, a second judge
    gap.py diversity.py rubrics.py bias.py modes.py hacking.py yields.py   one family of figures each

A family is a function from the sample to a `Family`; where something cannot be measured it does not raise, but says why. The
next family is a file here, a line in `audit.py`, and limits in `findings.py`.
"""
