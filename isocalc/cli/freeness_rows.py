"""The rows of ``isocalc mc --test freeness``: own gates against independent ones."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from isocalc.cli.sweep import Row

if TYPE_CHECKING:
    from isocalc.freeness import Array
    from isocalc.network import FeedForward, ResNet

COLUMNS = ("statistic", "own_gates", "independent_gates", "standard_error", "tolerance", "verdict")
_WHY = {
    "pre": "blocks x + W phi(x) see nearly the same x in every layer, so their gates are correlated across "
    "layers, and disagree at any depth, the more clearly the larger the width",
    "": "as width grows they must agree; take a larger one",
}


def freeness_rows(
    network: "ResNet | FeedForward",
    own: "Array",
    independent: "Array",
    failures: list[str],
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Compare networks with gates of either kind; what tells them apart joins ``failures``."""
    from isocalc.freeness import EXTREMES, contrasts

    found = contrasts(own, independent)
    wrong = [contrast.name for contrast in found if contrast.verdict == "disagrees"]
    left = [one.name for one in found if one.verdict == "not judged" and one.name not in EXTREMES]
    if left:
        tell(f"not judged: {', '.join(left)} (singular values that are 0 decide them)")
    if wrong:
        why = _WHY.get(getattr(network, "block", ""), _WHY[""])
        failures.append(f"own gates and independent ones disagree: {', '.join(wrong)}; {why}")
        tell(failures[-1])
    for contrast in found:
        yield {
            "statistic": contrast.name,
            "own_gates": _shown(contrast.own),
            "independent_gates": _shown(contrast.independent),
            "standard_error": _shown(contrast.standard_error),
            "tolerance": None if contrast.verdict == "not judged" else contrast.tolerance,
            "verdict": contrast.verdict,
        }


def _shown(value: float) -> float | None:
    return None if math.isnan(value) else value
