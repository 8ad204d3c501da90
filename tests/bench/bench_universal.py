"""Time of the universal law against plain numpy: complex Newton on m, 21 iterations, one c at all points.

    python tests/bench/bench_universal.py

Prints microseconds a point and the ratio to the baseline, which runs in between.
"""

import math
import statistics
import time

import numpy as np

from isocalc.laws import universal

SIZES = (200, 1000, 10_000, 100_000, 1_000_000)
C = (1e-4, 1.0, 100.0)


def baseline(y, c):
    """Density by Newton on log((1+m)/m) + c(1+2m) = y from the middle of the law, as a script would do it."""
    k = np.pi / 2 / (1 + c) if c > 1 else 1 / math.sqrt(2 * c)
    m = np.full(y.size, -0.5 - 1j * k)
    for _ in range(21):
        m -= (np.log((1 + m) / m) + c * (1 + 2 * m) - y) / (2 * c - 1 / (m * (1 + m)))
    return -m.imag / np.pi


def isocalc(y, c):
    return universal.density_and_survival(y, universal.Curve.trace(c))[0]


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    print(f"{'c':>7} {'points':>9} {'us/point':>9} {'baseline':>9} {'ratio':>7}")
    for c in C:
        for size in SIZES:
            y = 0.9 * universal.edge(c) * np.cos(np.linspace(0, np.pi, size))
            isocalc(y, c)
            pairs = [
                (seconds(isocalc, y, c), seconds(baseline, y, c)) for _ in range(3 if size > 10_000 else 15)
            ]
            ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
            row = f"{c:7g} {size:9d} {ours / size * 1e6:9.3f} {theirs / size * 1e6:9.3f} {ours / theirs:7.3f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
