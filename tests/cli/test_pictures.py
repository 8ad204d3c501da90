"""Pictures as they are drawn: characters in a terminal, files of Matplotlib, and what is refused."""

import io
import math
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import call, refusal, shell
from running import table as csv_table

from isocalc.display.characters import Canvas, Paper, drawing
from isocalc.display.figure import Axis, Bars, Field, Figure, Line, Panel, Rule, Stem
from isocalc.display.image_files import picture
from isocalc.errors import NoAnswerError

needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra plot")
TANH = ("density", "--act", "tanh", "--depth", "100")


def text(figure, width=20, rows=7, *, braille=True, colour=True):
    lines = drawing(figure, Paper(width, rows, braille, colour))
    return ["".join(part for part, _ in spans).rstrip() for spans in lines]


def panel(*marks, **axes):
    return Figure("", (Panel(axes.get("x", Axis("x")), axes.get("y", Axis("y")), marks),))


def test_braille_dots_are_where_unicode_has_them():
    canvas = Canvas(2, 1, braille=True, x=(0, 3), y=(0, 3))
    for column, row in ((0, 0), (1, 1), (0, 2), (1, 3), (2, 3), (3, 0)):
        canvas.dot(column, row, None)
    # ISO/TR 11548-1 numbers the dots 1 2 3 7 down the left, 4 5 6 8 down the right.
    dots = [0b10010101, 0b01001000]
    assert "".join(letter for letter, _ in canvas.lines()[0]) == "".join(chr(0x2800 + bits) for bits in dots)


def test_dots_outside_a_canvas_are_left_out():
    canvas = Canvas(3, 2, braille=False, x=(0, 1), y=(0, 1))
    canvas.line([-5.0, 1e300, float("nan"), 0.5], [0.0, 1.0, 0.5, 0.5], 0)
    canvas.write(2, 0, "words")
    canvas.write(0, 7, "words")
    assert all(len(row) == 3 for row in canvas.lines())


def test_a_diagonal_in_ascii():
    assert text(panel(Line((0, 3), (0, 3), "a")), 17, 7, braille=False) == [
        "y   * a",
        "  3 |          **",  # the last row begins where y is rounded to it, at 5/6 of the way
        "    |      ****",
        "1.5 |  ****",
        "  0 |**",
        "    +------------",
        "     0          3",
        "                x",
    ]


@pytest.mark.parametrize("width", [16, 20, 33, 80, 200])
@pytest.mark.parametrize("braille", [True, False])
def test_no_line_is_wider_than_the_terminal(width, braille):
    marks = (
        Line((1e-9, 1, 1e9), (0.0, 123456.0, 2.0), "a long name of a curve that takes more than a line"),
        Stem(1.0, 0.5, "point mass"),
        Rule(0.5, "y", "rule"),
    )
    figure = Figure("a title of many words that must wrap", (panel(*marks).panels[0],) * 2, "and a caption")
    assert max(map(len, text(figure, width, 12, braille=braille))) <= width


NUMBERS = st.lists(st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, 1e-320]), max_size=6)


@given(NUMBERS, NUMBERS, st.tuples(*[st.booleans()] * 3), st.integers(16, 50))
def test_any_numbers_are_drawn_within_the_width(x, y, choices, width):
    log_x, log_y, braille = choices
    count = min(len(x), len(y))
    line = Line(x[:count], y[:count], "name", points=bool(count % 2), style="none" if log_x else "solid")
    figure = panel(line, x=Axis("x", log_x), y=Axis("y", log_y))
    lines = text(figure, width, braille=braille)
    assert max(map(len, lines)) <= width
    assert not any("nan" in line for line in lines)


def test_a_terminal_too_narrow_is_refused_in_words():
    with pytest.raises(NoAnswerError, match="a picture takes 16 columns; here are 15"):
        text(panel(Line((0, 1), (0, 1))), 15)


def test_curves_without_colours_are_told_apart_by_symbols():
    two = panel(Line((0, 1), (0, 0), "a", 0), Line((0, 1), (1, 1), "b", 1))
    lines = text(two, colour=False)
    assert lines[0] == "y   * a   o b"
    assert lines[1].endswith("o" * 10)
    assert lines[4].endswith("*" * 10)
    assert not any("\u2800" <= letter <= "\u28ff" for letter in "".join(lines))
    assert any("\u2800" <= letter <= "\u28ff" for letter in "".join(text(two)))


def test_rows_have_their_names_and_ranges():
    ranges = Line((0.0, 1.0), (0, 0)), Line((0.0, 1.0), (0, 1), "c", points=True, style="none")
    figure = Figure("", (Panel(Axis("x"), Axis(""), ranges, rows=("relu", "tanh")),))
    first, second = text(figure, 17, braille=False)[1:3]
    assert re.fullmatch(r"relu \|\*-+", first)
    assert re.fullmatch(r"tanh \| +\*", second)


@pytest.mark.parametrize(
    "mark",
    [
        Line((), ()),
        Line((float("nan"),), (1.0,)),
        Line((1.0,), (1.0,)),
        Line((0.0, -1.0), (0.0, 1.0)),
        Bars((0.0, 1.0), (0.0,)),
    ],
)
@pytest.mark.parametrize("log", [True, False])
def test_marks_with_next_to_nothing_in_them(mark, log):
    assert text(panel(mark, x=Axis("x", log), y=Axis("y", log)))


def plot(*arguments, **environment):
    done = shell("isocalc " + " ".join(arguments) + " --plot -", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.process
def test_a_pipe_gets_plain_characters():
    drawn = plot(*TANH)
    assert drawn.startswith("Residual network, tanh, depth 100\ndensity of s\n")
    assert "\x1b" not in drawn
    assert max(map(len, drawn.splitlines())) <= 80
    assert "singular value s\n" in drawn
    assert max(map(len, plot(*TANH, COLUMNS="40").splitlines())) <= 40


@pytest.mark.process
@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_without_braille_gets_ascii(environment):
    drawn = plot("param", "--act", "tanh", "--arch", "feedforward", "--sigma-w", "0.5:2:9", **environment)
    assert "*" in drawn
    assert not any("\u2800" <= letter <= "\u28ff" for letter in drawn)
    if "PYTHONIOENCODING" in environment:
        assert drawn.isascii()
        assert "sigma_w, scale of the weights" in drawn
        assert "\\u" not in drawn


@pytest.mark.process
def test_colours_are_forced_and_forbidden():
    sweep = ("density", "--c", "0.5,1")
    assert "\x1b[" in plot(*sweep, FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[38" not in plot(*sweep, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")


@pytest.mark.process
def test_a_narrow_terminal_is_refused_in_one_line():
    done = shell("isocalc density --c 1 --plot -", COLUMNS="12")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: a picture takes 16 columns; here are 12\n"


def test_a_picture_in_the_terminal_leaves_the_table_to_a_file(tmp_path):
    target = tmp_path / "x.csv"
    assert "density of s" in call(*TANH, "--plot", "-", "-o", target).stdout
    assert len(target.read_text().splitlines()) == 201


PICTURES = [
    (TANH, ("singular value s", "density of s")),
    (("density", "--act", "tanh", "--depth", "10,50", "--summary"), ("depth (layers)", "upper edge")),
    (("param", "--act", "relu,tanh", "--depth", "10:100:4"), ("parameter c", "relu", "root mean square")),
    (("param", "--act", "tanh", "--layers"), ("layer", "c of the layer")),
    (("param", "--act", "all", "--depth", "100"), ("squared_relu", "lower edge")),
    (
        ("param", "--arch", "feedforward", "--act", "erf", "--sigma-w", "1:2:4", "--sigma-b", "0:1:3"),
        ("ordered", "chaotic", "critical line χ = 1", "σ_b, scale of the biases"),
    ),
    (("param", "--arch", "feedforward", "--act", "tanh", "--sigma-w", "1.5"), ("stable fixed point q*",)),
    (("mc", "--act", "relu", "--depth", "5", "--width", "20", "--seed", "1", "--spectrum"), ("log s",)),
    (("init", "--act", "relu,tanh", "--target-c", "0.5"), ("σ_w, scale of the weights", "tanh")),
    (("init", "--act", "tanh", "--critical", "--sigma-b", "0:1:5"), ("χ = 1 of tanh", "edge of chaos")),
    (("init", "--act", "relu", "--schemes"), ("inverse_sqrt_depth", "parameter c")),
    (("init", "--gain", "--act", "relu,tanh"), ("backward",)),
    (("init", "--act", "tanh", "--target-variance", "0.25", "--depth", "10,100"), ("fixed point q*",)),
]


@needs_matplotlib
@pytest.mark.parametrize(("arguments", "words"), PICTURES)
def test_the_words_of_a_picture_and_the_table_beside_it(arguments, words, tmp_path):
    target = tmp_path / "picture.svg"
    beside, alone = (call(*arguments, *more).stdout for more in (("--plot", target), ()))
    assert [line.count(",") for line in beside.splitlines()] == [
        line.count(",") for line in alone.splitlines()
    ]
    drawn = target.read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")
    assert [word for word in words if word not in drawn] == []
    assert [path.name for path in tmp_path.iterdir()] == ["picture.svg"]
    in_terminal = call(*arguments, "--plot", "-").stdout
    assert [word for word in words if word not in in_terminal] == []


OWN = """import numpy as np
def phi(x): return np.tanh(x)
def dphi(x): return 1 / np.cosh(x) ** 2
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    [
        "param --arch feedforward --sigma-w 0.5:2:4 --sigma-b 0:1:3",
        "init --critical --sigma-b 0:1:3",
        "density --depth 100",
    ],
)
def test_a_function_of_the_users_own_is_drawn(command, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = shell(f"cd {tmp_path} && isocalc {command} --act-from own:phi,dphi --plot -")
    assert done.returncode == 0
    assert "own:phi,dphi" in done.stdout
    if "density" not in command:
        assert "χ = 1" in done.stdout


@needs_matplotlib
@pytest.mark.parametrize(
    ("name", "magic"), [("x.png", b"\x89PNG\r\n\x1a\n"), ("x.PDF", b"%PDF-"), ("x.svg", b"<?xml")]
)
def test_formats_by_their_magic_and_the_same_bytes_twice(name, magic, tmp_path):
    call(*TANH, "--plot", tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert first.startswith(magic)
    call(*TANH, "--plot", tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


@needs_matplotlib
def test_a_simulation_is_drawn_with_what_it_says(tmp_path):
    target = tmp_path / "mc.svg"
    arguments = ("mc", "--act", "tanh", "--depth", "10", "--width", "30", "--seed", "1", "--plot", target)
    (row,) = (row for row in csv_table(*arguments) if row["statistic"] == "ks_distance")
    assert f"KS distance {float(row['simulation']):.2g} ± " in target.read_text(encoding="utf-8")


@needs_matplotlib
def test_drawing_leaves_matplotlibs_settings_alone(tmp_path):
    import matplotlib as mpl  # noqa: PLC0415 - optional

    before = mpl.rcParams.copy()
    call(*TANH, "--plot", tmp_path / "x.png")
    assert mpl.rcParams.copy() == before
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*TANH, "--plot", "x.jpg"), "--plot must be a file that ends in .png, .svg or .pdf, or - for"),
        ((*TANH, "--plot", "x"), "--plot must be a file that ends in .png, .svg or .pdf"),
        ((*TANH, "--plot", ""), "--plot must be a file that ends in .png, .svg or .pdf"),
        ((*TANH, "--plot", "-", "--format", "csv"), "--format cannot be given with --plot -"),
        (("density", "--c", "0.1:1:9", "--plot", "-"), "--plot must be of at most 8 densities, got 9"),
        (
            ("mc", "--act", "relu", "--depth", "1:7:7", "--plot", "-"),
            "--plot must be of at most 6 simulations",
        ),
        (
            ("param", "--act", "tanh", "--sigma-b", "0:1:9", "--sigma-w", "0.1:1:10", "--plot", "-"),
            "--plot must be of at most 8 curves, got 9",
        ),
        (("init", "--act", "relu", "--target-c", "1", "--emit", "torch", "--plot", "-"), "--plot cannot be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refusal(*arguments)
    assert list(tmp_path.iterdir()) == []


@needs_matplotlib
@pytest.mark.parametrize("place", ["missing/x.png", "/proc/none/x.svg"])
def test_unwritable_places_are_refused_before_computing(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"--plot must be a file that can be written, got {place!r}" in refusal(*TANH, "--plot", place)


@needs_matplotlib
def test_a_picture_and_its_table_cannot_be_one_file(tmp_path):
    assert "another file" in refusal(*TANH, "-o", tmp_path / "x.svg", "--plot", tmp_path / "x.svg")


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr("isocalc.display.image_files.find_spec", lambda _: None)
    assert "pip install 'isocalc[plot]'" in refusal(*TANH, "--plot", "x.png")


@pytest.mark.process
@pytest.mark.parametrize("arguments", [TANH, (*TANH, "--plot", "-")])
def test_matplotlib_loads_for_files_only(arguments):
    script = "import sys; from isocalc.cli import main; sys.argv[0] = 'isocalc'\n"
    script += "try: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert "matplotlib" not in done.stderr.split()


def test_a_failed_picture_leaves_no_half_of_one(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    result = call(*TANH, "--plot", tmp_path / "x.png")
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot write to {tmp_path / 'x.png'}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_laws_of_point_masses_alone_beside_laws_over_logarithms(tmp_path):
    """One product of orthogonal matrices is a point mass, that of Gaussian ones is spread over decades."""
    sweep = (
        "density",
        "--arch",
        "feedforward",
        "--act",
        "linear",
        "--weights",
        "gaussian,orthogonal",
        "--depth",
        4,
    )
    result = call(*sweep, "--plot", tmp_path / "both.svg")
    assert result.exit_code == 0
    assert "point mass 1 at s = 1" in (tmp_path / "both.svg").read_text()


def test_the_critical_line_is_seen_in_plain_characters(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    scales = ("--sigma-w", "0.5:3:11", "--sigma-b", "0:1:5")
    shown = call("param", "--arch", "feedforward", "--act", "erf", *scales, "--plot", "-").stdout
    assert "= critical line" in shown
    assert all("=" in line for line in shown.splitlines()[2:10])


def ratios(*values):
    """A picture of a column for each ratio, all over."""
    x = [float(i) for i in range(len(values))]
    return panel(Field(x, [0.0, 1.0], [list(values)] * 2, "χ"), x=Axis("x", ends=(0, x[-1])))


def test_ratios_in_characters_have_four_shades_alike_about_1():
    shown = text(ratios(0.0, 0.4, 0.6, 1 - 1e-9, 1.0, 1.9, 2.1, math.nan, 1e9), 80, 4, braille=False)
    assert shown[0] == "y   χ   : below 0.5   . below 1   + from 1   # from 2"
    row = re.sub(r"(.)\1+", r"\1", shown[1].partition("|")[2])
    assert row == ":.+# #"


def colours(figure):
    """The colour in the middle of each of the columns of `ratios`, the middle pixels of the map."""
    from PIL import Image  # noqa: PLC0415 - optional

    with Image.open(io.BytesIO(picture(figure, "png"))) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    row = pixels[pixels.shape[0] // 2]
    runs = np.split(row, np.flatnonzero(np.abs(np.diff(row, axis=0)).sum(axis=1)) + 1)
    return [run[0] for run in runs if len(run) > 40 and run[0].sum() < 3 * 255]


@needs_matplotlib
def test_colours_of_a_ratio_are_as_far_from_white_up_as_down():
    """Though little is above 1, 1.0017 is next to white, and 2 about as dark as 1/2."""
    low, half, one, two = colours(ratios(0.2, 0.5, 1.0017, 2.0))
    assert (np.abs(one - 247) <= 4).all()  # the middle of the colour map
    darkness = [float(np.abs(one - colour).sum()) for colour in (low, half, two)]
    assert darkness[0] > 1.5 * darkness[1]
    assert darkness[1] == pytest.approx(darkness[2], rel=0.2)


def test_places_of_several_fixed_points_are_told():
    scales = ("--sigma-w", "0.5:6:5", "--sigma-b", "0:0.4:3")
    network = ("param", "--arch", "feedforward", "--act", "tanh(x)**3*3", *scales)
    assert "several stable fixed points at" in call(*network, "--plot", "-").stdout
