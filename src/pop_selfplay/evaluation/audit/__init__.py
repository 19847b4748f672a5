"""Audit of a run: can its signal be trusted? (paper, 5.5, and more)

    audit.py       the whole audit, from a run directory to its figures
    findings.py    every limit in one table; figures, families, and what makes a warning
    sample.py      what is audited: the round, a sample of its episodes; and what scores are compared with
    probes.py      what the audit plays itself with the run's models, stored in audit.db
    gap.py diversity.py bias.py hacking.py   families of figures

A family is a function from the audited round to a `Family`; where something cannot be measured it does not raise, but says why.
The next family is such a function, a line in `audit.py`, and limits in `findings.py`.
"""
