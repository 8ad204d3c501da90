"""What has to be said about numbers before they are shown."""

import math
from collections.abc import Iterable

from isocalc.cli.sweep import Value, say

# What density --variable log shows of a law whose singular values do not fit a double.
SHOWN_IN_LOG = {
    "singular_value",
    "squared_singular_value",
    "density",
    "support",
    "atoms",
    "s_min",
    "s_max",
    "condition_number",
}


class Doubles:
    """Leaves out the numbers that do not fit a double, and remembers which they were."""

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}

    def positive(self, name: str, value: float) -> float | None:
        """Return a number that is positive and finite if nothing was lost, ``None`` if it was."""
        return self.finite(name, value if value != 0 else math.inf)

    def at(self, name: str, value: float, log_value: float) -> float | None:
        """Return e^log_value, 0 and infinity too where they are true, ``None`` where a double is lost."""
        return value if math.isinf(log_value) else self.positive(name, value)

    def finite(self, name: str, value: float) -> float | None:
        """Return a number that is finite if nothing was lost, ``None`` if it was."""
        if math.isfinite(value):
            return value
        self.missing[name] = None
        return None

    def report(self) -> None:
        """Say on standard error what was left out, if anything was."""
        if self.missing:
            shown = ", ".join(name for name in self.missing if name in SHOWN_IN_LOG)
            advice = f"; for {shown} see density --variable log" if shown else ""
            names = ", ".join(self.missing)
            say(f"{names}: some values do not fit a double and are left empty{advice}")


def warn_of_correlated_gates(block: str, names: Iterable[Value]) -> None:
    """Say on standard error that both laws are off for pre-activation blocks with these."""
    wrong = [str(name) for name in names if block == "pre" and not _linear(str(name))]
    if wrong:
        say(
            f"--block pre with {', '.join(wrong)}: gates are correlated across layers, so the law of "
            "independent ones is off at any depth (KS distance 0.03 to 0.08 in the cases measured)"
        )


def _linear(name: str) -> bool:
    from isocalc.activations import activation  # noqa: PLC0415 - loads numpy

    act = activation(name)
    return act.slopes is not None and len(set(act.slopes)) == 1 and not act.jumps
