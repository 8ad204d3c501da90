"""Gaussian averages of every activation against mpmath, over the whole range of q: minutes, run by hand.

    PYTHONPATH=tests:tests/activations python tests/bench/sweep_averages.py [values of q] [seed]

Prints, for each activation and each average, the largest error in units of E|f|; those above 1e-12 are
marked. Values below 1e-290 are left out: they underflow.
"""

import sys

import naive
import numpy as np
from mpmath import mpf
from test_averages import NAMES, SPECS, UNDERFLOW, resolved

from isocalc import activation
from isocalc.activations.averages import averages

LIMIT = 1e-12


def worst_errors(spec, q):
    """The largest error of each average, in units of E|f|, and the q it is at."""
    act = activation(spec)
    worst = [(0.0, 0.0)] * len(NAMES)
    for value in (value for value in q if resolved(act, value)):
        exact = naive.exact_averages(act, value)
        for i, (got, (right, size)) in enumerate(zip(averages(act, value), exact, strict=True)):
            if size > UNDERFLOW:
                worst[i] = max(worst[i], (float(abs(mpf(float(got)) - right) / size), value))
    return worst


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    q = 10 ** np.random.default_rng(seed).uniform(-12, 8, count)
    print(f"{'':>18}", *(f"{name:>20}" for name in NAMES))
    for spec in SPECS:
        errors = worst_errors(spec, q.tolist())
        cells = (f"{error:9.1e} at {at:8.1e}" for error, at in errors)
        print(f"{spec:>18}", *cells, "" if max(errors)[0] <= LIMIT else "  <<<", flush=True)


if __name__ == "__main__":
    main()
