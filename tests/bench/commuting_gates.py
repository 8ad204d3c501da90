"""How far the law of free layers is off in post-activation blocks, whose gates commute: found and estimated.

Piecewise linear gates of few layers have few patterns, so that the exact law has no error of its own. By
hand: ``python tests/bench/commuting_gates.py``.
"""

import numpy as np

import isocalc
from isocalc.laws.universal_error import law_errors

CASES = [("relu", 1.0), ("hardtanh", 1.0), ("hardtanh", 4.0), ("leaky_relu:0.3", 1.0)]


def main() -> None:
    print("activation      p0 weights     sigma_w  L     found estimated")
    for name, power in CASES:
        for weights in ("gaussian", "orthogonal"):
            for sigma_w in (1.0, 2.0, 4.0):
                for depth in (2, 3, 5, 10):
                    net = isocalc.ResNet(
                        name, depth=depth, sigma_w=sigma_w, weights=weights, input_variance=power
                    )
                    exact, free = (isocalc.spectrum(net, "log", law) for law in ("exact", "layered"))
                    places = free.ppf(np.linspace(0.005, 0.995, 199))
                    found = float(np.abs(exact.cdf(places) - free.cdf(places)).max())
                    print(
                        f"{name:14} {power:3} {weights:10} {sigma_w:8} {depth:2} {found:9.2g} "
                        f"{law_errors(net).layered:9.2g}"
                    )


if __name__ == "__main__":
    main()
