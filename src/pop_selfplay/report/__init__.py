"""What a run shows to people.

    result.py    the figures, computed once from the journal: result.json
    tables.py    the figures on the terminal
    standing.py  how far the run is, in one line: `pop status`
    page.py      the figures and some episodes as one static page: report.html
    rubrics.py   how well rubrics separate, and the shown episodes, on that page; markup.py its pieces of HTML
    live.py      what is going on right now
    figures.py   how a figure with its interval is written, in all of these

A new figure is computed in `result.py` and shown from there by the others.
"""
