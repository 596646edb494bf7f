"""Signals that end the work: Ctrl-C (exit status 130), SIGTERM and Slurm's SIGUSR2 (75: try again later)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPPED, TRY_AGAIN = 130, 75  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h
ENDING = ("SIGTERM", "SIGUSR2")  # the machine is wanted back


class Terminated(BaseException):
    """SIGTERM or SIGUSR2 came."""


class SignalNoticed:
    """The signal that came last: raised inside a destructor or a callback, where Python drops it, it would be lost."""

    def __init__(self) -> None:
        self.kind: type[BaseException] | None = None
        self.deferred = False  # nothing is raised before `look`: for code that cannot bear an exception anywhere
        self.leaving = False
        self.before: dict[int, Any] = {}

    def interrupt(self, *_: object) -> None:
        """Handle Ctrl-C."""
        self.kind = KeyboardInterrupt
        if not self.deferred:
            raise KeyboardInterrupt

    def terminate(self, *_: object) -> None:
        """Handle SIGTERM and SIGUSR2; one that follows must not end the tidying up that the first began."""
        if self.leaving:
            return
        self.leaving, self.kind = True, Terminated
        if not self.deferred:
            raise Terminated

    def look(self) -> None:
        """Raise what was noticed and dropped."""
        if (kind := self.kind) is not None:
            self.kind = None
            raise kind

    def install(self) -> None:
        """Handle the signals from now on. Ctrl-C not where somebody else handles it, or has it ignored."""
        if threading.current_thread() is not threading.main_thread():  # as in some notebooks
            return
        if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, *_installed):
            _installed[:] = [self.interrupt]
            signal.signal(signal.SIGINT, self.interrupt)
        for name in ENDING:
            if number := getattr(signal, name, None):  # there is no SIGUSR2 on Windows
                self.before.setdefault(number, signal.signal(number, self.terminate))

    def uninstall(self) -> None:
        """Put back what handled SIGTERM and SIGUSR2; that of Ctrl-C stays, as it does what Python's own does."""
        for number, handler in self.before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


_installed: list[Any] = []  # our own handler of Ctrl-C, so that a second call in one process replaces it


@contextmanager
def notice_signals() -> Iterator[SignalNoticed]:
    """Have signals raise KeyboardInterrupt or `Terminated`; outside the main thread nothing is changed."""
    noticed = SignalNoticed()
    noticed.install()
    try:
        yield noticed
    finally:
        noticed.uninstall()
