"""``isocalc measure``: what it prints, what it refuses, and that PyTorch is needed only there."""

import csv
import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from running import call, refusal, shell, table

import isocalc
from isocalc.laws.free.product import FreeProduct

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is an extra")


def measured(name, shape, *options, code=0):
    return table("measure", f"torch_models:{name}", "--input-shape", shape, "--seed", 2, *options, code=code)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refusal("measure", "torch_models:mlp", "--input-shape", "64")
    assert message.startswith("Error: TARGET must be given with PyTorch installed")
    assert "pip install 'isocalc[torch]'" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "TARGET must be given: file.py:name or package.module:name of a PyTorch module."),
        (("a:b",), "--input-shape must be given: that of one input, such as 784 or 3,32,32."),
        (("a:b", "--input-shape", "3,x"), "--input-shape must be whole numbers such as 784 or 3,32,32"),
        (("a:b", "--input-shape", "3,0"), "--input-shape must be whole numbers"),
        (("a:b", "--input-shape", "4", "--trials", 1), "--trials must be at least 2"),
        (("a:b", "--input-shape", "4", "--input-variance", 0), "--input-variance must be a finite number"),
        (
            ("a:b", "--input-shape", "4", "--input", "x.npy", "--input-variance", 1),
            "--input-variance cannot be given with --input",
        ),
        (("a:b", "--input-shape", "999999", "--spectrum"), "--trials must be so few"),
    ],
)
def test_bad_options_are_refused_without_torch(arguments, message):
    assert message in refusal("measure", *arguments)


@pytest.mark.slow
@needs_torch
def test_rows_of_a_network_that_has_a_law():
    rows = measured("wide", "10")
    assert [row["statistic"] for row in rows][:3] == ["log_mean_lambda", "mean_log_lambda", "var_log_lambda"]
    assert list(rows[0]) == ["statistic", "theory", "simulation", "standard_error", "tolerance", "verdict"]
    assert {row["verdict"] for row in rows} <= {"agrees", "not judged"}


@pytest.mark.slow
@needs_torch
def test_what_leaves_the_law_has_a_row_and_tolerances_are_of_the_width():
    """The outlier of ReLU, L = 20, sigma_w = 1: log lambda 3.242(10) in simulations, theory (49a)."""
    result = call("measure", "torch_models:post_relu", "--input-shape", "150", "--seed", 1)
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert result.exit_code == 0
    assert "theory and tolerance are those at this width, 150" in result.stderr
    assert rows[-1]["statistic"] == "outlier_1"
    error = float(rows[-1]["standard_error"])
    assert float(rows[-1]["simulation"]) == pytest.approx(3.242 / 2, abs=4 * error)
    assert float(rows[-1]["theory"]) == pytest.approx(3.242 / 2, abs=0.01)
    for row in rows:
        difference = abs(float(row["simulation"]) - float(row["theory"]))
        assert row["verdict"] == "agrees"
        assert difference <= float(row["tolerance"])


@needs_torch
def test_theory_is_empty_where_there_is_none():
    result = call("measure", "torch_models:Conv", "--input-shape", "3,6,6", "--seed", 2)
    assert result.exit_code == 0
    assert "isocalc: no law of this module is known: it has a convolution" in result.stderr
    assert "measured in evaluation mode, without randomness of dropout" in result.stderr
    lines = result.stdout.splitlines()
    assert all(line.split(",")[1] == "" and line.endswith(",not judged") for line in lines[1:])


@needs_torch
def test_spectrum_has_one_value_for_each_input():
    rows = measured("mlp", "8,8", "--spectrum", "--trials", 2)
    assert [row["trial"] for row in rows] == ["1"] * 64 + ["2"] * 64
    assert [row["log_singular_value"] for row in rows[:14]] == ["-inf"] * 14
    s, log_s = (np.array([float(row[name]) for row in rows[14:64]]) for name in list(rows[0])[1:])
    assert np.log(s) == pytest.approx(log_s)
    largest = measured("mlp", "8,8", "--spectrum", "--trials", 2, "--largest", 2)
    assert float(largest[1]["singular_value"]) == pytest.approx(s[-1], rel=1e-5)


@needs_torch
def test_a_disagreement_exits_with_1():
    """λ of WᵀW is the square of that of W; the law of two independent layers has another distribution."""
    result = call("measure", "torch_models:autoencoder", "--input-shape", "100", "--seed", 2)
    assert result.exit_code == 1
    assert "the module disagrees with the law: " in result.stderr
    assert result.stdout.splitlines()[-2].endswith(",disagrees")


@needs_torch
def test_what_the_module_prints_is_not_a_result():
    result = call(
        "measure", "torch_models:noisy_import", "--input-shape", "10", "--seed", 1, "--format", "json"
    )
    assert "not a result\n" in result.stderr
    assert "not a result either\n" in result.stderr
    assert len(json.loads(result.stdout)) == 12


@needs_torch
def test_a_seed_that_is_drawn_is_said():
    first = call("measure", "torch_models:wide", "--input-shape", "10", "--spectrum", "--trials", 1)
    (line,) = [line for line in first.stderr.splitlines() if "--seed" in line]
    seed = line.split()[-1]
    again = call(
        "measure", "torch_models:wide", "--input-shape", 10, "--spectrum", "--trials", 1, "--seed", seed
    )
    assert first.stdout == again.stdout


@needs_torch
def test_inputs_of_a_file(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(1).standard_normal((3, 40)))
    result = call("measure", "torch_models:instance", "--input-shape", 40, "--input", path, "--trials", 3)
    assert result.exit_code == 0
    assert "the mean squares of its inputs differ" in result.stderr
    np.save(path, np.ones((3, 41)))
    assert "Its shape is (3, 41)." in refusal(
        "measure", "torch_models:instance", "--input-shape", 40, "--input", path
    )
    assert "No such file" in refusal("measure", "torch_models:wide", "--input-shape", 10, "--input", "no.npy")


@needs_torch
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "no_such_module:x",
            "got 'no_such_module:x'. ModuleNotFoundError: No module named 'no_such_module'.",
        ),
        ("torch_models:nothing", "AttributeError: module 'torch_models' has no attribute 'nothing'."),
        ("torch_models", "TARGET must be file.py:name or package.module:name"),
        ("torch_models:math", "It is of type module."),
        ("torch_models:a_number", "It returned type int."),
        ("torch_models:fails", "Calling it: ValueError: no configuration."),
        ("torch_models:PreLayerNorm", "missing 1 required positional argument: 'width'"),
        ("torch_models:TwoInputs", "Its forward takes 2: x, mask."),
        ("torch_models:a_tuple", "one tensor of real numbers, got 'tuple'. Wrap it"),
        ("torch_models:no_parameters", "It holds no parameters"),
        ("torch_models:meta", "They are on PyTorch's device meta."),
        (
            "torch_models:wide",
            (
                "shape 1,4, got 'Sequential'. It raised RuntimeError: mat1 and mat2 shapes cannot be "
                "multiplied (1x4 and 10x40). If that is not its shape, give another --input-shape."
            ),
        ),
    ],
)
def test_modules_that_cannot_be_measured(target, message):
    assert message in refusal("measure", target, "--input-shape", "4", "--seed", 1)


@needs_torch
@pytest.mark.process
def test_ctrl_c_that_the_module_raises_itself_is_told():
    module = f"{Path(__file__).parents[1] / 'torch_models.py'}:RaisesItsOwn"
    done = shell(f"isocalc measure {shlex.quote(module)} --input-shape 8 --seed 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "on one input, a batch of shape 1,8, got 'RaisesItsOwn'. It raised KeyboardInterrupt: my own." in (
        done.stderr
    )


@needs_torch
def test_a_file_is_loaded_as_from_its_folder(tmp_path, monkeypatch):
    """What lies beside it is imported, and a name that another module has does no harm."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "size_beside.py").write_text("size = 5\n", encoding="utf-8")
    code = "import torch\nfrom size_beside import size\ndef make():\n    return torch.nn.Linear(size, 3)\n"
    for name in ("queue.py", "my-model.py"):
        (folder / name).write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for target in ("models/queue.py:make", folder / "my-model.py:make", "models/../models/queue.py:make"):
        rows = table("measure", target, "--input-shape", 5, "--spectrum", "--seed", 1, "--trials", 2)
        assert [row["singular_value"] == "0.0" for row in rows] == 2 * [True, True, False, False, False]
    assert "No such file" in refusal("measure", "models/none.py:make", "--input-shape", 5)
    assert "has no attribute 'made'" in refusal("measure", "models/queue.py:made", "--input-shape", 5)


@needs_torch
def test_parts_that_are_not_there_and_outputs_that_are_not_finite():
    message = refusal("measure", "torch_models:whole", "--input-shape", "20", "--module", "2.x")
    assert "AttributeError: Linear has no attribute `x`. Its parts: 0, 1, 2." in message
    result = call("measure", "torch_models:infinite", "--input-shape", "4")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "the module's output is not finite" in result.stderr
    message = refusal("measure", "torch_models:wide", "--input-shape", "10", "--largest", "10")
    assert "--largest must be a whole number from 1 to 9 for a Jacobian of 30 by 10, got 10" in message


@needs_torch
def test_zeros_of_pruned_weights_are_zeros(capfd):
    """Rank 7 of 8: LAPACK has nothing to say, and no singular value is invented."""
    rows = measured("without_a_row", "8", "--spectrum", "--trials", 2)
    assert [row["singular_value"] == "0.0" for row in rows] == [True, *7 * [False]] * 2
    assert "-inf" in rows[0]["log_singular_value"]
    assert capfd.readouterr().err == ""
    result = call("measure", "torch_models:without_a_row", "--input-shape", 8, "--seed", 2)
    assert result.stdout.splitlines()[1].split(",")[2] == "0.125"


@needs_torch
def test_what_is_said_of_rounding_is_so():
    """Values of 40 layers, 1e-8 and less of the largest; zeros of a dead layer; neither."""
    said = {}
    for name, shape in (("deep_linear", 12), ("dead", 8), ("wide", 10)):
        options = ("--input-shape", shape, "--seed", 2, "--trials", 3, "--spectrum")
        result = call("measure", f"torch_models:{name}", *options)
        said[name] = result.stderr
    assert "in 3 some are below the rounding of float32" in said["deep_linear"]
    assert "are computed from the layers that were recognised" in said["dead"]
    assert "rounding" not in said["dead"] + said["wide"]


@needs_torch
def test_a_branch_that_has_next_to_no_gain():
    result = call("measure", "torch_models:layer_scale", "--input-shape", 40, "--seed", 2, "--trials", 4)
    verdicts = {line.split(",")[0]: line.split(",")[-1] for line in result.stdout.splitlines()[1:]}
    assert (result.exit_code, verdicts["var_log_lambda"]) == (0, "agrees")


@needs_torch
def test_statistics_are_printed_where_the_law_is_not_solved(monkeypatch):
    def unsolved(*_):
        raise isocalc.NoAnswerError(
            "the layered law was not solved: tried", ("ask for other values", "simulate")
        )

    monkeypatch.setattr(FreeProduct, "solved", unsolved)
    result = call("measure", "torch_models:layer_scale", "--input-shape", 40, "--seed", 2, "--trials", 4)
    assert result.exit_code == 0
    assert "its law is not known: the layered law was not solved" in result.stderr
    assert "--at" not in result.stderr
    rows = [line.split(",") for line in result.stdout.splitlines()[1:]]
    assert len(rows) == 10
    assert all(row[1] == "" and abs(float(row[2])) < 1e-4 for row in rows)


@needs_torch
@pytest.mark.parametrize("options", [(), ("--largest", 2)])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("with_infinity", "the module's Jacobian is not finite at this input: its 2.weight is not"),
        (
            "undefined",
            "Jacobian is not finite at this input: a derivative of it is infinite or undefined there",
        ),
        ("with_nan", "the module's output is not finite: its 2.weight is not"),
        ("another_shape", "the module's output changes from call to call"),
        ("another_shape_later", "the module's output changes from call to call"),
        ("failing_later", "OwnError: of my own"),
    ],
)
def test_what_has_no_singular_values_is_told_in_a_line(name, options, message):
    result = call("measure", f"torch_models:{name}", "--input-shape", 8, "--seed", 2, *options)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert message in result.stderr


@needs_torch
def test_a_module_that_raises_what_is_no_exception():
    for name, message in (
        ("failing", "It raised OwnError: of my own."),
        ("not_made", "Calling it: OwnError"),
    ):
        assert message in refusal("measure", f"torch_models:{name}", "--input-shape", 8)


@pytest.mark.process
@needs_torch
def test_what_is_written_to_the_file_descriptor_is_not_a_result():
    done = shell(
        f"cd {Path(__file__).parents[1]} && "
        "isocalc measure torch_models:writing --input-shape 8 --trials 2 --seed 1 --spectrum"
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 17), done.stderr
    for part in ("written", "of a child", "of its making"):
        assert f"not a result, {part}" in done.stderr or f"not a result {part}" in done.stderr


@pytest.mark.slow
@needs_torch
def test_batch_normalisation_is_told_and_calibrated():
    options = ("measure", "torch_models:normalised", "--input-shape", 40, "--seed", 2, "--trials", 3)
    plain = call(*options, "--spectrum")
    assert "a mean of 0 and a variance of 1, those of initialisation, and so does nothing" in plain.stderr
    done = call(*options, "--calibrate")
    assert "of a batch that was run in training mode first" in done.stderr
    assert "does nothing" not in done.stderr
    assert ",disagrees" not in done.stdout
    message = refusal("measure", "torch_models:wide", "--input-shape", 10, "--calibrate")
    assert "--calibrate must be given with a module that has batch normalisation, got 'Sequential'" in message


@pytest.mark.slow
@needs_torch
def test_a_measurement_is_drawn(tmp_path):
    path = tmp_path / "wide.png"
    options = ("measure", "torch_models:wide", "--input-shape", 10, "--seed", 2, "--trials", 3)
    assert len(table(*options, "--plot", path)) == 12
    assert path.read_bytes().startswith(b"\x89PNG")
    drawn = call(*options, "--plot", "-").stdout
    assert drawn.startswith("torch_models:wide, 10 inputs, 30 outputs\n")
    assert "3 networks" in drawn
    assert "layered law" in drawn
    assert "KS distance" in drawn
    spectrum = call(*options, "--spectrum", "--largest", 4, "--plot", "-").stdout
    assert "3 networks, the 4 largest" in spectrum
    zeros = call("measure", "torch_models:Conv", "--input-shape", "3,6,6", "--seed", 2, "--plot", "-").stdout
    assert "not on this axis: 0.954 of the singular values are 0" in zeros


@pytest.mark.process
@needs_torch
def test_the_current_folder_comes_first(tmp_path):
    (tmp_path / "model.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(6, 6)\n"
    )
    done = shell(f"cd {tmp_path} && isocalc measure model:Net --input-shape 6 --seed 1 --trials 2 --spectrum")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 13


@pytest.mark.process
@pytest.mark.parametrize("arguments", [("measure", "--help"), ("density", "--act", "tanh")])
def test_pytorch_loads_where_a_module_is_measured(arguments):
    code = "import sys; from isocalc.cli import main\nsys.argv[:] = ['isocalc', *sys.argv[1:]]\n"
    code += "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.split()[-1] == "False"
