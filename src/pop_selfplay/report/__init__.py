"""What a run shows to people.

    result.py       the figures, computed from the journal: result.json
    tables.py       the figures of a run on the terminal, and how a figure is written in all of these
    eval_tables.py  the figures of an evaluation and a duel on the terminal, audit_tables.py of an audit, a rejudging
    page.py         the figures and some episodes as one static page, report.html; page.html.jinja is its template
    live.py         what is going on right now

A new figure is a field in results/, computed in `result.py` and shown from there by the others.
"""
