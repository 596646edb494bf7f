"""Guard around every call of a plug-in's member (query method, dataset, regime, backbone, paradigm).

A member that changes a setting of the whole process, such as torch's number of threads, would change the numbers of
all members that run after it. So the settings are read before a call, compared after it, and restored. The checks of
`fathom.testing` list such a change; otherwise one warning tells it. A member also may not end the process: `sys.exit`,
`os._exit` and exceptions that are no errors, such as KeyboardInterrupt, become an error of the member alone.
"""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from opcode import opname
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from fathom.core.process_settings import IMPORTED, RANDOM, ProcessSetting, process_settings
from fathom.core.records import FathomError

T = TypeVar("T")

GRACE = 0.2  # seconds in which a thread may end after the call
OWN_THREADS = "fathom-"  # start of their names: a member that writes to the cache starts that of its lock
OWN_HANDLERS = ("fathom", "engine", "signals.py")  # raises for a signal that the user or a scheduler sent
_told: set[str] = set()
_collected: list[list[str]] = []  # lists of the checks that are open, innermost last
_real_exit = os._exit


class GlobalStateWarning(UserWarning):
    """A member changed a setting of the whole process, which was restored."""


class MemberExitError(FathomError):
    """A member tried to end the process."""


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect what members change as findings, instead of warning of it."""
    _collected.append([])
    try:
        yield _collected[-1]
    finally:
        _collected.pop()


class member_call:
    """Guard of one call: `with member_call("my_al/margin"): ...`. The block must not yield to its caller.

    Args:
        what: Spec string of the member, for messages.

    Raises:
        MemberExitError: The member raised SystemExit, KeyboardInterrupt or another exception that is no error, or
            called `os._exit`. Ctrl-C and the signals of a scheduler pass.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        self.before = [setting.read() for setting in process_settings()]
        self.threads, self.modules = set(threading.enumerate()), len(sys.modules)
        self.exit, os._exit = os._exit, self._refuse_exit
        self.place = os.getpid(), threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os._exit = self.exit
        if self.place[0] == os.getpid():
            self._restore()
        if error is None or isinstance(error, Exception) or _was_signalled(error):
            return
        said = f"({error})" if str(error) else ""
        raise MemberExitError(
            f"{self.what} raised {type(error).__name__}{said}, which would end the whole command. Expected a result, "
            "or an exception such as ValueError"
        ) from error

    def _refuse_exit(self, status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) != self.place:  # a process that it forked, or a thread of ours
            _real_exit(status)
        raise MemberExitError(f"{self.what} called os._exit({status}), which would end the whole command")

    def _restore(self) -> None:
        """Set back what has changed, then tell of it."""
        found = [
            (setting, before, after)
            for setting, before in zip(process_settings(), self.before, strict=True)
            if not setting.equal(before, after := setting.read())
        ]
        notes = []
        for _ in range(2 if found else 0):  # twice: the writing of one precision may change another
            for setting, before in zip(process_settings(), self.before, strict=True):
                if setting.equal(before, setting.read()):
                    continue
                try:
                    setting.write(before)
                except (RuntimeError, ValueError, OSError) as error:
                    notes.append((setting.name, f" (it cannot be set back: {error})"))
        imported = len(sys.modules) != self.modules
        for setting, before, after in found:
            if not (imported and setting.name in IMPORTED):
                self._tell(setting, before, after, dict(notes).get(setting.name, ""))
        left = [t for t in threading.enumerate() if t not in self.threads and not t.name.startswith(OWN_THREADS)]
        for thread in left:
            thread.join(GRACE)  # that of a progress bar ends just after its bar
        if any(thread.is_alive() and type(thread).__name__ != "TMonitor" for thread in left):  # of tqdm, by downloads
            self._say("leaves a thread running; let it end before the call returns")

    def _tell(self, setting: ProcessSetting, before: Any, after: Any, note: str) -> None:
        if setting.name in RANDOM:
            # A run is told nothing: packages draw from these when they build a network, and the state is restored.
            # Nor is a check of Python's, as type checkers at run time draw from it too.
            if _collected and setting.name != "Python":
                self._say(f"uses the global random state of {setting.name}; draw from the stream it is given")
            return
        shown = "" if len(f"{before}{after}") > 60 else f" from {before} to {after}"
        self._say(f"changes {setting.name}{shown} for the whole process{note}; set it back before the call returns")

    def _say(self, finding: str) -> None:
        if _collected:
            _collected[-1] += [] if finding in _collected[-1] else [finding]
        elif (text := f"{self.what} {finding}") not in _told:
            _told.add(text)
            undone = ". Fathom has set it back" if "set it back" in text and "cannot" not in text else ""
            warnings.warn(text + undone, GlobalStateWarning, stacklevel=4)


def guard(what: str) -> AbstractContextManager[None]:
    """Guard a call if it is one of a plug-in's, or if checks look: built-in members are checked by the tests."""
    return member_call(what) if is_plugin(what) or _collected else nullcontext()


def each_call(what: str, items: Iterator[T]) -> Iterator[T]:
    """Guard each step of an iterator that a member gives."""
    done = object()
    while True:
        with guard(what):
            item: Any = next(items, done)
        if item is done:
            return
        yield item


def _was_signalled(error: BaseException) -> bool:
    """True for an exception that the handler of a signal raised: Python's own, between two instructions, or ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    if Path(code.co_filename).parts[-3:] == OWN_HANDLERS:
        return True
    return isinstance(error, KeyboardInterrupt) and opname[code.co_code[trace.tb_lasti]] != "RAISE_VARARGS"


# ----------------------------------------------------------------------------------------------- objects of plug-ins


def is_plugin(text: str) -> bool:
    """True for the spec string of a plug-in's member. Built-in members are checked by the tests, and need no guard."""
    return "/" in text.partition("(")[0]


def guarded(*methods: str, read: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Give a proxy class guarded methods and read-only attributes of its `_member`.

    They are defined on the class, since `isinstance` with a Protocol looks at nothing else from Python 3.12 on.
    """

    def method(name: str) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **arguments: Any) -> Any:
            with member_call(self._what):
                result = getattr(self._member, name)(*args, **arguments)
            return self._wrapped(result)

        return call

    def attribute(name: str) -> property:
        def get(self: Any) -> Any:
            with member_call(self._what):
                return getattr(self._member, name)

        return property(get)

    def decorate(proxy: type[T]) -> type[T]:
        for name in methods:
            setattr(proxy, name, method(name))
        for name in read:
            setattr(proxy, name, attribute(name))
        return proxy

    return decorate
