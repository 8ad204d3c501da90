"""Texts that must be read as expressions or refused in words, and never run: random and hostile."""

import random

HOSTILE = (
    "__import__('os').system('true')",
    "().__class__.__bases__[0].__subclasses__()",
    "x.__class__",
    "x.real",
    "open(x)",
    "eval(x)",
    "exec(x)",
    "print(x)",
    "globals()",
    "exit()",
    "lambda x: x",
    "(lambda: x)()",
    "[x for x in (1, 2)]",
    "{x: 1}",
    "{x}",
    "x[0]",
    "x[::1]",
    "'x'",
    '"x"',
    "f'{x}'",
    "b'x'",
    "(y := x)",
    "x if x > 0 else 0",
    "x and x",
    "not x",
    "~x",
    "x % 2",
    "x // 2",
    "x @ x",
    "x << 2",
    "x | 1",
    "x == 0",
    "0 < x < 1",
    "x is x",
    "x in (1, 2)",
    "await x",
    "yield x",
    "*x",
    "max(*x)",
    "max(x, y=1)",
    "max(**x)",
    "tanh(x)(x)",
    "tanh",
    "tanh()",
    "tanh(x, x)",
    "where(x, 1, 2)",
    "x, x",
    "(x, x)",
    "x; x",
    "x = 1",
    "import os",
    "x\nx",
    "x\x00",
    "\x00",
    "x#x",
    "x\\x",
    "1j*x",
    "True*x",
    "None",
    "...",
    "x**x",
    "2**x",
    "9**9**9**9*x",
    "x**1e9",
    "x**-1e9",
    "x**51",
    "((x**50)**50)**50",
    "1e400*x",
    "1e308*10*x",
    "9" * 399 + "*x",
    "x" * 100_000,
    "x+" * 199 + "x",
    "x+" * 1000 + "x",
    "(" * 199 + "x" + ")" * 199,
    "(" * 399,
    "-" * 399 + "x",
    "-" * 39 + "x",
    "tanh(" * 66 + "x" + ")" * 66,
    "abs(" * 60 + "x" + ")" * 60,
    "abs(" * 19 + "x" + "-1)" * 19,
    "abs(" * 19 + "sin(x)" + "-0.1)" * 19,
    "gelu(" * 30 + "x" + ")" * 30,
    "exp(" * 30 + "x" + ")" * 30,
    "max(" + "x," * 180 + "x)",
    "1/x",
    "log(x)",
    "sqrt(x)",
    "exp(x)",
    "x*sin(x)",
    "abs(sin(x))",
    "sin(1/x)",
    "sin(exp(x))",
    "1/sin(x)",
    "1/(sin(x)-2)",
    "tan(x)",
    "0/0*x",
    "0*x",
    "x-x",
    "1",
    "pi",
    "e",
    "x^2",
    "2x",
    "x²",
    "ｘ*2",
    "π*x",
    "1or x",
    "0x10*x",
    "0777*x",
    "1_000*x",
    ".5*x",
    "5.*x",
    "1e-320*x",
    "1e308*x",
    "x*1e-300*1e-300",
    "\u202ex",
    "x\u200b",
    "\ud800x",
    "%s%n{0}",
    "$(true)*x",
    "`true`",
)
_FUNCTIONS = """
tanh exp log log1p expm1 sqrt abs sin cos sinh cosh asinh atan erf erfc Phi sigmoid softplus relu sign silu
gelu""".split()
_WORDS = [
    *"""
x x x x 1 2 0.5 3e2 1e-3 pi e + - * / ** ( ) ( ) , < <= > >= == = max( min( where( clip( tan( ) ) . _ __ [ ] { } '
" : ; ! \\ # @ % & | ^ ~ lambda if else and or not in is None True y sum( range( open( getattr( x.real .real import
eval( é σ""".split(),
    *(name + "(" for name in _FUNCTIONS),
    *"\n\t\x00 ",
]


def texts(count, seed):
    """Yield ``count`` texts: the hostile ones, then soups of words, valid expressions and mutants of these."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    yield from HOSTILE[:count]
    for k in range(count - len(HOSTILE)):
        if k % 3 == 0:
            yield "".join(rng.choices(_WORDS, k=rng.randint(1, 25)))
        else:
            text = expression(rng, rng.randint(1, 5))
            yield text if k % 3 == 1 else mutant(rng, text)


def expression(rng, depth):  # noqa: PLR0911 - one for each kind
    """A random expression of the language."""
    if not depth or rng.random() < 0.1:
        return rng.choice(("x", "x", "x", repr(round(rng.gauss(0, 2), 2)), "1", "2", "pi"))
    kind, part = rng.random(), lambda: expression(rng, depth - 1)
    if kind < 0.4:
        return f"{part()}{rng.choice('+-*/')}{part()}"
    if kind < 0.45:
        return f"({part()})**{rng.choice((2, 3, 4, -1, -2, 0.5, 1.5))}"
    if kind < 0.55:
        return f"({part()})"
    if kind < 0.85:
        return f"{rng.choice(_FUNCTIONS)}({part()})"
    if kind < 0.95:
        return f"{rng.choice(('max', 'min'))}({part()}, {part()})"
    return f"where({part()} {rng.choice(('<', '<=', '>', '>='))} {part()}, {part()}, {part()})"


def mutant(rng, text):
    """A text with a few letters changed, left out or put in."""
    letters = list(text)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(letters) + 1)
        letters[place : place + rng.randint(0, 1)] = rng.choice(_WORDS)
    return "".join(letters)
