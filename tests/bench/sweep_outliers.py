"""Random networks: the outliers predicted against those of real forward passes.

    python tests/bench/sweep_outliers.py [--networks 300] [--width 400] [--trials 4] [--seed 0] [--first 0]

Activation × block, or feed-forward × weights × depth 1 to 30 × σ_w 0.3 to 2.5 × σ_b × skip × input variance.
A singular value counts as outside where it is beyond the law's edge by more than eigenvalues at width N are:
four times the scale of Tracy and Widom's law, and 3/N. Predictions and values are paired from the top, by the
means of log λ over trials. Missed: a value outside in all trials that none is predicted for, or that is
further from its prediction than five of its standard errors and 0.3 √(8/N). False: a prediction that far
outside with no value there. Prints each that is one, and the counts.
"""

import argparse
import collections
import math
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import isocalc
from isocalc.laws.outliers import outliers
from isocalc.simulation.simulate import spectra

sys.path.insert(0, str(Path(__file__).parent))
from sweep_laws import ACTIVATIONS


def random_network(rng):
    """Return a kind of network and its arguments."""
    settings = {
        "depth": int(10 ** rng.uniform(0, 1.5)),
        "weights": str(rng.choice(["gaussian", "orthogonal"])),
        "sigma_w": float(10 ** rng.uniform(math.log10(0.3), math.log10(2.5))),
        "sigma_b": float(rng.choice([0.0, 0.0, rng.uniform(0, 1)])),
        "input_variance": float(10 ** rng.uniform(-1, 1)),
    }
    act = str(rng.choice(ACTIVATIONS))
    if rng.random() < 0.3:
        return isocalc.FeedForward, act, settings
    settings["block"] = str(rng.choice(["post", "post", "pre", "preln"]))
    settings["skip"] = float(rng.choice([1.0, 1.0, 1.0, 0.9]))
    return isocalc.ResNet, act, settings


def judged(network, width, trials, seed):
    """Return what is wrong in words, or None; and how many outliers are predicted and seen."""
    law = isocalc.spectrum(network, variable="log")
    found = outliers(network, law=law)
    if found.missing:
        return "not derived: " + found.missing[:60], 0, 0
    log_lambda = 2 * spectra(network, width, trials, seed)[:, ::-1]
    low, high = 2 * law.log_edge_lower, 2 * law.log_edge_upper
    scale = float(np.diff(law.ppf([0.16, 0.84]))[0])
    room = 4 * 1.3 * scale * width ** (-2 / 3) + 3 / width
    problems = []
    seen_all = 0
    for side, edge, expected in ((1, high, found.above), (-1, low, found.below)):
        if not math.isfinite(edge):
            continue
        # Ascending from below those that are not 0.
        values = log_lambda if side > 0 else np.sort(np.where(np.isinf(log_lambda), np.inf, log_lambda))
        seen = (side * (values - edge) > room).sum(axis=1)
        seen_all += int(seen.min())
        far = [place for place in expected if side * (place - edge) > room]
        for k in range(max(len(far), int(seen.min()))):
            mean = float(values[:, k].mean())
            error = float(values[:, k].std(ddof=1)) / math.sqrt(trials)
            if k >= len(far):
                problems.append(f"missed {mean:.4g}({error:.2g}), edge {edge:.4g}")
            elif abs(mean - far[k]) > 5 * error + 0.3 * math.sqrt(8 / width) * min(1.0, scale):
                problems.append(f"predicted {far[k]:.4g}, seen {mean:.4g}({error:.2g}), edge {edge:.4g}")
    return "; ".join(problems) or None, len(found.above) + len(found.below), seen_all


def job(k, seed, width, trials):
    kind, act, settings = random_network(np.random.default_rng(seed))
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network = kind(act, **settings)
            outcome = judged(network, width, trials, k)
        except isocalc.NoAnswerError as refusal:
            outcome = "refused: " + str(refusal)[:80], 0, 0
    return k, kind.__name__, act, settings, outcome, time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("networks", 300),
        ("width", 400),
        ("trials", 4),
        ("seed", 0),
        ("first", 0),
        ("workers", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    seeds = np.random.SeedSequence(options.seed).spawn(options.first + options.networks)
    counts, chosen = collections.Counter(), range(options.first, options.first + options.networks)
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [pool.submit(job, k, seeds[k], options.width, options.trials) for k in chosen]
        for one in jobs:
            k, kind, act, settings, (problem, predicted, seen), seconds = one.result()
            word = "right" if problem is None else problem.split(":")[0] if ":" in problem else "wrong"
            counts[word] += 1
            counts["predicted"] += predicted
            counts["seen"] += seen
            if problem:
                print(k, kind, act, settings, problem, f"{seconds:.1f} s", flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main()
