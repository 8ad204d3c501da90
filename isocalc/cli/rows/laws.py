"""The rows that show a law: its density at many values, or its summary."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isocalc.cli.amounts import OFF_BY, TRAPEZOIDS
from isocalc.cli.messages import Caveats, say
from isocalc.cli.sweep import Cell, PartialRow, Row
from isocalc.errors import NoAnswerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from isocalc.laws.law import Law
    from isocalc.laws.spectrum import Choice
    from isocalc.networks.descriptions import ResNet
    from isocalc.signal.propagation import Propagation

    Array = npt.NDArray[np.float64]


COLUMN = {"singular": "singular_value", "lambda": "squared_singular_value", "log": "log_singular_value"}
SUMMARY = (
    "law",
    "law_error",
    "c",
    "support",
    "atoms",
    "mass_at_zero",
    "mean_s",
    "mean_lambda",
    "second_moment_lambda",
    "sigma2_jjt",
    "mean_log_s",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
    "outliers",
    "s_min",
    "s_max",
    "condition_number",
    "status",
)
# Values of s or λ whose inverse is next to the largest double, and relative distances from ends by rounding.
NEXT_TO_ZERO, AT_END = 1e-290, 1e-14
# Of the network itself: the singular values outside of the law, and the ends with them.
EXTREMES = ("outliers", "s_min", "s_max", "condition_number")


def own_law(net: "ResNet", signal: "Propagation", choice: "Choice", paths: int | None = None) -> "Law":
    """Return the law of a residual network that auto takes.

    Raises
    ------
    NoAnswerError
        It is one that may take minutes, or is not solved.
    """
    from isocalc.laws.spectrum import require_quick, taken

    if choice.law == "exact":
        require_quick(net, signal)
    return taken(net, choice, paths=paths, signal=signal)[0]


def law_cells(law: "Law | Callable[[], Law]", caveats: Caveats) -> dict[str, Cell]:
    """Return a network's law, its edges and its extremes; empty, with a status, where they are not known."""
    try:
        law = law() if callable(law) else law
        return {"law": law.name, **edges_of(law, caveats), **extremes_of(law, caveats)}
    except NoAnswerError as error:
        names = ("edge_lower", "edge_upper", "bulk_condition_number", *EXTREMES)
        why = NoAnswerError(f"{', '.join(names)} are not known: {error}", error.next_steps)
        return {**dict.fromkeys(("law", *names)), "status": why}


def described_atoms(law: "Law") -> list[str]:
    """Return each point mass and its place in words, in terms of log s where s does not fit a double."""
    places = zip(law.using("singular").atoms, law.using("log").atoms, strict=True)
    return [
        f"{mass:g} at s = {s:.6g}"
        if 0 < s < math.inf or log_s == -math.inf
        else f"{mass:g} at log s = {log_s:.6g}"
        for (s, mass), (log_s, _) in places
    ]


def density_rows(law: "Law", points: int, at: Sequence[float] | None, caveats: Caveats) -> Iterator[Row]:
    """Yield the density and the distribution function at each value of ``at``, or of the law's own grid."""
    for atom in described_atoms(law):
        say(f"the law has a point mass {atom}, which density leaves out")
    names = (COLUMN[law.variable], "density", "cdf")
    columns = [column.tolist() for column in _evaluated(law, points, at)]
    for name, column in zip(names, columns, strict=True):
        if not all(map(math.isfinite, column)) and name != COLUMN["log"]:  # log 0 is no number lost
            column[:] = [number if number == math.inf else caveats.finite(name, number) for number in column]
    for numbers in zip(*columns, strict=True):
        yield dict(zip(names, numbers, strict=True))


def _evaluated(law: "Law", points: int, at: Sequence[float] | None) -> tuple["Array", "Array", "Array"]:
    """Return x, density and cdf: nan where the number does not fit a double."""
    import numpy as np

    if at is not None:
        x = np.array(at)
        density = np.array(law.pdf(x))
        # Next to 0 even densities do not fit.
        lost = np.isinf(density) & (x > 0) & (x < NEXT_TO_ZERO)
        for low, high in law.support():  # there is no 0 inside, but for numbers below the smallest double
            inside = (low < x) & (x < high) & ~np.isclose(x, low, AT_END, 0) & ~np.isclose(x, high, AT_END, 0)
            lost |= inside & (density == 0) & ~np.isin(x, [s for s, _ in law.atoms])
        density[lost] = np.nan
        return x, density, law.cdf(x)
    x, density, cdf = law.table(points if law.support() else len(law.atoms))
    if law.variable != "log":
        lost = np.isinf(x) | (x == 0)
        if lost.any():
            lost &= np.isfinite(law.using("log").table(x.size)[0])
        x[lost] = density[lost] = np.nan
    if ((x[1:] <= x[:-1]) & (cdf[1:] > cdf[:-1])).any() and np.isfinite(x).all():
        say("the law is narrower than doubles resolve in this variable, so values repeat")
    elif points >= TRAPEZOIDS:
        _tell_trapezoids(law, x, density, cdf)
    return x, density, cdf


def _tell_trapezoids(law: "Law", x: "Array", density: "Array", cdf: "Array") -> None:
    """Say where a trapezoid sum of what is printed is not its mass."""
    import numpy as np

    x, density, cdf = (values[np.isfinite(x)] for values in (x, density, cdf))
    if not x.size:
        return
    atoms = math.fsum(mass for place, mass in law.atoms if x[0] < place)
    with np.errstate(over="ignore", invalid="ignore"):
        off = float(np.trapezoid(density, x)) - float(cdf[-1] - cdf[0] - atoms)
    if abs(off) > OFF_BY:
        say(
            f"trapezoid sums of the density are off by {off:.1g} on these points, so much does it vary: take "
            "--variable log or more --points, or differences of cdf"
        )


def variance_of_lambda(law: "Law", caveats: Caveats) -> float | None:
    """Return σ²_JJᵀ, the variance of λ: 0 of a point mass, else positive."""
    if math.fsum(mass for _, mass in law.atoms) == 1:
        return 0.0
    return caveats.positive("sigma2_jjt", law.using("lambda").var())


def summary_row(law: "Law", caveats: Caveats) -> PartialRow:
    """Return the row that sums up a law of singular values."""
    squared = law.using("lambda")
    at_zero = math.fsum(mass for place, mass in law.using("log").atoms if place == -math.inf)
    moments = {"mean_s": (law, 1), "mean_lambda": (squared, 1), "second_moment_lambda": (squared, 2)}
    vanishes = at_zero == 1
    return {
        "law": law.name,
        "law_error": law.error,
        "c": getattr(law, "c", None),
        "mass_at_zero": at_zero,
        **{
            name: 0.0 if vanishes else caveats.positive(name, of.moment(k))
            for name, (of, k) in moments.items()
        },
        "sigma2_jjt": variance_of_lambda(law, caveats),
        "mean_log_s": law.mean_log_s,
        **edges_of(law, caveats),
        **_places(law, caveats),
        **extremes_of(law, caveats),
    }


def edges_of(law: "Law", caveats: Caveats) -> dict[str, float | None]:
    """Return the ends of a law apart from s = 0, and their ratio."""
    low, high = law.log_edge_lower, law.log_edge_upper
    width = high - low if -math.inf not in {low, high} else math.inf
    return {
        "edge_lower": caveats.at("edge_lower", law.edge_lower, low),
        "edge_upper": caveats.at("edge_upper", law.edge_upper, high),
        "bulk_condition_number": caveats.at("bulk_condition_number", law.bulk_condition_number, width),
    }


def extremes_of(law: "Law", caveats: Caveats) -> dict[str, Cell]:
    """Return the outliers and the network's extremes; all empty, with a status, where they are not known."""
    empty: dict[str, Cell] = dict.fromkeys(EXTREMES)
    try:
        if why := caveats.not_derived(law.not_derived):
            return empty | {"status": why}
        s, log_s = law.using("singular").outliers.tolist(), law.using("log").outliers.tolist()
        low, high = law.log_s_min, law.log_s_max
        width = high - low if -math.inf not in {low, high} else math.inf
        places = [caveats.at("outliers", *place) for place in zip(s, log_s, strict=True)]
        return {
            "outliers": None if None in places else ";".join(map(repr, places)) or None,
            "s_min": caveats.at("s_min", law.s_min, low),
            "s_max": caveats.at("s_max", law.s_max, high),
            "condition_number": caveats.at("condition_number", law.condition_number, width),
            "status": "ok",
        }
    except NoAnswerError as error:
        why = f"{', '.join(EXTREMES)} are not known: {error}"
        return empty | {"status": NoAnswerError(why, error.next_steps)}


def _places(law: "Law", caveats: Caveats) -> dict[str, str | None]:
    """Return the intervals of the support and the point masses as text, ``None`` where a double is lost."""
    in_log = law.using("log")
    ends = [
        caveats.at("support", end, log_end)
        for interval, log_interval in zip(law.support(), in_log.support(), strict=True)
        for end, log_end in zip(interval, log_interval, strict=True)
    ]
    masses = [mass for _, mass in law.atoms]
    places = [
        caveats.at("atoms", place, log_place)
        for (place, _), (log_place, _) in zip(law.atoms, in_log.atoms, strict=True)
    ]
    return {
        "support": None if None in ends else ";".join(map("{!r}:{!r}".format, ends[::2], ends[1::2])),
        "atoms": None if None in places else ";".join(map("{!r}:{!r}".format, places, masses)),
    }


def law_summary(law: "Law") -> str:
    """Return in one line how far a law reaches, its moments, and what lies outside of it."""
    row = summary_row(law, Caveats())
    names = {
        "edge_lower": "lower edge {}",
        "edge_upper": "upper edge {}",
        "bulk_condition_number": "ratio {}",
        "mean_s": "mean s {}",
        "mean_lambda": "mean s^2 {}",
    }
    told = [text.format(f"{row[name]:.4g}") for name, text in names.items() if row[name] is not None]
    return ", ".join([*told, outliers_told(law) or "no outlier"])


def outliers_told(law: "Law") -> str:
    """Say which singular values lie outside of a law, in terms of log s where s does not fit a double."""
    try:
        if law.not_derived:
            return "outliers not derived"
        found = _places_outside(law)
    except NoAnswerError:
        return "outliers not found"
    return f"outlier{'s' * (len(found) > 1)} at {' and '.join(found)}" if found else ""


def _places_outside(law: "Law") -> list[str]:
    places = zip(law.using("singular").outliers.tolist(), law.using("log").outliers.tolist(), strict=True)
    return [f"s = {s:.4g}" if 0 < s < math.inf else f"log s = {log_s:.6g}" for s, log_s in places]
