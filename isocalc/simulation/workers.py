"""Where replicates are computed on this machine: in this process, or in worker processes.

Worker processes that die with their parent and have their BLAS threads set before NumPy loads.

An executor of `concurrent.futures`. Unlike `ProcessPoolExecutor` its workers never import the user's
``__main__``, get an environment of their own, do not see Ctrl-C, report progress, and can be killed.

Where replicates are computed on this machine: in this process, or in worker processes.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from queue import Empty, SimpleQueue
from typing import IO, Any

from isocalc.numerics.machine import THREAD_VARIABLES, can_be_set, machine_memory

# A parent that ends before it has sent anything closes the pipe.
_START = """
import os, pickle, sys
try:
    sys.path[:] = pickle.load(sys.stdin.buffer)
except EOFError:
    os._exit(0)
from isocalc.simulation.worker import serve
serve()
"""

Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], Callable[[int], None] | None]


class WorkerLostError(BrokenExecutor):
    """A worker process ended before its task did."""


class WorkerPool(Executor):
    """Processes that compute what is submitted.

    Parameters
    ----------
    workers : int
        Number of processes, at least 1.
    variables : sequence of str
        Environment variables that are "1" in the workers.
    """

    def __init__(self, workers: int, variables: tuple[str, ...] = ()) -> None:
        self.workers = workers
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._environment = {**os.environ, **dict.fromkeys(variables, "1")}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lost: WorkerLostError | None = None
        self._closed = self._killed = False
        # Linux tells a child of the death of the thread that started it: each thread lives with its worker.
        self._threads = [threading.Thread(target=self._drive, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that have been started."""
        return [process.pid for process in self._processes]

    def submit(  # type: ignore[override] # keywords are the pool's own
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        progress: Callable[[int], None] | None = None,
    ) -> "Future[Any]":
        """Have a worker call a picklable function.

        Parameters
        ----------
        function : callable
        *args : object
        progress : callable, optional
            Where it is given, the function gets a ``progress`` to be called after each step, and this one is
            called here, from another thread, with the number of steps since its last call.
        """
        if self._closed:
            raise RuntimeError("cannot submit to a pool that was shut down")
        future: Future[Any] = Future()
        self._jobs.put((future, function, args, progress))
        if self._lost is not None:
            self._fail_all(self._lost)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """End the workers when everything submitted is done."""
        self._closed = True
        if cancel_futures:
            self._fail_all(None)
        self._dismiss()
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        """End the workers now; what they were computing is lost."""
        self._closed = self._killed = True
        self._fail_all(None)
        self._dismiss()
        for process in self._processes:
            process.kill()

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.kill()

    def _drive(self) -> None:
        """Start a worker and hand it one job after the other."""
        try:
            process = self._start()
        except OSError as error:
            self._lose(f"no worker process can be started: {error.strerror}")
            return
        with process:
            requests, replies = process.stdin, process.stdout
            assert requests is not None  # noqa: S101 - for mypy: they are pipes
            assert replies is not None  # noqa: S101
            with contextlib.suppress(OSError):  # noticed with the first job
                _send(requests, sys.path)
            while (job := self._jobs.get()) is not None:
                if job[0].set_running_or_notify_cancel() and not _do(job, requests, replies):
                    code = process.wait()
                    how = f"signal {-code}" if code < 0 else f"exit code {code}"
                    job[0].set_exception(self._lose(f"a worker process died ({how})"))
                    break
            with contextlib.suppress(OSError):
                requests.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            process_group=0 if os.name == "posix" else None,  # out of reach of Ctrl-C
        )
        self._processes.append(process)
        if self._killed:
            process.kill()
        return process

    def _lose(self, reason: str) -> WorkerLostError:
        self._lost = WorkerLostError(reason)
        self._fail_all(self._lost)
        return self._lost

    def _fail_all(self, error: BaseException | None) -> None:
        """Give the jobs that wait an error, or cancel them."""
        with contextlib.suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                if error is None:
                    job[0].cancel()
                elif job[0].set_running_or_notify_cancel():
                    job[0].set_exception(error)
            self._jobs.put(None)


def _do(job: Job, requests: IO[bytes], replies: IO[bytes]) -> bool:
    """Have a worker do a job; return whether it survived."""
    future, function, args, progress = job
    try:
        request = pickle.dumps((function, args, progress is not None))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        future.set_exception(pickle.PicklingError(str(error)))
        return True
    try:
        _send(requests, request)
        while True:
            kind, value = pickle.load(replies)  # noqa: S301 - from our own worker
            if kind != "progress":
                break
            if progress is not None:
                progress(value)
    except (EOFError, OSError, pickle.UnpicklingError):
        return False
    if kind == "result":
        future.set_result(value)
    else:
        future.set_exception(value)
    return True


def _send(stream: IO[bytes], value: object) -> None:
    stream.write(pickle.dumps(value))
    stream.flush()


# Tasks handed to an executor before the first of them is done, at most.
_IN_FLIGHT = 1000
# Starting a worker takes 0.2 s; Ctrl-C may have to wait for so much work in this process.
_SMALL = 0.5  # s


class InThisProcess(Executor):
    """Computes what is submitted at once."""

    def submit(  # type: ignore[override] # progress is the executor's own
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        progress: Callable[[int], None] | None = None,
    ) -> "Future[Any]":
        """Call a function; ``progress`` is called with 1 after each of its steps."""
        future: Future[Any] = Future()
        more = {} if progress is None else {"progress": lambda: progress(1)}
        try:
            future.set_result(function(*args, **more))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future


def local_executor(workers: int | None, tasks: int, seconds: float, memory: int) -> Executor:
    """Return what computes tasks on this machine.

    Parameters
    ----------
    workers : int or None
        Number of processes; ``None``: one for each core, as far as the memory goes.
    tasks : int
        Number of tasks, at least 1.
    seconds : float
        About how long all of them take on one core.
    memory : int
        Bytes that one of them holds, at most.
    """
    if seconds < _SMALL and can_be_set():
        return InThisProcess()
    if workers is None:
        available = machine_memory()
        fitting = tasks if available is None else max(1, available // memory)
        workers = min(cores(), fitting)
    return WorkerPool(min(workers, tasks), THREAD_VARIABLES)


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def at_once(executor: Executor) -> int:
    """Return how many tasks an executor is handed before the first of them is done."""
    if isinstance(executor, InThisProcess):
        return 1
    return 2 * executor.workers if isinstance(executor, WorkerPool) else _IN_FLIGHT


def takes_progress(executor: Executor) -> bool:
    """Whether an executor tells how far a task is."""
    return isinstance(executor, InThisProcess | WorkerPool)
