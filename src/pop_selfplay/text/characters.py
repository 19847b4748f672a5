"""What characters look like: those that cannot be seen, those that pose as others, and scripts that are written without spaces.

A new way to hide or to disguise a letter goes into one of the tables here; whatever compares texts reads them.
"""

import re
import unicodedata
from typing import Final

HIDDEN: Final = (
    "\\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The inside of a character class: format characters, joiners, fillers, the empty Braille cell, variation selectors, tags."""
_HIDDEN: Final = re.compile(f"[{HIDDEN}]+")
_POSING: Final = str.maketrans(
    # Cyrillic, Greek and small capitals that look like Latin letters, and brackets that look like < and >
    "авекмнорстухѕіјԁһԛԝɡαεικνορτυχᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡʏᴢıſ‹›〈〉⟨⟩〈〉˂˃ᐸᐳ❮❯❬❭∕⁄⧸╱∣❘│∶꞉",
    "abekmhopctyxsijdhqwgaeiknoptuxabcdefghijklmnopqrstuvwyzis<><><><><><><><>////|||::",
)
_ENCLOSED: Final = ((0x1F150, 26), (0x1F170, 26), (0x1F1E6, 26))  # letters on dark circles and squares, and those of flags


def valid_unicode(text: str) -> str:
    """Return `text` with lone surrogates, which no file or database can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def visible(text: str) -> str:
    """Return `text` without the characters that cannot be seen."""
    return text if text.isascii() else _HIDDEN.sub("", text)


class _Looks(dict[str, str]):
    """What each character looks like, in plain small letters and digits, worked out when it first comes up."""

    def __missing__(self, character: str) -> str:
        self[character] = looks = _looks(character)
        return looks


LOOKS: Final = _Looks()
"""Character → what it looks like: "" for one that cannot be seen, "a" for a full-width, mathematical or circled A."""


def _looks(character: str) -> str:
    if _HIDDEN.match(character):
        return ""
    for first, count in _ENCLOSED:
        if first <= ord(character) < first + count:
            return chr(ord("a") + ord(character) - first)
    numeric = unicodedata.numeric(character, -1)
    if numeric >= 0 and unicodedata.category(character) in ("No", "Nl") and numeric == int(numeric):
        return str(int(numeric))  # ③ and ❸ and Ⅲ
    plain = unicodedata.normalize("NFKD", character).casefold().translate(_POSING)
    return "".join(one for one in plain if unicodedata.category(one) not in ("Mn", "Me"))
