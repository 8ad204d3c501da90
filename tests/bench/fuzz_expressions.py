"""Read 100,000 random and hostile texts as activations: each is one or is refused in words, and soon.

    python tests/bench/fuzz_expressions.py [COUNT] [SEED]

Prints how many are activations, how many are refused by which rule, the slowest, and the audit events that
running code, opening files or importing would raise, of which there must be none.
"""

import pickle
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.special  # noqa: F401 - loaded on first use

sys.path.insert(0, str(Path(__file__).parent.parent))
from hostile import texts

import isocalc
from isocalc.activations.expressions.build import activation_of

EVENTS = Counter()
FORBIDDEN = {"exec", "open", "import", "os.system", "subprocess.Popen", "socket.connect", "ctypes.dlopen"}
POINTS = np.array([-700.0, -30.0, -2.0, -0.3, 0.0, 0.3, 2.0, 30.0, 700.0])


def watch(event, _):
    if event in FORBIDDEN:
        EVENTS[event] += 1


def outcome(text):
    """Return the rule a text broke, "activation", and how long that took."""
    start = time.perf_counter()
    try:
        act = activation_of(text)
    except isocalc.InvalidInputError as error:
        return error.rule, time.perf_counter() - start
    took = time.perf_counter() - start
    assert activation_of(act.name).name == act.name
    assert pickle.loads(pickle.dumps(act)) == act  # noqa: S301 - our own
    assert np.isfinite(act.phi(POINTS)).all()
    assert np.isfinite(act.dphi(POINTS)).all()
    return "activation", took


def main(count=100_000, seed=1):
    warnings.simplefilter("error")
    for text in ("tanh(x) + max(x, sin(x)**2)", "x + sin(x)", "erfc(x)", "unknown(x)"):
        outcome(text)  # modules loaded on first use
    sys.addaudithook(watch)
    rules, slowest = Counter(), []
    for text in texts(count, seed):
        try:
            rule, took = outcome(text)
        except Exception as error:
            raise RuntimeError(repr(text)) from error
        rules[rule] += 1
        slowest = sorted([*slowest, (took, text)])[-5:]
    print(*(f"{number:7d} {rule}" for rule, number in rules.most_common()), sep="\n")
    print(*(f"{took:.2f} s {text[:90]!r}" for took, text in reversed(slowest)), sep="\n")
    print("audit events:", dict(EVENTS) or "none")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
