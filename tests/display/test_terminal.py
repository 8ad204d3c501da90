"""What a terminal shows of a long table: a caption, a picture, the ends; everything else gets all of it."""

import os
import re

import pytest
from running import call, on_terminal, shell

from isocalc.display.layout import ON_SCREEN

TANH = ("density", "--act", "tanh", "--depth", "100")
BRAILLE = re.compile("[\u2801-\u28ff]")

pytestmark = [pytest.mark.process, pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")]


def screen(*arguments, columns=80, lines=24, term="xterm-256color", **environment):
    """Return what a command writes to a terminal, and its exit code."""
    size = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": term}
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    return on_terminal(*arguments, environment=inherited | size | environment)


def bare(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def shown_rows(text):
    """Return the first cells of the rows of a table below its rule."""
    below = bare(text).split("───\n")[-1].splitlines()
    return [line.split()[0] for line in below if line.strip() and "left out" not in line]


def test_the_first_command_of_a_new_user_fits_a_screen():
    text, code = screen(*TANH)
    lines = bare(text).splitlines()
    assert code == 0
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Universal law (L -> infinity), c = 0.968394")
    assert "lower edge 0.2238, upper edge 4.468, ratio 19.96, mean s 1.309, mean s^2 2.634," in lines
    assert "no outlier" in lines
    assert "density of s" in lines
    assert BRAILLE.search(text)
    assert shown_rows(text) == ["0.223804", "0.223845", "0.223971", "…", "4.46487", "4.46737", "4.4682"]
    assert lines[-1] == "194 of 200 rows are left out; --all prints them"


def test_what_the_caption_says_is_not_said_twice():
    text, _ = screen("density", "--act", "relu", "--depth", "20")
    assert "isocalc: layered law" not in text
    assert bare(text).startswith("Law at this depth (layers asymptotically free), as the universal law")
    assert "outlier s = 5.04" in bare(text)
    text, _ = screen("density", "--act", "relu", "--depth", "20", "--all")
    assert "isocalc: layered law" in text


@pytest.mark.parametrize(("columns", "lines"), [(200, 24), (200, 50), (80, 50), (40, 24)])
def test_screens_of_other_sizes(columns, lines):
    text, code = screen(*TANH, columns=columns, lines=lines)
    assert code == 0
    assert "Traceback" not in text
    assert "rows are" in bare(text)
    if columns >= 80:
        assert len(bare(text).splitlines()) < lines
        assert max(map(len, bare(text).splitlines())) <= columns


@pytest.mark.parametrize("columns", [20, 15])
@pytest.mark.parametrize("rows", [(), ("--summary",)])
def test_a_terminal_too_narrow_for_the_numbers_is_told_so_in_one_line(columns, rows):
    text, code = screen(*TANH, *rows, columns=columns)
    assert code == 1
    said = " ".join(bare(text).split())
    assert re.fullmatch(
        rf"Error: the table takes \d+ columns and this terminal has {columns}; give -o FILE, or a pipe", said
    )


def test_all_rows_are_shown_where_they_are_asked_for():
    text, _ = screen(*TANH, "--all")
    assert len(shown_rows(text)) == 200
    assert "left out" not in text
    assert not BRAILLE.search(text)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_other_forms_are_whole_on_a_terminal(form):
    text, _ = screen(*TANH, "--format", form)
    assert text == shell(f"isocalc {' '.join(TANH)} --format {form}").stdout


def test_a_file_is_whole_whatever_the_terminal(tmp_path):
    text, _ = screen(*TANH, "-o", tmp_path / "x.csv", "--format", "table")
    assert text == ""
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 203


def test_a_pipe_gets_every_row_of_a_table():
    assert len(call(*TANH, "--format", "table").stdout.splitlines()) == 203


def test_a_long_sweep_is_cut_and_a_short_one_is_not():
    text, _ = screen("param", "--arch", "feedforward", "--act", "tanh", "--sigma-w", "0.5:2:60", columns=160)
    assert len(bare(text).splitlines()) < 24
    assert shown_rows(text)[-1] == "2"
    text, _ = screen("param", "--arch", "feedforward", "--act", "tanh", "--sigma-w", "0.5:2:9", columns=160)
    assert len(shown_rows(text)) == 9
    assert "left out" not in text


def test_the_activations_are_listed_whole():
    text, _ = screen("acts", columns=160)
    assert "…" not in text
    assert len(shown_rows(text)) > 25


def test_a_spectrum_is_cut():
    arguments = ("mc", "--act", "relu", "--depth", "3", "--width", "40", "--seed", "1", "--spectrum")
    text, _ = screen(*arguments, "--trials", "2")
    rows = shown_rows(text.split("log_singular_value")[-1])
    assert (rows[0], rows[-1]) == ("1", "2")
    assert "of 80 rows are left out" in text


@pytest.mark.parametrize(
    "environment", [{"term": "dumb"}, {"PYTHONIOENCODING": "ascii"}, {"term": "dumb", "NO_COLOR": "1"}]
)
def test_terminals_without_braille(environment):
    text, code = screen(*TANH, **environment)
    assert code == 0
    assert not BRAILLE.search(text)
    assert "***" in text
    if "PYTHONIOENCODING" in environment:
        assert "\\u" not in text
        assert "..." in text


def test_colours_tell_curves_apart_or_symbols_do():
    sweep = ("density", "--c", "0.5,1")
    text, _ = screen(*sweep)
    assert "\x1b[38;" in text
    assert BRAILLE.search(text)
    text, _ = screen(*sweep, NO_COLOR="1")
    assert "\x1b[38;" not in text
    assert "* c 0.5   o c 1" in text


def luminance(colour):
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", ON_SCREEN)
def test_colours_are_seen_on_white_and_on_black(colour):
    light = luminance(colour)
    assert min(1.05 / (light + 0.05), (light + 0.05) / 0.05) >= 3  # of WCAG 2.2, graphical objects


def test_a_picture_that_is_asked_for_stands_alone():
    text, code = screen(*TANH, "--plot", "-")
    assert code == 0
    assert bare(text).startswith("Residual network, tanh, depth 100\n")
    assert "4.46737" not in text
    assert len(text.splitlines()) <= 24
