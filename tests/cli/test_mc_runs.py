"""What ``isocalc mc`` keeps when it is killed, interrupted or out of disk. Real processes."""

import os
import signal
import subprocess
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from running import PROGRAM, call, refusal, replicates_in, shell, table, with_options

from isocalc.simulation.checkpoint import run_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

SMALL = ("mc", "--act", "tanh", "--depth", 5, "--width", 20, "--trials", 6)
# About two seconds on one core, most of them in worker processes.
LONG = ["mc", "--act", "tanh", "--depth", "20,30", "--width", "100,250", "--seed", "5", "--spectrum"]
# Minutes: what is to be interrupted.
ENDLESS = ["mc", "--act", "tanh", "--depth", "200", "--width", "500", "--trials", "500", "--seed", "5"]


def children(pid):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def has_replicates(path):
    return path.exists() and path.stat().st_size > 3 * 4096  # pages of an empty one


@pytest.fixture(scope="module")
def uninterrupted():
    done = subprocess.run(
        [PROGRAM, *LONG, "--workers", "1"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.process
def test_killed_and_started_again_until_it_ends(start, uninterrupted, tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "run.ckpt"
    for attempt in range(40):
        process = start(*LONG, "--workers", str(1 + attempt % 3), "--checkpoint", str(path))
        try:
            out, err = process.communicate(timeout=(0.2 + 0.6 * rng.random()) * 1.1**attempt)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=60)
            continue
        break
    assert process.returncode == 0, err
    assert attempt > 0
    assert out == uninterrupted
    again = start(*LONG, "--checkpoint", str(path))
    assert again.communicate(timeout=60)[0] == uninterrupted


@pytest.mark.process
def test_workers_die_with_the_program(start, tmp_path):
    path = tmp_path / "run.ckpt"
    process = start(*ENDLESS, "--workers", "2", "--checkpoint", str(path))
    wait_until(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: all(map(is_gone, workers)), 5)


@pytest.mark.process
def test_ctrl_c_keeps_what_was_finished(start, tmp_path):
    path = tmp_path / "run.ckpt"
    short = ["mc", "--act", "tanh", "--depth", "40", "--width", "200", "--trials", "5000", "--seed", "5"]
    process = start(*short, "--workers", "2", "--checkpoint", str(path), start_new_session=True)
    wait_until(lambda: has_replicates(path))
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
    wait_until(lambda: all(map(is_gone, workers)), 5)
    assert run_of(str(path))["trials"] == "5000"
    assert replicates_in(path) >= 3
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]


@pytest.mark.process
def test_a_worker_that_is_killed_is_said(start, tmp_path):
    process = start(*ENDLESS, "--workers", "2", "--checkpoint", str(tmp_path / "run.ckpt"))
    wait_until(lambda: len(children(process.pid)) == 2)
    time.sleep(0.5)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == (
        "Error: a worker process died (signal 9), as happens where memory runs out: "
        "take fewer workers or a smaller width\n"
    )


@pytest.mark.process
def test_a_full_disk_in_the_middle(uninterrupted, tmp_path):
    path = tmp_path / "run.ckpt"
    command = f"isocalc {' '.join(LONG)} --workers 2 --checkpoint {path}"
    done = shell(f"ulimit -f 20; {command}")  # blocks of 1 KiB
    assert (done.returncode, done.stdout) == (1, "")
    message = f"cannot write to {path}: Input/output error; the replicates in it are kept"
    assert done.stderr == f"Error: {message}\n"
    assert 0 < path.stat().st_size <= 20 * 1024
    done = shell(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == uninterrupted


def test_the_seed_is_that_of_the_checkpoint(tmp_path):
    path = tmp_path / "run.ckpt"
    first = call(*SMALL, "--spectrum", "--checkpoint", path)
    seed = int(run_of(str(path))["seed"])
    assert first.stderr == f"isocalc: --seed {seed}\n"
    again = call(*SMALL, "--spectrum", "--checkpoint", path)
    assert (again.stdout, again.stderr) == (first.stdout, first.stderr)
    assert call(*SMALL, "--spectrum", "--seed", seed).stdout == first.stdout
    words = f"In it, seed is {seed}; here, {seed + 1}. Take another file."
    assert words in refusal(*SMALL, "--seed", seed + 1, "--checkpoint", path)
    assert "In it, depth is 5; here, 6." in refusal(*with_options(SMALL, "--depth", 6), "--checkpoint", path)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (("--depth", "5,6"), "In it, depth is 5; here, 5,6."),
        (("--sigma-w", "1.5"), "In it, sigma_w is 1.0; here, 1.5."),
        (("--trials", "4"), "In it, trials is 6; here, 4."),
        (("--gates", "independent"), "In it, gates is own; here, independent."),
    ],
)
def test_other_options_are_refused(tmp_path, changed, difference):
    path = tmp_path / "run.ckpt"
    call(*SMALL, "--seed", 1, "--checkpoint", path)
    before = path.read_bytes()
    message = refusal(*with_options(SMALL, *changed), "--seed", 1, "--checkpoint", path)
    assert message.startswith(f"Error: --checkpoint must be a checkpoint of this run, got '{path}'. ")
    assert difference in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("seed", [(), ("--seed", 1)])
def test_a_damaged_checkpoint_is_refused(tmp_path, seed):
    path = tmp_path / "run.ckpt"
    call(*SMALL, "--seed", 1, "--checkpoint", path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:5000], whole[:-500] + bytes([whole[-500] ^ 1]) + whole[-499:]):
        path.write_bytes(damaged)
        message = refusal(*SMALL, *seed, "--checkpoint", path)
        assert message.startswith(
            f"Error: --checkpoint must be an undamaged checkpoint, got '{path}'. Restore"
        )
        assert path.read_bytes() == damaged


def test_what_is_shown_may_be_another(tmp_path):
    path = tmp_path / "run.ckpt"
    verdicts = table(*SMALL, "--seed", 1, "--checkpoint", path)
    spectrum = table(*SMALL, "--seed", 1, "--checkpoint", path, "--spectrum")
    log_s = np.array([float(row["log_singular_value"]) for row in spectrum])
    (mean,) = (row for row in verdicts if row["statistic"] == "mean_log_lambda")
    assert float(mean["simulation"]) == pytest.approx(2 * log_s.mean(), abs=1e-12)


def test_a_network_without_an_answer_is_kept_too(tmp_path):
    path = tmp_path / "run.ckpt"
    sweep = ("mc", "--act", "tanh", "--skip", "1,3", "--depth", 1000, "--width", 10, "--seed", 1)
    first = call(*sweep, "--checkpoint", path)
    assert first.exit_code == 1
    assert "leaves the range of a double" in first.stdout
    kept = path.read_bytes()
    again = call(*sweep, "--checkpoint", path)
    assert (again.stdout, again.stderr) == (first.stdout, first.stderr)
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "0"), "--workers must be a whole number from 1 to 4096, got '0'"),
        (
            ("--checkpoint", "none/x"),
            "--checkpoint must be a file in a folder that exists, got 'none/x'. Make",
        ),
        (("--checkpoint", "."), "--checkpoint must be a file, not a folder or a device, got '.'"),
        (("--checkpoint", "x.csv", "-o", "x.csv"), "--output must be another file than that of --checkpoint"),
        (("--cluster", "nowhere"), "--cluster must be an address such as tcp://10.0.0.1:8786, got 'nowhere'"),
        (("--cluster", "tcp://a:65536"), "--cluster must be an address such as tcp://10.0.0.1:8786, got"),
        (("--cluster", "tcp://a:0"), "--cluster must be an address such as tcp://10.0.0.1:8786, got"),
        (("--cluster", "http://a:8786"), "--cluster must be an address such as tcp://10.0.0.1:8786, got"),
        (("--cluster", "a:1", "--workers", "2"), "--workers cannot be given with --cluster"),
    ],
)
def test_refusals(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(*SMALL, *arguments).startswith(f"Error: {words}")
    assert list(tmp_path.iterdir()) == []


FILES = ("--checkpoint", "-o", "--plot")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "spelling", ["./p.png", "d/../p.png", "{}/p.png", "d/link.png", "up/p.png", "hard.png"]
)
@pytest.mark.parametrize("options", [*permutations(FILES, 2)], ids=" ".join)
def test_options_name_different_files(options, spelling, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link.png").symlink_to(Path("..", "p.png"))
    (tmp_path / "up").symlink_to(".")
    if there:
        (tmp_path / "p.png").write_bytes(b"kept")
        (tmp_path / "hard.png").hardlink_to("p.png")
    elif spelling == "hard.png":
        pytest.skip("there is no such file")
    before = sorted(tmp_path.rglob("*"))
    message = refusal(*SMALL, options[0], "p.png", options[1], spelling.format(tmp_path))
    assert " must be another file than that of --" in message
    assert sorted(tmp_path.rglob("*")) == before
    assert not there or (tmp_path / "p.png").read_bytes() == b"kept"


def test_what_is_read_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones(3))
    arguments = ("measure", "model:make", "--input-shape", "3", "--input", "x.npy", "-o", "./x.npy")
    assert "--output must be another file than that of --input" in refusal(*arguments, "--format", "csv")
    assert np.load("x.npy").tolist() == [1, 1, 1]


def test_workers_are_counted_in_the_memory(monkeypatch, tmp_path):
    memory = {"SC_PHYS_PAGES": 10**5, "SC_PAGE_SIZE": 10**4}.__getitem__
    monkeypatch.setattr(os, "sysconf", memory)
    monkeypatch.chdir(tmp_path)
    result = call("mc", "--act", "tanh", "--width", 4000, "--workers", 3, "--checkpoint", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: width 4000 with 3 workers needs ")
    assert result.stderr.endswith("this machine has 1 GB: take a smaller width or fewer workers\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sweep", [("--depth", "2,3,4", "--trials", 1, "--spectrum"), ("--depth", "2,3", "--trials", 2)]
)
def test_networks_of_a_sweep_are_counted_together(monkeypatch, sweep):
    # A replicate of width 100 holds 11 matrices of 80 kB: two fit in 2 MB, three do not.
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 500, "SC_PAGE_SIZE": 4000}.__getitem__)
    result = call("mc", "--act", "tanh", "--width", 100, *sweep, "--workers", 3, "--seed", 1)
    assert result.exit_code == 1
    assert result.stdout.count("width 100 with 3 workers needs 0.00264 GB") == len(sweep[1].split(","))
    result = call("mc", "--act", "tanh", "--width", 100, *sweep, "--workers", 2, "--seed", 1)
    assert "needs" not in result.stdout


def test_both_kinds_of_gates_are_counted_together(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 500, "SC_PAGE_SIZE": 4000}.__getitem__)
    both = ("mc", "--act", "tanh", "--depth", 2, "--width", 100, "--trials", 2, "--test", "freeness")
    assert "width 100 with 4 workers needs" in call(*both, "--workers", 4).stderr
