import csv
import io
import json
import math
import os
import re
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocalc.display.table import Table
from isocalc.display.terminal import text_table
from isocalc.display.writer import write
from isocalc.errors import InvalidInputError
from isocalc.files import check_writable, is_same_file

CELLS = [["relu", 3, 0.1, None], ["a,b", -1, math.inf, 1e-320]]
TABLE = Table(("name", "n", "x", "y"), CELLS, "Caption")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def bare(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def printed(table, form, capsys):
    write(table, form)
    return capsys.readouterr().out


def test_csv_is_that_of_the_csv_module(capsys):
    rng = np.random.default_rng(3)
    numbers = (rng.normal(size=(5000, 3)) * 10.0 ** rng.integers(-320, 300, size=(5000, 3))).tolist()
    for rows in (numbers, [*numbers[:4500], [math.inf, -0.0, 5e-324], [None, 1, "a"], *numbers[4500:]]):
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n").writerows([["x", "y", "z"], *rows])
        assert printed(Table(("x", "y", "z"), rows), "csv", capsys) == stream.getvalue()
    for cells in (["a", "b,c", 'say "x"', "two\nlines", "", " ", "é", "'"], [None, 1, -2.5, "a"]):
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n").writerows([["x"], *([cell] for cell in cells)])
        assert printed(Table(("x",), [[cell] for cell in cells]), "csv", capsys) == stream.getvalue()


def test_csv(capsys):
    assert printed(TABLE, "csv", capsys) == 'name,n,x,y\nrelu,3,0.1,\n"a,b",-1,inf,1e-320\n'


def test_auto_is_csv_where_standard_output_is_no_terminal(capsys):
    assert printed(TABLE, "auto", capsys) == printed(TABLE, "csv", capsys)


def test_json(capsys):
    assert json.loads(printed(TABLE, "json", capsys)) == [
        {"name": "relu", "n": 3, "x": 0.1, "y": None},
        {"name": "a,b", "n": -1, "x": "inf", "y": 1e-320},
    ]
    assert json.loads(printed(Table(("x",), [[-math.inf]]), "json", capsys)) == [{"x": "-inf"}]
    assert printed(Table(("x",), []), "json", capsys) == "[]\n"


def test_numpy_scalars_become_numbers(capsys):
    scalars = Table(("f", "i", "single"), [[np.float64(0.1), np.int64(3), np.float32(0.5)]])
    assert printed(scalars, "csv", capsys) == "f,i,single\n0.1,3,0.5\n"
    assert json.loads(printed(scalars, "json", capsys)) == [{"f": 0.1, "i": 3, "single": 0.5}]


@pytest.mark.parametrize("form", ["csv", "json", "table"])
@pytest.mark.parametrize("value", [math.nan, np.float64("nan"), np.float32("nan")])
def test_nan_is_never_written(form, value, capsys):
    with pytest.raises(AssertionError, match="NaN"):
        write(Table(("x",), [[1.0], [value]]), form)
    assert capsys.readouterr().out == ""


@given(st.floats(allow_nan=False))
def test_floats_read_back_exactly(value):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        write(Table(("x", "y"), [[value, value]]), "csv")
        write(Table(("x",), [[value]]), "json")
    _, in_csv, in_json = stream.buffer.getvalue().decode().splitlines()
    assert float(in_csv.split(",")[1]) == value
    assert float(json.loads(in_json)[0]["x"]) == value


def test_table_shows_six_digits_and_the_caption(capsys):
    out = printed(Table(("x",), [[math.pi * 1e9]], "The caption"), "table", capsys)
    assert out.startswith("The caption\n")
    assert "3.14159e+09" in out


def test_a_table_rounds_pairs_and_leaves_out_a_status_that_is_ok(capsys):
    columns = ("c", "support", "atoms", "status")
    rows = [[1, "0.21772898894:4.5928665610", "0.125:1.0", "ok"], [2, "", None, "ok"]]
    out = printed(Table(columns, rows), "table", capsys)
    assert "0.217729:4.59287" in out
    assert "0.125:1" in out
    assert "0.125:1.0" not in out
    assert "status" not in out
    assert "0.21772898894:4.5928665610" in printed(Table(columns, rows), "csv", capsys)
    assert '"status": "ok"' in printed(Table(columns, rows), "json", capsys)
    rows[1][-1] = "no answer"
    out = printed(Table(columns, rows), "table", capsys)
    assert "no answer" in out
    assert "ok" in out


def test_table_in_a_pipe_has_no_colour_and_loses_nothing(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    names = [f"column_{i}" for i in range(40)]
    out = printed(Table(names, [["x" * 30] * 40] * 2), "table", capsys)
    assert "\x1b" not in out
    assert all(name in out for name in names)
    assert out.count("x" * 30) == 80


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 5])
def test_a_terminal_of_any_width_shows_every_number(width, count, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [[f"act{i}", *(0.123456 + i + 10 * j for j in range(12))] for i in range(count)]
    table = Table(("activation", *(f"quantity_{j}" for j in range(12))), rows)
    text = bare(text_table(table, rows, Terminal()))
    assert max(map(len, text.splitlines())) <= width
    for row in rows:
        assert all(f"{number:.6g}" in text for number in row[1:])


def test_a_narrow_terminal_repeats_the_keys_and_folds_sentences(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    reason = "no fixed point: the variance grows from layer to layer without bound, by 2.25 a layer"
    rows = [["relu", 10 + i, *[1.5] * 8, reason] for i in range(3)]
    table = Table(("activation", "depth", *(f"quantity_{j}" for j in range(8)), "status"), rows, keys=2)
    text = bare(text_table(table, rows, Terminal()))
    assert text.count("activation") == text.count("depth") > 1
    assert max(map(len, text.splitlines())) <= 70
    assert "".join(reason.split()[:3]) in "".join(text.split())


@pytest.mark.parametrize(
    ("environment", "styles"),
    [
        ({"TERM": "xterm-256color"}, {"1"}),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, {"1"}),
        ({"TERM": "dumb"}, set()),
    ],
)
def test_a_terminal_gets_the_styles_it_can_show(environment, styles, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = text_table(TABLE, CELLS, Terminal())
    assert set(re.findall(r"\x1b\[([1-9][0-9;]*)m", text)) == styles


def test_force_color_in_a_pipe(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in text_table(TABLE, CELLS, io.StringIO())


@pytest.mark.parametrize(("name", "start"), [("x.csv", "name,n"), ("x.JSON", "[{"), ("x", "name,n")])
def test_the_name_of_the_file_chooses_the_format(name, start, tmp_path):
    write(TABLE, "auto", str(tmp_path / name))
    assert (tmp_path / name).read_text().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_dash_is_standard_output(capsys):
    write(TABLE, "csv", "-")
    assert capsys.readouterr().out.startswith("name,n")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_gets_the_mode_of_the_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write(TABLE, "csv", str(tmp_path / "x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_an_old_file_is_replaced_and_keeps_its_mode(tmp_path):
    target = tmp_path / "x"
    target.write_text("old " * 1000)
    target.chmod(0o640)
    before = target.stat().st_ino
    write(TABLE, "csv", str(target))
    assert target.read_text().startswith("name,n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.stat().st_ino != before


def test_links_are_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "real"
    link = tmp_path / "link"
    link.symlink_to(target)
    for _ in range(2):  # dangling, then not
        check_writable(str(link))
        write(TABLE, "csv", str(link))
        assert link.is_symlink()
        assert target.read_text().startswith("name,n")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["real"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "x"
    target.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failure:
        write(TABLE, "csv", str(target))
    assert failure.value.filename == str(target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_devices_and_pipes_are_written_to_directly(tmp_path):
    write(TABLE, "csv", "/dev/null")
    assert not Path("/dev/null").is_file()
    with pytest.raises(OSError, match="No space left"):
        write(TABLE, "csv", "/dev/full")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(str(pipe))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(TABLE, "csv", str(pipe))
    assert os.read(reader, 6) == b"name,n"
    os.close(reader)


@pytest.mark.parametrize("name", ["missing/x", ".", "folder", "folder/", "file/x", "n" * 300, "loop", "a\0b"])
def test_places_that_cannot_be_written_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("")
    Path("loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInputError, match="must be a file that can be written"):
        check_writable(name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o400)
    with pytest.raises(InvalidInputError, match="Permission denied"):
        check_writable(str(file))
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidInputError, match="Permission denied"):
        check_writable(str(tmp_path / "new"))


def test_a_letter_that_standard_output_cannot_encode_is_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    write(Table(("x",), [["φ"]]), "csv")
    assert stream.buffer.getvalue() == b"x\n\\u03c6\n"


def test_writes_that_take_a_part_are_continued(monkeypatch):
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data)[:3])

    binary = Slow()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(binary, encoding="utf-8"))
    write(TABLE, "csv")
    assert binary.getvalue().endswith(b"1e-320\n")


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_full_pipe_that_does_not_block_is_waited_for(buffering, monkeypatch):
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    raw = os.fdopen(writable, "wb", buffering=buffering)
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    monkeypatch.setattr("sys.stdout", stream)
    received = []

    def read():
        with os.fdopen(readable, "rb") as source:
            received.append(source.read())

    reader = threading.Thread(target=read)
    table = Table(("x",), [[i] for i in range(100_000)])  # more than a pipe holds
    reader.start()
    write(table, "csv")
    stream.close()
    reader.join()
    assert received[0].count(b"\n") == 100_001


def test_an_empty_file_name_is_refused_as_such():
    with pytest.raises(InvalidInputError, match="must be a file name"):
        check_writable("")


def test_a_closed_standard_output_is_an_error(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(OSError, match="closed"):
        write(TABLE, "csv")


def test_names_of_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "there").write_text("x")
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "dangling").symlink_to("d/new")
    (tmp_path / "hard").hardlink_to("there")
    for one, other in (
        ("there", "./d/../there"),
        ("there", "hard"),
        ("d/new", "link/new"),
        ("dangling", f"{tmp_path}/link/new"),
        ("none/x", "none/../none/x"),
    ):
        assert is_same_file(one, other)
    for one, other in (("there", "d/there"), ("new", "d/new"), ("new", "new2"), ("/dev/null", "/dev/null")):
        assert not is_same_file(one, other)
