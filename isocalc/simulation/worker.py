"""A worker process of `executors.WorkerPool`: does what comes in on standard input, until that ends."""

import contextlib
import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from queue import SimpleQueue
from typing import IO

from isocalc.simulation.budgets import REPORT_EVERY

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


def serve() -> None:
    """Do one job after the other; the process ends with its parent."""
    _die_with_parent()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    while True:
        reply = _answer(requests.get(), replies)
        replies.write(reply)
        replies.flush()


def _answer(request: bytes, replies: IO[bytes]) -> bytes:
    try:
        function, args, reports = pickle.loads(request)  # noqa: S301 - from our own parent
        more = {"progress": _Reporter(replies)} if reports else {}
        return pickle.dumps(("result", function(*args, **more)))
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        return _pickled(error)


def _read(requests: "SimpleQueue[bytes]") -> None:
    """Queue what the parent sends; end the process when the parent has closed the pipe, or is gone."""
    try:
        while True:
            requests.put(pickle.load(sys.stdin.buffer))  # noqa: S301 - from our own parent
    finally:
        os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies: LAPACK may keep Python from reading for minutes."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _pickled(error: BaseException) -> bytes:
    try:
        reply = pickle.dumps(("error", error))
        pickle.loads(reply)  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - an exception's pickling may raise anything
        reply = pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))
    return reply


class _Reporter:
    """Counts steps and tells the parent, but not of every one."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies = replies
        self._steps = 0
        self._told = time.monotonic()

    def __call__(self) -> None:
        self._steps += 1
        if time.monotonic() - self._told > REPORT_EVERY:
            self._replies.write(pickle.dumps(("progress", self._steps)))
            self._replies.flush()
            self._steps, self._told = 0, time.monotonic()
