"""Clients that do not finish their headers: uvicorn waits for them for ever, and enough of them take every connection. Here their connection ends.

(A body that does not come is `serving.door`'s to refuse, in words.)
"""

import asyncio
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0


class Impatient(HttpToolsProtocol):
    """uvicorn's own protocol with a limit from the connection, or from a request's first byte, to the end of its headers."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection on which nothing is asked is not kept either."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """Its headers are whole."""
        self._heard()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._heard()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._heard()
        self._limit = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _heard(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def install() -> None:
    """From now on uvicorn takes this protocol where it would choose for itself: BentoML has no setting for it."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Impatient.__name__}"
