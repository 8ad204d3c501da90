"""Compiled code of the exact law. It calls no other module's, since Numba's cache watches one file."""
# ruff: noqa: PLR0917 - kernels take no keywords

import cmath
from math import atan2, inf, log, pi

import numpy as np
import numpy.typing as npt

from isocalc.laws.paths.gate_paths import ChainArrays, ChainRoom
from isocalc.numerics.jit import kernel

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

# Anderson's method: points that are remembered, and what keeps its equations solvable.
_REMEMBERED, _LEAST_PIVOT = 9, 1e-14
# Newton's method: steps, halvings of one, the difference that its Jacobian is taken from; where a step leaves
# so much of the residual it has stalled.
_NEWTON_STEPS, _HALVINGS, _DIFFERENCE, _STALLED = 16, 5, 1e-7, 0.7
# Unknowns up to which its Jacobian is worth its time.
_MOST_UNKNOWNS = 128
# Residual above which a solution is looked for in other ways, and up to which rounding may keep it.
_ENOUGH = 1e-8
# Arguments of z on the way down to the real axis; steps along it; how far two solutions say what is ahead.
_ANGLES = (0.5 * pi, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001)
_MOST_STEPS, _FURTHEST_AHEAD = 64.0, 2.0
# How near to its cut a logarithm is looked at more closely.
_NEAR_CUT = 1e-3
# Arguments by which rounding may leave their range, of an iterate and of a solution, which beside a gap has
# half of its digits.
_BESIDE, _BESIDE_SOLVED = 1e-14, 1e-7


@kernel
def inverse(x: complex) -> complex:
    """1/x, without the check for 0 that Numba's complex division has."""
    size = 1 / (x.real * x.real + x.imag * x.imag)
    return complex(x.real * size, -x.imag * size)


@kernel
def chain_forward(chain: ChainArrays, first: int, room: ChainRoom) -> None:
    """Pass forward over as many paths as there are lanes, from the one numbered ``first``: r, layer by layer.

    In memory real and imaginary parts are apart, so that compiled code computes lanes side by side.
    """
    r, memory = room.r, room.memory
    for j in range(r.shape[1]):
        r[0, j], r[1, j] = 1.0, 0.0
    for k in range(chain.counts.size):
        p, q = room.p[k], room.q[k]
        before = 0.5 - 0.5 / chain.counts[k]
        for j in range(r.shape[1]):
            gate = chain.gates[k, first + j]
            p_path, q_path = (gate * p, q) if chain.on_output else (p, gate * q)
            x = complex(r[0, j], r[1, j]) + before * p_path
            growth = inverse(1 - q_path * x)
            memory[0, k, j], memory[1, k, j], memory[2, k, j], memory[3, k, j] = (
                x.real,
                x.imag,
                growth.real,
                growth.imag,
            )
            x = x * growth + (1 - before) * p_path
            r[0, j], r[1, j] = x.real, x.imag


@kernel
def chain_backward(chain: ChainArrays, first: int, s_end: complex, room: ChainRoom) -> None:
    """Pass back over the same paths and add up e² s ω and d² r ω of each layer and, at the end, ω.

    On the way ω changes by the factors of 1 − r s = (1 − p s)(1 − r' s'), which takes no division of its own.
    """
    r, memory, sums, state = room.r, room.memory, room.sums, room.state
    layers, lanes = chain.counts.size, r.shape[1]
    for j in range(lanes):
        omega = inverse(1 - complex(r[0, j], r[1, j]) * s_end)
        sums[0, layers, j] += chain.weights[first + j] * omega.real
        sums[1, layers, j] += chain.weights[first + j] * omega.imag
        state[0, j], state[1, j], state[2, j], state[3, j] = s_end.real, s_end.imag, omega.real, omega.imag
    for k in range(layers - 1, -1, -1):
        p, q = room.p[k], room.q[k]
        before = 0.5 - 0.5 / chain.counts[k]
        for j in range(lanes):
            gate, weight = chain.gates[k, first + j], chain.weights[first + j]
            on_e, on_d = (gate * weight, weight) if chain.on_output else (weight, gate * weight)
            p_path, q_path = (gate * p, q) if chain.on_output else (p, gate * q)
            s, omega = complex(state[0, j], state[1, j]), complex(state[2, j], state[3, j])
            found = (1 - before) * on_e * (s * omega)
            change = 1 - (1 - before) * p_path * s
            s = s * inverse(change) + q_path
            omega = omega * change * complex(memory[2, k, j], memory[3, k, j])
            of_r = on_d * (complex(memory[0, k, j], memory[1, k, j]) * omega)
            if before > 0:
                found += before * on_e * (s * omega)
                change = 1 - before * p_path * s
                s, omega = s * inverse(change), omega * change
            sums[0, k, j] += found.real
            sums[1, k, j] += found.imag
            sums[2, k, j] += of_r.real
            sums[3, k, j] += of_r.imag
            state[0, j], state[1, j], state[2, j], state[3, j] = s.real, s.imag, omega.real, omega.imag


@kernel
def lower_log_of(x: complex) -> complex:
    """Return log x with an argument from −3π/2 to π/2: for x in the lower half-plane, but for rounding."""
    angle = atan2(x.imag, x.real)
    return complex(
        0.5 * log(x.real * x.real + x.imag * x.imag), angle - 2 * pi if angle > 0.5 * pi else angle
    )


@kernel
def chain_map(chain: ChainArrays, x: Complex, log_z: complex, room: ChainRoom, image: Complex) -> complex:
    """Fill ``image`` with what the equations of ``path_chain`` make of log p, log q in ``x``; return m."""
    layers, lanes, sums = chain.counts.size, room.r.shape[1], room.sums
    s_end = cmath.exp(-log_z)
    for k in range(layers):
        room.p[k], room.q[k] = cmath.exp(x[k]), cmath.exp(x[layers + k])
    for part in range(4):
        for k in range(layers + 1):
            for j in range(lanes):
                sums[part, k, j] = 0.0
    for first in range(0, chain.weights.size, lanes):
        chain_forward(chain, first, room)
        chain_backward(chain, first, s_end, room)
    for k in range(layers):
        log_a = lower_log_of(summed(sums, 0, k))
        log_b = lower_log_of(summed(sums, 2, k))
        if chain.orthogonal:
            unit = log(chain.variances[k] * chain.counts[k])
            root = cmath.exp(0.5 * (x[k] + x[layers + k] - unit))
            green = cmath.exp(0.5 * (log_a + log_b + unit) - log(chain.counts[k]))
            middle = lower_log_of(inverse(root + inverse(green))) + 0.5 * unit
            image[k], image[layers + k] = middle + 0.5 * (log_b - log_a), middle + 0.5 * (log_a - log_b)
        else:
            unit = log(chain.variances[k])
            image[k], image[layers + k] = unit + log_b, unit + log_a
    return summed(sums, 0, layers) - 1


@kernel
def summed(sums: Array, part: int, k: int) -> complex:
    """Return the sum over lanes of a complex number whose parts are two neighbours."""
    real, imag = 0.0, 0.0
    for j in range(sums.shape[2]):
        real += sums[part, k, j]
        imag += sums[part + 1, k, j]
    return complex(real, imag)


@kernel
def log_one_less(w: complex, product: complex, other: complex) -> complex:
    """Return log w, w = 1 − product · other, both of arguments from −π to 0.

    Where w is next to the negative real axis those say on which side.
    """
    found = cmath.log(w)
    if w.real < 0 and abs(w.imag) < _NEAR_CUT * -w.real:
        angle = atan2(product.imag, product.real) + atan2(other.imag, other.real)
        # An argument a little above 0 is one of 0, and next to -pi atan2 may say pi.
        if product.imag > 0 and product.real < 0:
            angle -= 2 * pi
        if other.imag > 0 and other.real < 0:
            angle -= 2 * pi
        if angle < -pi and found.imag > 0:
            return found - 2j * pi
        if angle > -pi and found.imag < 0:
            return found + 2j * pi
    return found


@kernel
def chain_potential(chain: ChainArrays, x: Complex, log_z: complex, room: ChainRoom) -> complex:
    """Return ∫ log(1 − λ/z) of the law, stationary at the solution ``x``."""
    layers, lanes, p, q = chain.counts.size, room.r.shape[1], room.p, room.q
    s_end = cmath.exp(-log_z)
    for k in range(layers):
        p[k], q[k] = cmath.exp(x[k]), cmath.exp(x[layers + k])
    potential = 0j
    for first in range(0, chain.weights.size, lanes):
        chain_forward(chain, first, room)
        for j in range(lanes):
            output = complex(room.r[0, j], room.r[1, j])
            total = log_one_less(1 - output * s_end, output, s_end)
            for k in range(layers):
                d = 1.0 if chain.on_output else chain.gates[k, first + j]
                inside = complex(room.memory[0, k, j], room.memory[1, k, j])
                total += log_one_less(1 - d * q[k] * inside, q[k], inside)
            potential += chain.weights[first + j] * total
    for k in range(layers):
        square = p[k] * q[k] / chain.variances[k]
        if chain.orthogonal:
            potential -= chain.counts[k] * log_one_less(1 - square / chain.counts[k], p[k], q[k])
        else:
            potential += square
    return potential


@kernel
def mixed(xs: Complex, fs: Complex, kept: int, x: Complex, f: Complex) -> Complex:
    """Return the next point of Anderson's method from the last ``kept`` points and residuals, newest last."""
    size = kept - 1
    gram = np.empty((size, size + 1), dtype=np.complex128)
    for a in range(size):
        for b in range(size + 1):
            total = 0j
            for k in range(x.size):
                left = (fs[a + 1, k] - fs[a, k]).conjugate()
                total += left * (f[k] if b == size else fs[b + 1, k] - fs[b, k])
            gram[a, b] = total
    trace = 0.0
    for a in range(size):
        trace += gram[a, a].real
    for a in range(size):
        gram[a, a] += _LEAST_PIVOT * trace
    shares = eliminated(gram)
    found = x + f
    for a in range(size):
        for k in range(x.size):
            found[k] -= shares[a] * (xs[a + 1, k] - xs[a, k] + fs[a + 1, k] - fs[a, k])
    return found


@kernel
def eliminated(system: Complex) -> Complex:
    """Solve the equations whose matrix and right side are the columns of ``system``, overwritten."""
    size = system.shape[0]
    for a in range(size):
        best = a
        for b in range(a + 1, size):
            if abs(system[b, a]) > abs(system[best, a]):
                best = b
        for c in range(a, size + 1):
            system[a, c], system[best, c] = system[best, c], system[a, c]
        unit = inverse(system[a, a])
        for b in range(a + 1, size):
            share = system[b, a] * unit
            for c in range(a, size + 1):
                system[b, c] -= share * system[a, c]
    solution = np.empty(size, dtype=np.complex128)
    for a in range(size - 1, -1, -1):
        total = system[a, size]
        for b in range(a + 1, size):
            total -= system[a, b] * solution[b]
        solution[a] = total * inverse(system[a, a])
    return solution


@kernel
def put(source: Complex, target: Complex) -> None:
    """Copy; array expressions take Numba seconds to compile."""
    for k in range(source.size):
        target[k] = source[k]


@kernel
def distance(x: Complex, y: Complex) -> float:
    """Return the largest difference, nan if there is one."""
    largest = 0.0
    for k in range(x.size):
        apart = abs(x[k] - y[k])
        if not apart <= largest:
            largest = apart
    return largest


@kernel
def within(x: Complex, beside: float) -> bool:
    """Tell whether all arguments are from −π to 0, but for rounding; not if something is no number."""
    for k in range(x.size):
        if not -pi - beside <= x[k].imag <= beside or not abs(x[k].real) < inf:
            return False
    return True


@kernel
def iterate_chain(
    chain: ChainArrays, log_z: complex, x: Complex, agree: float, most: int, room: ChainRoom
) -> tuple[complex, float]:
    """Bring ``x`` to the solution at one z by Anderson's method; return m and the last change."""
    xs = np.empty((_REMEMBERED, x.size), dtype=np.complex128)
    fs, image, f = np.empty_like(xs), np.empty_like(x), np.empty_like(x)
    kept, m, change = 0, 0j, inf
    for _ in range(most):
        m = chain_map(chain, x, log_z, room, image)
        change = distance(image, x)
        if not change > agree:
            break
        if kept == _REMEMBERED:
            kept -= 1
            for k in range(kept):
                put(xs[k + 1], xs[k])
                put(fs[k + 1], fs[k])
        for k in range(x.size):
            f[k] = image[k] - x[k]
        put(x, xs[kept])
        put(f, fs[kept])
        kept += 1
        if kept > 1:
            found = mixed(xs, fs, kept, x, f)
            # Solutions have arguments from -pi to 0: what leaves them, or is no number, starts again.
            if within(found, _BESIDE):
                put(found, image)
            else:
                kept = 0
        put(image, x)
    return m, change


@kernel
def newton_chain(
    chain: ChainArrays, log_z: complex, x: Complex, agree: float, room: ChainRoom
) -> tuple[complex, float]:
    """Solve at one z by Newton's method, its Jacobian from differences, from nearby; return m, the residual.

    It takes over where the solution is next to a hard edge, at which the iteration hardly contracts.
    """
    size = x.size
    image, moved, there = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    system = np.empty((size, size + 1), dtype=np.complex128)
    m = chain_map(chain, x, log_z, room, image)
    residual = distance(image, x)
    for _ in range(_NEWTON_STEPS):
        for k in range(size):
            put(x, moved)
            moved[k] -= _DIFFERENCE * 1j
            chain_map(chain, moved, log_z, room, there)
            for j in range(size):
                system[j, k] = (image[j] - there[j]) / _DIFFERENCE * 1j + (1.0 if j == k else 0.0)
            system[k, size] = image[k] - x[k]
        step = eliminated(system)
        before = residual
        for halving in range(_HALVINGS):
            for k in range(size):
                moved[k] = x[k] + 0.5**halving * step[k]
            if within(moved, _BESIDE):
                m_there = chain_map(chain, moved, log_z, room, there)
                if distance(there, moved) < residual:
                    m, residual = m_there, distance(there, moved)
                    put(moved, x)
                    put(there, image)
                    break
        if residual <= agree or residual > _STALLED * before:
            break
    return m, residual


@kernel
def converge_chain(
    chain: ChainArrays, log_z: complex, x: Complex, agree: float, most: int, room: ChainRoom
) -> tuple[complex, float]:
    """Bring ``x`` to the solution at one z; return m and the residual, infinite for a root that is none.

    From real unknowns, those in a gap, rounding decides between the solution and its conjugate.
    """
    m, residual = iterate_chain(chain, log_z, x, agree, most + x.size, room)
    if not residual <= agree and x.size <= _MOST_UNKNOWNS:
        nearby = x.copy()
        m_nearby, residual_nearby = newton_chain(chain, log_z, nearby, agree, room)
        if residual_nearby < residual:
            put(nearby, x)
            m, residual = m_nearby, residual_nearby
    return m, residual if within(x, _BESIDE_SOLVED) else inf


@kernel
def solve_chain(
    chain: ChainArrays,
    log_z: Complex,
    agree: float,
    most: int,
    room: ChainRoom,
    states: Complex,
    m: Complex,
    potential: Complex,
    residuals: Array,
) -> None:
    """Solve at one z after the other, each from what the last two say.

    Where that fails a start from afar follows, then a path that lowers arg z to that of the z wanted, then
    one along z from the middle of the law. ``states`` (n, 2G) gets log p, log q.
    """
    for i in range(log_z.size):
        x, z = states[i], log_z[i]
        residual = inf
        if i > 0:
            before = max(i - 2, 0)
            go_ahead(states[before], states[i - 1], log_z[before], log_z[i - 1], z, x)
            m[i], residual = converge_chain(chain, z, x, agree, most, room)
        if not residual <= _ENOUGH:
            start_chain(chain, z, x)
            m[i], residual = converge_chain(chain, z, x, agree, most, room)
        if not residual <= _ENOUGH:
            start_chain(chain, complex(z.real, 0.5 * pi), x)
            for angle in _ANGLES:
                iterate_chain(chain, complex(z.real, max(angle, z.imag)), x, agree, most, room)
            m[i], residual = converge_chain(chain, z, x, agree, most, room)
        if not residual <= _ENOUGH:
            m[i], residual = walk_chain(chain, z, x, agree, most, room)
        residuals[i] = residual
        potential[i] = chain_potential(chain, x, z, room)


@kernel
def start_chain(chain: ChainArrays, log_z: complex, x: Complex) -> None:
    """Fill ``x`` with a start in the middle of where solutions are."""
    layers = chain.counts.size
    for k in range(layers):
        unit = log(chain.variances[k])
        x[k] = complex(unit, -0.5 * (pi - log_z.imag))
        x[layers + k] = complex(unit - log_z.real, -0.5 * (pi + log_z.imag))


@kernel
def go_ahead(
    before: Complex, last: Complex, z_before: complex, z_last: complex, z: complex, x: Complex
) -> None:
    """Fill ``x`` with what two solutions say of the next, where that is within bounds, else with the last."""
    apart = (z_last - z_before).real
    share = (z - z_last).real / apart if apart != 0 else inf
    ahead = abs(share) <= _FURTHEST_AHEAD
    for k in range(x.size):
        x[k] = last[k] + share * (last[k] - before[k]) if ahead else last[k]
        if not -pi < x[k].imag < 0:
            ahead = False
    if not ahead:
        put(last, x)


@kernel
def walk_chain(
    chain: ChainArrays, log_z: complex, x: Complex, agree: float, most: int, room: ChainRoom
) -> tuple[complex, float]:
    """Solve at one z by steps from |z| = 1."""
    steps = int(min(_MOST_STEPS, 16 + abs(log_z.real)))
    before, last = np.empty_like(x), np.empty_like(x)
    step = complex(log_z.real / steps, 0.0)
    place = complex(0.0, log_z.imag)
    start_chain(chain, place, x)
    iterate_chain(chain, place, x, agree, most, room)
    put(x, last)
    for _ in range(steps):
        put(last, before)
        put(x, last)
        go_ahead(before, last, place - step, place, place + step, x)
        place += step
        iterate_chain(chain, place, x, agree, most, room)
    return converge_chain(chain, log_z, x, agree, most, room)
