"""Time of a phase diagram of 101 x 51 networks, against the bare loop that iterates q by Gauss-Hermite.

    python tests/bench/bench_diagram.py [activation ...]

The baseline knows neither several fixed points nor criticality nor correlations: per network 50 steps of
q -> sigma_w^2 E phi^2 + sigma_b^2 with 100 nodes, vectorised in nothing; it is timed on a sample and scaled.
`alone` is one network after the other with `fixed_points`, sampled likewise. CPU seconds, both cores counted,
and the command's own beside those of `import numpy, click`.
"""

import os
import subprocess
import sys
import time

import numpy as np

from isocalc import FeedForward, IsocalcError, activation, fixed_points, phase_diagram

SIGMA_W, SIGMA_B = np.linspace(0.5, 3, 101), np.linspace(0, 1, 51)
SAMPLE = 60
STEPS = 50
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
ACTIVATIONS = ("tanh", "erf", "relu", "gelu", "silu", "hardtanh", "softplus", "elu")


def iterated(act, sigma_w, sigma_b):
    q, weights = 1.0, WEIGHTS / WEIGHTS.sum()
    for _ in range(STEPS):
        q = sigma_w**2 * weights @ act.phi(np.sqrt(q) * NODES) ** 2 + sigma_b**2
    return q, sigma_w**2 * weights @ act.dphi(np.sqrt(q) * NODES) ** 2


def alone(act, sigma_w, sigma_b):
    try:
        return [point.xi_c for point in fixed_points(FeedForward(act, sigma_w=sigma_w, sigma_b=sigma_b))]
    except IsocalcError:
        return None


def cpu(function, *arguments):
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def sampled(function, act):
    generator = np.random.default_rng(1)
    scales = zip(generator.choice(SIGMA_W, SAMPLE), generator.choice(SIGMA_B, SAMPLE), strict=True)
    each = sum(cpu(function, act, float(sigma_w), float(sigma_b)) for sigma_w, sigma_b in scales) / SAMPLE
    return each * SIGMA_W.size * SIGMA_B.size


def of_process(*command):
    """CPU seconds of a program, the least of three."""
    least = np.inf
    for _ in range(3):
        before = os.times()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = os.times()
        least = min(
            least,
            after.children_user + after.children_system - before.children_user - before.children_system,
        )
    return least


def main():
    imports = of_process(sys.executable, "-c", "import numpy, click")
    print(f"import numpy, click: {imports:.2f} s")
    print(f"{'activation':>12} {'diagram':>8} {'command':>8} {'baseline':>9} {'alone':>7} {'ratio':>7}")
    for spec in sys.argv[1:] or ACTIVATIONS:
        act = activation(spec)
        ours = min(cpu(phase_diagram, act, SIGMA_W[:, None], SIGMA_B) for _ in range(3))
        scales = ("--sigma-w", "0.5:3:101", "--sigma-b", "0:1:51")
        program = ("-m", "isocalc", "param", "--arch", "feedforward", "--act", spec, *scales)
        with np.errstate(over="ignore", invalid="ignore"):
            loop = sampled(iterated, act)
        print(
            f"{spec:>12} {ours:8.2f} {of_process(sys.executable, *program):8.2f} {loop:9.2f} "
            f"{sampled(alone, act):7.1f} {ours / loop:7.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
