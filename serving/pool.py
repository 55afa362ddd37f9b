"""Threads for what takes long: so many at work, so many waiting, and nobody waits for ever."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import HTTPException

R = TypeVar("R")


class Pool:
    """Work on threads under a deadline. Work that is over its deadline cannot be stopped: it keeps its place until it ends."""

    def __init__(self, threads: int = 4, waiting: int = 32, seconds: float = 30.0) -> None:
        self.places, self.seconds = threads + waiting, seconds
        self.taken = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="likeness")

    async def run(self, work: Callable[..., R], *given: Any) -> R:
        """Raises: 503 where all places are taken, 504 at the deadline."""
        if self.taken >= self.places:
            raise HTTPException(503, "too much is asked at once; come again soon, or ask for fewer customers", {"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        self.taken += 1
        job = self._threads.submit(work, *given)
        job.add_done_callback(lambda _: self._leave(loop))
        answer = asyncio.wrap_future(job)
        done, _ = await asyncio.wait({answer}, timeout=self.seconds)
        if not done:
            # What has not begun yet never will.
            answer.cancel()
            raise HTTPException(504, f"the answer took longer than {self.seconds:g} seconds; ask for fewer customers at once")
        return answer.result()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._left)

    def _left(self) -> None:
        self.taken -= 1
