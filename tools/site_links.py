"""mkdocs' hook: links out of docs/, to files of the repository that the site does not have, become their names."""

import re
from typing import Any, Final

_OUTSIDE: Final = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's Markdown as the site shows it. In a folder of docs/, links with ../ lead to other pages: those stay."""
    if "/" in page.file.src_uri:
        return markdown
    return _OUTSIDE.sub(r"\1", markdown)
