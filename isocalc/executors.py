"""Where replicates are computed on this machine: in this process, or in worker processes."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from isocalc.blas_threads import THREAD_VARIABLES, can_be_set
from isocalc.memory import machine_memory
from isocalc.worker_pool import WorkerPool

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
