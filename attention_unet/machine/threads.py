"""Choose the number of CPU threads by the time that steps take.

The threads of a step wait for each other many times. If other programs keep a core busy, each wait lasts until the
system gives that core back, and a step on all cores can take ten times as long as on fewer.
"""

import logging
import math
import statistics
from collections import deque

import torch

log = logging.getLogger(__name__)

TRIAL = 3  # steps from which a number of threads is judged, by their median: the first one is slower
FIRST_TRIAL = 4  # step after which half of the threads are tried for the first time
MUCH_SLOWER = 3  # times as slow as the fastest: reason for a warning
SLOWER = 1.3  # times as slow as the fastest: reason to try fewer threads
FASTER = 0.9  # the tried number is kept if steps take at most this share of the time
PATIENCE = 12  # steps after which more threads are tried again
LONGER = 5  # after a trial that gained nothing, the wait for the next one is so many times as long,
LOST = 0.02  # but no later than trials lose this share of the time


class ThreadChooser:
    """Number of threads for the next steps. It starts with all; after each step call ``record``.

    If it is ``fixed``, because results depend on the number in the last bits, it only warns.
    """

    def __init__(self, fixed: bool) -> None:
        self.fixed, self._warned = fixed, False
        most = torch.get_num_threads()
        self.counts = [2**i for i in range(most.bit_length()) if 2**i < most] + [most]
        self.chosen = len(self.counts) - 1
        self._before: tuple[int, float] | None = None  # what a trial is compared with: index, seconds
        self._recent: deque[float] = deque(maxlen=TRIAL)
        self._steps, self._fastest = 0, math.inf  # with the chosen number
        self._patience: float = PATIENCE

    def record(self, seconds: float) -> None:
        """Take note of the time of a step, and choose the threads of the next."""
        self._recent.append(seconds)
        self._steps += 1
        hopeless = self._before is not None and seconds > MUCH_SLOWER * self._before[1]
        if len(self._recent) < TRIAL and not hopeless:
            return
        typical = statistics.median(self._recent)
        if self._before is not None:
            index, other = self._before
            self._before = None
            if typical > FASTER * other:
                if index < self.chosen:
                    lost = sum(self._recent) - len(self._recent) * other
                    self._patience = max(PATIENCE, min(LONGER * self._patience, lost / other / LOST))
                self._use(index)
            else:
                self._patience, self._fastest = PATIENCE, typical
            return
        self._fastest = min(self._fastest, typical)
        if self.fixed:
            self._warn(typical)
            return
        crowded = typical > SLOWER * self._fastest or self._steps == FIRST_TRIAL
        fewer = crowded and self.chosen > 0
        if fewer or (self._steps >= self._patience and self.chosen < len(self.counts) - 1):
            self._before = self.chosen, typical
            self._use(self.chosen - 1 if fewer else self.chosen + 1)

    def _warn(self, typical: float) -> None:
        if typical > MUCH_SLOWER * self._fastest and not self._warned:
            self._warned = True
            advice = ", or stop this one and resume it with a smaller OMP_NUM_THREADS" if self.chosen > 0 else ""
            log.warning(
                "steps take %.0f times as long as before: other programs use the processor; stop them%s",
                typical / self._fastest,
                advice,
            )

    def _use(self, index: int) -> None:
        self.chosen, self._steps, self._fastest = index, FIRST_TRIAL, math.inf
        self._recent.clear()
        torch.set_num_threads(self.counts[index])
