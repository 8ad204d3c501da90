"""Many replicates of random networks, on one core or many machines, none of them lost.

A replicate is a pure function of its description: the outcomes of a run do not depend on where, in which
order and how many at once they are computed, nor on how often the run was killed and started again. Bits
are the same on machines of one kind with the same versions of NumPy and SciPy.
"""

import math
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from isocalc.errors import InvalidInputError, NoAnswerError, require_whole
from isocalc.limits import MOST_WORKERS
from isocalc.numerics.machine import machine_memory, require_fits
from isocalc.simulation.executors import at_once, local_executor, takes_progress
from isocalc.simulation.simulate import given_widths
from isocalc.simulation.tasks import Call, Outcome, Replicate, library_versions, simulate_one
from isocalc.user_code import quoted

if TYPE_CHECKING:
    from isocalc.simulation.checkpoint import Checkpoint


__all__ = ["Outcome", "Replicate", "run"]

Progress = Callable[[float, int], None]


def run(
    tasks: Iterable[Replicate],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    checkpoint: "str | Checkpoint | None" = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Compute replicates.

    Parameters
    ----------
    tasks : iterable of Replicate
    executor : concurrent.futures.Executor, optional
        What computes them, such as that of a Dask client (``client.get_executor()``).
    workers : int, optional
        Number of processes, if no executor is given. ``None``: one for each core, as far as the memory goes.
        Work of less than about half a second is done in this process.
    checkpoint : str or Checkpoint, optional
        File in which each replicate is recorded within a second of being finished, and from which those of
        an earlier run of the same tasks are taken; or what `checkpoint_of` opened.
    progress : callable, optional
        Called, from any thread, with the share of the work that is done, in [0, 1], and the number of
        replicates; first with what the checkpoint has.

    Returns
    -------
    list of array or NoAnswerError
        log s, ascending, of each task in the order of the tasks. A network is given up with the first of its
        replicates that has no answer: that one and those after it have its error.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule; the checkpoint is of other tasks.
    NoAnswerError
        A worker process died, or has other versions of isocalc, NumPy or SciPy.
    OSError
        The checkpoint cannot be written; it keeps what it has.
    """
    tasks = _require_replicates(tasks)
    if workers is not None:
        require_whole("workers", workers, 1, MOST_WORKERS)
    outcomes = _Outcomes(tasks, progress)
    with ExitStack() as stack:
        if checkpoint is not None:
            from isocalc.simulation.checkpoint import Checkpoint, checkpoint_of  # noqa: PLC0415 - SQLite loads here

            if not isinstance(checkpoint, Checkpoint):
                checkpoint = stack.enter_context(checkpoint_of(tasks, checkpoint))
            outcomes.restore(checkpoint)
        if executor is None:
            outcomes.give_up_what_does_not_fit(workers or 1)
        left = outcomes.left()
        outcomes.begin()
        if left and executor is None:
            seconds = sum(tasks[index].seconds for index in left)
            memory = max(tasks[index].memory for index in left)
            executor = stack.enter_context(local_executor(workers, len(left), seconds, memory))
        if left and executor is not None:
            outcomes.complete(left, executor)
    return outcomes.in_order()


def _require_replicates(tasks: object) -> list[Replicate]:
    rule = "an iterable of Replicate"
    if not isinstance(tasks, Iterable):
        raise InvalidInputError("tasks", rule, tasks)
    listed = list(tasks)
    for task in listed:
        if not isinstance(task, Replicate):
            raise InvalidInputError("tasks", rule, task)
    return listed


class _Outcomes:
    """The outcomes of tasks as they come in."""

    def __init__(self, tasks: Sequence[Replicate], progress: Progress | None) -> None:
        self._tasks = tasks
        self._found: dict[int, Outcome] = {}
        self._failed: dict[Replicate, int] = {}
        self._checkpoint: Checkpoint | None = None
        self._tally = _Tally(tasks, progress)

    def give_up_what_does_not_fit(self, workers: int) -> None:
        """Give every network its error that does not fit in memory with so many replicates at once."""
        left = self.left()
        reasons = too_large([self._tasks[index] for index in left], workers)
        for index in left:
            family = self._tasks[index].family
            if family in reasons:
                self._add(index, reasons.pop(family))

    def restore(self, checkpoint: "Checkpoint") -> None:
        """Take what a checkpoint has, and record in it what it has not."""
        self._checkpoint = checkpoint
        for index, outcome in checkpoint.kept.items():
            self._add(index, outcome)

    def left(self) -> list[int]:
        """Return which tasks are to be computed, those that take longest first."""
        todo = (index for index in range(len(self._tasks)) if not self._is_settled(index))
        return sorted(todo, key=lambda index: -self._tasks[index].seconds)

    def begin(self) -> None:
        """Tell what is done, from here on."""
        self._tally.tell()

    def complete(self, left: Sequence[int], executor: Executor) -> None:
        """Compute tasks, and record each as it finishes."""
        waiting = (index for index in left if not self._is_settled(index))
        done: SimpleQueue[Future[Outcome]] = SimpleQueue()
        running: dict[Future[Outcome], int] = {}
        try:
            for index in islice(waiting, at_once(executor)):
                self._submit(index, executor, running, done)
            while running:
                future = self._next(done)
                index = running.pop(future)
                outcome = _result(future)
                if self._checkpoint is not None:
                    self._checkpoint.append(index, outcome)
                self._add(index, outcome)
                for following in islice(waiting, 1):
                    self._submit(following, executor, running, done)
        finally:
            for future in running:
                future.cancel()

    def _next(self, done: "SimpleQueue[Future[Outcome]]") -> "Future[Outcome]":
        """Return what is done next; while nothing is, have the checkpoint written."""
        if self._checkpoint is not None:
            with suppress(Empty):
                return done.get(timeout=self._checkpoint.wait)
            self._checkpoint.flush()
        return done.get()

    def in_order(self) -> list[Outcome]:
        """Return the outcomes; the first error of a network is that of all its tasks after it."""
        return [
            self._found[min(index, self._failed.get(task.family, index))]
            for index, task in enumerate(self._tasks)
        ]

    def _submit(
        self,
        index: int,
        executor: Executor,
        running: dict[Future[Outcome], int],
        done: SimpleQueue[Future[Outcome]],
    ) -> None:
        task, versions = self._tasks[index], library_versions()
        if takes_progress(executor):
            told = partial(self._tally.advance, index)
            future = executor.submit(simulate_one, task, versions, progress=told)
        else:
            future = executor.submit(pickle.loads, pickle.dumps(Call(simulate_one, task, versions)))
        running[future] = index
        future.add_done_callback(done.put)

    def _add(self, index: int, outcome: Outcome) -> None:
        self._found[index] = outcome
        if isinstance(outcome, NoAnswerError):
            family = self._tasks[index].family
            self._failed[family] = min(index, self._failed.get(family, index))
        self._tally.finish(index)

    def _is_settled(self, index: int) -> bool:
        return index in self._found or self._failed.get(self._tasks[index].family, index) < index


class _Tally:
    """How much of the work is done, told to whoever asked, from any thread."""

    def __init__(self, tasks: Sequence[Replicate], progress: Progress | None) -> None:
        self._tasks = tasks
        self._all = math.fsum(task.seconds for task in tasks)
        self._done: dict[int, float] = {}
        self._seconds = 0.0
        self._finished = 0
        self._progress = progress
        self._telling = False
        self._lock = threading.Lock()

    def tell(self) -> None:
        """Tell what is done, now and whenever it changes."""
        self._telling = True
        if self._progress is not None:
            self._progress(min(self._seconds / self._all, 1.0), self._finished)

    def advance(self, index: int, layers: int) -> None:
        """Count so many layers more of a task as done."""
        task = self._tasks[index]
        with self._lock:
            done = self._done.get(index, 0.0) + layers / task.network.depth
            self._set(index, min(done, 1.0))

    def finish(self, index: int) -> None:
        """Count a task as done."""
        with self._lock:
            self._finished += 1
            self._set(index, 1.0)

    def _set(self, index: int, done: float) -> None:
        self._seconds += (done - self._done.get(index, 0.0)) * self._tasks[index].seconds
        self._done[index] = done
        if self._telling:
            self.tell()


def _result(future: "Future[Outcome]") -> Outcome:
    """Return an outcome; raise in isocalc's words what kept a worker from having one."""
    try:
        return future.result()
    except BrokenExecutor as error:
        reason = f"{error}, as happens where memory runs out: take fewer workers or a smaller width"
        raise NoAnswerError(reason) from error
    except ImportError as error:
        raise NoAnswerError(f"a worker cannot load what it is to compute: {quoted(error)}") from error


def too_large(tasks: Sequence[Replicate], workers: int) -> dict[Replicate, NoAnswerError]:
    """Return which networks do not fit in the memory of this machine, and why.

    Workers take the replicates of all networks from one queue: a network has beside it what the other
    workers may hold, as far as that is not larger and so refused before it.

    Parameters
    ----------
    tasks : sequence of Replicate
    workers : int
        Number of replicates at once, at most.

    Returns
    -------
    dict of Replicate to NoAnswerError
        The reasons, by the family of the replicates.
    """
    held = Counter(task.memory for task in tasks)
    memory = machine_memory()
    reasons: dict[Replicate, NoAnswerError] = {}
    for family, trials in Counter(task.family for task in tasks).items():
        widths = given_widths(family.network, family.width)
        at_once, needed = _together(held, family.memory, workers)
        number, fewer = (trials, "trials") if at_once == 1 else (at_once, "workers")
        what = f"width {max(widths)} with {number} {fewer}"
        try:
            advice = f"take a smaller width or fewer {fewer}"
            require_fits(needed + 8 * widths[0] * trials, memory, what, advice)
        except NoAnswerError as error:
            reasons[family] = error
    return reasons


def _together(held: Counter[int], most: int, workers: int) -> tuple[int, int]:
    """Return how many replicates of at most so many bytes there are at once, and their bytes."""
    free, needed = workers, 0
    for each in sorted((each for each in held if each <= most), reverse=True):
        count = min(free, held[each])
        needed += count * each
        free -= count
    return workers - free, needed
