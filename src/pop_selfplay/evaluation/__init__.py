"""Measurement: what did self-play do to the model?

    measure.py      which measure, when, and rounds compared with each other
    rounds.py       after each round: does another one still help, and which model is the result
    closed_book.py  the exam: closed-book questions with exactly known answers (the pocket world)
    self_judged.py  held-out documents of any corpus, judged by the starting model with its own rubrics
    evaluate.py     `pop eval`: public benchmarks (benchmarks/) through inspect_ai (inspect_adapter.py)
    duel/           `pop duel`: two models, the same prompts, and a judge
    audit/          `pop audit`: can the training signal of a run be trusted?
    specs.py        what is measured: how models and suites are named
    eval_dir.py     the directory of an evaluation, and a model whose calls are kept there

A measure asks the same fixed questions of the model before and after, so that differences are paired. The next one gets its
own file, a config type in `config/` and a branch in `measure.py`.
"""
