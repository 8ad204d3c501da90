"""Replicates on a Dask cluster. Needs the extra ``cluster``: ``pip install 'isocalc[cluster]'``."""
# ruff: noqa: PLC0415 - dask.distributed is optional

import logging
import re
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from typing import Any

from isocalc.errors import InvalidInputError, NoAnswerError

_ADDRESS = re.compile(
    r"((tcp|tls|ws|wss|ucx)://)?(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})/?", re.ASCII
)
_MOST_PORT = 65535
_PATIENCE = 5  # s, for a scheduler to answer, and for its first worker


def require_address(address: str) -> None:
    """Raise InvalidInputError where a text is not the address of a scheduler, or the extra is missing."""
    found = _ADDRESS.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= _MOST_PORT:
        raise InvalidInputError("cluster", "an address such as tcp://10.0.0.1:8786", address)
    try:
        import distributed  # noqa: F401 - whether it is there
    except ImportError:
        advice = "Install them: pip install 'isocalc[cluster]'."
        raise InvalidInputError(
            "cluster", "given with dask and distributed installed", address, advice
        ) from None


@contextmanager
def cluster(address: str, memory: int = 0) -> Iterator[Executor]:
    """Connect to a Dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler.
    memory : int
        Bytes that one replicate holds, at most.

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
        There are no workers, a replicate does not fit in one, the cluster was lost.
    """
    require_address(address)
    from distributed import Client, KilledWorker

    class Impatient(Client):  # type: ignore[misc] # an extra
        def __del__(self) -> None:
            """Not wait ten seconds for what has not answered."""

    with _quiet():
        try:
            client = Impatient(address, timeout=_PATIENCE, set_as_default=False)
        except Exception as error:
            advice = "Start one with: dask scheduler."
            raise InvalidInputError("cluster", "of a scheduler that answers", address, advice) from error
        done = False
        try:
            _require_workers(client, address, memory)
            yield client.get_executor(pure=False)
            done = True
        except KilledWorker as error:
            reason = "as happens where their memory runs out: take a smaller width or more workers"
            raise NoAnswerError(f"workers of the cluster died again and again, {reason}") from error
        except CancelledError as error:
            raise NoAnswerError(f"the cluster at {address} was lost") from error
        finally:
            client.close(timeout=_PATIENCE if done else 0.5)


def _require_workers(client: Any, address: str, memory: int) -> None:
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise NoAnswerError(f"the cluster at {address} has no workers: start some with dask worker") from None
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        needed, there = memory * worker["nthreads"], worker["memory_limit"]
        if 0 < there < needed:
            raise NoAnswerError(
                f"{worker['nthreads']} replicates at once need {needed / 1e9:.3g} GB of memory, and a worker "
                f"of the cluster has {there / 1e9:.3g} GB: take a smaller width or workers of fewer threads"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from logging what is raised as well."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
