"""Where replicates are computed on this machine: in this process, or in worker processes.

Own code instead of ``concurrent.futures.ProcessPoolExecutor``, whose workers import the user's ``__main__``
(a script without a guard would start itself again and again), know no progress, and can be killed from Python
3.14 on only.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

from isocalc.limits import MOST_WORKERS
from isocalc.numerics.machine import THREAD_VARIABLES, can_be_set, machine_memory
from isocalc.simulation.budgets import SMALL_WORK


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
    if seconds < SMALL_WORK and can_be_set():
        return InThisProcess()
    if workers is None:
        available = machine_memory()
        fitting = tasks if available is None else max(1, available // memory)
        workers = min(cores(), fitting)
    return WorkerPool(min(workers, tasks), THREAD_VARIABLES)


def at_once(executor: Executor) -> int:
    """Return how many tasks an executor is handed before the first of them is done."""
    if isinstance(executor, InThisProcess):
        return 1
    return 2 * (executor.workers if isinstance(executor, WorkerPool) else MOST_WORKERS)


def takes_progress(executor: Executor) -> bool:
    """Whether an executor tells how far a task is."""
    return isinstance(executor, InThisProcess | WorkerPool)


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


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


class WorkerLostError(BrokenExecutor):
    """A worker process ended before its task did."""


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


class WorkerPool(ThreadPoolExecutor):
    """Processes that compute what is submitted, each handed one task after the other by a thread of its own.

    They have their BLAS threads set before NumPy loads, do not see Ctrl-C, and die with this process. The
    first that dies is an error of every task that is not done.

    Parameters
    ----------
    workers : int
        Number of processes, at least 1. Each starts with a task.
    variables : sequence of str
        Environment variables that are "1" in the workers.
    """

    def __init__(self, workers: int, variables: tuple[str, ...] = ()) -> None:
        super().__init__(workers)
        self.workers = workers
        self._environment = {**os.environ, **dict.fromkeys(variables, "1")}
        self._processes: list[subprocess.Popen[bytes]] = []
        # Linux tells a child of the death of the thread that started it: each thread lives with its worker.
        self._of_thread = threading.local()
        self._lost = ""

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
        return super().submit(self._compute, function, args, progress)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """End the workers when everything submitted is done; without ``wait``, they end with this process."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            for process in self._processes:
                with process, contextlib.suppress(OSError):  # that of one that died
                    assert process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
                    process.stdin.close()

    def kill(self) -> None:
        """End the workers now; what they were computing is lost."""
        self._lost = "the workers were killed"
        super().shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self.shutdown()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.kill()

    def _compute(
        self, function: Callable[..., Any], args: tuple[Any, ...], progress: Callable[[int], None] | None
    ) -> Any:
        """Have the worker of this thread call a function."""
        if self._lost:
            raise WorkerLostError(self._lost)
        try:
            request = pickle.dumps((function, args, progress is not None))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise pickle.PicklingError(str(error)) from None
        process = self._worker()
        try:
            kind, value = _answer(process, request, progress)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._lost = self._lost or f"a worker process died ({how})"
            raise WorkerLostError(self._lost) from None
        if kind == "error":
            raise value
        return value

    def _worker(self) -> "subprocess.Popen[bytes]":
        """Return the worker of this thread, started where it has none."""
        found: subprocess.Popen[bytes] | None = getattr(self._of_thread, "process", None)
        if found is not None:
            return found
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                process_group=0 if os.name == "posix" else None,  # out of reach of Ctrl-C
            )
        except OSError as error:
            self._lost = f"no worker process can be started: {error.strerror}"
            raise WorkerLostError(self._lost) from None
        self._of_thread.process = process
        self._processes.append(process)
        if self._lost:  # since the task was taken
            process.kill()
        with contextlib.suppress(OSError):  # noticed with the task
            _send(process, sys.path)
        return process


def _answer(
    process: "subprocess.Popen[bytes]", request: bytes, progress: Callable[[int], None] | None
) -> tuple[str, Any]:
    """Return ``"result"`` or ``"error"``, and the object that a worker sent as such."""
    assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
    _send(process, request)
    while True:
        kind, value = pickle.load(process.stdout)  # noqa: S301 - from our own worker
        if kind != "progress":
            return kind, value
        if progress is not None:
            progress(value)


def _send(process: "subprocess.Popen[bytes]", value: object) -> None:
    assert process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
    process.stdin.write(pickle.dumps(value))
    process.stdin.flush()
