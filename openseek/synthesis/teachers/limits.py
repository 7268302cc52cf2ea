"""How many requests an endpoint is sent: by the minute, and at the same time."""

from __future__ import annotations

_BURST_S = 6.0  # a tenth of the minute at once; a full minute's worth could be spent twice in one


class Bucket:
    """A limit by the minute, as a bucket that fills steadily.

    Args:
        per_minute: Units a minute; 0: no limit.
    """

    def __init__(self, per_minute: float) -> None:
        self.rate = per_minute / 60
        self.room = max(1.0, self.rate * _BURST_S)
        self.level = self.room
        self.at = 0.0

    def wait_s(self, units: float, now: float) -> float:
        """Return the seconds until `units`, or a whole bucketful at most, may be taken."""
        if not self.rate:
            return 0.0
        self._fill(now)
        return max(0.0, (min(units, self.room) - self.level) / self.rate)

    def take(self, units: float, now: float) -> None:
        """Take `units`, below zero if need be; a negative number gives back."""
        if self.rate:
            self._fill(now)
            self.level = min(self.room, self.level - units)

    def _fill(self, now: float) -> None:
        self.level = min(self.room, self.level + self.rate * max(0.0, now - self.at))
        self.at = max(self.at, now)


class AdaptiveLimit:
    """Requests at the same time: more by one a round while all is well, fewer after an overload.

    It starts at half of the most and doubles every round until the first overload. From then on:
    additive increase, multiplicative decrease. Overload is what the server says (429, 503), a
    time-out, or a latency of `slow_factor` times the best one, per token of the answers. Of the
    requests that were under way together, only the first to fail counts.

    Args:
        most: Requests at the same time at most.
        slow_factor: See above; 0: latency does not count.
    """

    def __init__(self, most: int, slow_factor: float = 0.0) -> None:
        self.most = most
        self.value = max(1.0, most / 2)
        self._slow = slow_factor
        self._doubling = True
        self._cut_at = float("-inf")
        self._answers, self._seconds, self._tokens = 0, 0.0, 0
        self._best = float("inf")

    def __int__(self) -> int:
        return int(self.value)

    def answered(self, sent: float, now: float, tokens: int) -> None:
        """Note an answer.

        Args:
            sent: When it was asked for, in seconds of the same clock as `now`.
            now: When it came.
            tokens: Its tokens.
        """
        step = 1.0 if self._doubling else 1.0 / self.value
        self.value = min(float(self.most), self.value + step)
        if not self._slow:
            return
        self._answers += 1
        self._seconds += now - sent
        self._tokens += tokens + 16  # a short answer has its fixed share
        if self._answers >= max(8.0, self.value):
            latency = self._seconds / self._tokens
            self._answers, self._seconds, self._tokens = 0, 0.0, 0
            self._best = min(self._best * 1.02, latency)  # forgets the past slowly
            if latency > self._slow * self._best:
                self.overloaded(sent, now)

    def overloaded(self, sent: float, now: float) -> None:
        """Halve, unless the request was sent before the last cut."""
        if sent >= self._cut_at:
            self.value = max(1.0, self.value / 2)
            self._doubling = False
            self._cut_at = now
