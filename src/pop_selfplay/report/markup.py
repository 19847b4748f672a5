"""The few pieces of HTML that report.html is made of. Everything that came from a document or a model is escaped."""

import html
from collections.abc import Iterable
from typing import Any


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table; numbers are set right, with a comma for each thousand, all else is escaped text."""

    def cell(value: Any) -> str:
        numeric = isinstance(value, (int, float))
        return f'<td class="n">{value:,}</td>' if numeric else f"<td>{escaped(str(value))}</td>"

    head = "".join(f"<th>{escaped(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def escaped(text: str) -> str:
    return html.escape(text, quote=True)
