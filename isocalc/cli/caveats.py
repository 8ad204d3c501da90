"""What has to be said about numbers before they are shown."""

import math
from typing import TYPE_CHECKING

from isocalc.cli.sweep import say
from isocalc.errors import NoAnswerError

if TYPE_CHECKING:
    from isocalc.network import FeedForward, ResNet
    from isocalc.propagation import Propagation

# What density --variable log shows of a law whose singular values do not fit a double.
SHOWN_IN_LOG = {
    "singular_value",
    "squared_singular_value",
    "density",
    "support",
    "atoms",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
}


class Doubles:
    """Leaves out the numbers that do not fit a double, and remembers which they were.

    Attributes
    ----------
    strays : Strays
        Says in the same report what the numbers that are shown leave out.
    """

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}
        self.strays = Strays()

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

    def report(self, beside: str | None = None) -> None:
        """Say on standard error what was left out, if anything was; ``beside`` is the column that has it."""
        if self.missing:
            shown = ", ".join(name for name in self.missing if name in SHOWN_IN_LOG)
            where = beside or "density --variable log"
            advice = f"; for {shown} see {where}" if shown else ""
            names = ", ".join(self.missing)
            say(f"{names}: some values do not fit a double and are left empty{advice}")
        self.strays.report()


class Strays:
    """Remembers the networks that can have a singular value far outside of the law that is shown."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def look_at(self, network: "ResNet | FeedForward", signal: "Propagation | None" = None) -> None:
        """Take a network whose law is shown."""
        from isocalc.propagation import can_leave_law  # noqa: PLC0415 - loads numpy

        if network.act.name not in self._names and can_leave_law(network, signal):
            self._names[network.act.name] = None

    def report(self) -> None:
        """Say on standard error of which networks the law may not tell the largest singular value."""
        if self._names:
            say(
                f"{', '.join(self._names)}: E phi is not 0, so that one singular value can lie far outside "
                "of the law's edges; isocalc mc --spectrum shows it"
            )


def explain_start(network: "ResNet | FeedForward") -> None:
    """Say which of several fixed points a network stays at, and what to do where there is none."""
    from isocalc.network import FeedForward  # noqa: PLC0415 - loads numpy

    if not isinstance(network, FeedForward) or network.input_variance is not None or network.act.scale_free:
        return
    from isocalc.feedforward import fixed_points  # noqa: PLC0415 - numerics load when a command computes

    try:
        points = fixed_points(network)
    except NoAnswerError as error:
        advice = "give --input-variance, the mean square of the input's entries"
        raise NoAnswerError(f"{error}; {advice}") from None
    if len(points) > 1:
        say(
            f"{network.act.name}, sigma_w {network.sigma_w!r}, sigma_b {network.sigma_b!r}: {len(points)} "
            f"stable fixed points; isocalc takes the smallest, q = {points[0].q_star:.6g}; "
            "--input-variance starts elsewhere"
        )
