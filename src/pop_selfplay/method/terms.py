r"""The terms of an expression: numbers, letters, commands with their arguments, and the reader that moves over the tokens.

`method/expressions.py` puts terms together. A new command gets a branch in `Terms.command`, and its value in
`method/values.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from pop_selfplay.method.notation import Token


class UnreadableExpression(ValueError):
    """This is no expression, or one with two readings, or none that has a value."""


@dataclass(frozen=True)
class Node:
    """`op` with its arguments; a number has its `value`, a variable or a constant its `name`."""

    op: str
    of: tuple["Node", ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""


FUNCTIONS: Final = frozenset(f"{arc}{name}" for arc in ("", "arc") for name in ("sin", "cos", "tan")) | {
    "cot",
    "sec",
    "csc",
    "sinh",
    "cosh",
    "tanh",
    "ln",
    "exp",
    "log",
    "lg",
}
GREEK: Final = {
    *(
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "kappa",
        "lambda",
        "mu",
        "nu",
    ),
    *(
        "xi",
        "rho",
        "sigma",
        "tau",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Sigma",
        "Phi",
        "Omega",
    ),
}
_CALLED: Final = frozenset("fghFGHPQ")
"""Letters before a bracket that may be functions: f(2) is no product."""
END: Final = Token("end", "")


def number(value: Fraction | int) -> Node:
    """Return a rational number as an expression."""
    return Node("number", value=Fraction(value))


def names_in(node: Node) -> set[str]:
    """Return the variables of an expression."""
    own = {node.name} if node.op == "variable" else set()
    return own.union(*(names_in(part) for part in node.of))


class Terms(ABC):
    """Reads terms; `place` is the token to read next, `bars` whether a |…| is open."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.place = self.bars = 0

    @abstractmethod
    def sum(self) -> Node:
        """Read what may stand in brackets."""

    @abstractmethod
    def power(self) -> Node:
        """Read one factor."""

    def peek(self, ahead: int = 0) -> Token:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else END

    def take(self, *texts: str) -> bool:
        """Move past the next token if it is one of `texts`."""
        found = self.peek().text in texts and self.peek().kind != "text"
        self.place += found
        return found

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise UnreadableExpression(f"{self.peek().text!r} where {text!r} should stand")

    def exponent(self) -> Node:
        if self.peek().text == "{":
            return self.group()
        negative = self.take("-")
        node = self.primary()
        return Node("-", (node,)) if negative else node

    def group(self) -> Node:
        """Read `{…}`, or the one token that LaTeX takes for it: of a number its first digit."""
        if self.take("{"):
            node = self.sum()
            self.expect("}")
            return node
        return self.primary()

    def primary(self) -> Node:
        token = self.peek()
        if token.kind == "number":
            return self.number()
        if token.kind == "letter":
            return self.letter()
        if token.kind == "command":
            return self.command()
        for opening, closing in (("(", ")"), ("[", "]"), ("{", "}")):
            if self.take(opening):
                bars, self.bars = self.bars, 0
                node = self.sum()
                self.expect(closing)
                self.bars = bars
                return node
        if token.text == "|" and not self.bars:
            self.place += 1
            self.bars = 1
            node = self.sum()
            self.bars = 0
            self.expect("|")
            return Node("abs", (node,))
        raise UnreadableExpression(f"{token.text!r} begins no expression")

    def number(self) -> Node:
        whole = self.peek()
        self.place += 1
        value = Fraction(whole.text)
        if self.peek().text == r"\overline":
            return number(self.recurring(whole.text))
        after = [self.peek(ahead) for ahead in range(3)]
        if after[0].text == r"\frac":
            return number(value + self.mixed()) if self.plain_fraction() else number(value)
        elif after[0].kind == "number":
            mixed = whole.text.isdecimal() and after[1].text == "/" and after[0].text.isdecimal() and after[2].text.isdecimal()
            if not mixed or not 0 < int(after[0].text) < int(after[2].text):
                raise UnreadableExpression("two numbers in a row")
            self.place += 3
            return number(value + Fraction(int(after[0].text), int(after[2].text)))
        return number(value)

    def plain_fraction(self) -> bool:
        r"""Whether a `\frac` of two whole numbers comes next."""
        begin = self.place
        self.place += 1
        plain = all(part.op == "number" and part.value.denominator == 1 for part in self.two())
        self.place = begin
        return plain

    def mixed(self) -> Fraction:
        """Read the fraction of a mixed number."""
        if not self.tokens[self.place - 1].text.isdecimal():
            raise UnreadableExpression("a fraction after a decimal number")
        self.place += 1
        top, bottom = (part.value for part in self.two())
        if not 0 < top < bottom:
            raise UnreadableExpression("a mixed number whose fraction is none: a product?")
        return top / bottom

    def recurring(self, start: str) -> Fraction:
        r"""Read `\overline{12}` after a decimal number such as 0.3."""
        self.place += 1
        self.expect("{")
        digits = self.peek().text
        self.place += 1
        self.expect("}")
        if "." not in start or not digits.isdecimal() or len(digits) > 40:
            raise UnreadableExpression("a line over what are no digits of a decimal number")
        places = len(start.split(".")[1])
        return Fraction(start) + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)

    def letter(self) -> Node:
        name = self.peek().text
        self.place += 1
        if self.peek().kind == "number" and not self.peek().spaced:
            raise UnreadableExpression("a number after a letter")
        if name in _CALLED and self.peek().text == "(":
            raise UnreadableExpression("a function that nobody named")
        return self.subscripted(name)

    def subscripted(self, name: str) -> Node:
        if self.take("_"):
            token = self.peek()
            self.place += 1
            if token.text == "{":
                token = self.peek()
                self.place += 1
                self.expect("}")
            if token.kind not in ("number", "letter", "word", "text"):
                raise UnreadableExpression("a subscript that is no name")
            return Node("variable", name=f"{name}_{token.text}")
        return Node("constant", name=name) if name in ("e", "i") else Node("variable", name=name)

    def command(self) -> Node:
        name = self.peek().text[1:]
        self.place += 1
        if name in ("frac", "binom"):
            top, bottom = self.two()
            return Node("/" if name == "frac" else name, (top, bottom))
        if name == "sqrt":
            degree = number(2)
            if self.take("["):
                degree = self.sum()
                self.expect("]")
            return Node("root", (degree, self.single()))
        if name == "pi":
            return Node("constant", name="pi")
        if name in GREEK:
            return self.subscripted(f"\\{name}")
        if name in FUNCTIONS:
            return self.function(name)
        raise UnreadableExpression(f"the command {name}")

    def two(self) -> tuple[Node, Node]:
        r"""Read what stands after `\frac`; `\frac12` and `\frac1{72}` take single digits."""
        digits = self.peek().text
        if self.peek().kind == "number" and digits.isdecimal() and len(digits) == 2:
            self.place += 1
            return number(int(digits[0])), number(int(digits[1]))
        return self.single(), self.single()

    def single(self) -> Node:
        """Read `{…}`, one digit or one letter, as LaTeX does."""
        token = self.peek()
        if token.kind != "number":
            return self.group()
        if len(token.text) > 1:
            raise UnreadableExpression("a number of several digits where LaTeX takes the first alone")
        self.place += 1
        return number(int(token.text))

    def function(self, name: str) -> Node:
        base = exponent = None
        while self.peek().text in ("_", "^"):
            if self.take("_"):
                base = self.single()
            else:
                self.place += 1
                exponent = self.exponent()
        if exponent is not None and exponent.op == "-":
            raise UnreadableExpression("a function to the power of −1: its inverse, or one over it?")
        argument = self.power() if self.peek().text in ("(", "{", "[", "|") else self.bare_argument()
        if base is not None and name != "log":
            raise UnreadableExpression(f"{name} with a base")
        node = Node(name, (argument,)) if base is None else Node("log_base", (base, argument))
        return node if exponent is None else Node("^", (node, exponent))

    def bare_argument(self) -> Node:
        r"""Read the argument of `\sin 2x`: factors up to a sign, a bracket or the next function."""
        node = self.power()
        while self.peek().kind == "letter" or self.peek().text in (r"\pi", r"\frac", r"\sqrt") or self.peek().text[1:] in GREEK:
            node = Node("*", (node, self.power()))
        return node


_VARIABLES: Final = 3
"""Letters of a word that is read as a product."""


def as_mathematics(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with the words that are commands (sqrt, pi) or products of variables (the xy of 2xy) as such."""
    found: list[Token] = []
    for place, token in enumerate(tokens):
        known = token.text in FUNCTIONS or token.text in ("sqrt", "pi")
        if token.kind == "word" and known:
            found.append(token._replace(kind="command", text=f"\\{token.text}"))
        elif token.kind == "word" and len(token.text) <= _VARIABLES and token.text.islower() and not (place and token.spaced):
            found += [Token("letter", letter, token.spaced) for letter in token.text]
        else:
            found.append(token)
    return found
