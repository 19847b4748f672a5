"""What characters look like: those that cannot be seen, those that pose as others, and scripts that are written without spaces.

A new way to hide or to disguise a letter goes into one of the tables here; whatever compares texts reads them.

Make foreign text safe to paste between the tags of a prompt.

Documents and answers are data. Text inside them that looks like one of our tags, or like a chat template's role marker, would
change the structure of the prompt it is pasted into, so its opening bracket is replaced by `&lt;`. A new tag used by any prompt
goes into TAGS, a chat template's marker into one of the lists below it. Markers that no list knows are caught where the model's
tokenizer is at hand: `models/chat_template.py`.

A model may read through disguise, so what is compared is what the text looks like (`text/fencing.py`): without the
characters that cannot be seen, full-width, mathematical, circled and look-alike letters as plain ones, with white space
anywhere between the brackets and the name. Every pattern takes time linear in the text.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
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


TAGS: Final = (
    "document",
    "title",
    "problem",
    "reference_answer",
    "answer",
    "answer_a",
    "answer_b",
    "candidate_answer",
    "candidates",
    "rubric",
    "criterion",
    "evaluation",
    "better_answer",
    "rating_a",
    "rating_b",
    "think",
)
_ROLE_MARKERS: Final = (
    "s",
    "sys",
    "bos",
    "eos",
    "pad",
    "unk",
    "cls",
    "sep",
    "mask",
    "sop",
    "eop",
    "eod",
    "eot",
    "eom",
    "system",
    "user",
    "assistant",
    "thinking",
    "tool_call",
    "tool_calls",
    "tool_response",
    "function_calls",
    "arg_key",
    "arg_value",
    "image_soft_token",
    "audio_soft_token",
    "empty_output",
    "repo_name",
    "reponame",
    "file_sep",
    "gh_stars",
    "_user",
    "_bot",
    "_end",
)
_ROLE_MARKER_PATTERNS: Final = (
    r"(?:start|begin|end)_of_\w+",
    r"(?:bos|eos|pad|unk|cls|sep|mask|eop)_token",
    r"fim_\w+",
    r"(?:extra_id|reserved|special|reserved_special_token|reserved_token)_\d+",
    r"unused_?\d+",
    r"(?:jupyter|issue|commit|longcat)_\w+",
    r"(?:seed|minimax):[\w:]+",
)
_BRACKET_MARKERS: Final = (
    "inst",
    "sys",
    "system_prompt",
    "model_settings",
    "available_tools",
    "tool_calls",
    "tool_results",
    "tool_content",
    "call_id",
    "args",
    "think",
    "gmask",
    "smask",
    "mask",
    "cls",
    "sep",
    "pad",
    "unk",
    "bos",
    "eos",
    "img",
    "img_break",
    "img_end",
    "audio",
    "begin_audio",
    "prefix",
    "middle",
    "suffix",
)
_PIPED_MARKERS: Final = ("system", "user", "assistant", "tool", "human", "ai", "endofturn", "endoftext", "bos", "eos")
_ODD_MARKERS: Final = ("]~b]", "]~!b[", "[e~[", "◁think▷", "◁/think▷")

_NAMES: Final = "|".join((*TAGS, *_ROLE_MARKERS, *_ROLE_MARKER_PATTERNS))
_ANGLE: Final = re.compile(
    r">|<(?:(?P<marker>(?=\||\s{0,9}(?:\|\s{0,9})?[\w/][\w ▁.-]{0,40}\|\s{0,9}>))"
    rf"|(?P<tag>(?=\s*(?:/\s*)?(?:{_NAMES})\b)))?"
)
_OTHER: Final = re.compile(
    rf"\[(?=\s{{0,9}}/?\s{{0,9}}(?:{'|'.join(_BRACKET_MARKERS)})\s{{0,9}}\])"
    rf"|\[(?=\s{{0,9}}\|\s{{0,9}}(?:{'|'.join(_PIPED_MARKERS)})\s{{0,9}}\|\s{{0,9}}\])"
    rf"|{'|'.join(f'(?={re.escape(marker)}).' for marker in _ODD_MARKERS)}"
)
_ENTRY: Final = re.compile(
    r"(?<=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])[^\w\n\r]{0,40}candidate[^\w\n\r]{0,40}(?:n[or]\b|number\b)?[^\w\n\r]{0,40}"
    r"(?:\d|(?:[ivx]{1,5}|[a-h]|one|two|three|four|five|six|seven|eight|nine|ten)\b)"
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_TAG_CHARACTERS: Final = re.compile(
    "(?P<flag>\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f)|[\U000e0000-\U000e007f]"
)
"""Letters that cannot be seen but that a model can read; the flags of England, Scotland and Wales are made of them."""


def quote_lines(answer: str) -> str:
    """Return `answer` with "> " before each line that would begin another entry in a list of candidates."""
    looks, places = _looks_of(answer)
    lines = [places[found.start() - 1] + 1 for found in _ENTRY.finditer(looks)]
    return _replaced(answer, [(place, place, "> ") for place in lines])


@functools.lru_cache(maxsize=128)
def fence(text: str) -> str:
    """Return `text` with every tag, role marker, control character and lone surrogate made harmless.

    The last texts are remembered: a judge who compares is shown each answer beside every other.
    Ordinary prose, markup and code pass unchanged: only the names in TAGS and chat role markers are touched.
    """
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    if not text.isascii():
        text = _TAG_CHARACTERS.sub(lambda found: found["flag"] or "\N{REPLACEMENT CHARACTER}", text)
    looks, places = _looks_of(text)
    angles = [(places[place], "&lt;") for place in _opening_angles(looks)]
    others = [(places[found.start()], f"&#{ord(found[0][0])};") for found in _OTHER.finditer(looks)]
    return _replaced(text, [(place, place + 1, written) for place, written in sorted(angles + others)])


def _looks_of(text: str) -> tuple[str, Sequence[int]]:
    """Return what `text` looks like, and for each of its characters the place in `text` that it comes from."""
    if text.isascii():
        return text.lower(), range(len(text))
    looks = [LOOKS[character] for character in text]
    return "".join(looks), [place for place, look in enumerate(looks) for _ in look]


def _replaced(text: str, changes: Sequence[tuple[int, int, str]]) -> str:
    """Return `text` with what stands from one place to another replaced, for changes in order that do not overlap."""
    pieces, done = list[str](), 0
    for begin, end, written in changes:
        pieces += text[done:begin], written
        done = end
    return "".join((*pieces, text[done:]))


def _opening_angles(looks: str) -> list[int]:
    """Return where the opening bracket of every tag and marker stands.

    A tag is a name of ours that is closed before anything else opens. From right to left, because a bracket that is replaced
    opens nothing any more: what lies around it may be a tag then.
    """
    places, closed = list[int](), False
    for found in reversed(list(_ANGLE.finditer(looks))):
        if found["marker"] is None and not (closed and found["tag"] is not None):
            closed = found[0] == ">"
            continue
        places.append(found.start())
    return places


def storable(text: str) -> str:
    """Return `text` fit for any UTF-8 file: each NUL and each lone surrogate becomes U+FFFD, surrogate pairs are joined.

    Models do write such characters; encoders, tokenizers and C strings do not survive them. Anything else is kept as it is.
    """
    if text.isascii() and "\0" not in text:
        return text
    return valid_unicode(text).replace("\0", "\ufffd")
