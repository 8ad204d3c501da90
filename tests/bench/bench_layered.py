"""Time of laws at finite depth: against a plain Newton path, in Python and compiled, and the peer's method.

    python tests/bench/bench_layered.py [relu tanh points layers factors shell]

The first row of a table is its baseline, which runs in between; ratios are of medians of repeats.
Laws are made anew for every repeat, so that no solution is remembered from the last one.
"""

import cmath
import math
import statistics
import subprocess
import sys
import time

import numba
import numpy as np

import isocalc
from isocalc.laws.free.layer_factors import Layer
from isocalc.laws.free.network_factors import layers
from isocalc.laws.free.product import FreeProduct
from isocalc.laws.gates.nodes import gate_rule
from isocalc.signal.propagation import propagate

SMOOTHING = 1e-4
PEER_POINTS = 100
SHELL_PAIRS = 9


def relu(u, depth, d, weights):  # noqa: ARG001 - the gate is known
    """log z, its slope and m for u = log(1 + 2m): S of a Gaussian layer of mean 1 is 1/(1 + 2m)."""
    return depth * u - cmath.log(cmath.tanh(u / 2)), depth - 1 / cmath.sinh(u), (cmath.exp(u) - 1) / 2


def smooth(u, depth, d, weights):
    """log z, its slope and m for u = log t: S of an orthogonal layer is t (1 + m)/m."""
    dt = d * cmath.exp(u)
    terms = weights * dt / (1 - dt)
    m, slope = terms.sum(), (terms / (1 - dt)).sum()
    zeta = cmath.log((1 + m) / m)
    return (1 - depth) * zeta - depth * u, (depth - 1) * slope / (m * (1 + m)) - depth, m


def make_plain(equation, compiled):
    """Newton on one unknown along Im log z = π/2, then down: as a script would do it."""
    compile_ = numba.njit(error_model="numpy") if compiled else lambda function: function
    log_z = compile_(equation)

    def follow(u, start, stop, depth, d, weights):  # noqa: PLR0917 - compiled
        done, step = 0.0, 1.0
        while done < 1 and step > 1e-12:
            reach = min(1.0, done + step)
            target, root, size, kept = start + (stop - start) * reach, u, min(1.0, abs(u)), False
            for _ in range(40):
                value, slope, m = log_z(root, depth, d, weights)
                change = (target - value) / slope
                if not abs(change) < 0.3 * size:
                    break
                root, size = root + change, abs(change)
                if size < 1e-10 * abs(root):
                    kept = True
                    break
            if kept and m.imag < 1e-9 and -math.pi < root.imag < 1e-9:
                u, done, step = root, reach, 2 * step
            else:
                step /= 2
        return u

    follow = compile_(follow)

    def density(y, start, u, depth, d, weights):  # noqa: PLR0917 - compiled
        rho, place = np.empty(y.size), complex(start, math.pi / 2)
        for i in range(y.size - 1, -1, -1):
            above = complex(y[i], math.pi / 2)
            u, place = follow(u, place, above, depth, d, weights), above
            root = follow(u, above, complex(y[i], 0.0), depth, d, weights)
            rho[i] = -log_z(root, depth, d, weights)[2].imag / math.pi
        return rho

    return compile_(density)


class Peer:
    """Newton lilypads (arXiv 2111.00841) on num(m)/z - den(m) = 0: pads are Kantorovich balls.

    From a z so high that 1/z is in the basin, found by doubling Im z, to the target in steps halved until the
    last solution is in the basin; the next point starts at the last one. In its favour common factors are
    cancelled (else |f| < 1e-12 all around m = -1), the first descent goes by decades (else the branch is
    wrong), and loops are capped: failures are NaN.
    """

    def __init__(self, depth):
        self.num = np.polymul([1.0, 1.0], np.poly(np.full(depth, -0.5))) * 2.0**depth
        self.den = np.array([1.0, 0.0])
        rows = range(depth)
        self.pascal = np.array([[float(math.comb(k, j)) for k in rows] for j in rows])
        self.powers = np.arange(depth)

    def f(self, z):
        f = self.num / z
        f[-self.den.size :] -= self.den
        return f

    def newton(self, z, g):
        f = self.f(z)
        slope, m = np.polyder(f), z * g - 1
        for _ in range(200):
            value = np.polyval(f, m)
            if abs(value) < 1e-12:
                return (1 + m) / z
            m -= value / np.polyval(slope, m)
        return complex("nan")

    def in_basin(self, z, g):
        f, m = self.f(z), z * g - 1
        slope = np.polyval(np.polyder(f), m)
        step = -np.polyval(f, m) / slope
        m += step
        if not m.imag < 0:
            return False
        # Coefficients of f'' around m, by Pascal's triangle.
        powers = m**self.powers
        around = (self.pascal * powers) @ np.polyder(f, 2)[::-1] / powers
        return abs(step / slope) * np.polyval(np.abs(around[::-1]), abs(step)) < 0.5

    def solve(self, target, pad=None):
        if pad is None:
            z = target
            while not self.in_basin(z, 1 / z):
                z += 1j * z.imag
            pad = z, self.newton(z, 1 / z)
        z, g = pad
        for _ in range(10_000):
            if z == target or cmath.isnan(g):
                break
            step = target - z
            while abs(step) > 1e-12 * abs(z) and not self.in_basin(z + step, g):
                step /= 2
            z, g = z + step, self.newton(z + step, g)
        return target, g if z == target else complex("nan")

    def density(self, x):
        """Density of λ at x, ascending and right of the mean 1: sweep from there."""
        pad, rho = None, []
        for height in (1.0, 0.1, 0.01, 1e-3):
            pad = self.solve(complex(1.0, height), pad)
        for place in x:
            pad = self.solve(complex(place, SMOOTHING), pad)
            rho.append(-pad[1].imag / math.pi)
        return np.array(rho)


def medians(cases, repeats):
    """Median seconds of each function, all run in turn, after a first run of each."""
    times = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, function in cases.items():
            start = time.perf_counter()
            function()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title, seconds, sizes):
    """Print microseconds a point and ratios to the first row."""
    print(f"\n{title}\n{'':46} {'points':>7} {'total ms':>9} {'us/point':>10} {'ratio':>9}")
    baseline = None
    for name, value in seconds.items():
        each = value / sizes[name] * 1e6
        baseline = baseline or each
        print(
            f"  {name:44} {sizes[name]:7d} {value * 1e3:9.3f} {each:10.3f} {each / baseline:9.4f}", flush=True
        )


def centred(network, points):
    """Return a law, points of it in its variable log s, and in the solver's y."""
    law, parts = isocalc.spectrum(network, "log", law="layered"), layers(network)
    x = law.grid(points)
    return x, 2 * x - 2 * math.fsum(power * math.log(base) for base, power in parts.centre), parts


def solve(parts, y):
    """Densities of log λ by a solver that has not met the law before."""
    product = FreeProduct(parts.factors, parts.counts)
    return product.density(product.solve(y))


def pdf(network, x):
    """Densities of log s by a new law."""
    return isocalc.spectrum(network, "log", law="layered").pdf(x)


def against_plain(network, equation, points, *, shift, u):
    """Compare the solver, the law and the plain path at one network."""
    x, y, parts = centred(network, points)
    gate, depth = parts.factors[0].gate, network.depth
    product = FreeProduct(parts.factors, parts.counts)
    right = 25 + math.log1p(product.relative_variance)
    start = product.log_mean + shift + right
    arguments = y + shift, start, u(right, gate), depth, gate.d + 0j, gate.weights + 0j
    interpreted, compiled = make_plain(equation, compiled=False), make_plain(equation, compiled=True)
    few = slice(None, None, 5)
    thinned = arguments[0][few], *arguments[1:]
    cases = {
        "plain Newton path, compiled": lambda: compiled(*arguments),
        "plain Newton path, Python": lambda: interpreted(*thinned),
        "FreeProduct: solve, density": lambda: solve(parts, y),
        "law: layers, walk, solve, pdf, cdf": lambda: pdf(network, x),
    }
    sizes = dict.fromkeys(cases, points) | {"plain Newton path, Python": thinned[0].size}
    ours = solve(parts, y)
    # Near 0 a plain path loses the digits of 1 + m, at edges both are a root of rounding.
    off = [
        int((np.abs(other - ours) > 1e-6 * ours).sum())
        for other in (compiled(*arguments), pdf(network, x) / 2)
    ]
    return cases, sizes, f"plain path, law differ by over 1e-6 at {off[0]}, {off[1]} of {points} points"


def relu_networks():
    for depth in (10, 100, 1000):
        network = isocalc.FeedForward("relu", depth=depth, sigma_w=math.sqrt(2))
        shift, u = depth * math.log(2), lambda right, _: 2 * cmath.exp(-right - 0.5j * math.pi)
        cases, sizes, check = against_plain(network, relu, 1000, shift=shift, u=u)
        seconds = medians(cases, 15)
        if depth == 10:
            check += add_peer(network, seconds, sizes)
        table(f"ReLU, Gaussian, sigma_w^2 = 2, L = {depth}; {check}", seconds, sizes)


def add_peer(network, seconds, sizes):
    """Time the peer's method, and say at how many points its density is wrong."""
    law = isocalc.spectrum(network, "lambda")
    x = np.linspace(1.0, 0.98 * law.support()[-1][1], PEER_POINTS)
    name = f"peer's method, {SMOOTHING:g} above the axis"
    seconds |= medians({name: lambda: Peer(network.depth).density(x)}, 1)
    sizes[name] = x.size
    right = np.abs(Peer(network.depth).density(x) / law.pdf(x) - 1) < 0.01
    return f"\n  peer off by over 1 % at {x.size - right.sum()} of {x.size} points"


def tanh_network(depth):
    return isocalc.FeedForward("tanh", depth=depth, weights="orthogonal", sigma_w=1.1, sigma_b=0.1)


def tanh_networks():
    for depth in (10, 1000, 10**6):
        u = lambda right, gate: -right - 0.5j * math.pi - math.log(gate.mean)  # noqa: E731
        cases, sizes, check = against_plain(tanh_network(depth), smooth, 200, shift=0.0, u=u)
        table(f"tanh, orthogonal, 1.1, 0.1, L = {depth}; {check}", medians(cases, 7), sizes)


def by_points():
    relu_network = isocalc.FeedForward("relu", depth=100, sigma_w=math.sqrt(2))
    for name, network in (("ReLU, Gaussian", relu_network), ("tanh, orthogonal", tanh_network(100))):
        seconds, sizes = {}, {}
        for points in (200, 1000, 10_000, 100_000):
            x, y, parts = centred(network, points)
            cases = {
                f"solve, density {points}": lambda parts=parts, y=y: solve(parts, y),
                f"law {points}": lambda network=network, x=x: pdf(network, x),
            }
            seconds |= medians(cases, 7 if points < 10_000 else 1)
            sizes |= dict.fromkeys(cases, points)
        table(
            f"Cost by points: {name}, L = 100",
            dict(sorted(seconds.items(), key=lambda pair: pair[0][0] == "l")),
            sizes,
        )


def different_layers():
    cases, sizes = {}, {}
    for depth in (10, 1000, 10**6):
        network = isocalc.ResNet("tanh", depth=depth)
        x, y, parts = centred(network, 200)
        name = f"L = {depth}, {len(parts.factors)} factors: "
        cases[name + "solve, density"] = lambda parts=parts, y=y: solve(parts, y)
        cases[name + "law"] = lambda network=network, x=x: pdf(network, x)
        cases[name + "propagate"] = lambda network=network: propagate(network)
        cases[name + "propagate, layers"] = lambda network=network: layers(network)
    seconds = medians(cases, 5)
    sizes = dict.fromkeys(cases, 200)
    table(
        'Cost by depth, L different layers: ResNet("tanh")',
        {k: v for k, v in seconds.items() if "solve" in k},
        sizes,
    )
    table(
        "The same: whole law, propagation, building of layers",
        {k: v for k, v in seconds.items() if "solve" not in k},
        sizes,
    )


def distinct_factors():
    cases = {}
    for depth in (1, 2, 4, 8, 16, 32, 64):
        network = isocalc.FeedForward("tanh", depth=depth, weights="orthogonal", input_variance=100.0)
        _, y, parts = centred(network, 200)
        factors = [Layer(gate_rule(network.act, q), orthogonal=True) for q in propagate(network).q.tolist()]
        cases[f"{depth} layers, a factor each"] = lambda factors=factors, y=y: solve_factors(factors, y)
        if len(parts.factors) < depth:
            cases[f"{depth} layers as {len(parts.factors)} factors"] = lambda parts=parts, y=y: solve(
                parts, y
            )
    table(
        "Cost by distinct factors: tanh, orthogonal, --input-variance 100",
        medians(cases, 5),
        dict.fromkeys(cases, 200),
    )


def solve_factors(factors, y):
    product = FreeProduct(factors, [1.0] * len(factors))
    return product.density(product.solve(y))


def shell():
    network = [
        "isocalc",
        "density",
        "--arch",
        "feedforward",
        "--weights",
        "orthogonal",
        "--act",
        "tanh",
        "--depth",
        "100",
    ]
    commands = {
        "import numpy, click": [sys.executable, "-c", "import numpy, click"],
        "density, sigma_w 1, sigma_b 0": network,
        "density, sigma_w 1.1, sigma_b 0.1": [*network, "--sigma-w", "1.1", "--sigma-b", "0.1"],
    }
    cases = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in commands.items()
    }
    table("From the shell, L = 100", medians(cases, SHELL_PAIRS), dict.fromkeys(cases, 200))


PARTS = {
    "relu": relu_networks,
    "tanh": tanh_networks,
    "points": by_points,
    "layers": different_layers,
    "factors": distinct_factors,
    "shell": shell,
}


def main():
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
