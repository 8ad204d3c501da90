"""Replicates give the same bits in the same order wherever, however often and in whatever order they run."""

import math
import os
import pickle
import signal
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
from running import replicates_in

from isocalc.activations.catalogue import activation
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics.machine import THREAD_VARIABLES, _libraries, can_be_set, one_blas_thread
from isocalc.simulation import replicates, simulate
from isocalc.simulation.executors import InThisProcess, WorkerPool, local_executor
from isocalc.simulation.replicates import Replicate, run
from isocalc.simulation.simulate import spectra
from isocalc.simulation.tasks import describe, library_versions, simulate_one

# Wide enough for BLAS to split the work among threads; chaotic, so that rounding would show.
NETWORKS = [
    ResNet("tanh", depth=15, sigma_w=4.0, sigma_b=0.1),
    ResNet("relu", depth=10, weights="orthogonal", block="pre"),
]
TASKS = [Replicate(network, 220, 3, trial) for network in NETWORKS for trial in range(3)]
HOPELESS = ResNet("tanh", depth=1000, skip=3.0)


@pytest.fixture(scope="module")
def expected():
    """Return the singular values of the tasks, simulated without any of the machinery."""
    return [log_s for network in NETWORKS for log_s in spectra(network, 220, 3, 3)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Backwards(Executor):
    """Runs what it was given only when nothing more comes, the last first."""

    def __init__(self):
        self.jobs = []

    def submit(self, function, /, *args):
        self.jobs.append((Future(), function, args))
        if len(self.jobs) == len(TASKS):
            for future, call, given in reversed(self.jobs):
                future.set_result(call(*given))
        return self.jobs[-1][0]


@pytest.mark.process
@pytest.mark.parametrize(
    "executor",
    [
        InThisProcess,
        Backwards,
        lambda: ThreadPoolExecutor(3),
        lambda: ProcessPoolExecutor(2, get_context("spawn")),
        lambda: WorkerPool(1, THREAD_VARIABLES),
        lambda: WorkerPool(3),
    ],
    ids=["here", "backwards", "threads", "processes", "worker", "workers"],
)
def test_any_executor_gives_the_same_bits(executor, expected):
    with executor() as pool:
        assert_same(run(TASKS, executor=pool), expected)


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_any_number_of_workers_gives_the_same_bits(workers, expected):
    assert_same(run(iter(TASKS), workers=workers), expected)


@pytest.mark.process
def test_small_work_stays_in_this_process():
    assert isinstance(local_executor(None, 3, 0.1, 100), InThisProcess)
    with local_executor(2, 3, 10.0, 100) as pool:
        assert isinstance(pool, WorkerPool)


def test_networks_that_are_too_large_beside_others_are_given_up(monkeypatch):
    # Bytes of a replicate: 88 N². One of width 100 and two of width 50 are 1.32 MB together.
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 350, "SC_PAGE_SIZE": 4000}.__getitem__)
    net = ResNet("tanh", depth=2)
    tasks = [Replicate(net, width, 1, 0) for width in (100, 50)] + [Replicate(net, 50, 2, 0)]
    assert_same(run(tasks, workers=3), [simulate.replicate(net, t.width, t.seed, 0) for t in tasks])
    large = Replicate(replace(net, depth=3), 100, 1, 0)
    refused, kept, *_, also = run([*tasks, large], workers=3)
    assert "width 100 with 3 workers needs 0.00198 GB" in str(refused)
    assert isinstance(also, NoAnswerError)
    assert isinstance(kept, np.ndarray)


def test_a_checkpoint_is_gone_on_from(tmp_path, expected):
    path = str(tmp_path / "run.ckpt")

    class Interrupted(InThisProcess):
        left = 2

        def submit(self, function, /, *args, **more):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().submit(function, *args, **more)

    with pytest.raises(KeyboardInterrupt):
        run(TASKS, executor=Interrupted(), checkpoint=path)
    seen = []
    told = []

    class Watched(InThisProcess):
        def submit(self, function, /, *args, **more):
            seen.append(args[0])
            return super().submit(function, *args, **more)

    found = run(TASKS, executor=Watched(), checkpoint=path, progress=lambda *state: told.append(state))
    assert_same(found, expected)
    assert len(seen) == 4
    assert told[0][1] == 2
    assert 0.2 < told[0][0] < 0.5
    assert told[-1] == (pytest.approx(1.0), 6)
    assert all(late >= early for early, late in pairwise(told))
    assert_same(run(TASKS, executor=Backwards(), checkpoint=path), expected)


def test_what_is_finished_is_on_the_disk_while_the_next_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("isocalc.simulation.checkpoint.SAVE_EVERY", 0.05)
    path = tmp_path / "run.ckpt"
    tasks = [Replicate(NETWORKS[0], 12, 3, trial) for trial in range(2)]

    class Watching(ThreadPoolExecutor):
        """Computes the second replicate when the first is in a copy of the file."""

        submitted = 0

        def submit(self, function, /, *args):
            self.submitted += 1
            return super().submit(self.compute, self.submitted, function, *args)

        def compute(self, number, function, *args):
            deadline = time.monotonic() + 60
            while number == 2 and not self.has_one():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            return function(*args)

        def has_one(self):
            copyfile(path, tmp_path / "copy")
            return replicates_in(tmp_path / "copy") == 1

    with Watching(1) as pool:
        found = run(tasks, executor=pool, checkpoint=str(path))
    assert_same(found, spectra(NETWORKS[0], 12, 2, 3))
    assert replicates_in(path) == 2


def test_a_network_is_given_up_with_its_first_replicate_without_an_answer():
    tasks = [Replicate(network, 12, 1, trial) for network in (HOPELESS, NETWORKS[0]) for trial in range(3)]
    with ThreadPoolExecutor(2) as pool:
        found = run(tasks, executor=pool)
    assert all(isinstance(outcome, NoAnswerError) for outcome in found[:3])
    assert found[0] is found[1] is found[2]
    assert_same(found[3:], list(spectra(NETWORKS[0], 12, 3, 1)))


def test_what_does_not_fit_is_an_error_of_its_network(monkeypatch):
    monkeypatch.setattr(replicates, "machine_memory", lambda: 10**7)
    tasks = [Replicate(NETWORKS[0], width, 1, trial) for width in (20, 2000) for trial in range(2)]
    found = run(tasks)
    assert_same(found[:2], list(spectra(NETWORKS[0], 20, 2, 1)))
    assert found[2] is found[3]
    assert str(found[2]).startswith(
        "width 2000 with 2 trials needs 0.352 GB of memory, and this machine has 0.01"
    )
    assert "with 2 workers needs" in str(run(tasks[2:], workers=2)[0])


def test_another_version_is_refused():
    with pytest.raises(
        NoAnswerError, match=r"a worker has isocalc .*, numpy .* this machine has isocalc 0\.0"
    ):
        simulate_one(TASKS[0], ("0.0", *library_versions()[1:]))


def started(pool, workers):
    """Return the ids of workers, all of which a task has started."""
    for future in [pool.submit(time.sleep, 0.1) for _ in range(workers)]:
        future.result(timeout=60)
    assert len(pool.pids) == workers
    return pool.pids


@pytest.mark.process
def test_a_worker_that_dies_is_an_error_of_the_run():
    pool = WorkerPool(2)
    for pid in started(pool, 2):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(NoAnswerError, match=r"a worker process died \(signal 9\), as happens where memory"):
        run(TASKS, executor=pool)
    with pytest.raises(BrokenExecutor, match="signal 9"):
        pool.submit(math.sqrt, 4).result(timeout=60)
    pool.kill()


@pytest.mark.process
def test_errors_of_tasks_come_back():
    with WorkerPool(1) as pool:
        with pytest.raises(ValueError, match="math domain"):
            pool.submit(math.sqrt, -1).result(timeout=60)
        with pytest.raises(InvalidInputError, match="width must be a whole number from 2 to 1000000, got 1"):
            pool.submit(Replicate, NETWORKS[0], 1, 0, 0).result(timeout=60)
        with pytest.raises(pickle.PicklingError):
            pool.submit(lambda: None).result(timeout=60)
        assert pool.submit(os.getpid).result(timeout=60) != os.getpid()


@pytest.mark.process
def test_an_activation_that_no_other_process_knows_is_refused():
    own = replace(activation("tanh"), name="own")
    task = Replicate(ResNet(own, depth=2), 10, 0, 0)
    with WorkerPool(1) as pool, pytest.raises(InvalidInputError, match=r"activation must be .*, got 'own'"):
        run([task], executor=pool)
    assert_same(run([task]), list(spectra(ResNet("tanh", depth=2), 10, 1, 0)))


@pytest.mark.process
def test_what_a_task_prints_does_not_disturb():
    with WorkerPool(1) as pool:
        pool.submit(os.system, "echo a word").result(timeout=60)
        assert pool.submit(math.sqrt, 4).result(timeout=60) == 2.0


@pytest.mark.process
def test_workers_have_their_variables_and_do_not_see_ctrl_c(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with WorkerPool(1, ("OMP_NUM_THREADS",)) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=60) == "1"
        assert pool.submit(os.getpgrp).result(timeout=60) != os.getpgrp()


@pytest.mark.process
def test_a_pool_that_is_shut_down_finishes_or_cancels():
    pool = WorkerPool(1)
    futures = [pool.submit(time.sleep, 0.01) for _ in range(5)]
    pool.shutdown()
    assert all(future.done() and not future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(os.getpid)
    pool = WorkerPool(1)
    futures = [pool.submit(time.sleep, 0.2) for _ in range(5)]
    pool.shutdown(cancel_futures=True)
    assert futures[-1].cancelled()


@pytest.mark.process
def test_a_killed_pool_leaves_no_process():
    pool = WorkerPool(2)
    pids = started(pool, 2)
    assert pool.submit(os.getpid).result(timeout=60) in pids
    pool.submit(signal.pause)
    pool.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.process
def test_an_interpreter_that_cannot_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with WorkerPool(2) as pool, pytest.raises(BrokenExecutor, match="no worker process can be started"):
        pool.submit(os.getpid).result(timeout=60)


def test_blas_has_one_thread_inside_and_what_it_had_outside():
    assert can_be_set()
    before = [get() for get, _ in _libraries()]
    for _, put in _libraries():
        put(2)
    try:
        with one_blas_thread():
            with one_blas_thread():
                assert {get() for get, _ in _libraries()} == {1}
            assert {get() for get, _ in _libraries()} == {1}
        assert {get() for get, _ in _libraries()} == {2}
    finally:
        for (_, put), threads in zip(_libraries(), before, strict=True):
            put(threads)


def test_replicates_called_for_alone_have_one_blas_thread_too():
    before = [get() for get, _ in _libraries()]
    seen = set()

    def note():
        seen.update(get() for get, _ in _libraries())

    try:
        for _, put in _libraries():
            put(2)
        alone = simulate.replicate(NETWORKS[0], 220, 3, 0, progress=note)
        (row,) = spectra(NETWORKS[0], 220, 1, 3)
    finally:
        for (_, put), threads in zip(_libraries(), before, strict=True):
            put(threads)
    assert seen == {1}
    assert_same([alone, row], run(TASKS[:1]) * 2)


def test_tasks_are_described_by_their_options():
    said = describe(TASKS)
    assert said["depth"] == [15, 10]
    assert said["activation"] == ["tanh", "relu"]
    assert (said["trials"], said["seed"], said["arch"]) == (3, [3], ["ResNet"])
    assert describe(TASKS[::-1])["combination"] != said["combination"]
    own = ResNet(activation("tanh"), depth=15)
    assert describe([Replicate(own, 20, 3, 0)])["activation"] == ["tanh"]
    chain = FeedForward("tanh", depth=1, layer_widths=(4, 2))
    assert describe([Replicate(chain, None, 3, 0)])["layer_widths"] == [(4, 2)]


def test_a_hidden_layer_is_described_where_there_is_one():
    said = describe([Replicate(ResNet("gelu", block="preln", hidden_ratio=2.0), 20, 3, 0)])
    assert (said["block"], said["hidden_ratio"], said["sigma_w2"]) == (["preln"], [2.0], [1.0])
    assert not {"hidden_ratio", "sigma_w2"} & set(describe(TASKS))


def test_a_checkpoint_of_other_random_streams_is_refused(tmp_path, monkeypatch):
    path = str(tmp_path / "run.ckpt")
    run([Replicate(NETWORKS[0], 12, 1, 0)], checkpoint=path)
    drawn = simulate.STREAMS
    monkeypatch.setattr(simulate, "STREAMS", drawn + 1)
    with pytest.raises(InvalidInputError, match=f"In it, streams is {drawn}; here, {drawn + 1}"):
        run([Replicate(NETWORKS[0], 12, 1, 0)], checkpoint=path)


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        (("tanh", 10, 0, 0), "network"),
        ((NETWORKS[0], 1, 0, 0), "width"),
        ((NETWORKS[0], 10, -1, 0), "seed"),
        ((NETWORKS[0], 10, 0, -1), "trial"),
        ((NETWORKS[0], 10, 0, 0, "shared"), "gates"),
    ],
)
def test_bad_tasks(arguments, parameter):
    with pytest.raises(InvalidInputError, match=parameter):
        Replicate(*arguments)
    with pytest.raises(InvalidInputError, match="workers"):
        run([], workers=0)


def test_nothing_to_do():
    assert run([]) == []


@pytest.mark.parametrize("tasks", [[1], 1, [*TASKS, None]])
def test_tasks_that_are_none_are_refused(tasks):
    with pytest.raises(InvalidInputError, match="tasks must be an iterable of Replicate, got"):
        run(tasks)
