"""The steps of an episode that write, one file and one public async function each; the fourth one, rating, is `episode.rate`.

    propose.py        document → problem with a reference answer
    solve.py          problem → candidates (the solver never sees the document)
    write_rubric.py   document, problem, candidates → rubric
    judge.py          the judge (who never sees the document) as the scoring modes of judging/ ask it
    calls.py          how every stage calls its model: seeds, attempts, parsing, the journal
    reuse.py          calls of another run in the place of a model's

A stage returns its value or a `Failure`, never a sentinel, and raises nothing for bad model output. The next stage goes into a
file named by its verb, and into `episode.play`.
"""
