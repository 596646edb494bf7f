"""Signals that stop the work: Ctrl-C (exit status 130), SIGTERM and Slurm's SIGUSR2 (75: try again later)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPPED, TRY_AGAIN = 130, 75  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h
ENDING = ("SIGTERM", "SIGUSR2")  # a scheduler takes the machine back


class Terminated(BaseException):
    """SIGTERM or SIGUSR2 was received."""


class SignalNoticed:
    """The last signal, noted and raised.

    Noted too, since Python drops what a handler raises inside a destructor or a callback; `look` raises it again.
    """

    def __init__(self) -> None:
        self.kind: type[BaseException] | None = None
        self.deferred = False  # raise only in `look`: for code in which a handler must not raise
        self.leaving = False
        self.before: dict[int, Any] = {}

    def interrupt(self, *_: object) -> None:
        """Handle Ctrl-C."""
        self.kind = KeyboardInterrupt
        if not self.deferred:
            raise KeyboardInterrupt

    def terminate(self, *_: object) -> None:
        """Handle SIGTERM and SIGUSR2; a second one must not interrupt the clean-up that the first one began."""
        if self.leaving:
            return
        self.leaving, self.kind = True, Terminated
        if not self.deferred:
            raise Terminated

    def look(self) -> None:
        """Raise a signal that was noted but not raised, or whose exception Python dropped."""
        if (kind := self.kind) is not None:
            self.kind = None
            raise kind

    def install(self) -> None:
        """Handle the signals from now on; Ctrl-C only where Python's own handler or ours is installed."""
        # Python allows handlers in the main thread only, and some notebooks work in another one.
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, *_installed):
            _installed[:] = [self.interrupt]
            signal.signal(signal.SIGINT, self.interrupt)
        for name in ENDING:
            if number := getattr(signal, name, None):  # Windows has no SIGUSR2
                self.before.setdefault(number, signal.signal(number, self.terminate))

    def uninstall(self) -> None:
        """Restore the handlers of SIGTERM and SIGUSR2; that of Ctrl-C stays, as it does the same as Python's own."""
        for number, handler in self.before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


_installed: list[Any] = []  # our handler of Ctrl-C, so that a second call in one process replaces it


@contextmanager
def notice_signals() -> Iterator[SignalNoticed]:
    """Let signals raise KeyboardInterrupt or `Terminated`; outside the main thread nothing changes."""
    noticed = SignalNoticed()
    noticed.install()
    try:
        yield noticed
    finally:
        noticed.uninstall()
