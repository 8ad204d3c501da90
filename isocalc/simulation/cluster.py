"""Replicates on a Dask cluster. Needs the extra ``cluster``: ``pip install 'isocalc[cluster]'``."""
# ruff: noqa: PLC0415 - dask.distributed is optional

import asyncio
import logging
import pickle
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import Any

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.simulation.budgets import BRIEFLY, CLUSTER_LOADING, CLUSTER_PATIENCE, MOST_PORT
from isocalc.simulation.tasks import Call, Replicate, require_versions, versions_beside
from isocalc.user_code import quoted

_ADDRESS = re.compile(
    r"((tcp|tls|ws|wss|ucx)://)?(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})/?", re.ASCII
)


def require_address(address: str) -> None:
    """Raise InvalidInputError where a text is not the address of a scheduler, or the extra is missing."""
    found = _ADDRESS.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= MOST_PORT:
        raise InvalidInputError("cluster", "an address such as tcp://10.0.0.1:8786", address)
    try:
        import distributed  # noqa: F401 - whether it is there
    except ImportError:
        advice = "Install them: pip install 'isocalc[cluster]'."
        raise InvalidInputError(
            "cluster", "given with dask and distributed installed", address, advice
        ) from None


@contextmanager
def cluster(address: str, tasks: Sequence[Replicate] = ()) -> Iterator[Executor]:
    """Connect to a Dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler.
    tasks : sequence of Replicate
        What is to be computed: every worker must be able to load it and hold one for each of its threads.

    Yields
    ------
    Executor
        Computes on the workers of the cluster; what a worker did not finish before it died is computed by
        another.

    Raises
    ------
    InvalidInputError
        This is no address, dask.distributed is not installed, no scheduler answers.
    NoAnswerError
        There are no workers, one of them does not answer or lacks a module, a replicate does not fit in one,
        the cluster was lost.
    """
    require_address(address)
    from distributed import KilledWorker

    with _quiet():
        client = _connected(address)
        done = False
        watch: Future[None] | None = None
        reasons: list[str] = []
        try:
            _require_workers(client, address)
            _require_loaded(client, tasks)
            _require_memory(client, max((task.memory for task in tasks), default=0))
            executor = client.get_executor(pure=False)
            loop = client.loop.asyncio_loop
            watch = asyncio.run_coroutine_threadsafe(_give_up(client, executor, reasons), loop)
            yield executor
            done = True
        except KilledWorker as error:
            reason = "as happens where their memory runs out: take a smaller width or more workers"
            raise NoAnswerError(f"workers of the cluster died again and again, {reason}") from error
        except CancelledError as error:
            raise NoAnswerError(f"the cluster at {address} {(*reasons, 'was lost')[0]}") from error
        finally:
            if watch is not None:
                watch.cancel()
            client.close(timeout=CLUSTER_PATIENCE if done else BRIEFLY)


def _connected(address: str) -> Any:
    """Return a client of a scheduler; raise InvalidInputError where none answers."""
    from distributed import Client

    class Impatient(Client):  # type: ignore[misc] # an extra
        async def _start(self, **options: Any) -> Any:
            """Connect; Dask waits for ever where a connection is accepted and nothing is said."""
            return await asyncio.wait_for(super()._start(**options), CLUSTER_PATIENCE)

        def __del__(self) -> None:
            """Not wait ten seconds for what has not answered."""

    try:
        return Impatient(address, timeout=CLUSTER_PATIENCE, set_as_default=False)
    except Exception as error:  # Dask hands on what its transports, extras too, and their peers raise
        advice = "Start one with: dask scheduler."
        raise InvalidInputError("cluster", "of a scheduler that answers", address, advice) from error


async def _give_up(client: Any, executor: Executor, reasons: list[str]) -> None:
    """Cancel what is computed, and say why, where Dask waits for ever.

    That is where no worker is left and none comes, and where the scheduler is there but does not answer.
    """
    seen, lacks = time.monotonic(), "has had no workers"
    while time.monotonic() - seen < CLUSTER_LOADING:
        await asyncio.sleep(min(CLUSTER_PATIENCE, CLUSTER_LOADING))
        try:
            known = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), CLUSTER_LOADING)
        except TimeoutError:
            lacks = "has not answered"
            break
        if known["workers"]:
            seen = time.monotonic()
    reasons.append(f"{lacks} for {CLUSTER_LOADING} s")
    await asyncio.to_thread(executor.shutdown, wait=False)


def _require_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=CLUSTER_PATIENCE)
    except TimeoutError:
        raise NoAnswerError(f"the cluster at {address} has no workers: start some with dask worker") from None


def _require_loaded(client: Any, tasks: Sequence[Replicate]) -> None:
    """Have every worker load what is to be computed; raise NoAnswerError for the first that cannot."""
    by_activation = {task.network.act.name: task for task in tasks}
    load = pickle.dumps(Call(versions_beside, *by_activation.values()))

    async def ask(worker: str) -> Any:
        try:
            answers = await asyncio.wait_for(
                client.run(pickle.loads, load, workers=[worker], on_error="return"), CLUSTER_LOADING
            )
        except TimeoutError as error:
            return error
        return answers[worker]

    async def ask_all(workers: Sequence[str]) -> list[Any]:
        return await asyncio.gather(*map(ask, workers))

    workers = [*client.scheduler_info(n_workers=-1)["workers"]]
    for worker, answer in zip(workers, client.sync(ask_all, workers), strict=True):
        name = f"the worker {worker} of the cluster"
        if isinstance(answer, TimeoutError):
            raise NoAnswerError(f"{name} has not answered for {CLUSTER_LOADING} s: restart it or take it out")
        if isinstance(answer, Exception):
            lacks = getattr(answer, "advice", "") or quoted(answer)
            raise NoAnswerError(
                f"{name} cannot load what it is to compute ({lacks.rstrip('.')}): install it there"
            )
        require_versions(answer, name)


def _require_memory(client: Any, memory: int) -> None:
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        needed, there = memory * worker["nthreads"], worker["memory_limit"]
        if 0 < there < needed:
            raise NoAnswerError(
                f"{worker['nthreads']} replicates at once need {needed / 1e9:.3g} GB of memory, and a worker "
                f"of the cluster has {there / 1e9:.3g} GB: take a smaller width or workers of fewer threads"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask and its event loop from logging what is raised as well."""
    known = logging.root.manager.loggerDict
    names = [name for name in known if name.split(".")[0] in {"distributed", "tornado"}]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
