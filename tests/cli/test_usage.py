"""Bad input: one line, exit 2, nothing on standard output, nothing on disk."""

import pytest
from click.testing import CliRunner
from running import call, refusal

from isocalc import __version__
from isocalc.cli.group import COMMANDS, isocalc

RELU = ("param", "--act", "relu")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("param",), ("--act must be given", "comma list")),
        (("density",), ("--act must be given",)),
        (("param", "--act", "rleu"), ("--act must be a known activation, got 'rleu'. Did you mean relu?",)),
        (("param", "--act", "relu,"), ("--act must be", "got 'relu,'. An item is empty.")),
        (("param", "--act", ""), ("--act must be", "got ''. An item is empty.")),
        (("param", "--act", "all,rleu"), ("'rleu'",)),
        (("param", "--act", "__import__('os').system('true')"), ("--act must be",)),
        (
            ("param", "--act", "threshold"),
            ("threshold:threshold:value", "got 'threshold'", "threshold:0.1:0.5"),
        ),
        (("param", "--act", "leaky_relu:x"), ("leaky_relu:negative_slope", "got 'leaky_relu:x'")),
        ((*RELU, "--depth", "0"), ("--depth must be a whole number from 1 to", "got 0")),
        ((*RELU, "--depth", "-3"), ("--depth must be", "got -3")),
        ((*RELU, "--depth", "1.5"), ("--depth must be a whole number", "got '1.5'")),
        (("mc", "--act", "relu", "--trials=+-5"), ("--trials must be a whole number", "got '+-5'")),
        (("mc", "--act", "relu", "--seed", "9" * 5000), ("--seed must be a whole number", "characters")),
        ((*RELU, "--depth", "1:2:3"), ("--depth must be a whole number", "got '1:2:3'")),
        ((*RELU, "--depth", "1e300"), ("--depth must be a whole number of at most 1e+15, got '1e300'",)),
        ((*RELU, "--depth", "nan"), ("--depth", "got 'nan'")),
        ((*RELU, "--depth", "inf"), ("--depth", "got 'inf'")),
        ((*RELU, "--sigma-w", "-1"), ("--sigma-w must be a finite number of at least 0, got -1\n",)),
        ((*RELU, "--sigma-w", "1,2,-1.50"), ("--sigma-w", "got -1.50\n")),
        ((*RELU, "--sigma-w", "nan"), ("--sigma-w must be a finite number", "got nan")),
        ((*RELU, "--sigma-w", "inf"), ("--sigma-w must be a finite number", "got inf\n")),
        ((*RELU, "--sigma-w", "1e999"), ("--sigma-w must be a finite number", "got 1e999")),
        ((*RELU, "--sigma-w", "abc"), ("--sigma-w must be a number, a list", "got 'abc'")),
        ((*RELU, "--sigma-w", ""), ("--sigma-w", "got ''")),
        ((*RELU, "--sigma-w", "1,,2"), ("--sigma-w", "got '1,,2'. An item is empty.")),
        ((*RELU, "--sigma-w", "2:1:5"), ("start < stop", "got '2:1:5'")),
        ((*RELU, "--sigma-w", "1:1:5"), ("start < stop", "got '1:1:5'")),
        ((*RELU, "--sigma-w", "1:2:1"), ("count from 2", "got '1:2:1'")),
        ((*RELU, "--sigma-w", "1:2:2.5"), ("whole count", "got '1:2:2.5'")),
        ((*RELU, "--sigma-w", "1:2"), ("start:stop:count", "got '1:2'")),
        ((*RELU, "--sigma-w", "0:inf:3"), ("start:stop:count", "got '0:inf:3'")),
        ((*RELU, "--sigma-w", "1:2:1e12"), ("count from 2 to 1000000", "got '1:2:1e12'")),
        ((*RELU, "--sigma-b", "-0.1"), ("--sigma-b must be a finite number of at least 0, got -0.1",)),
        ((*RELU, "--skip", "0"), ("--skip must be a finite number other than 0, got 0\n",)),
        ((*RELU, "--input-variance", "0"), ("--input-variance must be", "greater than 0, got 0\n")),
        ((*RELU, "--arch", "cnn"), ("--arch must be one of resnet, feedforward, got 'cnn'",)),
        ((*RELU, "--block", "mid"), ("--block must be one of post, pre, preln, got 'mid'",)),
        ((*RELU, "--weights", "haar"), ("--weights must be one of gaussian, orthogonal, got 'haar'",)),
        ((*RELU, "--format", "xml"), ("--format must be one of auto, table, csv, json, got 'xml'",)),
        (
            (*RELU, "--arch", "feedforward", "--skip", "1"),
            ("--skip cannot be given with --arch feedforward",),
        ),
        ((*RELU, "--arch", "feedforward", "--block", "post"), ("--block cannot be given", "Leave it out")),
        ((*RELU, "--dpeth", "3"), ("No such option", "--dpeth", "--depth")),
        ((*RELU, "extra"), ("must belong to an option, got 'extra'. See isocalc param --help.",)),
        (("param", "--act"), ("--act must be given a value. See isocalc",)),
        (("param", "--act", "relu", "-o", ""), ("--output must be a file name, got ''",)),
        (("dens",), ("COMMAND must be one of", "got 'dens'. Did you mean density?")),
        (("xyz",), ("COMMAND must be one of", "--help")),
        (("--nope",), ("No such option", "--nope")),
        (("density", "--c", "1", "--act", "relu"), ("--act cannot be given with --c",)),
        (("density", "--c", "1", "--arch", "resnet"), ("--arch cannot be given with --c",)),
        (("density", "--c", "1", "--sigma-w", "1"), ("--sigma-w cannot be given with --c",)),
        (("density", "--c", "1", "--weights", "gaussian"), ("--weights cannot be given with --c",)),
        (("density", "--c", "-1"), ("--c must be a finite number of at least 0, got -1\n",)),
        (("density", "--c", "nan"), ("--c must be", "got nan")),
        (("density", "--c", "1", "--at", "1", "--points", "5"), ("--points cannot be given with --at",)),
        (("density", "--c", "1", "--summary", "--points", "5"), ("--points cannot be given with --summary",)),
        (("density", "--c", "1", "--summary", "--at", "5"), ("--at cannot be given with --summary",)),
        (("density", "--c", "1", "--summary", "--variable", "log"), ("--variable cannot be given",)),
        (("density", "--c", "1", "--at", ""), ("--at must be finite numbers of at least 0, got ''",)),
        (("density", "--c", "1", "--at", "1,x"), ("--at", "got 'x'")),
        (("density", "--c", "1", "--at", "nan"), ("--at", "got 'nan'")),
        (("density", "--c", "1", "--points", "1"), ("--points must be a whole number from 2 to", "got '1'")),
        (("density", "--c", "1", "--points", "2.5"), ("--points", "got '2.5'")),
        (("density", "--c", "1", "--points", "1e9"), ("--points", "got '1e9'")),
        (("density", "--c", "1:2:100", "--points", "100000"), ("--points must be so few", "2000000 rows")),
        (("density", "--c", "1", "--law", "free"), ("--law must be one of auto, universal, layered, exact",)),
        (("density", "--c", "1", "--law", "exact"), ("--law must be universal with --c",)),
        (
            ("density", "--act", "relu", "--law", "layered", "--paths", "64"),
            ("--paths must be left out with --law layered",),
        ),
        (("density", "--c", "1", "--variable", "s"), ("--variable must be one of singular, lambda, log",)),
        (("density", "--c", "1", "--law", "universe"), ("got 'universe'. Did you mean universal?",)),
        (("guide", "thory"), ("TOPIC must be one of tour,", "got 'thory'. Did you mean theory?")),
    ],
)
def test_refusals(arguments, parts):
    message = refusal(*arguments)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("command", [RELU, ("density", "--c", "1"), ("acts",)])
@pytest.mark.parametrize("place", ["missing/x.csv", ".", "/proc/none/x"])
def test_unwritable_places_are_refused_before_computing(command, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"--output must be a file that can be written, got {place!r}" in refusal(*command, "-o", place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.parquet", "out.csv.gz", "OUT.XLSX", "a.b/out.tsv"])
def test_a_file_is_not_named_as_what_it_is_not(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.b").mkdir()
    message = refusal(*RELU, "-o", name)
    assert message == (
        f"Error: --output must be a file of a format that isocalc writes, .csv or .json, got '{name}'. "
        "Give --format csv to have CSV under that name.\n"
    )
    assert not (tmp_path / name).exists()
    assert call(*RELU, "-o", name, "--format", "csv").exit_code == 0
    assert (tmp_path / name).read_text() == call(*RELU).stdout


@pytest.mark.parametrize("name", ["out", "out.txt", "out.CSV", "out.gz.1", "/dev/null"])
def test_other_names_mean_csv(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*RELU, "-o", name).exit_code == 0
    assert name == "/dev/null" or (tmp_path / name).read_text() == call(*RELU).stdout


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (("--act", "relu", "--act", "tanh"), ("--act", "relu,tanh")),
        (("--act", "tanh", "--act", "relu"), ("--act", "tanh,relu")),
        (("--act", "relu", "--depth", "20", "--depth=10,30"), ("--act", "relu", "--depth", "20,10,30")),
        (("--act=relu", "--depth", "1:3:3", "--depth", "9"), ("--act", "relu", "--depth", "1,2,3,9")),
        (("--act", "relu", "--depth", "10", "--depth", "10"), ("--act", "relu", "--depth", "10")),
        (
            ("--act", "relu", "--weights", "orthogonal", "--weights", "gaussian"),
            ("--act", "relu", "--weights", "orthogonal,gaussian"),
        ),
        (("--act", "relu", "--arch", "resnet", "--arch", "resnet"), ("--act", "relu")),
        (("--act", "relu", "--format", "csv", "--format", "csv"), ("--act", "relu")),
    ],
)
def test_options_given_twice_join(given, joined):
    result = call("param", *given)
    assert result.exit_code == 0
    assert result.stdout == call("param", *joined).stdout


def test_lists_as_text_join_and_numbers_are_compared_as_numbers():
    assert call("density", "--c", "1", "--at", "2", "--at", "1").stdout == (
        call("density", "--c", "1", "--at", "2,1").stdout
    )
    once, twice = (
        call("density", "--c", "1", "--points", *p).stdout for p in (["10"], ["10", "--points", "1e1"])
    )
    assert once == twice
    assert call("density", "--c", "1", "--summary", "--summary").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*RELU, "--arch", "resnet", "--arch", "feedforward"),
            "--arch must have one value, got 'resnet' and",
        ),
        (
            (*RELU, "-o", "a.csv", "--output=b.csv"),
            "--output must have one value, got 'a.csv' and 'b.csv'. Leave",
        ),
        (
            (*RELU, "--format", "csv", "--format", "csv", "--format", "json"),
            "got 'csv' and 'json'. Leave one out.",
        ),
        (
            ("param", "--act-from", "a:b", "--act-from", "c:d"),
            "--act-from must have one value, got 'a:b' and",
        ),
        (
            ("density", "--c", "1", "--points", "3", "--points", "4"),
            "--points must have one value, got '3' and",
        ),
        (
            ("mc", "--act", "relu", "--seed", "1", "--seed", "2"),
            "--seed must have one value, got '1' and '2'",
        ),
        (("mc", "--act", "relu", "--trials", "2", "--trials", "x"), "--trials must be a whole number"),
        (("measure", "--input-shape", "3", "--input-shape", "4"), "--input-shape must have one value, got"),
        (("init", "--act", "relu", "--emit", "torch", "--emit", "jax"), "--emit must have one value, got"),
    ],
)
def test_options_of_one_value_given_twice(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(*arguments)
    assert list(tmp_path.iterdir()) == []


LONG = "x" * 130_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("param", "--act", LONG),
        ("param", "--act", f"{LONG}*x"),
        ("param", "--act", "x+ " * 40_000),
        ("param", "--act-from", f"{LONG}:f"),
        (*RELU, "--depth", LONG),
        (*RELU, "--depth", "1," * 60_000),
        (*RELU, "--arch", LONG),
        (*RELU, "-o", LONG),
        (*RELU, "--format", "csv", "--format", LONG),
        (*RELU, "-o", LONG, "-o", "b"),
        (*RELU, f"--{LONG}"),
        (*RELU, "a b " * 30_000),
        (LONG,),
        ("density", "--c", "1", "--at", LONG),
        ("density", "--c", "1", "--plot", LONG),
        ("mc", "--act", "relu", "--cluster", LONG),
        ("mc", "--act", "relu", "--checkpoint", LONG),
    ],
)
def test_what_a_message_echoes_is_shortened(arguments):
    message = refusal(*arguments)
    assert len(message) < 800
    assert " characters) ... " in message


def test_refused_input_leaves_no_file(tmp_path):
    refusal("param", "--act", "rleu", "-o", tmp_path / "x")
    refusal("density", "--c", "1", "--at", "x", "-o", tmp_path / "x")
    call("density", "--c", "1e9", "-o", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_of_the_group(arguments):
    result = call(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: isocalc")
    assert all(name in result.stdout for name in COMMANDS)
    assert "isocalc density --act tanh --depth 100" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_the_commands(name):
    result = call(name, "-h")
    assert result.exit_code == 0
    assert result.stdout == call(name, "--help").stdout
    assert f"isocalc {name}" in result.stdout.split("Examples:")[1]


def test_version():
    assert call("--version").stdout == f"isocalc {__version__}\n"


def test_click_can_call_the_group_without_exiting():
    assert isocalc.main(["density", "--c", "1", "--points", "2"], standalone_mode=False) in (None, 0)


def test_an_error_of_the_program_is_not_hidden(monkeypatch):
    def fault(*_):
        raise AssertionError("a fault")

    monkeypatch.setattr("isocalc.display.writer.write", fault)
    result = CliRunner().invoke(isocalc, ["density", "--c", "1"])
    assert isinstance(result.exception, AssertionError)


@pytest.mark.parametrize(("failure", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 1)])
def test_outcomes_of_the_machine(failure, code, monkeypatch):
    def fail(*_):
        raise failure

    monkeypatch.setattr("isocalc.display.writer.write", fail)
    result = CliRunner().invoke(isocalc, ["density", "--c", "1"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("\n") == (code == 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_what_a_command_does_and_examples(name):
    lines = call(name, "-h").stdout.splitlines()
    start = lines.index("  Examples:")
    assert start <= 8
    assert lines[start + 1].startswith(f"    isocalc {name}")
    assert start < lines.index("Options:")


def test_every_line_of_help_of_the_group_fits_a_terminal():
    text = call("--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 24
    assert text.index("isocalc density") < text.index("Commands:") < text.index("Options:")
