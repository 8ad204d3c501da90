"""The README's picture of a pre-activation network: ``python tests/bench/picture_of_laws.py FILE.png``.

Needs matplotlib. The universal law, the exact one and 8 networks of width 500.
"""

import sys

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

import isocalc

NETWORK = isocalc.ResNet("tanh", depth=40, block="pre", sigma_w=2.0, input_variance=4.0)


def main(path: str) -> None:
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "isocalc"})
    figure, axes = plt.subplots(figsize=(6.2, 2.9), layout="constrained")
    simulated = isocalc.spectra(NETWORK, 500, 8, 1).ravel()
    axes.hist(simulated, 80, density=True, color="0.82", label="8 simulated networks, N = 500")
    for name, style, color in (("universal", "--", "#D55E00"), ("exact", "-", "#0072B2")):
        law = isocalc.spectrum(NETWORK, "log", law=name)
        x = law.grid(800)
        axes.plot(x, law.pdf(x), style, color=color, linewidth=1.6, label=f"{name} law")
    axes.set(xlabel="log singular value of the input-output Jacobian", ylabel="density", xlim=(-1.9, 1.9))
    axes.set_title("Pre-activation blocks x + W tanh(x), 40 layers, σ_w = 2", fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(np.arange(-1.5, 1.6, 0.5))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1])
