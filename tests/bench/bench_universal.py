"""Time per point of the universal law, against a plain Newton iteration on its complex equation in numpy.

    python tests/bench/bench_universal.py

The baseline: 21 vectorised iterations on log((1+m)/m) + c (1 + 2m) = y from m = −1/2 − i/√c, for the density
alone. Ours: density and distribution function; cold as in a new process, with Numba's loading where it is
chosen, and warm.
"""

import statistics
import time

import numpy as np

from isocalc import UniversalLaw, universal


def baseline(y, c):
    m = np.full(y.size, -0.5 - 1j / np.sqrt(c))
    with np.errstate(all="ignore"):
        for _ in range(21):
            residual = np.log((1 + m) / m) + c * (1 + 2 * m) - y
            m -= residual / (1 / (1 + m) - 1 / m + 2 * c)
    return -m.imag / np.pi


def ours(y, c):
    law = UniversalLaw(c, variable="log")
    return law.pdf(y / 2) / 2, law.cdf(y / 2)


def seconds(function, *args, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    rng = np.random.default_rng(0)
    for state, repeats in (("cold", 1), ("warm", 5)):
        for size in (200, 10**4, 10**6):
            y = rng.uniform(-1, 1, size) * universal.edge(1.0)
            if state == "cold":
                universal._points_so_far.clear()  # noqa: SLF001 - the choice is what is measured
            own = seconds(ours, y, 1.0, repeats=repeats)
            plain = seconds(baseline, y, 1.0, repeats=repeats)
            ratio = f"{own / plain:.2f} of the baseline"
            print(f"{state} {size:8d} points: {own / size * 1e6:6.3f} µs a point, {ratio}")
    laws = np.linspace(0.1, 5, 1000)
    start = time.perf_counter()
    for c in laws:
        law = UniversalLaw(float(c))
        x = law.grid(200)
        law.pdf(x), law.cdf(x)
    each = (time.perf_counter() - start) / (200 * laws.size)
    print(f"sweep of {laws.size} laws of 200 points: {each * 1e6:.2f} µs a point")


if __name__ == "__main__":
    main()
