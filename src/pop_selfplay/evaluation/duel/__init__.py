"""`pop duel`: two models answer the same prompts, and a judge says which answers are better.

    prompts.py   what is asked: a file, or the held-out problems of a run with their rubrics
    play.py      the duel itself, resumable call by call
    result.py    win rate, ties, flips, length control, criteria, each with its interval
    compare.md   what the judge is asked without a rubric

A new way to judge goes into play.py and gets its name in `Way`.
"""
