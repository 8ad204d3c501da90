"""Fixed points of many feed-forward networks at once, as a phase diagram needs them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.correlation_maps import stable_correlations
from isocalc.errors import IsocalcError
from isocalc.feedforward import FixedPoint, depth_scale, fixed_points, phase_of
from isocalc.gaussian import averages, normal_rule, second_moment_and_slope
from isocalc.network import FeedForward
from isocalc.variance_map import CRITICAL
from isocalc.variance_roots import VarianceMaps, variance_roots

Array = npt.NDArray[np.float64]

