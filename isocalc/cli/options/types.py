"""What the values of options may look like, and how they complete."""

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import click

from isocalc.cli.numbers import Typed, parse_number
from isocalc.errors import InvalidInputError
from isocalc.limits import MOST_VALUES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


EMPTY = "An item is empty."
MOST_EXACT = 10**sys.float_info.dig  # whole numbers up to here are doubles


class Numbers(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """A number, a comma list, or ``start:stop:count`` with both ends included; a tuple of floats or ints."""

    name = "numbers"
    joins = True  # where the option is given twice

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        kind = "a whole number" if whole else "a number"
        self.rule = f"{kind}, a list such as {'10,100' if whole else '0.5,1,2'} or a range start:stop:count"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Parse the text of the option; raise InvalidInputError where it is not of the form."""
        del ctx
        if not isinstance(value, str):
            return tuple(value)
        name = (param.name if param else None) or "value"
        values = [number for item in value.split(",") for number in self._item(name, item.strip(), value)]
        return tuple(values)

    def _item(self, name: str, item: str, text: str) -> Sequence[float]:
        try:
            numbers = [Typed(part.strip()) for part in item.split(":")]
        except ValueError:
            advice = "" if item else EMPTY
            raise InvalidInputError(name, self.rule, text, advice) from None
        if len(numbers) == 1:
            return [self._whole(name, numbers[0], item)] if self.whole else numbers
        return self._range(name, numbers, item)

    def _range(self, name: str, numbers: Sequence[float], item: str) -> Sequence[float]:
        from fractions import Fraction  # noqa: PLC0415 - only ranges need it

        rule = f"a range start:stop:count with start < stop and a whole count from 2 to {MOST_VALUES}"
        finite = all(map(math.isfinite, numbers))
        if not (finite and len(numbers) == 3 and numbers[0] < numbers[1]):
            raise InvalidInputError(name, rule, item)
        if not (numbers[2].is_integer() and 2 <= numbers[2] <= MOST_VALUES):
            raise InvalidInputError(name, rule, item)
        start, stop = (Fraction(repr(float(number))) for number in numbers[:2])
        step = (stop - start) / (int(numbers[2]) - 1)
        values = [float(start + i * step) for i in range(int(numbers[2]))]
        return [self._whole(name, value, item) for value in values] if self.whole else values

    def _whole(self, name: str, value: float, item: str) -> float:
        if not value.is_integer():
            raise InvalidInputError(name, self.rule.replace("range", "range of whole numbers"), item)
        if abs(value) > MOST_EXACT:
            raise InvalidInputError(name, f"a whole number of at most {MOST_EXACT:.0e}", item)
        return int(value)


class Listed(click.types.StringParamType):
    """A comma list, as it is typed."""

    joins = True


class Whole(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """One whole number within limits."""

    name = "whole"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the text of the option; raise InvalidInputError where it is not within the limits."""
        del ctx
        number = _whole(str(value), self.least - 1)
        if self.least <= number <= self.most:
            return number
        rule = f"a whole number from {self.least} to {self.most}"
        raise InvalidInputError((param.name if param else None) or "value", rule, value)


class WholeNumbers(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """A comma list of whole numbers from 1; a tuple of ints."""

    rule: ClassVar[str]

    def fits(self, numbers: tuple[int, ...]) -> bool:
        """Whether the numbers, together, are what the option takes."""
        raise NotImplementedError

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse the text of the option; raise InvalidInputError where it is no list that fits."""
        del ctx
        if not isinstance(value, str):
            return tuple(value)
        numbers = tuple(_whole(item.strip(), 0) for item in value.split(","))
        if min(numbers) < 1 or not self.fits(numbers):
            raise InvalidInputError((param.name if param else None) or "value", self.rule, value)
        return numbers


class Widths(WholeNumbers):
    """Widths of the input and the layers of one network."""

    name = "widths"
    rule = "whole numbers of at least 1, of the input and of each layer, such as 784,1000,10"

    def fits(self, numbers: tuple[int, ...]) -> bool:
        """Whether there is a layer."""
        return len(numbers) >= 2


class Shape(WholeNumbers):
    """Shape of an array."""

    name = "shape"
    rule = f"whole numbers such as 784 or 3,32,32, of at most {MOST_VALUES} entries"

    def fits(self, numbers: tuple[int, ...]) -> bool:
        """Whether the array is not too large."""
        return math.prod(numbers) <= MOST_VALUES


def _whole(text: str, otherwise: int) -> int:
    """Return the whole number that a text such as 10 or 1e4 means, ``otherwise`` where it means none."""
    if text.isascii() and text.lstrip("+-").isdigit():
        with suppress(ValueError):  # two signs, or more digits than Python reads
            return int(text)
    try:
        number = parse_number(text)
    except ValueError:
        return otherwise
    return int(number) if number.is_integer() and abs(number) <= MOST_EXACT else otherwise


class OneOf(click.Choice[str]):
    """One of several words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word; raise InvalidInputError where it is another."""
        del ctx
        if value not in self.choices:
            from difflib import get_close_matches  # noqa: PLC0415 - only needed to refuse

            name = (param.name if param else None) or "value"
            near = get_close_matches(value, self.choices, 1)
            advice = f"Did you mean {near[0]}?" if near else ""
            raise InvalidInputError(name, f"one of {', '.join(self.choices)}", value, advice)
        return str(value)


class SeveralOf(OneOf):
    """One of several words, or a comma list of them; a tuple of words."""

    joins = True

    def convert(  # type: ignore[override] # a choice that is several
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split the list; raise InvalidInputError where a word is another."""
        if not isinstance(value, str):
            return tuple(value)
        return tuple(super(SeveralOf, self).convert(word.strip(), param, ctx) for word in value.split(","))


class Activations(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """Names of activations, separated by commas outside parentheses; ``all`` stands for every one."""

    name = "activations"
    joins = True

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split the list, refuse an empty item; names are looked up when the networks are built."""
        del ctx
        names = split_outside_parentheses(value) if isinstance(value, str) else value
        if not all(names):
            rule = "an activation such as relu, a comma list, or all"
            raise InvalidInputError((param.name if param else None) or "value", rule, value, EMPTY)
        return tuple(names)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Complete the last name of a list."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only to complete

        from isocalc.activations.catalogue import FAMILIES  # noqa: PLC0415 - loads numpy

        del ctx, param
        before, comma, last = incomplete.rpartition(",")
        names = [*FAMILIES] if comma else [*FAMILIES, "all"]
        return [CompletionItem(before + comma + name) for name in names if name.startswith(last)]


def split_outside_parentheses(text: str) -> list[str]:
    """Split at the commas that are in no parentheses."""
    items, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items]
