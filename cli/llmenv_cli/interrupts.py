"""Ctrl-C while gRPC waits for an answer.

KeyboardInterrupt out of the middle of gRPC's locks now and then leaves one locked for ever, and the next
call of the channel waits for it.  So the signal ends the call, and the exception comes from where that ended.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def ended_by_ctrl_c(call: Any) -> Iterator[None]:
    """Ctrl-C cancels the call, whose end is a KeyboardInterrupt then; after its end it is raised at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    is_pressed = False

    def cancel(_number: int, _frame: object) -> None:
        nonlocal is_pressed
        is_pressed = True
        if not call.cancel():
            raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    except grpc.RpcError:
        if is_pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, former or signal.default_int_handler)
