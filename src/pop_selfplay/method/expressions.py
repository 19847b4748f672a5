r"""Expressions in final answers: numbers, fractions, roots, powers, functions and variables, read from tokens.

`read_expression` is strict: what has two readings (`2 3`, `1/2x`, `3\frac43`, the dates 1/2/2020 and 2020-01-02, a letter
before a digit as in CO2, a word of letters) is `UnreadableExpression`, and nothing is guessed. The terms are read in
`method/terms.py`.
"""

import re
from collections.abc import Sequence
from typing import Final

from pop_selfplay.method.notation import Token
from pop_selfplay.method.terms import FUNCTIONS, GREEK, Node, Terms, UnreadableExpression, as_mathematics, names_in

DEEPEST: Final = 30
"""Brackets in brackets."""
_EITHER: Final = {r"\pm": 1, r"\mp": -1}
_SIGNS: Final = ("+", "-", *_EITHER)
_STARTS: Final = {"frac", "sqrt", "binom", "pi", *GREEK, *FUNCTIONS}


def read_expression(tokens: Sequence[Token], sign: int = 1) -> Node:
    r"""Return the expression that all the tokens are; `sign` ±1 is what `\pm` stands for. Raises UnreadableExpression."""
    reader = _Reader(tokens, sign)
    node = reader.sum()
    if reader.peek().kind != "end":
        raise UnreadableExpression(f"{reader.peek().text!r} is left over")
    return node


class _Reader(Terms):
    """Recursive descent: sum → product → power → term. `sign` is what ± stands for."""

    def __init__(self, tokens: Sequence[Token], sign: int) -> None:
        super().__init__(as_mathematics(tokens))
        self.sign, self.depth = sign, 0

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UnreadableExpression("brackets in too many brackets")
        begin, node = self.place, self.signed()
        while self.peek().text in _SIGNS:
            negative = self.negative()
            if (
                negative
                and self.tokens[self.place - 2].kind == "number"
                and self.place - 2 == begin
                and _lone_number(self.peek(), self.peek(1))
            ):
                raise UnreadableExpression("two numbers with a line between: a range, a date, a difference?")
            term = self.product()
            node = Node("+", (node, Node("-", (term,)) if negative else term))
        self.depth -= 1
        return node

    def negative(self) -> bool:
        """Read one sign, and say whether it is a minus."""
        text = self.peek().text
        self.place += 1
        return text == "-" or (text in _EITHER and _EITHER[text] * self.sign < 0)

    def signed(self) -> Node:
        negative = False
        if self.peek().text in _SIGNS:
            negative = self.negative()
        node = self.product()
        return Node("-", (node,)) if negative else node

    def product(self) -> Node:
        node = self.power()
        divided = False
        while True:
            if self.take(r"\cdot"):
                node = Node("*", (node, self.signed_power()))
            elif self.take("/"):
                if divided:
                    raise UnreadableExpression("two divisions in a row: a date?")
                divided = True
                node = Node("/", (node, self.signed_power()))
            elif self.starts_factor():
                if divided or self.peek().kind == "number":
                    raise UnreadableExpression("a factor without a sign after a division, or a number after a factor")
                node = Node("*", (node, self.power()))
                if _chemical(node):
                    raise UnreadableExpression("capitals with subscripts in a row: a chemical formula?")
            else:
                return node

    def signed_power(self) -> Node:
        return Node("-", (self.power(),)) if self.take("-") else self.power()

    def starts_factor(self) -> bool:
        token = self.peek()
        if token.kind in ("number", "letter"):
            return True
        if token.kind == "command":
            return token.text[1:] in _STARTS
        return token.text in ("(", "[") or (token.text == "|" and not self.bars)

    def power(self) -> Node:
        node = self.primary()
        while self.peek().text in ("!", "°", "^"):
            if self.take("!"):
                node = Node("!", (node,))
            elif self.take("°"):
                node = Node("degrees", (node,))
            else:
                self.place += 1
                node = Node("^", (node, self.exponent()))
                if self.peek().text == "^":
                    raise UnreadableExpression("a power of a power without brackets")
        return node


def _chemical(product: Node) -> bool:
    """Whether a product is one of capitals of which some have a number below, such as the H_2O that is no OH_2."""
    names = names_in(product)
    return len(names) > 1 and all(name[0].isupper() for name in names) and any(re.search(r"_\d", name) for name in names)


def _lone_number(token: Token, after: Token) -> bool:
    return (
        token.kind == "number"
        and after.text not in ("^", "!")
        and after.kind in ("end", "sign")
        and after.text not in ("(", "/")
    )
