"""Singular values of the Jacobian of the user's own PyTorch module, and the law of the network that it is."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import InvalidInputError, NextStep
from isocalc.judging.allowances import SINGLE_NOISE
from isocalc.judging.judge import Judgement, Statistic, judged, judged_by
from isocalc.judging.outliers import Outlier, outlier_findings
from isocalc.judging.statistics import Finding, edges, plain_finding, plain_findings
from isocalc.judging.width_law import WidthLaw
from isocalc.laws.law import Law
from isocalc.laws.spectrum import spectrum
from isocalc.networks.descriptions import ResNet
from isocalc.pytorch.jacobian import dense_log_s, is_small, largest_log_s, rounding
from isocalc.pytorch.layers import StepsPass
from isocalc.pytorch.module import (
    Call,
    Norms,
    Target,
    array,
    calibrated,
    calibration_inputs,
    drawn_input,
    norms_of,
    weights_of,
)
from isocalc.pytorch.recognition import Recognised, Recognition
from isocalc.pytorch.tolerances import FAINT, NARROW, VALUES_FOUND
from isocalc.pytorch.weight_scales import NoLawError
from isocalc.simulation.jacobian import log_spectrum

Array = npt.NDArray[np.float64]
Method = Literal["dense", "lanczos"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """The singular values of a module's Jacobian.

    Attributes
    ----------
    log_s : array, shape (trials, N_0) or (trials, K)
        Natural logarithms of the singular values of each trial, ascending; −inf for s = 0 and for what is
        lost to rounding.
    method : {"dense", "lanczos"}
        All singular values, or the K largest.
    inputs, outputs : int
        Sides of the Jacobian.
    dtype, device : str
        Of the module.
    lost : int
        Values that are 0 or rounding errors, which is not known, counted as 0.
    by_layers : int
        Trials whose values were computed from the layers that were recognised, so that none is lost and
        zeros are exact.
    faint : int
        Those of them with a value other than 0 below the rounding of ``dtype``.
    networks : bool
        Whether each trial has weights of its own; otherwise one network has several inputs.
    recognised : Recognised or None
        The network whose law it has.
    reason : str
        Why it has none.
    dropout : bool
        Whether it has dropout, which evaluation mode leaves out.
    norms : {"none", "initial", "own", "calibrated"}
        Running statistics of its batch normalisation: mean 0 and variance 1, with which it does nothing, what
        the module came with, or those of a batch that was run in training mode first.
    next_steps : tuple of str
        What may be done where it has no law, of `errors.NextStep`.
    """

    log_s: Array
    method: Method
    inputs: int
    outputs: int
    dtype: str
    device: str
    lost: int
    by_layers: int
    faint: int
    networks: bool
    recognised: Recognised | None
    reason: str
    dropout: bool
    norms: Norms
    next_steps: tuple[NextStep, ...] = ()

    def law(self) -> Law:
        """Return the law of the network that was recognised.

        Raises
        ------
        InvalidInputError
            None was; the message has the reason.
        NoAnswerError
            Its equations are not solved.
        """
        network = self._known.network
        return spectrum(network) if isinstance(network, ResNet) else network.law

    @property
    def _known(self) -> Recognised:
        if self.recognised is None:
            raise InvalidInputError("measurement", "of a module that was recognised", self.reason)
        return self.recognised

    def judged_by(self, law: Law | None) -> Judgement:
        """Hold the singular values against a law; ``None``: only compute their statistics.

        The trials of one network do not show how networks differ, and are compared, not judged; neither are
        those of layers of one or two neurons. What a law cannot be asked is computed without it.

        Raises
        ------
        NoAnswerError
            The equations of the law are not solved where it is asked.
        """
        found = plain_findings(self.log_s) if self.method == "dense" else self._plain_edge
        plain = {finding.name: Statistic(**vars(finding)) for finding in found}
        if law is None or (self.method == "lanczos" and not np.isfinite(self.log_s[:, -1]).all()):
            return Judgement(tuple(plain.values()))
        seen = self._seen(law)
        judgement = judged_by(self.log_s, seen) if self.method == "dense" else self._judged_at_the_top(seen)
        statistics = tuple(_completed(one, plain.get(one.name)) for one in judgement.statistics)
        if why := self._not_judged:
            statistics = tuple(replace(s, verdict="not judged", obstacle=why) for s in statistics)
        return Judgement(statistics, judgement.outliers)

    def _judged_at_the_top(self, law: WidthLaw) -> Judgement:
        """Judge the largest singular values alone: the outliers that are predicted, then the edge."""
        values = self.log_s[:, ::-1].T[: len(law.above)]
        outliers = tuple(
            Outlier(f"outlier_{place}", tuple(found.tolist())) for place, found in enumerate(values, start=1)
        )
        rest = self.log_s[:, : self.log_s.shape[1] - len(outliers)]
        found = list(edges(list(rest), law))[1:] if rest.size else []
        return Judgement(judged([*found, *outlier_findings(self.log_s, outliers, law)], len(rest)), outliers)

    @property
    def _not_judged(self) -> str:
        """Why no statistic is judged; empty where they are."""
        if not self.networks:
            return "one network; its inputs do not show how networks differ"
        network = self._known.network
        narrowest = self.inputs if isinstance(network, ResNet) else min(network.widths)
        if narrowest <= NARROW:
            return f"a layer has {narrowest} neuron{'s' * (narrowest > 1)}, too few for a law of large widths"
        return ""

    @property
    def _plain_edge(self) -> tuple[Finding, ...]:
        return (plain_finding("log_s_max", self.log_s[:, -1]),)

    def _seen(self, law: Law) -> WidthLaw:
        network = self._known.network
        if isinstance(network, ResNet):
            return replace(WidthLaw.of(network, self.inputs, law=law), noise=self._noise(network.depth))
        mean = law.using("lambda").mean()
        log_mean = float(np.log(mean)) if 0 < mean < np.inf else None
        return WidthLaw(law, self.inputs, network.rank, log_mean, strays=1, noise=self._noise(network.depth))

    def _noise(self, depth: int) -> float:
        """Return what rounding does to small singular values, over the largest."""
        if self.by_layers or self.dtype == "float64":
            return 0.0
        import torch  # noqa: PLC0415 - PyTorch takes seconds to load

        eps = torch.finfo(getattr(torch, self.dtype)).eps
        return float(SINGLE_NOISE * eps / torch.finfo(torch.float32).eps * np.sqrt(depth))


def _completed(statistic: Statistic, plain: Statistic | None) -> Statistic:
    """Return a statistic with the numbers that were left out because the law had none beside them."""
    if statistic.simulation is not None or plain is None:
        return statistic
    return replace(statistic, simulation=plain.simulation, standard_error=plain.standard_error)


@contextmanager
def _beside_the_results() -> Iterator[None]:
    """Send what the user's code prints to standard error, and leave out PyTorch's advice to its author."""
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.")
        yield


@_beside_the_results()
def measure(
    target: Target,
    shape: tuple[int, ...],
    *,
    trials: int = 8,
    seed: int = 0,
    input_variance: float = 1.0,
    inputs: Array | None = None,
    largest: int | None = None,
    calibrate: bool = False,
    progress: Callable[[float, int], None] | None = None,
) -> Measurement:
    """Return the singular values of a module's Jacobian, and the law of the network that it is.

    Parameters
    ----------
    target : Target
        Built anew for every trial, with a seed of its own; an instance has one network and several inputs.
    shape : tuple of int
        Of one input, to which a batch of one is added.
    trials : int
        Number of modules, or of inputs of an instance, at least 1.
    seed : int
        Weights and inputs of trial k depend on it and on k.
    input_variance : float
        Mean square of the entries of Gaussian inputs, exactly.
    inputs : array, shape (n, *shape), optional
        Instead; trial k takes input k modulo n.
    largest : int, optional
        So many of the largest singular values, by Lanczos; by default all of them where the smaller side of
        the Jacobian is at most 4096, and 16 otherwise.
    calibrate : bool
        Whether batch normalisation gets the statistics of 256 other inputs first (the first of ``inputs``),
        in training mode. At initialisation it has mean 0 and variance 1, and does nothing in evaluation mode.
    progress : callable, optional
        Called after each trial with the share of the work that is done, in [0, 1], and the trials finished.

    Returns
    -------
    Measurement

    Raises
    ------
    InvalidInputError
        The target, the shape or another argument is not what it must be.
    NoAnswerError
        The output or the Jacobian is not finite, the module is no function of its input or has no
        derivatives, the Jacobian does not fit in memory, or its singular values are not found.
    """
    recognition, found = Recognition(), []
    drawn: set[tuple[float, ...]] = set()
    for trial in range(trials):
        module = target.build(seed, trial)
        if calibrate:
            module = calibrated(module, calibration_inputs(seed, trial, shape, input_variance, inputs))
        x = drawn_input(seed, trial, shape, input_variance) if inputs is None else inputs[trial % len(inputs)]
        call = Call(module, x)
        drawn.add(weights_of(module))
        found.append(_spectrum_of(call, largest, recognition))
        if progress is not None:
            progress((trial + 1) / trials, trial + 1)
    recognised, reason, next_steps = _found(recognition)
    return Measurement(
        np.stack([spectrum.log_s for spectrum in found]),
        found[-1].method,
        call.batch.numel(),
        call.output.numel(),
        str(call.batch.dtype).removeprefix("torch."),
        str(call.batch.device),
        sum(spectrum.lost for spectrum in found),
        sum(spectrum.by_layers for spectrum in found),
        sum(spectrum.faint for spectrum in found),
        not target.is_instance and len(drawn) == trials,
        recognised,
        reason,
        any("Dropout" in type(part).__name__ for part in call.module.modules()),
        "calibrated" if calibrate else norms_of(call.module),
        next_steps,
    )


class _Spectrum(NamedTuple):
    """Singular values of one module; attributes as those of a Measurement."""

    log_s: Array
    method: Method
    lost: int = 0
    by_layers: bool = False
    faint: bool = False


def _spectrum_of(call: Call, largest: int | None, recognition: Recognition) -> _Spectrum:
    """Return the singular values of a module, from its layers where it is recognised and they are better."""
    dense = largest is None and is_small(call)
    log_s = dense_log_s(call) if dense else largest_log_s(call, largest or VALUES_FOUND)
    recognition.look_at(call)
    exact = _from_layers(log_s, call, recognition) if dense else None
    if exact is not None:
        faint = (exact > -np.inf) & (exact < exact[-1] + np.log(rounding(call)))
        return _Spectrum(exact, "dense", by_layers=True, faint=bool(faint.any()))
    most = min(call.batch.numel(), call.output.numel(), log_s.size)
    lost = most - int(np.count_nonzero(log_s > -np.inf))
    return _Spectrum(log_s, "dense" if dense else "lanczos", lost)


def _from_layers(log_s: Array, call: Call, recognition: Recognition) -> Array | None:
    """Return the singular values from the layers where rounding spoils small ones; ``None`` elsewhere."""
    most = min(call.batch.numel(), call.output.numel())
    found = log_s[log_s > -np.inf]
    doubtful = found.size < most or found[0] < found[-1] + np.log(FAINT * rounding(call))
    if not doubtful or not recognition.steps:
        return None
    again = np.full(log_s.size, -np.inf)
    exact = log_spectrum(StepsPass(recognition.steps), array(call.batch).reshape(-1))
    again[log_s.size - exact.size :] = exact
    return again


def _found(recognition: Recognition) -> tuple[Recognised | None, str, tuple[NextStep, ...]]:
    try:
        return recognition.found(), "", ()
    except NoLawError as error:
        return None, str(error), error.next_steps
