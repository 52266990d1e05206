"""How many calls are in flight: fewer when the endpoint says that there are too many, slowly more while all goes well.

Additive increase, multiplicative decrease, as TCP does it (Chiu & Jain 1989).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CUT = 0.7
"""Share of the calls that stays after a complaint."""
COOLDOWN = 1.0
"""Complaints within so many seconds of a cut are about the calls before it."""


class Pace:
    """Slots for calls. Lives in one event loop.

    Args:
        most: calls in flight at the start and at most.
    """

    def __init__(self, most: int) -> None:
        self._most, self._busy = most, 0
        self._limit = float(most)
        self._last_cut = float("-inf")
        self._freed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Calls that may be in flight now, at least 1."""
        return max(1, int(self._limit))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Held for the time of one call; waits for a free one."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._busy < self.limit)
            self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            async with self._freed:
                self._freed.notify(self._most)

    def went_well(self) -> None:
        """One more call in flight per round of calls that all went well."""
        self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def too_many(self) -> None:
        """The endpoint complained of too many calls."""
        now = asyncio.get_running_loop().time()
        if now - self._last_cut >= COOLDOWN:
            self._limit, self._last_cut = max(1.0, self._limit * CUT), now
