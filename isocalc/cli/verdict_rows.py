"""The rows of ``isocalc mc``: singular values, or what they say of the law."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isocalc.cli.caveats import Doubles
from isocalc.cli.sweep import Row

if TYPE_CHECKING:
    from isocalc.finite_depth import DepthLaw
    from isocalc.judge import Array, Statistic
    from isocalc.network import ResNet

COLUMNS = ("statistic", "theory", "simulation", "standard_error", "verdict")
SPECTRUM = ("trial", "singular_value", "log_singular_value")


def spectrum_rows(log_s: "Array", doubles: Doubles) -> Iterator[Row]:
    """Yield the singular values of each trial, trials counted from 1."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        s = np.exp(log_s)
    for trial, pairs in enumerate(zip(s.tolist(), log_s.tolist(), strict=True), start=1):
        for value, log in zip(*pairs, strict=True):
            yield {
                "trial": trial,
                "singular_value": doubles.at("singular_value", value, log),
                "log_singular_value": log,
            }


def verdict_rows(
    network: "ResNet", log_s: "Array", gates: str, failures: list[str], tell: Callable[[str], None]
) -> Iterator[Row]:
    """Judge the singular values of a network; what keeps the law from being confirmed joins ``failures``."""
    from isocalc.finite_depth import depth_law
    from isocalc.judge import compare, enough_judged, set_aside

    law = depth_law(network)
    outliers: list[float] = []
    if gates == "own" and network.block == "post":
        log_s, outliers = set_aside(log_s, law)
    statistics = compare(log_s, law)
    if outliers:
        tell(_told_of_outliers(outliers, len(log_s)))
    reasons = "; ".join(_reasons(law, statistics))
    status = {}
    if not enough_judged(statistics):
        failures.append(f"not enough could be judged: {reasons}")
        status["status"] = failures[-1]
        tell(failures[-1])
    elif reasons:
        tell(f"not judged: {reasons}")
    wrong = [statistic.name for statistic in statistics if statistic.verdict == "disagrees"]
    if wrong:
        failures.append(f"the simulation disagrees with the law: {', '.join(wrong)}")
        tell(failures[-1])
    return (
        {
            "statistic": statistic.name,
            "theory": statistic.theory,
            "simulation": statistic.simulation,
            "standard_error": statistic.standard_error,
            "verdict": statistic.verdict,
            **status,
        }
        for statistic in statistics
    )


def _told_of_outliers(outliers: Sequence[float], trials: int) -> str:
    return (
        f"{len(outliers)} singular values in {trials} trials are set aside, log s from "
        f"{min(outliers):.6g} to {max(outliers):.6g}: with its own gates the direction of a network's "
        "signal can leave the law"
    )


def _reasons(law: "DepthLaw", statistics: "Sequence[Statistic]") -> Iterator[str]:
    """Yield why statistics were not judged: one reason for all where the law itself is not accurate."""
    if law.limited_by_gates:
        yield (
            f"phi'^2 varies too much between neurons (relative variance {law.gate_variance:.3g}) for a law "
            f"to first order in 1/L at depth {law.depth}; take a sigma_w or sigma_b at which more "
            "neurons respond, or a larger depth"
        )
    elif not law.is_accurate:
        yield (
            f"depth {law.depth} is too small at c = {law.c:.3g} for a law to first order in 1/L; take a "
            "larger depth or a smaller sigma_w"
        )
    else:
        found = [statistic for statistic in statistics if statistic.verdict == "not judged"]
        for obstacle in dict.fromkeys(statistic.obstacle for statistic in found):
            names = ", ".join(statistic.name for statistic in found if statistic.obstacle == obstacle)
            yield f"{names} ({obstacle})" if obstacle else names
