"""Compiled code on floats and arrays. What calls each other is together: Numba's cache watches one file."""
# ruff: noqa: FBT001 - kernels take no keywords

import cmath
from math import (
    atan2,
    cos,
    exp,
    expm1,
    floor,
    inf,
    isfinite,
    log1p,
    pi,
    sin,
    sqrt,
)

import numpy as np
import numpy.typing as npt

from isocalc.laws.free.factors import FreeProductArrays, GateArrays
from isocalc.numerics.jit import kernel, summing

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Whole = npt.NDArray[np.int64]

# What follows is also in `equations`, `product`, `factors` and `tolerances`: a test holds them together.
ORTHOGONAL, NARROWING, RESIDUAL_TWO_GAUSSIAN = 1, 2, 3
RESIDUAL_ORTHOGONAL, UNIVERSAL, SMOOTH, ROTATION = 5, 6, 7, 9
REACH_NEAR, REACH_FAR = 18.5, 37.0
FAR, SHIFT = 340.0, 300.0
CONTRACTION = 0.1
LONGEST_STEP, LONGEST_ALONG, LONGEST_POLISH = 64.0, 1.0, 1e-2
# Steps along the real axis at least as long a part of the whole; other steps; what may be left beside a pole.
ALONG, SHORTEST, SINGULAR, SINGULAR_NOISES = 0.1, 1e-15, 1e-12, 1e3
SHORTEST_OF_A_WALK, TOO_FAR = 1e-9, 0.3
AGREE = 1e-13
ROUNDING, MOST_ROUNDING = 2e-15, 1e-3
LIVE = 1e-7
# Im ζ this far outside of [0, π] is rounding.
BELOW = 1e-9
MOST_MOVES = 5000
# Newton's steps after the first two, which end when so short.
MOST_STEPS, CLOSE = 4, 1e-6
# Near an edge Newton ends at the square root of rounding.
MOST_POLISHING, POLISHED, SHRUNK = 40, 1e-5, 0.75
CONVERGED, NOTHING_LEFT = 1e-8, 1e-18
BARELY = 1e-300
# ζ this small is that of an infinite m.
INFINITE = 1e-6
NEAR = 1e-6
# Masses at 0 that differ by rounding are one.
SAME = 4e-16
HUGE = 1e3
SCALE = exp(SHIFT)
HALF_PI = 0.5 * pi


@kernel
def round_half(x: float) -> float:
    """Return the nearest whole number."""
    return floor(x + 0.5)


@kernel
def log1p_complex(x: complex) -> complex:
    """log(1 + x), accurate for small x."""
    return complex(0.5 * log1p(x.real * (2 + x.real) + x.imag * x.imag), atan2(x.imag, 1 + x.real))


@kernel
def expm1_complex(x: complex) -> complex:
    """e^x − 1, accurate for small x."""
    sine = sin(x.imag / 2)
    return complex(expm1(x.real) * cos(x.imag) - 2 * sine * sine, exp(x.real) * sin(x.imag))


@kernel
def inverse(x: complex) -> complex:
    """1/x, where Numba's division raises at 0 and so takes time elsewhere."""
    scale = max(abs(x.real), abs(x.imag))
    real, imag = x.real / scale, x.imag / scale
    size = scale * (real * real + imag * imag)
    return complex(real / size, -imag / size)


@kernel
def lower_log(x: complex) -> complex:
    """Do what ``special.lower_log`` does."""
    log = cmath.log(x)
    return log - 2j * pi if log.imag > pi / 2 else log


@kernel
def log_ratio(m: complex, above: complex, share: float) -> complex:
    """Do what ``special.log_ratio`` does."""
    if m.real * m.real + m.imag * m.imag > 4 * share * share:
        return log1p_complex(share * inverse(m))
    return lower_log(above) - lower_log(m)


@kernel
def place_of(zeta: complex, at_zero: float) -> tuple[complex, complex]:
    """M and 1 + m − w: do what ``transforms.Place.of`` does."""
    positive = 1 - at_zero
    return positive * inverse(expm1_complex(zeta)), -positive * inverse(expm1_complex(-zeta))


@kernel
def seen_with(zeta: complex, m: complex, rest: complex, w: float, at_zero: float) -> tuple[complex, complex]:
    """Do what ``transforms.Place.seen_with`` does."""
    gap = w - at_zero
    if gap <= SAME:
        return zeta, 1 + 0j
    above = rest + gap
    return log_ratio(m, above, 1 - at_zero), rest * ((1 - at_zero) / (1 - w)) * inverse(above)


@kernel
def log1p_like(x: complex, log: complex) -> complex:
    """Do what ``complex_logs.log1p_like`` does."""
    if (1 + x.real) ** 2 + x.imag**2 < 0.25:
        return log
    own = log1p_complex(x)
    return own + 2j * pi * round_half((log.imag - own.imag) / (2 * pi))


@summing
def gate_sums(  # noqa: PLR0917 - kernels take no keywords
    d_real: Array,
    d_imag: Array,
    weights_real: Array,
    weights_imag: Array,
    scale: float,
    t: complex,
) -> tuple[float, float, float, float, float, float]:
    """Real and imaginary parts of E 1/(1 − dt), E dt/(1 − dt), E dt/(1 − dt)²; t is times ``scale``."""
    t_real, t_imag = t.real, t.imag
    a_real, a_imag, b_real, b_imag, c_real, c_imag = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(d_real.size):
        scaled_real, scaled_imag = scale * d_real[i], scale * d_imag[i]
        real = scaled_real * t_real - scaled_imag * t_imag
        imag = scaled_real * t_imag + scaled_imag * t_real
        norm = 1 / ((1 - real) * (1 - real) + imag * imag)
        inverse_real, inverse_imag = (1 - real) * norm, imag * norm
        term_real = weights_real[i] * inverse_real - weights_imag[i] * inverse_imag
        term_imag = weights_real[i] * inverse_imag + weights_imag[i] * inverse_real
        a_real += term_real
        a_imag += term_imag
        next_real, next_imag = term_real * real - term_imag * imag, term_real * imag + term_imag * real
        b_real += next_real
        b_imag += next_imag
        c_real += next_real * inverse_real - next_imag * inverse_imag
        c_imag += next_real * inverse_imag + next_imag * inverse_real
    return a_real, a_imag, b_real, b_imag, c_real, c_imag


@kernel
def first_from(values: Array, start: int, stop: int, bound: float) -> int:
    """Return where in an ascending part of an array values reach ``bound``."""
    while start < stop:
        middle = (start + stop) // 2
        if values[middle] < bound:
            start = middle + 1
        else:
            stop = middle
    return start


@kernel
def between(gates: GateArrays, k: int, log_t: float) -> tuple[int, int]:
    """Do what ``SortedGate.between`` does for one t."""
    start, stop = gates.ends[k], gates.ends[k + 1]
    reach = REACH_FAR if log_t >= FAR else REACH_NEAR
    if stop == start or (gates.log_d[start] >= -log_t - reach and gates.log_d[stop - 1] < -log_t + reach):
        return start, stop
    first = first_from(gates.log_d, start, stop, -log_t - reach)
    return first, first_from(gates.log_d, first, stop, -log_t + reach)


@kernel
def lower_t(u: complex, shift: float) -> complex:
    """Return t or its conjugate, whichever is below the real axis."""
    t = cmath.exp(u - shift)
    return complex(t.real, min(-t.imag if u.imag < -pi else t.imag, -BARELY * abs(t.real)))


@kernel
def gate_averages(gates: GateArrays, k: int, u: complex) -> tuple[complex, complex, complex]:
    """Do what ``sums.open_averages`` does for one u and gate k."""
    far = u.real >= FAR
    shift = SHIFT if far else 0.0
    scale = SCALE if far else 1.0
    t = lower_t(u, shift)
    first, last = between(gates, k, u.real)
    d_real, d_imag = gates.d_real[first:last], gates.d_imag[first:last]
    weights_real, weights_imag = gates.weights_real[first:last], gates.weights_imag[first:last]
    sums = gate_sums(d_real, d_imag, weights_real, weights_imag, scale, t)
    a, b, c = complex(sums[0], sums[1]), complex(sums[2], sums[3]), complex(sums[4], sums[5])
    if first > gates.ends[k]:
        small = gates.below[1, first + k] * scale * t
        smaller = 0j if far else gates.below[2, first + k] * t * t
        a += gates.below[0, first + k] + small + smaller
        b += small + smaller
        c += small + 2 * smaller
    if last < gates.ends[k + 1]:
        per_t = inverse(t)
        large = gates.beyond[1, last + k] / scale * per_t
        larger = 0j if far else gates.beyond[2, last + k] * per_t * per_t
        a -= large + larger
        b -= gates.beyond[0, last + k] + large + larger
        c += large + 2 * larger
    if u.imag < -pi:
        return a.conjugate(), b.conjugate(), c.conjugate()
    return a, b, c


@kernel
def curve_tangent(  # noqa: PLR0917 - kernels take no keywords
    seen: tuple[complex, complex],
    own: complex,
    own_rate: complex,
    log_s: complex,
    rate: complex,
    tangent: Complex,
) -> None:
    """Do what ``factors.tangent_of_curve`` does; rates are derivatives in ζ."""
    miss = own - seen[0]
    tangent[0], tangent[1] = log_s - rate * miss, rate * seen[1]
    tangent[2], tangent[4] = -miss * own_rate, own_rate * seen[1]


@kernel
def layer_curve(
    kind: int, parameters: Array, gates: GateArrays, k: int, u: complex
) -> tuple[complex, complex, complex, complex, complex, complex]:
    """Return ζ, log S and log((1+m)/m) of a square layer, each with its slope in log t."""
    closed = parameters[2]
    passed, b, slope = gate_averages(gates, k, u)
    per_b = slope * inverse(b)
    own, own_slope = log_ratio(b, passed, 1 - closed), slope * inverse(passed) - per_b
    base, base_slope = own, own_slope
    if closed > 0:
        a = passed + closed
        base, base_slope = log_ratio(b, a, 1.0), slope * inverse(a) - per_b
    if kind == ORTHOGONAL:
        return own, own_slope, u + base, 1 + base_slope, base, base_slope
    return own, own_slope, u - lower_log(b), 1 - per_b, base, base_slope


@kernel
def layer_tangent(  # noqa: PLR0917 - kernels take no keywords
    kind: int,
    parameters: Array,
    gates: GateArrays,
    k: int,
    u: complex,
    seen: tuple[complex, complex],
    m: complex,
    rest: complex,
    w: float,
    tangent: Complex,
) -> None:
    """Do what ``layer_transform.Layer.tangent`` does."""
    own, own_slope, log_s, log_s_slope, _, _ = layer_curve(kind, parameters, gates, k, u)
    own_rate = inverse(own_slope)
    curve_tangent(seen, own, own_rate, log_s, log_s_slope * own_rate, tangent)
    if kind == NARROWING:
        per_input = parameters[0] * parameters[1]
        above = rest + (1 / per_input - (1 - w))
        tangent[0] += lower_log(per_input * above)
        tangent[1] -= m * rest * inverse((1 - w) * above)


@kernel
def log_of_t(xi: complex) -> complex:
    """Do what ``layer_factors._log_t`` does."""
    sinh = 2 * cmath.sinh(xi / 2)
    return -2 * lower_log(sinh.conjugate()).conjugate()


@kernel
def residual_tangent(  # noqa: PLR0917 - kernels take no keywords
    power: int,
    parameters: Array,
    gates: GateArrays,
    k: int,
    u: complex,
    xi: complex,
    seen: tuple[complex, complex],
    m: complex,
    one_plus_m: complex,
    tangent: Complex,
) -> float:
    """Do what ``residual_transform.ResidualLayer.tangent`` does; return the size of rounding."""
    zeta = seen[0]
    passed, own, own_slope = gate_averages(gates, k, u)
    share: float = parameters[1]
    a, b, slope = passed + parameters[2], share * own, share * own_slope
    beyond, m_a = -inverse(expm1_complex(-xi)), inverse(expm1_complex(xi))
    t, coth, product = beyond * m_a, beyond + m_a, m * one_plus_m
    miss = m_a + b - m if abs(m) < 0.5 else beyond + b - one_plus_m
    log_t = log_of_t(xi)
    tie = u - parameters[0] + power * cmath.log(a) - log_t
    tie -= 2j * pi * round_half(tie.imag / (2 * pi))
    growth = 1 + power * own_slope * inverse(a)
    common = t * growth + coth * slope
    per_common = inverse(common)
    drift = (miss * growth - tie * slope) * per_common
    exact = log_t - log_of_t(zeta)
    excess = miss * (1 + 2 * m) * inverse(product)
    near = excess - log1p_like(b * (coth + b) * inverse(t), excess - exact)
    log_s = near if abs(excess) < NEAR else exact
    to_u = product * per_common * seen[1]
    tangent[0] = log_s - coth * drift
    tangent[1] = (1 + 2 * m - coth * growth * product * per_common) * seen[1]
    tangent[2], tangent[3] = (-tie * t - miss * coth) * per_common, drift
    tangent[4], tangent[5] = -coth * to_u, growth * to_u
    return ROUNDING * abs(b) * (abs(coth) + abs(growth)) / abs(common)


@kernel
def closed_tangent(kind: int, c: float, u: complex, seen: tuple[complex, complex], tangent: Complex) -> None:
    """Do what ``transforms.ClosedForm.tangent`` does."""
    m, one_plus_m = inverse(expm1_complex(u)), -inverse(expm1_complex(-u))
    slope = -m * one_plus_m
    if kind == UNIVERSAL:
        log_s, rate = -c * (1 + 2 * m), -2 * c * slope
    elif kind == SMOOTH:
        log_s, rate = -c * m, -c * slope
    else:
        log_s, rate = -c * cmath.exp(-u), c * cmath.exp(-u)
    curve_tangent(seen, u, 1 + 0j, log_s, rate, tangent)


@kernel
def rotation_roots(variance: float, x: complex) -> tuple[complex, complex, complex]:
    """Do what ``rotation_transform.Rotation._roots`` does."""
    beyond, root_v = expm1_complex(x), sqrt(variance)
    beyond = complex(beyond.real, max(beyond.imag, 0.0))
    centred = beyond - variance
    return beyond, cmath.sqrt(centred + 2 * root_v), cmath.sqrt(centred - 2 * root_v)


@kernel
def rotation_curve(v: float, x: complex) -> tuple[complex, complex, complex]:
    """Do what ``rotation_transform.Rotation._curve`` does."""
    beyond, low, high = rotation_roots(v, x)
    z, square = 1 + beyond, low * high
    centre = 2 * (1 + v) - (1 - v) ** 2 * inverse(z)
    ratio = centre * inverse(z + square)
    own = -lower_log(ratio)
    log_s = -log1p_like(v * (2 * beyond + 4 - v) * inverse(beyond + square), x - own)
    return own, square * ratio * inverse(centre - (1 + v)), log_s


@kernel
def rotation_tangent(v: float, x: complex, seen: tuple[complex, complex], tangent: Complex) -> None:
    """Do what ``rotation_transform.Rotation.tangent`` does."""
    own, own_rate, log_s = rotation_curve(v, x)
    curve_tangent(seen, own, own_rate, log_s, 1 - own_rate, tangent)


@kernel
def newton_alone(
    product: FreeProductArrays, state: Complex, target: complex, moved: Complex
) -> tuple[float, float, float]:
    """Do what ``newton_free`` does for a factor of one unknown: ζ follows from that."""
    kind, parameters, count, u = product.kinds[0], product.parameters[0], product.counts[0], state[1]
    if kind == ROTATION:
        own, own_rate, log_s = rotation_curve(parameters[0], u)
        # log z is the unknown itself where there is one factor.
        own_slope = inverse(own_rate) if count != 1 else 0j
        y, slope = u + (1 - count) * log_s, own_slope * (1 - count) + count
    else:
        own, own_slope, log_s, log_s_slope, base, base_slope = layer_curve(
            kind, parameters, product.gates, 0, u
        )
        y, slope = base - count * log_s, base_slope - count * log_s_slope
    per_slope = inverse(slope)
    step = (target - y) * per_slope
    moved[1] = on_its_side(kind, u + step)
    moved[0] = own + own_slope * step
    size = abs(step)
    noise_of_y = ROUNDING * (abs(target) + count * (abs(log_s) + abs(u) + abs(own)))
    rounding = noise_of_y * abs(per_slope) + ROUNDING * (1 + abs(u))
    return (size if isfinite(size) else inf), rounding, noise_of_y


@kernel
def equation_free(
    product: FreeProductArrays, state: Complex, tangents: Complex
) -> tuple[complex, complex, float, float]:
    """Write log S, its rate, drift and direction of two unknowns for each factor.

    Returns log z, its derivative in ζ, the sum of the sizes that log z is made of, and rounding in drifts.
    """
    zeta, w = state[0], product.at_zero
    m, rest = place_of(zeta, w)
    base = seen_with(zeta, m, rest, w, 0.0)
    y, slope = base
    sizes, rounding = 0.0, 0.0
    for k in range(product.kinds.size):
        kind, parameters, tangent = product.kinds[k], product.parameters[k], tangents[k]
        u = state[product.rows[k]]
        tangent[3], tangent[5] = 0j, 0j
        if kind <= NARROWING:
            seen = base if parameters[3] == 0 else seen_with(zeta, m, rest, w, parameters[3])
            layer_tangent(kind, parameters, product.gates, k, u, seen, m, rest, w, tangent)
        elif kind <= RESIDUAL_ORTHOGONAL:
            power, xi = kind - RESIDUAL_TWO_GAUSSIAN, state[product.rows[k] + 1]
            rounding += residual_tangent(
                power, parameters, product.gates, k, u, xi, base, m, rest + w, tangent
            )
        elif kind == ROTATION:
            rotation_tangent(parameters[0], u, base, tangent)
        else:
            closed_tangent(kind, parameters[0], u, base, tangent)
        y -= product.counts[k] * tangent[0]
        slope -= product.counts[k] * tangent[1]
        sizes += product.counts[k] * (abs(tangent[0]) + abs(u) + abs(zeta))
    return y, slope, sizes, rounding


@kernel
def linearised_free(
    product: FreeProductArrays, state: Complex, drift: Complex, direction: Complex
) -> tuple[complex, complex]:
    """Do what ``free_equations.FreeEquations.linearised`` does."""
    tangents = np.empty((product.kinds.size, 6), np.complex128)
    y, slope, _, _ = equation_free(product, state, tangents)
    for k in range(product.kinds.size):
        for j in range(product.rows[k + 1] - product.rows[k]):
            drift[product.rows[k] + j - 1] = tangents[k, 2 + j]
            direction[product.rows[k] + j - 1] = tangents[k, 4 + j]
    return y, slope


@kernel
def stepped(x: complex, step: complex) -> complex:
    """Do what ``equations._stepped`` does for one x."""
    if abs(x.real) + abs(x.imag) > 1:
        return x + step
    m = inverse(expm1_complex(x))
    return log1p_complex(inverse(m - m * (1 + m) * step))


@kernel
def on_its_side(kind: int, u: complex) -> complex:
    """Take an unknown that rounding took over the cut back: do what ``Factor.on_its_side`` does."""
    if kind <= RESIDUAL_ORTHOGONAL:
        return complex(u.real, min(u.imag, 0.0))
    return complex(u.real, max(u.imag, 0.0)) if kind == ROTATION else u


@kernel
def newton_free(
    product: FreeProductArrays,
    state: Complex,
    target: complex,
    moved: Complex,
    tangents: Complex,
) -> tuple[float, float, float]:
    """Write the state after a Newton iteration; return its largest change, and rounding in that and in log z.

    The twin of ``free_equations.FreeEquations.newton``.
    """
    if product.alone:
        return newton_alone(product, state, target, moved)
    y, slope, sizes, rounding = equation_free(product, state, tangents)
    per_slope = inverse(slope)
    change = (target - y) * per_slope
    size = abs(change)
    all_sums = True
    noise_of_y = ROUNDING * (sizes + abs(target))
    noise = noise_of_y * abs(per_slope) + ROUNDING * (1 + abs(state[0]))
    rounding += noise
    for k in range(product.kinds.size):
        for j in range(product.rows[k + 1] - product.rows[k]):
            step = tangents[k, 2 + j] + tangents[k, 4 + j] * change
            size = max(size, abs(step))
            rounding = max(rounding, noise * abs(tangents[k, 4 + j]))
            unknown = state[product.rows[k] + j]
            moved[product.rows[k] + j] = (
                stepped(unknown, step) if j == 1 else on_its_side(product.kinds[k], unknown + step)
            )
        all_sums = all_sums and product.rows[k + 1] - product.rows[k] == 2
    moved[0] = stepped(state[0], change) if all_sums else state[0] + change
    return (size if isfinite(size) else inf), rounding, noise_of_y


@kernel
def contracts(size: float, before: float, agree: float) -> bool:
    """Tell whether a Newton step is so much shorter than the one before, or rounding."""
    return size <= CONTRACTION * min(1.0, before) or size < agree


@kernel
def move_free(  # noqa: PLR0917 - kernels take no keywords
    product: FreeProductArrays,
    state: Complex,
    start: complex,
    stop: complex,
    shortest: float,
    longest: float,
    work: Complex,
    tangents: Complex,
) -> tuple[float, float, float]:
    """Move a state along a straight line, in place, in steps no shorter than ``shortest``.

    Returns what is left, rounding in log z, and the size of Newton's last step.

    The twin of ``free_solver.FreeSolver._follow``.
    """
    once, twice = work[0], work[1]
    done, step, away, noise, last = 0.0, 1.0, abs(stop - start), 0.0, 1.0
    for _ in range(MOST_MOVES):
        if done == 1:
            break
        reach = min(done + step, 1.0)
        target = stop if reach == 1 else start + (stop - start) * reach
        first, _, noise = newton_free(product, state, target, once, tangents)
        kept = first < longest
        if kept:
            second, rounding, _ = newton_free(product, once, target, twice, tangents)
            agree = min(max(AGREE * min(1.0, abs(twice[0]) + abs(target)), rounding), MOST_ROUNDING)
            kept, last = contracts(second, first, agree), second
        for more in range(MOST_STEPS):
            if not kept or last < (agree if more == 0 else CLOSE):
                break
            size, _, _ = newton_free(product, twice, target, once, tangents)
            kept, last = contracts(size, last, agree), size
            twice[:] = once
        if kept and -BELOW < twice[0].imag < pi + BELOW:
            state[:] = twice
            done = reach
            step *= 2
        else:
            step /= 2
            if step * away <= max(shortest, noise):
                break
    return (1 - done) * away, noise, last


@kernel
def polish_free(  # noqa: PLR0917 - kernels take no keywords
    product: FreeProductArrays, state: Complex, target: complex, last: float, work: Complex, tangents: Complex
) -> bool:
    """Newton until its steps stop shrinking, in place; tell whether the last was no more than rounding.

    The size of the step before is ``last``.

    The twin of ``free_solver.FreeSolver._polish``.
    """
    better = work[0]
    # What has converged moves no more, but for rounding that takes it across the axis.
    size, done = last if last < CONVERGED else 2 * LONGEST_POLISH, False
    for _ in range(MOST_POLISHING):
        new_size, rounding, _ = newton_free(product, state, target, better, tangents)
        done = min(size, new_size) <= max(POLISHED, rounding)
        if not new_size <= min(size, LONGEST_POLISH):
            break
        state[:] = better
        # Steps shrink by more than the last one did; at an edge Newton halves what is missing.
        stalls = new_size >= SHRUNK * size and new_size <= max(POLISHED, rounding)
        if new_size * new_size <= NOTHING_LEFT * last or new_size >= size or stalls:
            break
        last = new_size
        size = new_size
    # At a point mass m is infinite, and has no digits.
    return done or abs(state[0]) <= INFINITE


@kernel
def is_live(state: Complex) -> bool:
    """Tell whether a solution is well inside a band: from there to there the real axis is a path too."""
    height = state[1].imag / pi
    distance: float = abs(height - round_half(height))
    return distance > LIVE


@kernel
def solve_free(  # noqa: C901, PLR0917 - kernels take no keywords
    product: FreeProductArrays,
    place: float,
    line: Complex,
    known: Array,
    known_states: Complex,
    y: Array,
    states: Complex,
) -> int:
    """Fill the states at descending real y; return how many were found, all of them unless a path ended.

    ``line`` is the state at log z = place + iπ/2, right of all y; ``known`` ascends. The twin of
    ``free_solver.FreeSolver._solve_ascending``.
    """
    work, tangents = np.empty((2, line.size), np.complex128), np.empty((product.kinds.size, 6), np.complex128)
    line, state = line.copy(), line.copy()
    start, previous = complex(place, HALF_PI), inf
    for i in range(y.size):
        stop = complex(y[i], 0.0)
        if known.size:
            near = min(int(np.searchsorted(known, y[i])), known.size - 1)
            if near > 0 and y[i] - known[near - 1] < known[near] - y[i]:
                near -= 1
            if abs(known[near] - y[i]) < previous - y[i]:
                state[:], previous = known_states[near], known[near]
        left, noise, last = inf, 0.0, 1.0
        if previous < inf and is_live(state):
            part = ALONG * abs(previous - y[i])
            left, noise, last = move_free(
                product, state, complex(previous, 0.0), stop, part, LONGEST_ALONG, work, tangents
            )
        if left > 0 or not is_live(state):
            corner = complex(y[i], HALF_PI)
            left, noise, last = move_free(
                product, line, start, corner, SHORTEST, LONGEST_STEP, work, tangents
            )
            if left > 0:
                return i
            start = corner
            state[:] = line
            left, noise, last = move_free(
                product, state, corner, stop, SHORTEST, LONGEST_ALONG, work, tangents
            )
        if left > SINGULAR * max(1.0, abs(y[i])) + SINGULAR_NOISES * noise:
            return i
        if left > 0:
            last = 1.0
        if not polish_free(product, state, stop, last, work, tangents) and left == 0:
            return i
        states[i] = state
        previous = y[i]
    return y.size


@kernel
def walk_free(product: FreeProductArrays, place: float, line: Complex, enough: float) -> float:
    """Move a state at log z = place + iπ/2 left, in place, until 1 + m is the mass at 0 but for ``enough``.

    Returns where that is, or where the path ended. The twin of ``free_product.FreeProduct._walk_until``.
    """
    work, tangents = np.empty((2, line.size), np.complex128), np.empty((product.kinds.size, 6), np.complex128)
    before, step = line.copy(), 1.0
    while abs(place_of(line[0], product.at_zero)[1]) > enough:
        before[:] = line
        stop = complex(place - step, HALF_PI)
        left, _, _ = move_free(
            product, line, complex(place, HALF_PI), stop, 0.2 * step, LONGEST_STEP, work, tangents
        )
        if left == 0 and abs(place_of(line[0], product.at_zero)[1]) > TOO_FAR * enough:
            place -= step
            step *= 2
        else:
            line[:] = before
            step /= 4
            if step < SHORTEST_OF_A_WALK * max(1.0, abs(place)):
                break
    return place


@kernel
def gate_log_mean(gates: GateArrays, k: int, u: complex) -> complex:
    """Do what ``sums.gate_log_mean`` does for one u and gate k."""
    far = u.real >= FAR
    shift = SHIFT if far else 0.0
    scale = SCALE if far else 1.0
    t = lower_t(u, shift)
    first, last = between(gates, k, u.real)
    mean = 0j
    for i in range(first, last):
        d_real, d_imag = scale * gates.d_real[i], scale * gates.d_imag[i]
        real, imag = d_imag * t.imag - d_real * t.real, -(d_real * t.imag + d_imag * t.real)
        size = real * (2 + real) + imag * imag
        # At a point mass itself, dt = 1.
        log_size = max(0.5 * log1p(size), -HUGE) if size > -1 else -HUGE
        mean += complex(gates.weights_real[i], gates.weights_imag[i]) * complex(
            log_size, atan2(imag, 1 + real)
        )
    if first > gates.ends[k]:
        mean -= gates.below[1, first + k] * scale * t
        if not far:
            mean -= gates.below[2, first + k] * t * t / 2
    if last < gates.ends[k + 1]:
        per_t = inverse(t)
        mean -= gates.beyond[1, last + k] / scale * per_t
        if not far:
            mean -= gates.beyond[2, last + k] * per_t * per_t / 2
        mean += gates.beyond[0, last + k] * (cmath.log(-t) + shift) + gates.beyond[3, last + k]
    return mean.conjugate() if u.imag < -pi else mean


@kernel
def sided_log(x: complex, below: bool) -> complex:
    """Do what ``layer_factors._sided_log`` does."""
    return lower_log(x) if below else lower_log(x.conjugate()).conjugate()


@kernel
def layer_potential(kind: int, parameters: Array, gates: GateArrays, k: int, u: complex) -> complex:
    """Do what ``layer_transform.Layer.potential`` does."""
    share, growth = parameters[0], parameters[1]
    passed, b, _ = gate_averages(gates, k, u)
    integral = -gate_log_mean(gates, k, u)
    if kind == ORTHOGONAL:
        integral -= lower_log(passed + parameters[2])
    elif kind == NARROWING:
        integral -= lower_log(1 + growth * b) / growth
    else:
        integral -= b
    per_input: complex = integral / share
    return per_input


@kernel
def residual_potential(  # noqa: PLR0917 - kernels take no keywords
    power: int, parameters: Array, gates: GateArrays, k: int, u: complex, xi: complex, zeta: complex
) -> complex:
    """Do what ``residual_transform.ResidualLayer.potential`` does."""
    share = parameters[1]
    passed, b, _ = gate_averages(gates, k, u)
    a = passed + parameters[2]
    beyond, m_a = -inverse(expm1_complex(-xi)), inverse(expm1_complex(xi))
    log_a = log1p_like(b, sided_log(a, u.imag >= -pi))
    own: complex = share * (-gate_log_mean(gates, k, u) - (2 - power) * b) + (1 - share * power) * log_a
    log = lower_log(-inverse(expm1_complex(-zeta))) - sided_log(beyond, xi.imag <= pi) - log_a
    return own + log1p_like((share - 1 - m_a) * b * inverse(beyond * a), log)


@kernel
def closed_potential(kind: int, c: float, u: complex) -> complex:
    """Do what ``transforms.ClosedForm.potential`` does."""
    m, one_plus_m = inverse(expm1_complex(u)), -inverse(expm1_complex(-u))
    if kind == UNIVERSAL:
        return -c * m * m
    if kind == SMOOTH:
        return -c * m * m / 2
    return c * (cmath.exp(-u) - lower_log(one_plus_m))


@kernel
def survival_free(product: FreeProductArrays, states: Complex, survival: Array) -> None:
    """Fill the mass above each solution: the twin of ``free_product.FreeProduct.survival``."""
    for i in range(survival.size):
        zeta, w = states[i, 0], product.at_zero
        m, rest = place_of(zeta, w)
        zeta, _ = seen_with(zeta, m, rest, w, 0.0)
        potential = -lower_log(rest + w)
        for k in range(product.kinds.size):
            kind, parameters = product.kinds[k], product.parameters[k]
            u = states[i, product.rows[k]]
            if kind <= NARROWING:
                part = layer_potential(kind, parameters, product.gates, k, u)
            elif kind <= RESIDUAL_ORTHOGONAL:
                power, xi = kind - RESIDUAL_TWO_GAUSSIAN, states[i, product.rows[k] + 1]
                part = residual_potential(power, parameters, product.gates, k, u, xi, zeta)
            elif kind == ROTATION:
                _, low, high = rotation_roots(parameters[0], u)
                part = -lower_log(rest + w) - 2 * cmath.log((low + high) / 2) + u
            else:
                part = closed_potential(kind, parameters[0], u)
            potential -= product.counts[k] * part
        survival[i] = min(max(potential.imag / pi, 0.0), 1.0)
