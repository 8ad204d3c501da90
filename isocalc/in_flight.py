"""What the replicates that are computed at the same time hold together."""

from collections import Counter
from collections.abc import Sequence

from isocalc.errors import NoAnswerError
from isocalc.memory import machine_memory, require_fits
from isocalc.simulate import given_widths
from isocalc.tasks import Replicate


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
