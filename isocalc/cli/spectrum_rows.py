"""The rows of ``isocalc mc --spectrum``: the singular values themselves."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from isocalc.cli.caveats import Doubles
from isocalc.cli.sweep import Row

if TYPE_CHECKING:
    from isocalc.judge import Array

COLUMNS = ("trial", "singular_value", "log_singular_value")


def spectrum_rows(log_s: "Array", doubles: Doubles) -> Iterator[Row]:
    """Yield the singular values of each trial, trials counted from 1."""
    import numpy as np  # noqa: PLC0415 - numerics load when a command computes

    with np.errstate(over="ignore", under="ignore"):
        s = np.exp(log_s)
    for trial, pairs in enumerate(zip(s.tolist(), log_s.tolist(), strict=True), start=1):
        for value, log in zip(*pairs, strict=True):
            yield {
                "trial": trial,
                "singular_value": doubles.at("singular_value", value, log),
                "log_singular_value": log,
            }
