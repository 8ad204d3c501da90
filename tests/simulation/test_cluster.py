"""``--cluster``: a real scheduler and two worker processes, one of which is killed in mid-run."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from running import PROGRAM, refusal, replicates_in, shell

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.networks.descriptions import ResNet
from isocalc.simulation.cluster import cluster
from isocalc.simulation.replicates import Replicate, run

pytestmark = pytest.mark.process

distributed = pytest.importorskip("distributed")

TASKS = [
    Replicate(ResNet("tanh", depth=20, weights=weights), 200, 7, trial)
    for weights in ("gaussian", "orthogonal")
    for trial in range(20)
]
LIMIT = 120  # s


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


WITHOUT_ISOCALC = "import sys; sys.modules['isocalc'] = None; from dask.__main__ import main; main()"


def dask(*arguments, folder, bare=False):
    """Start a process of Dask's, one in which isocalc cannot be imported where it is bare."""
    # Without this, starting a worker measures the speed of the disk.
    settings = {"DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__DISK": "false"}
    command = [sys.executable, *(("-c", WITHOUT_ISOCALC) if bare else ("-m", "dask")), *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Cluster:
    """A scheduler, which has Dask alone, and workers of one thread each, without nannies.

    What is killed stays dead.
    """

    def __init__(self, folder, workers, bare=0):
        self.address = f"tcp://127.0.0.1:{free_port()}"
        port = self.address.rsplit(":", 1)[1]
        self.folder = folder
        self.scheduler = dask(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", folder=folder, bare=True
        )
        self.workers = [self.start_worker(bare=number < bare) for number in range(workers)]

    def start_worker(self, *, bare):
        options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--memory-limit", "1GB")
        return dask("worker", self.address, *options, folder=self.folder, bare=bare)

    def wait(self):
        with distributed.Client(self.address, timeout=LIMIT, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=LIMIT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait(timeout=LIMIT)


NO_SCHEDULER = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
kept = []
while True:
    kept.append(server.accept()[0])
    kept[-1].sendall({!r})
"""


@pytest.fixture
def dask_cluster(tmp_path):
    with Cluster(tmp_path, 2) as started:
        started.wait()
        yield started


@pytest.fixture(scope="module")
def expected():
    return run(TASKS, workers=1)


@pytest.mark.filterwarnings("default")
def test_a_worker_is_killed_in_mid_run(dask_cluster, expected):
    killed = []

    def kill_one(_share, finished):
        if finished >= 5 and not killed:
            killed.append(dask_cluster.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with cluster(dask_cluster.address) as executor:
        found = run(TASKS, executor=executor, progress=kill_one)
    assert killed
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_command_line_on_a_cluster(dask_cluster, tmp_path):
    arguments = ["mc", "--act", "tanh", "--depth", "5,20", "--width", "200", "--seed", "3", "--spectrum"]
    path = tmp_path / "run.ckpt"
    here, done = (
        subprocess.run(
            [PROGRAM, *arguments, *options], capture_output=True, text=True, timeout=LIMIT, check=False
        )
        for options in ((), ("--cluster", dask_cluster.address, "--checkpoint", str(path)))
    )
    assert (done.stdout, done.stderr, done.returncode) == (here.stdout, here.stderr, here.returncode)
    assert replicates_in(path) == 16
    # What is kept needs no cluster.
    again = [PROGRAM, *arguments, "--checkpoint", str(path)]
    assert subprocess.run(again, capture_output=True, text=True, check=False).stdout == here.stdout


def test_ctrl_c_and_a_lost_scheduler(dask_cluster, start, tmp_path):
    arguments = ["mc", "--act", "tanh", "--depth", "100", "--width", "300", "--trials", "500", "--seed", "3"]
    for lose in (False, True):
        path = tmp_path / f"{lose}.ckpt"
        process = start(*arguments, "--cluster", dask_cluster.address, "--checkpoint", path)
        deadline = time.monotonic() + LIMIT
        while not (path.exists() and path.stat().st_size > 3 * 4096):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if lose:
            dask_cluster.scheduler.kill()
        else:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
        if lose:
            assert (process.returncode, out) == (1, "")
            assert err == f"Error: the cluster at {dask_cluster.address} was lost\n"
        else:
            assert (process.returncode, out, err) == (130, "", "")
        assert replicates_in(path) >= 1


def test_a_replicate_that_does_not_fit_in_a_worker(dask_cluster):
    message = r"1 replicates at once need 3.17 GB of memory, and a worker of the cluster has 1 GB: take"
    large = Replicate(ResNet("tanh", depth=20), 6000, 7, 0)
    with pytest.raises(NoAnswerError, match=message), cluster(dask_cluster.address, [large]):
        pass


ACTIVATION = """
import numpy as np

def phi(x):
    return np.tanh(x)
"""


def test_a_module_of_the_users_that_workers_lack(dask_cluster, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.py").write_text(ACTIVATION)
    command = "isocalc mc --act-from mine:phi --depth 3 --width 20 --seed 1 --spectrum"
    missing = shell(f"cd {here}; {command} --cluster {dask_cluster.address}")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert re.fullmatch(
        r"Error: the worker tcp://127.0.0.1:\d+ of the cluster cannot load what it is to compute "
        r"\(ModuleNotFoundError: No module named 'mine'\): install it there\n",
        missing.stderr,
    )
    (tmp_path / "mine.py").write_text(ACTIVATION)  # the workers' folder
    found = shell(f"cd {here}; {command} --cluster {dask_cluster.address}")
    assert (found.returncode, found.stdout) == (0, shell(f"cd {here}; {command}").stdout)


def test_a_worker_without_isocalc_is_named(tmp_path):
    with Cluster(tmp_path, 2, bare=1) as started:
        started.wait()
        done = shell(f"isocalc mc --act tanh --width 20 --depth 2 --seed 1 --cluster {started.address}")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"Error: the worker tcp://127.0.0.1:\d+ of the cluster cannot load what it is to compute "
        r"\(ModuleNotFoundError: .*isocalc.*\): install it there\n",
        done.stderr,
    )


def test_a_worker_without_isocalc_that_comes_later_fails_in_its_task(tmp_path):
    with Cluster(tmp_path, 1) as started:
        started.wait()
        message = "a worker cannot load what it is to compute: ModuleNotFoundError"
        with cluster(started.address, TASKS) as executor:
            started.workers.append(started.start_worker(bare=True))
            started.wait()
            with pytest.raises(NoAnswerError, match=message):
                run(TASKS, executor=executor)


def test_a_worker_that_does_not_answer_is_named(dask_cluster, monkeypatch):
    monkeypatch.setattr("isocalc.simulation.cluster.CLUSTER_LOADING", 1)
    stopped = dask_cluster.workers[0]
    stopped.send_signal(signal.SIGSTOP)
    message = r"the worker tcp://127.0.0.1:\d+ of the cluster has not answered for 1 s: restart it"
    with pytest.raises(NoAnswerError, match=message), cluster(dask_cluster.address):
        pass


def test_all_workers_are_killed_in_mid_run(dask_cluster, monkeypatch):
    monkeypatch.setattr("isocalc.simulation.cluster.CLUSTER_LOADING", 2)

    def kill_all(_share, finished):
        if finished == 5:
            for worker in dask_cluster.workers:
                worker.kill()

    message = f"the cluster at {dask_cluster.address} has had no workers for 2 s"
    with pytest.raises(NoAnswerError, match=message), cluster(dask_cluster.address, TASKS) as executor:
        run(TASKS, executor=executor, progress=kill_all)


def test_a_scheduler_that_is_stopped_in_mid_run(dask_cluster, monkeypatch):
    monkeypatch.setattr("isocalc.simulation.cluster.CLUSTER_LOADING", 2)

    def stop(_share, finished):
        if finished == 5:
            dask_cluster.scheduler.send_signal(signal.SIGSTOP)

    message = f"the cluster at {dask_cluster.address} has not answered for 2 s"
    with pytest.raises(NoAnswerError, match=message), cluster(dask_cluster.address, TASKS) as executor:
        run(TASKS, executor=executor, progress=stop)


def test_a_worker_of_another_version_is_named(dask_cluster, monkeypatch):
    monkeypatch.setattr("isocalc.simulation.tasks.__version__", "0.0.1")
    message = (
        r"the worker tcp://127.0.0.1:\d+ of the cluster has isocalc \d.*, and this machine has isocalc 0.0.1"
    )
    with pytest.raises(NoAnswerError, match=message), cluster(dask_cluster.address):
        pass


def test_a_cluster_without_workers(tmp_path):
    message = "has no workers: start some with dask worker"
    with Cluster(tmp_path, 0) as empty:
        distributed.Client(empty.address, timeout=LIMIT, set_as_default=False).close()
        with pytest.raises(NoAnswerError, match=message), cluster(empty.address):
            pass


def test_a_dead_scheduler_is_said_soon():
    address = f"tcp://127.0.0.1:{free_port()}"
    message = refusal("mc", "--act", "tanh", "--depth", 5, "--width", 20, "--cluster", address, "--seed", 1)
    assert message == (
        f"Error: --cluster must be of a scheduler that answers, got '{address}'. "
        "Start one with: dask scheduler.\n"
    )


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n" * 9], ids=["nothing", "HTTP"])
def test_a_server_that_is_no_scheduler_is_refused(says):
    code = NO_SCHEDULER.format(says)
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    address = f"tcp://127.0.0.1:{server.stdout.readline().strip()}"
    done = shell(f"isocalc mc --act tanh --width 20 --depth 2 --seed 1 --cluster {address}")
    server.kill()
    server.communicate()
    assert (done.returncode, done.stdout) == (2, "")
    message = f"--cluster must be of a scheduler that answers, got '{address}'."
    assert done.stderr == f"Error: {message} Start one with: dask scheduler.\n"


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = r"pip install 'isocalc\[cluster\]'"
    with pytest.raises(InvalidInputError, match=message), cluster("tcp://127.0.0.1:8786"):
        pass
