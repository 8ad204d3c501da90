"""What pictures show, held against closed forms: densities, histograms, phase diagrams, sweeps."""

import math

import numpy as np
import pytest

import isocalc
from isocalc.activations.catalogue import activation
from isocalc.display.figure import Bars, Chart, Field, Line, Note, Quantity, Rule, Stem, table_figure
from isocalc.display.table import Table
from isocalc.errors import InvalidInputError
from isocalc.judging.histogram import Simulated, histogram, simulation_figure
from isocalc.laws.figure import law_figure
from isocalc.signal import criticality
from isocalc.signal.phase_diagram import critical_curve, map_figure, phase_figure

ONE_LAYER = isocalc.FeedForward("linear", depth=1)  # the quarter circle: density sqrt(4 - s^2)/pi


def marks(figure, kind, panel=0):
    return [mark for mark in figure.panels[panel].marks if isinstance(mark, kind)]


def drawn(network, variable="singular", **options):
    return law_figure([("", isocalc.spectrum(network))], variable, "title", **options)


def area(line, x=None):
    return np.trapezoid(line.y, line.x if x is None else x)


def test_the_quarter_circle():
    figure = drawn(ONE_LAYER)
    (line,) = marks(figure, Line)
    assert np.allclose(line.y, np.sqrt(np.maximum(4 - np.square(line.x), 0)) / math.pi, atol=1e-9)
    assert area(line) == pytest.approx(1, abs=1e-3)
    assert [rule.at for rule in marks(figure, Rule)] == pytest.approx([2])
    panel = figure.panels[0]
    assert (panel.x.label, panel.x.log, panel.y.label) == ("singular value s", False, "density of s")
    assert panel.y.ends[1] >= 2 / math.pi


def test_a_wide_law_is_shown_over_a_logarithmic_axis_where_areas_are_masses():
    figure = drawn(isocalc.FeedForward("linear", depth=10))
    (line,) = marks(figure, Line)
    panel = figure.panels[0]
    assert (panel.x.label, panel.x.log, panel.y.label) == ("singular value s", True, "density of log s")
    assert 0.98 < area(line, np.log(line.x)) < 1  # of a mass of 1, half a per cent is left of the picture
    edge = math.sqrt(11**11 / 10**10)  # of Fuss and Catalan
    assert [rule.at for rule in marks(figure, Rule)] == pytest.approx([edge])
    assert math.isclose(max(line.x), edge, rel_tol=1e-6)


def test_a_variable_that_is_asked_for_is_shown():
    figure = drawn(isocalc.FeedForward("linear", depth=10), "lambda", asked_for=True)
    assert figure.panels[0].x.label == "squared singular value λ = s²"
    assert "above the picture" in figure.caption


def test_singular_values_beyond_doubles_are_shown_by_their_logarithms():
    figure = drawn(isocalc.ResNet("relu", depth=2000, skip=2.0))
    assert figure.panels[0].x.label == "log s, of the singular value s"
    (line,) = marks(figure, Line)
    assert min(line.x) > 2000 * math.log(2) - 10
    assert area(line) == pytest.approx(1, abs=1e-3)


def test_point_masses_are_stems_and_those_at_zero_are_said():
    network = isocalc.FeedForward(
        "hardtanh", depth=3, weights="orthogonal", sigma_w=math.sqrt(1.2), sigma_b=math.sqrt(0.1)
    )
    closed = math.erfc(1 / math.sqrt(2 * 0.58609))  # mass of gates at 0 where q* = 0.58609
    (stem,) = marks(drawn(network), Stem)
    assert stem.mass == pytest.approx(1 - 3 * closed, abs=1e-4)
    assert stem.x == pytest.approx(1.2**1.5)
    assert f"point mass {stem.mass:.3g} at s = 1.31" in stem.label
    assert "not on this axis: point mass 0.1915 at s = 0" in drawn(network).caption
    named = drawn(network, caption="point mass 0.1915 at s = 0").caption
    assert named == "point mass 0.1915 at s = 0; what is at s = 0 is not on this axis"


def test_a_pure_point_mass_is_a_stem_alone():
    figure = drawn(isocalc.FeedForward("linear", depth=3, weights="orthogonal"))
    assert [(stem.x, stem.mass) for stem in marks(figure, Stem)] == [(1.0, 1.0)]
    assert not marks(figure, Line)


def test_a_peak_without_end_is_cut_and_said():
    figure = law_figure(
        [("", isocalc.spectrum(isocalc.ResNet("relu", depth=1), law="layered"))], "singular", ""
    )
    top = figure.panels[0].y.ends[1]
    (line,) = marks(figure, Line)
    assert max(line.y) > 10 * top
    assert "the density goes on above the picture" in figure.caption


def test_laws_over_each_other_have_their_own_colours_and_styles():
    laws = [(f"c {c}", isocalc.UniversalLaw(c)) for c in (0.5, 1, 2)]
    lines = marks(law_figure(laws, "log", ""), Line)
    assert [line.label for line in lines] == ["c 0.5", "c 1", "c 2"]
    assert len({line.colour for line in lines}) == len({line.style for line in lines}) == 3


def test_a_histogram_has_the_area_of_what_is_not_zero():
    log_s = np.array([[0.0, 1.0, 2.0, -np.inf], [0.5, 0.5, 1.5, -np.inf]])
    edges = np.linspace(0, 2, 5)
    heights = histogram(log_s, edges)
    assert heights.tolist() == [0.25, 0.5, 0.25, 0.5]
    assert (heights * np.diff(edges)).sum() == 0.75
    figure = simulation_figure([Simulated("", [log_s], None)], ("own",), "")
    (bars,) = marks(figure, Bars)
    assert np.dot(bars.heights, np.diff(bars.edges)) == pytest.approx(0.75)
    assert "0.25 of the singular values are 0" in figure.caption


def quarter_circle(s):
    s = np.clip(s, 0, 2)
    return (s * np.sqrt(4 - s**2) / 2 + 2 * np.arcsin(s / 2)) / math.pi


def test_a_simulation_lies_under_its_law():
    # 400 eigenvalues repel: counts of bars deviate by about 1 in 100, a law twice as wide by far more.
    log_s = isocalc.spectra(ONE_LAYER, 100, 4, 1)
    law = isocalc.spectrum(ONE_LAYER)
    figure = simulation_figure([Simulated("", [log_s], law, "KS")], ("own",), "")
    (bars,), (line,) = marks(figure, Bars), marks(figure, Line)
    edges = np.exp(bars.edges)
    masses = np.array(bars.heights) * np.diff(bars.edges)
    assert np.allclose(masses, np.diff(quarter_circle(edges)), atol=0.02)
    assert not np.allclose(masses, np.diff(quarter_circle(edges / 2)), atol=0.1)
    assert (line.label, figure.caption) == ("layered law", "KS")


def test_the_largest_alone_have_their_share_of_the_area():
    """Three of the ten singular values of each of two networks; what is not found is no zero."""
    log_s = np.array([[-np.inf, 0.1, 0.4], [0.2, 0.3, 0.5]])
    one = Simulated("", [log_s], None, what="two modules", width=10)
    figure = simulation_figure([one], (), "")
    (bars,) = marks(figure, Bars)
    assert np.dot(bars.heights, np.diff(bars.edges)) == pytest.approx(5 / 20)
    assert (bars.label, figure.caption) == ("two modules", "")


def test_two_kinds_of_gates_are_bars_and_an_outline():
    log_s = np.log(np.linspace(1, 2, 50))[None, :]
    figure = simulation_figure([Simulated("", [log_s, log_s], None)], ("own", "independent"), "")
    (line,), (bars,) = marks(figure, Line), marks(figure, Bars)
    assert area(line) == pytest.approx(np.dot(bars.heights, np.diff(bars.edges)))
    assert line.label == "independent gates"


def test_simulated_numbers_that_are_all_zero_have_an_empty_histogram():
    figure = simulation_figure([Simulated("", [np.full((2, 3), -np.inf)], None)], ("own",), "")
    (bars,) = marks(figure, Bars)
    assert set(bars.heights) == {0.0}
    assert "1 of the singular values are 0" in figure.caption


def test_the_critical_line_of_erf():
    """For erf, E φ'² = (4/π)/√(1 + 4q) and E φ² = (2/π) arcsin(2q/(1 + 2q)) (Poole et al., 1606.05340)."""
    (line,) = critical_curve(activation("erf"), (0.5, 3.0), (0.0, 1.0))
    x, y = np.array(line.x), np.array(line.y)
    inside = np.isfinite(x)
    q = ((4 / math.pi * x[inside] ** 2) ** 2 - 1) / 4
    bias = q - x[inside] ** 2 * 2 / math.pi * np.arcsin(2 * q / (1 + 2 * q))
    assert np.allclose(y[inside] ** 2, bias, atol=1e-9)
    assert y[inside].min() == 0
    assert y[inside].max() == pytest.approx(1, abs=0.02)
    at_half = np.interp(0.5, y[inside], x[inside])
    assert at_half == pytest.approx(criticality.at_sigma_b(activation("erf"), 0.5)[0].sigma_w, abs=1e-5)


def test_the_critical_line_of_relu_is_straight():
    (line,) = critical_curve(activation("relu"), (0.5, 3.0), (0.0, 1.0))
    assert line.x == pytest.approx([math.sqrt(2)] * 2)
    assert critical_curve(activation("relu"), (0.5, 1.0), (0.0, 1.0)) == []


def test_a_phase_diagram():
    weights, biases = [0.5, 1.0, 1.5, 2.0], [0.0, 0.5, 1.0]
    known = {0.5: (0.5, "ordered"), 1.0: (0.5, "ordered"), 1.5: (1.5, "chaotic"), 2.0: (None, None)}
    rows = [("tanh", w, b, *known[w]) for w in weights for b in biases]
    found = Table(("activation", "sigma_w", "sigma_b", "chi", "phase"), [*rows, rows[0]])
    figure = phase_figure(found, [activation("tanh")], weights, biases, "title")
    (field,) = marks(figure, Field)
    assert np.shape(field.values) == (3, 4)
    assert [row[:3] for row in field.values] == [[0.5, 0.5, 1.5]] * 3
    assert all(math.isnan(row[3]) for row in field.values)
    notes = {note.text: note.x for note in marks(figure, Note)}
    assert set(notes) == {"ordered", "chaotic", "no fixed point"}
    assert notes["ordered"] < 1.2 < notes["chaotic"]


def test_phases_are_those_of_the_table():
    """Where φ jumps, networks with χ < 1 are chaotic."""
    scales = [0.5, 0.6, 0.7]
    rows = [("hardshrink", w, b, 0.3, "chaotic") for w in scales for b in scales]
    found = Table(("activation", "sigma_w", "sigma_b", "chi", "phase"), rows)
    figure = phase_figure(found, [activation("hardshrink")], scales, scales, "")
    assert [note.text for note in marks(figure, Note)] == ["chaotic"]


@pytest.mark.parametrize(
    ("values", "reach"),
    [([0.9, 1.0017], 2), ([0.2, 1.0017], 5), ([0.5, 4.0], 4), ([0.0, 1.0], 10), ([math.nan], 2), ([1e9], 10)],
)
def test_shades_of_a_ratio_reach_as_far_up_as_down(values, reach):
    assert Field([0.0], [0.0], [values], "χ").reach == pytest.approx(reach)


def test_the_map_of_the_variance_of_a_linear_network():
    figure = map_figure(isocalc.FeedForward("linear", sigma_w=0.5, sigma_b=0.3), [0.12], "")
    diagonal, line, point = marks(figure, Line)
    assert line.y == pytest.approx([0.25 * q + 0.09 for q in line.x])
    assert list(diagonal.x) == list(diagonal.y)
    assert (list(point.x), list(point.y)) == ([0.12], [0.12])


SWEEP = Table(
    ("sigma_w", "activation", "c", "s"),
    [(w, act, w * k, None) for w in (1.0, 2.0, 3.0) for act, k in (("relu", 1.0), ("tanh", math.inf))],
)
AXES = {"sigma_w": (1.0, 2.0, 3.0), "activation": ("relu", "tanh")}
CHARTS = (Chart("c", (Quantity("c", "c"),), rule=(2.0, "two")), Chart("s", (Quantity("s", "s"),)))


def test_a_sweep_has_a_curve_for_each_name_and_no_panel_without_numbers():
    figure = table_figure(SWEEP, AXES, CHARTS, "title")
    assert len(figure.panels) == 1
    (line,) = marks(figure, Line)
    assert (list(line.x), list(line.y), line.label) == ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "relu")
    assert [(rule.at, rule.axis) for rule in marks(figure, Rule)] == [(2.0, "y")]
    assert figure.panels[0].x.label == "σ_w, scale of the weights"


def test_several_solutions_at_a_place_are_several_curves():
    found = Table(("sigma_b", "q"), [(0.0, 1.0), (0.0, 5.0), (1.0, 2.0), (1.0, 6.0), (2.0, 3.0)])
    figure = table_figure(found, {"sigma_b": (0.0, 1.0, 2.0)}, (Chart("q", (Quantity("q", "q"),)),), "")
    assert [list(line.y) for line in marks(figure, Line)] == [[1.0, 2.0, 3.0], [5.0, 6.0]]


def test_names_alone_have_a_row_each_and_ranges():
    found = Table(("activation", "low", "high"), [("relu", 1.0, 2.0), ("tanh", None, 3.0)])
    chart = Chart("s", (Quantity("low", "low"), Quantity("high", "high")))
    figure = table_figure(found, {"activation": ("relu", "tanh")}, (chart,), "")
    (panel,) = figure.panels
    assert panel.rows == ["relu", "tanh"]
    ranges = [line for line in marks(figure, Line) if not line.points]
    assert [(line.x, line.y) for line in ranges] == [((1.0, 2.0), (0, 0)), ((3.0, 3.0), (1, 1))]


def test_depths_by_powers_of_ten_are_spaced_so():
    chart = (Chart("c", (Quantity("c", "c"),)),)
    for depths, log in (((1, 10, 100), True), ((10, 20, 30), False), (tuple(range(1, 101)), False)):
        found = Table(("depth", "c"), [(depth, 1.0) for depth in depths])
        axis = table_figure(found, {"depth": depths}, chart, "").panels[0].x
        assert (axis.log, axis.whole, axis.label) == (log, True, "depth (layers)")


def test_more_curves_than_can_be_told_apart_are_refused():
    found = Table(("sigma_b", "skip", "c"), [(b, a, 1.0) for a in range(1, 10) for b in range(10)])
    axes = {"sigma_b": tuple(range(10)), "skip": tuple(range(1, 10))}
    with pytest.raises(InvalidInputError, match="plot must be of at most 8 curves, got 9"):
        table_figure(found, axes, CHARTS, "")
