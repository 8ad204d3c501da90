"""Calibrate the judgement of simulations: displacements at finite width, false alarms, power.

Run by hand, about 3 minutes of CPU: ``python tests/bench/calibrate_mc.py [WIDTH ...]``. For every network
and width: the difference between simulation and theory over all trials as a share of the allowance (the
largest three, with standard errors), how many groups of 8 trials reject the right law, and how many reject
the law whose c is 5 % off.
"""

import sys
import time
from dataclasses import replace

from isocalc.findings import findings
from isocalc.finite_depth import depth_law
from isocalc.judge import compare, set_aside
from isocalc.network import ResNet
from isocalc.simulate import spectra

TRIALS = 8
GROUPS = {50: 16, 100: 16, 200: 8, 500: 2}
CASES = [
    (ResNet(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, weights=weights), gates)
    for name, depth, sigma_w, sigma_b, weights, gates in (
        ("linear", 8, 1.0, 0.0, "gaussian", "own"),
        ("linear", 20, 0.2, 0.0, "gaussian", "own"),
        ("linear", 20, 1.0, 0.0, "orthogonal", "own"),
        ("linear", 60, 3.0, 0.0, "gaussian", "own"),
        ("relu", 10, 1.0, 0.0, "gaussian", "own"),
        ("relu", 60, 2.0, 0.0, "gaussian", "own"),
        ("relu", 20, 1.0, 0.5, "orthogonal", "own"),
        ("relu", 20, 2.0, 0.0, "gaussian", "independent"),
        ("tanh", 10, 0.7, 0.0, "gaussian", "own"),
        ("tanh", 20, 2.0, 0.5, "gaussian", "own"),
        ("tanh", 20, 2.0, 0.0, "orthogonal", "own"),
        ("gelu", 20, 1.5, 0.0, "gaussian", "own"),
        ("silu", 20, 1.0, 0.0, "orthogonal", "own"),
        ("elu", 20, 1.0, 0.0, "gaussian", "own"),
        ("selu", 20, 1.5, 0.1, "gaussian", "own"),
        ("softplus", 20, 1.0, 0.0, "gaussian", "own"),
        ("sigmoid", 20, 2.0, 0.0, "gaussian", "own"),
        ("gaussian", 20, 1.0, 0.0, "gaussian", "own"),
        ("tanhshrink", 20, 2.0, 0.0, "gaussian", "own"),
        ("hardshrink", 30, 2.0, 0.0, "gaussian", "own"),
        ("squared_relu", 20, 0.7, 0.0, "gaussian", "own"),
        ("sin", 20, 2.5, 0.0, "gaussian", "own"),
        ("snake", 20, 1.5, 0.0, "gaussian", "own"),
        ("threshold:1:-5", 30, 2.0, 0.0, "gaussian", "own"),
    )
]


def rejects(log_s, law, gates):
    found = compare(set_aside(log_s, law)[0] if gates == "own" else log_s, law)
    return [statistic.name for statistic in found if statistic.verdict == "disagrees"]


def calibrate(width):
    shares, alarms, detections = {}, [], 0
    for seed, (network, gates) in enumerate(CASES):
        law = depth_law(network)
        log_s = spectra(network, width, TRIALS * GROUPS[width], 10_000 * width + seed, gates=gates)
        label = f"{network.act.name} {network.weights} L={network.depth} sigma_w={network.sigma_w} {gates}"
        for finding in findings(set_aside(log_s, law)[0] if gates == "own" else log_s, law):
            if finding.theory is not None and finding.allowance is not None:
                share = (finding.simulation - finding.theory) / finding.allowance
                entry = (abs(share), share, finding.standard_error / finding.allowance, label)
                shares[finding.name] = sorted([*shares.get(finding.name, []), entry], reverse=True)
        for group in log_s.reshape(GROUPS[width], TRIALS, width):
            alarms += [(label, names)] if (names := rejects(group, law, gates)) else []
            detections += sum(bool(rejects(group, replace(law, c=c * law.c), gates)) for c in (0.95, 1.05))
    groups = GROUPS[width] * len(CASES)
    print(
        f"N = {width}: {len(alarms)} false alarms in {groups} groups, "
        f"c off by 5 % found in {detections} of {2 * groups}"
    )
    for label, names in alarms:
        print(f"  alarm: {label}: {', '.join(names)}")
    for name, entries in shares.items():
        print(f"  {name}: " + "; ".join(f"{e[1]:+.2f} ± {e[2]:.2f} ({e[3]})" for e in entries[:3]))


if __name__ == "__main__":
    for width in [int(word) for word in sys.argv[1:]] or GROUPS:
        start = time.process_time()
        calibrate(width)
        print(f"  {time.process_time() - start:.0f} s of CPU", flush=True)
