"""`pop duel`: two models answer the same prompts, and a judge says which answers are better.

    duel.py      what is asked (a file, or the held-out problems of a run), and what came out: win rate, ties, flips, …
    play.py      the duel itself, resumable call by call
    compare.md   what the judge is asked without a rubric

A new way to judge goes into play.py and gets its name in `Way`.
"""
