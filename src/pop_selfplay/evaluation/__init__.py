"""Measurement: what did self-play do to the model?

    measure.py      which measure, when, and round against round
    rounds.py       after each round: does another one still help, and which model is the result
    exam.py         closed-book questions with exactly known answers (the pocket world)
    self_judged.py  held-out documents of any corpus, judged by the starting model with its own rubrics

A measure asks the same fixed questions of the model before and after, so that differences are paired. The next one goes into a
file of its own, with a config type in `config/` and a branch in `measure.py`.
"""
