"""Random networks, every law checked by what must hold: no wrong and no missing point.

    python tests/bench/sweep_laws.py [--networks 10000] [--points 50] [--seed 0] [--workers 2] [--twin 300]
                                     [--exact] [--longest 60]

Activation or expression × architecture × block × weights × depth 1 to 10⁶ × σ_w 0.05 to 10 × σ_b 0 to 3 ×
skip × input variance × chains of widths; with --exact residual ones of depth 2 to 1000 and the exact law.
Each network's law is solved at quantiles and between, in log s, and held to

- the equation: residual of ζ − Σ n log S = log z at every point, relative to the size of its terms;
- the half-planes: 0 <= Im ζ <= π, −π <= Im u <= 0, which only the right branch has;
- the distribution function: ascending, its differences the integral of the density (Gauss-Legendre);
- mass plus atoms: 1 within 1e-8;
- the first two moments: by additivity of log S against integrals of the density, where those converge.

With --twin N, so many of the networks drawn, none deep, are held to the slow twin of the tests besides: their
densities are the same within 1e-9.

Prints what failed, what the solver refused in words, the counts and the slowest networks.
"""
# ruff: noqa: SLF001 - the solver behind the law is what is held

import argparse
import collections
import functools
import math
import signal
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import isocalc
from isocalc.activations.catalogue import FAMILIES
from isocalc.laws.free.factors import Place

sys.path.insert(0, str(Path(__file__).parent.parent))
from naive import products

ACTIVATIONS = [name for name in FAMILIES if name != "threshold"] + [
    "threshold:0.1:0.5",
    "leaky_relu:0.2",
    "hardtanh:-2:2",
    "softplus:5",
    "celu:0.3",
    "x*tanh(x)",
    "relu(x) + 0.1*sin(3*x)",
    "where(x > 0, x**1.5, 0)",
    "x/(1 + x**2)",
    "abs(x)",
    "tanh(5*x)",
    "max(x - 1, 0)",
]


def random_network(rng, *, exact=False):
    """Return a network and a line that makes it again."""
    if exact:
        kind, act, settings = random_network(rng)
        while kind is not isocalc.ResNet or settings["block"] == "preln":
            kind, act, settings = random_network(rng)
        return kind, act, settings | {"depth": int(10 ** rng.uniform(math.log10(2), 3))}
    settings = {
        "depth": int(10 ** rng.uniform(0, rng.choice([1, 2, 6]))),
        "weights": str(rng.choice(["gaussian", "orthogonal"])),
        "sigma_w": float(10 ** rng.uniform(math.log10(0.05), 1)),
        "sigma_b": float(rng.choice([0.0, rng.uniform(0, 3)])),
    }
    act = str(rng.choice(ACTIVATIONS))
    if rng.random() < 0.5:
        settings["block"] = str(rng.choice(["post", "post", "pre", "preln"]))
        settings["skip"] = float(rng.choice([1.0, 1.0, -1.0, 0.9, 1.1]))
        settings["input_variance"] = float(10 ** rng.uniform(-2, 1))
        if settings["block"] == "preln":
            settings["hidden_ratio"] = float(rng.choice([1.0, 4.0, rng.uniform(0.2, 8)]))
            settings["sigma_w2"] = float(10 ** rng.uniform(math.log10(0.05), 1))
        return isocalc.ResNet, act, settings
    if rng.random() < 0.3:
        settings["input_variance"] = float(10 ** rng.uniform(-2, 1))
    if rng.random() < 0.3:
        widths = [int(10 ** rng.uniform(1, 3.5)) for _ in range(rng.integers(2, 7))]
        settings |= {"depth": len(widths) - 1, "layer_widths": widths}
    return isocalc.FeedForward, act, settings


def check(kind, act, settings, points, name="layered"):
    """Return the largest errors of one law by name."""
    law = isocalc.spectrum(kind(act, **settings), law=name, variable="log")
    atoms = sum(mass for _, mass in law.atoms)
    if not law.support():
        return {"mass": abs(atoms - 1)}
    u = np.linspace(0.0, 1.0, points + 2)[1:-1]
    u = u[(u <= law._centred.mass_at_zero) | (u >= law._centred.mass_at_zero + law._centred.missed)]
    x = law.ppf(u)
    inside = np.isfinite(x)
    for place, _ in law.atoms[math.isinf(law.atoms[0][0]) :] if law.atoms else ():
        inside[inside] &= np.abs(x[inside] - place) > 1e-9 * max(1.0, abs(place))
    x, u = x[inside], u[inside]
    cdf, pdf = law.cdf(x), law.pdf(x)
    found = {
        "finite": 0.0 if np.isfinite(pdf).all() and np.isfinite(cdf).all() else math.inf,
        "missing": float((pdf <= 0).sum()),
        "quantile": quantile_error(law, x, u),
        "edges": edge_error(law),
        **integral_errors(law, atoms),
    }
    return found | (equation_errors(law, x) if x.size else {})


def quantile_error(law, x, u):
    """Return by how much the mass at or below quantiles misses, those moved by rounding included."""
    close = 1e-13 * np.maximum(1.0, np.abs(x))
    missed = np.maximum(u - law.cdf(x + close), law.cdf(x - close) - u)
    return float(np.maximum(missed, 0).max(initial=0.0))


def edge_error(law):
    """Return the mass of the density beyond the ends of the support."""
    low, high = law.support()[0][0], law.support()[-1][1]
    above = sum(mass for place, mass in law.atoms if place > high)
    below = sum(mass for place, mass in law.atoms if place < low)
    found = [0.0]
    if math.isfinite(high):
        found.append(abs(1 - above - float(law.cdf(high + 1e-9 * max(1.0, abs(high))))))
    if math.isfinite(low):
        found.append(abs(float(law.cdf(low - 1e-9 * max(1.0, abs(low)))) - below))
    return max(found)


def integral_errors(law, atoms):
    """Return how far integrals of the density are from 1 and from what additivity says of λ and log λ."""
    centred, source = law._centred, law._centred._source
    if centred.missed > 1e-6:  # a law solved in part, which says so; its moments are refused
        return {"mass": abs(float(centred.masses[1].sum()) + atoms + centred.missed - 1)}
    y, masses = centred._resolved
    found = {"mass": abs(float(masses.sum()) + atoms + centred.missed - 1), "missed": centred.missed}
    places = [(place, mass) for place, mass in centred.atoms if place > -math.inf]
    for power, log_moment in (
        (1, source.log_mean),
        (2, 2 * source.log_mean + math.log1p(source.relative_variance)),
    ):
        if source.relative_variance > RESOLVED[power] or math.isinf(law.log_edge_upper):
            continue
        total = float((masses * np.exp(power * y - log_moment)).sum())
        total += sum(mass * math.exp(power * place - log_moment) for place, mass in places)
        found[f"moment_{power}"] = abs(total - 1)
    if source.mean is not None and math.isfinite(source.mean):
        mean = float((masses * y).sum()) + sum(mass * place for place, mass in places)
        spread = math.sqrt(float(masses @ (y - mean) ** 2))
        found["mean_log"] = abs(mean - source.mean) / max(1.0, spread, abs(mean))
    return found


def equation_errors(law, x):
    """Return the residual of the equation and the excursions from the half-planes at log s = x."""
    source = law._centred._source
    if not hasattr(source, "product"):
        return {}
    product = source.product
    y = law._scale.centred(x)
    state = product.solve(y)
    rest, _ = Place.of(state[0], product.mass_at_zero).seen_with(0.0)
    rest, size, drift = rest - y, np.abs(rest) + np.abs(y), 0.0
    for counts, tangent in product.tangents(state):
        rest = rest - (counts * tangent.log_s).sum(axis=0)
        size += (counts * np.abs(tangent.log_s)).sum(axis=0)
        drift = max(drift, float(np.abs(tangent.drift).max()))
    heights = [state[0].imag / math.pi]
    heights = np.concatenate(heights)
    return {
        "residual": float((np.abs(rest) / np.maximum(size, 1e-3)).max()),
        "drift": drift,
        "half_plane": max(0.0, -float(heights.min()), float(heights.max()) - 1),
    }


# Deepest network, and shares of the mass that is not at 0, which are held to the twin.
TWIN_DEPTH, TWIN_SHARES = 4, np.array([0.25, 0.7])


def twin_errors(network):
    """Return how far densities are from the twin's, relatively, or that it cannot do the network."""
    law = isocalc.spectrum(network, law="layered", variable="log")
    if not law.support():
        return {}
    zeros = sum(mass for place, mass in law.atoms if place == -math.inf)
    x = law.ppf(zeros + (1 - zeros) * TWIN_SHARES)
    for place, _ in law.atoms:
        x = x[np.abs(x - place) > 1e-6 * max(1.0, abs(place))]
    if not x.size:
        return {}
    try:
        with np.errstate(all="ignore"):
            twin = 2 * np.array(products.densities(network, 2 * x))
    except (products.OutOfReachError, KeyError):  # some gates, and expressions
        return {"beyond the twin": 1.0}
    error = float(np.abs(twin / law.pdf(x) - 1).max())
    return {"twin": math.inf if math.isnan(error) else error}


# Relative variance up to which a moment of λ is not decided by values that have next to no mass.
RESOLVED = {1: 1e4, 2: 10.0}
LIMITS = {
    "finite": 0.0,
    "missing": 0.0,
    "quantile": 1e-9,
    "edges": 1e-8,
    "mass": 1e-8,
    "missed": 1e-6,
    "moment_1": 1e-8,
    "moment_2": 1e-8,
    "mean_log": 1e-8,
    "residual": 1e-11,
    "drift": 1e-7,
    "half_plane": 1e-9,
    "twin": 1e-9,
    "beyond the twin": math.inf,
}


# Refusals that say that there is no law.
HOPELESS = ("no fixed point", "overflow")


def limit(name, depth):
    """Return the largest error of a right law; rounding adds up over layers."""
    return max(LIMITS.get(name, 0.0), 1e-14 * depth if name == "quantile" else 0.0)


class LateError(BaseException):
    """A law takes too long."""


def late(*_):
    """Give up, on a signal."""
    raise LateError


def job(seed, with_twin, points, exact, longest):
    kind, act, settings = random_network(np.random.default_rng(seed), exact=exact)
    start = time.process_time()
    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, longest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", isocalc.LimitWarning)
        try:
            outcome = check(kind, act, settings, points, "exact" if exact else "layered")
            if with_twin:
                outcome |= twin_errors(kind(act, **settings))
        except isocalc.NoAnswerError as refusal:
            outcome = str(refusal)
        except LateError:
            outcome = {"late": math.inf}
        except Exception as error:  # noqa: BLE001 - every failure is a finding
            outcome = {"crash": math.inf, repr(error)[:200]: math.inf}
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return kind.__name__, act, settings, outcome, time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="networks of the seed left out before")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--twin", type=int, default=0, help="networks to hold to the slow twin")
    parser.add_argument("--exact", action="store_true", help="the exact law of residual networks")
    parser.add_argument("--longest", type=float, default=60.0, help="CPU seconds after which a law is late")
    options = parser.parse_args()
    seeds = np.random.SeedSequence(options.seed).spawn(options.first + options.networks)[options.first :]
    drawn = (random_network(np.random.default_rng(seed))[2]["depth"] for seed in seeds)
    shallow = [k for k, depth in enumerate(drawn) if depth <= TWIN_DEPTH] if options.twin else []
    with_twin = np.isin(np.arange(len(seeds)), shallow[: options.twin]).tolist()
    counts, refusals, worst = collections.Counter(), collections.Counter(), collections.defaultdict(float)
    times = []
    with ProcessPoolExecutor(options.workers) as pool:
        for kind, act, settings, outcome, seconds in pool.map(
            functools.partial(job, points=options.points, exact=options.exact, longest=options.longest),
            seeds,
            with_twin,
            chunksize=20,
        ):
            times.append((seconds, kind, act, settings))
            if isinstance(outcome, str):
                counts["refused"] += 1
                refusals[outcome.split(" ", 1)[-1][:60]] += 1
                if not any(words in outcome for words in HOPELESS):
                    print("refused:", kind, act, settings, outcome, flush=True)
                continue
            failed = {
                name: value for name, value in outcome.items() if not value <= limit(name, settings["depth"])
            }
            for name, value in outcome.items():
                worst[name] = max(worst[name], value)
            counts["failed" if failed else "right"] += 1
            counts.update(name for name in ("twin", "beyond the twin") if name in outcome)
            if failed:
                print(kind, act, settings, failed, flush=True)
    print(dict(counts), f"{sum(t for t, *_ in times):.0f} s")
    print("largest:", {name: f"{value:.1e}" for name, value in worst.items()})
    print("refusals:", refusals.most_common(8))
    for seconds, *network in sorted(times, key=lambda row: -row[0])[:5]:
        print(f"slow: {seconds:.2f} s", *network)


if __name__ == "__main__":
    main()
