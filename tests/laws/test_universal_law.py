import math

import naive
import numpy as np
import pytest
import reference
from mpmath import mp, mpf
from scipy import integrate

from isocalc import FeedForward, InvalidInputError, NoAnswerError, ResNet, UniversalLaw, propagate, spectrum

VARIABLES = ("singular", "lambda", "log")
LAWS = [(c, skip, depth) for c in (1e-6, 0.3, 4.0) for skip, depth in ((1.0, 1), (0.9, 40), (-1.7, 25))]
IDS = [f"c={c} skip={skip} depth={depth}" for c, skip, depth in LAWS]


def law_of(c, skip=1.0, depth=1, variable="singular"):
    return UniversalLaw(c, skip=skip, depth=depth, variable=variable)


@pytest.mark.parametrize(
    "row", reference.rows("universal"), ids=lambda row: f"{row['c']}-{row['singular_value']:.3g}"
)
def test_reference_values(row):
    law = law_of(row["c"], row["skip"], int(row["depth"]))
    # A double s carries 1e-16 in log s, against a width of √(2c); a^L as much as L log a does.
    rel = 1e-10 if row["c"] < 1e-5 else 1e-11
    assert law.pdf(row["singular_value"]) == pytest.approx(row["density"], rel=rel / 10)
    ((low, high),) = law.support()
    assert (low, high) == (law.edge_lower, law.edge_upper)
    assert low == pytest.approx(row["edge_lower"], rel=1e-13)
    assert high == pytest.approx(row["edge_upper"], rel=1e-13)
    assert law.log_edge_lower == pytest.approx(math.log(row["edge_lower"]), rel=1e-14, abs=1e-16)
    condition = row["edge_upper"] / row["edge_lower"]
    assert law.bulk_condition_number == (
        pytest.approx(condition, rel=1e-12) if condition < 1e308 else math.inf
    )


@pytest.mark.parametrize(("c", "skip", "depth"), LAWS, ids=IDS)
def test_density_and_distribution_against_mpmath(c, skip, depth):
    law = law_of(c, skip, depth)
    ((low, high),) = law.support()
    s = low * (high / low) ** np.array([0.03, 0.5, 0.8])
    with mp.workdps(30):
        for value, density, mass in zip(s, law.pdf(s), law.cdf(s), strict=True):
            y = 2 * (mp.log(mpf(float(value))) - depth * mp.log(abs(mpf(skip))))
            exact = 2 / mpf(float(value)) * naive.universal_density(abs(y), c)
            assert density == pytest.approx(float(exact), rel=1e-13 / math.sqrt(min(c, 1)))
            above = naive.universal_survival(abs(y), c)
            assert mass == pytest.approx(
                float(above if y < 0 else 1 - above), abs=1e-14 / math.sqrt(min(c, 1))
            )


def integral(law, function=lambda _: 1.0, low=0.0, high=1.0):
    """The integral of function times density between two fractions of the support, square roots taken out."""
    ((start, end),) = law.support()

    def integrand(angle):
        x = start + (end - start) * math.sin(angle) ** 2
        return function(x) * float(law.pdf(x)) * (end - start) * math.sin(2 * angle)

    limits = (math.asin(math.sqrt(fraction)) for fraction in (low, high))
    return integrate.quad(integrand, *limits, epsrel=1e-12, epsabs=0, limit=200)[0]


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(("c", "skip", "depth"), LAWS, ids=IDS)
def test_distribution_is_the_integral_of_the_density(c, skip, depth, variable):
    law = law_of(c, skip, depth, variable)
    ((low, high),) = law.support()
    # A double x of a law this narrow is off by 1e-16 of 1e-3 where c is 1e-6.
    tolerance = 1e-11 if c > 1e-3 else 1e-9
    assert integral(law) == pytest.approx(1, abs=tolerance)
    difference = law.cdf(low + (high - low) * 0.6) - law.cdf(low + (high - low) * 0.4)
    assert difference == pytest.approx(integral(law, low=0.4, high=0.6), abs=tolerance)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(("c", "skip", "depth"), LAWS, ids=IDS)
def test_quantiles_invert_the_distribution(c, skip, depth, variable):
    law = law_of(c, skip, depth, variable)
    u = np.array([1e-9, 1e-4, 0.03, 0.4, 0.5, 0.50001, 0.9, 0.999, 1 - 1e-9])
    assert np.abs(law.cdf(law.ppf(u)) - u).max() < (1e-10 if c < 1e-3 else 1e-14)
    ((low, high),) = law.support()
    assert law.ppf([0.0, 1.0]) == pytest.approx([low, high], rel=1e-14)
    assert law.cdf([low, high]) == pytest.approx([0.0, 1.0], abs=1e-12)


@pytest.mark.parametrize("c", [1e-3, 0.5, 5.0, 300.0])
def test_the_three_variables_are_one_law(c):
    law = law_of(c, 0.95, 30)
    s = law.ppf(np.array([0.01, 0.3, 0.5, 0.8, 0.99]))
    squared, log = law.using("lambda"), law.using("log")
    assert law.pdf(s) == pytest.approx(squared.pdf(s**2) * 2 * s, rel=1e-12)
    assert law.pdf(s) == pytest.approx(log.pdf(np.log(s)) / s, rel=1e-12)
    for other, x in ((squared, s**2), (log, np.log(s))):
        assert other.cdf(x) == pytest.approx(law.cdf(s), rel=1e-12)
        assert other.edge_upper == law.edge_upper
        assert other.bulk_condition_number == law.bulk_condition_number
        assert other.using("singular") == law
    assert squared.moment(3) == pytest.approx(law.moment(6), rel=1e-13)
    assert log.mean() == law.mean_log_s == 30 * math.log(0.95)


def test_log_s_is_even_about_its_mean():
    law = law_of(2.0, 1.3, 10, "log")
    away = np.array([0.0, 0.2, 1.1, 2.2])
    assert law.pdf(law.mean_log_s + away) == pytest.approx(law.pdf(law.mean_log_s - away), rel=1e-13)
    total = law.cdf(law.mean_log_s + away) + law.cdf(law.mean_log_s - away)
    assert total == pytest.approx(np.ones(4), rel=1e-15)


@pytest.mark.parametrize("variable", VARIABLES)
def test_zero_outside_the_support(variable):
    law = law_of(1.0, variable=variable)
    ((low, high),) = law.support()
    x = np.array(
        [-math.inf, -1e9, 0.0 if variable != "log" else -5.0, low * 0.999 if low > 0 else low * 1.001]
    )
    assert law.pdf(x).tolist() == law.cdf(x).tolist() == [0.0] * 4
    x = np.array([high * 1.001, 1e300, math.inf])
    assert law.pdf(x).tolist() == [0.0] * 3
    assert law.cdf(x).tolist() == [1.0] * 3


@pytest.mark.parametrize("c", [1e-12, 1e-5, 0.1, 1.0, 6.0])
@pytest.mark.parametrize("variable", ["singular", "lambda"])
def test_moments(c, variable):
    """Whole moments of λ are a^{2Lk} e^{ck} L¹_{k−1}(−2ck) / k; the others by Kummer's function."""
    law = law_of(c, 1.1, 5, variable)
    power = mpf(1) / 2 if variable == "singular" else mpf(1)
    with mp.workdps(40):
        scale = mpf(1.1) ** (10 * power)
        for k in (1, 2, 3, 7):
            exact = scale**k * naive.universal_moment(k * power, c)
            if variable == "lambda":
                laguerre = mp.exp(mpf(c) * k) / k * mp.laguerre(k - 1, 1, -2 * mpf(c) * k)
                assert abs(exact / scale**k / laguerre - 1) < 1e-25
            assert law.moment(k) == pytest.approx(float(exact), rel=1e-13)
        for k in (0.5, -1.0, -0.3, 2.25):
            exact = scale**k * naive.universal_moment(k * power, c)
            assert law.moment(k) == pytest.approx(float(exact), rel=1e-13)
        assert law.moment(0) == 1.0
        assert law.mean() == law.moment(1)
        variance = naive.universal_moment(2 * power, c) - naive.universal_moment(power, c) ** 2
        assert law.var() == pytest.approx(float(scale**2 * variance), rel=2e-14)


@pytest.mark.parametrize("c", [0.05, 1.0, 5.0])
def test_moments_by_quadrature(c):
    law = law_of(c, 0.9, 3)
    for k in (1, 2, -1, 0.7):
        assert law.moment(k) == pytest.approx(integral(law, lambda x, k=k: x**k), rel=1e-11)


@pytest.mark.parametrize("c", [1e-300, 1e-12, 0.4, 30.0, 1e4])
def test_moments_of_log_s(c):
    """Var log λ = 2c + c²/3, so a quarter of it for log s."""
    law = law_of(c, variable="log")
    variance = c / 2 + c * c / 12
    assert law.var() == pytest.approx(variance, rel=1e-15)
    assert law.moment(2) == pytest.approx(variance, rel=1e-13)
    assert [law.moment(k) for k in (1, 3, 201)] == [0.0] * 3
    assert law.moment(0) == pytest.approx(1, rel=1e-15)
    assert not math.isnan(law.moment(1000))
    shifted = law_of(c, 1.5, 8, "log")
    mean = 8 * math.log(1.5)
    assert shifted.mean() == pytest.approx(mean, rel=1e-15)
    assert shifted.moment(2) == pytest.approx(variance + mean**2, rel=1e-13)
    assert shifted.moment(3) == pytest.approx(3 * variance * mean + mean**3, rel=1e-13)


def test_the_law_of_large_scale():
    """a^L of 1e±2000: numbers that no double holds come back as inf or 0, log s has them all."""
    for skip, lost in ((0.01, 0.0), (100.0, math.inf)):
        law = law_of(1.5, skip, 1000)
        assert law.support() == ((lost, lost),)
        assert law.edge_lower == law.edge_upper == law.mean() == lost
        log = law.using("log")
        centred = law_of(1.5, variable="log")
        ((low, high),) = log.support()
        shift = 1000 * math.log(skip)
        assert (low, high) == (
            pytest.approx(shift + centred.log_edge_lower),
            pytest.approx(shift + centred.log_edge_upper),
        )
        u = np.array([0.1, 0.5, 0.7])
        assert log.ppf(u) - shift == pytest.approx(centred.ppf(u), abs=1e-12 * abs(shift))
        assert log.pdf(log.ppf(u)) == pytest.approx(centred.pdf(centred.ppf(u)), rel=1e-11)
        assert law.bulk_condition_number == pytest.approx(law_of(1.5).bulk_condition_number)
        assert not any(np.isnan(method(np.array([0.0, 1.0, 1e300]))).any() for method in (law.pdf, law.cdf))


def test_moments_that_fit_though_their_factors_do_not():
    law = law_of(900.0, 0.2, 400)
    with mp.workdps(30):
        for k in (0.5, 1.0, 1.4):
            exact = mpf(0.2) ** (400 * k) * naive.universal_moment(k / 2, 900)
            assert law.moment(k) == pytest.approx(float(exact), rel=1e-11)
        variance = mpf(0.2) ** 800 * (mp.exp(900) - naive.universal_moment(0.5, 900) ** 2)
    assert law.var() == pytest.approx(float(variance), rel=1e-11)
    assert law_of(1e-12, 3.0, 600).var() == math.inf
    assert law_of(1.0, 0.5, 900).var() == 0.0


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_point_mass(variable):
    law = law_of(0.0, -2.0, 3, variable)
    place = {"singular": 8.0, "lambda": 64.0, "log": math.log(8.0)}[variable]
    assert law.support() == ()
    assert law.atoms == ((pytest.approx(place, rel=1e-15), 1.0),)
    place = law.atoms[0][0]
    assert law.pdf([place, 1.0]).tolist() == [0.0, 0.0]
    assert law.cdf([place * 0.999, place * 1.001]).tolist() == [0.0, 1.0]
    assert law.ppf([0.0, 0.2, 1.0]).tolist() == [place] * 3
    assert law.grid(3).tolist() == [place] * 3
    assert [law.moment(k) for k in (0, 1, 3)] == pytest.approx([1, place, place**3], rel=1e-14)
    assert law.mean() == pytest.approx(place, rel=1e-15)
    assert law.var() == 0.0
    assert law.bulk_condition_number == 1.0
    assert law_of(1.0, variable=variable).atoms == ()


@pytest.mark.parametrize("exponent", range(-12, 5))
def test_trapezoid_sums_on_the_grid(exponent):
    """The printed density at 200 points: 1 within 1e-3 in log s always, in s while c <= 5."""
    for c in (10.0**exponent, 5.0 * 10.0**exponent if exponent < 4 else 1e4):
        for variable in ("log", "singular"):
            if variable == "singular" and c > 5:
                continue
            law = law_of(c, variable=variable)
            x = law.grid(200)
            ((low, high),) = law.support()
            assert (x[0], x[-1]) == (low, high)
            assert np.all(np.diff(x) > 0)
            # Where s is within 1e-6 of 1, the doubles near it are few: the sum is of what they hold.
            assert np.trapezoid(law.pdf(x), x) == pytest.approx(1, abs=1e-3)


def test_semicircle_limit():
    """For small c the singular values are 1 + √(c/2) times a semicircular variable of variance 1."""
    c = 1e-8
    law, width = law_of(c), math.sqrt(c / 2)
    x = np.array([-1.7, -0.4, 0.0, 1.1, 1.95])
    assert law.pdf(1 + width * x) * width == pytest.approx(np.sqrt(4 - x**2) / (2 * math.pi), rel=2e-3)


def test_scalars_and_shapes():
    law = law_of(1.0)
    for method in (law.pdf, law.cdf, law.ppf):
        assert isinstance(method(0.5), float)
        assert method([0.2, 0.5]).shape == (2,)
        assert method(np.full((2, 3, 1), 0.5)).shape == (2, 3, 1)
        assert method([]).shape == (0,)
        assert method(np.full((2, 3), 0.3))[1, 2] == method(0.3)
    for number in (
        law.moment(1),
        law.mean(),
        law.var(),
        law.edge_upper,
        law.log_edge_lower,
        law.bulk_condition_number,
    ):
        assert type(number) is float


def test_large_grids_are_small_ones():
    law = law_of(0.8)
    x = law.grid(5001)
    assert law.pdf(x)[::250] == pytest.approx([float(law.pdf(value)) for value in x[::250]], rel=1e-10)
    assert law.cdf(x)[::250] == pytest.approx([float(law.cdf(value)) for value in x[::250]], abs=1e-14)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda law: law.pdf([1.0, math.nan]), "x must be a number, got nan"),
        (lambda law: law.cdf(math.nan), "x must be a number, got nan"),
        (lambda law: law.ppf(math.nan), "u must be a number, got nan"),
        (lambda law: law.cdf(None), "x must be a number, got None"),
        (lambda law: law.ppf([0.5, 1.5]), "u must be between 0 and 1, got 1.5"),
        (lambda law: law.ppf(-1e-300), "u must be between 0 and 1, got -1e-300"),
        (lambda law: law.moment(math.nan), "k must be a finite number, got nan"),
        (lambda law: law.moment(math.inf), "k must be a finite number, got inf"),
        (lambda law: law.using("log").moment(0.5), "k must be a whole number from 0 to 1000, got 0.5"),
        (lambda law: law.using("log").moment(-1), "k must be a whole number from 0 to 1000, got -1"),
        (lambda law: law.using("s"), "variable must be one of singular, lambda, log, got 's'"),
        (lambda law: law.grid(0), "points must be a whole number from 1 to 1000000000, got 0"),
        (lambda _: law_of(-1.0), "c must be a finite number of at least 0, got -1.0"),
        (lambda _: law_of(math.nan), "c must be a finite number of at least 0, got nan"),
        (lambda _: law_of(math.inf), "c must be a finite number of at least 0, got inf"),
        (lambda _: law_of("1"), "c must be a finite number of at least 0, got '1'"),
        (lambda _: law_of(1.0, 0.0), "skip must be a finite number other than 0, got 0.0"),
    ],
)
def test_what_is_refused_and_how(question, message):
    with pytest.raises(InvalidInputError) as refusal:
        question(law_of(1.0))
    assert str(refusal.value) == message


def test_what_is_out_of_reach():
    law = law_of(1e7)
    for question in (lambda: law.pdf(1.0), lambda: law.cdf(1.0), lambda: law.ppf(0.5), law.mean):
        with pytest.raises(NoAnswerError, match="up to 1e\\+06"):
            question()
    assert law.log_edge_upper == pytest.approx(5e6, rel=1e-5)


def test_spectrum_of_a_network():
    net = ResNet("tanh", depth=30, sigma_w=1.2, skip=0.9, sigma_b=0.1)
    law = spectrum(net, "log", law="universal")
    assert law == UniversalLaw(propagate(net).c, depth=30, skip=0.9, variable="log")
    assert spectrum(ResNet("relu")).c == pytest.approx(0.5, rel=1e-15)
    # At finite depth the mean of λ is Π (1 + c_l/L), below its limit e^c.
    assert propagate(ResNet("relu", depth=10**5)).mean_lambda == pytest.approx(
        spectrum(ResNet("relu", depth=10**5), "lambda").mean(), rel=1e-5
    )
    with pytest.raises(InvalidInputError, match=r"^network must be"):
        spectrum("tanh")
    with pytest.raises(
        InvalidInputError, match=r"^law must be one of auto, universal, layered, exact, got 'free'"
    ):
        spectrum(net, law="free")
    with pytest.raises(InvalidInputError, match=r"^variable must be one of"):
        spectrum(net, "s")


def test_which_law_a_network_has():
    """One linear Gaussian layer is the quarter circle; a residual network has both laws."""
    law = spectrum(FeedForward("linear", depth=1))
    assert law.name == spectrum(FeedForward("linear", depth=1), law="layered").name == "layered"
    assert law.pdf(1.0) == pytest.approx(math.sqrt(3) / math.pi, rel=1e-10)
    with pytest.raises(InvalidInputError, match=r"^law must be layered for a feed-forward network"):
        spectrum(FeedForward("linear"), law="universal")
    with pytest.raises(InvalidInputError, match=r"^law must be layered for a feed-forward network"):
        spectrum(FeedForward("linear"), law="exact")
    with pytest.raises(InvalidInputError, match=r"^paths must be left out with a law other than exact"):
        spectrum(ResNet("linear"), law="layered", paths=64)
    net = ResNet("linear", depth=5, sigma_w=0.7, skip=0.9)
    assert spectrum(net, law="universal").name == "universal"
    assert spectrum(net).name == "layered"
    layered = spectrum(net, "lambda", law="layered")
    assert layered.name == "layered"
    assert layered.mean() == pytest.approx((0.81 + 0.49 / 5) ** 5, rel=1e-12)


def test_laws_are_values():
    law = law_of(1, 2, 3)
    assert law == law_of(1.0, 2.0, 3)
    assert hash(law) == hash(law_of(1.0, 2.0, 3))
    assert law != law_of(1.0, 2.0, 3, "log")
    with pytest.raises(AttributeError):
        law.c = 2.0
