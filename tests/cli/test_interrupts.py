"""Ctrl-C ends a call from outside: nothing is raised while gRPC holds its locks."""

from __future__ import annotations

import signal
import threading

import grpc
import pytest
from llmenv_cli.interrupts import ended_by_ctrl_c


class Call:
    """As far as an interrupt knows one."""

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over

    def cancel(self) -> bool:
        was_over, self.is_over = self.is_over, True
        return not was_over


def test_the_call_is_ended_and_says_so() -> None:
    """Where it waited, and not where the signal came; the former handler is back afterwards."""
    call, former = Call(), signal.getsignal(signal.SIGINT)

    def wait() -> None:
        with ended_by_ctrl_c(call):
            signal.raise_signal(signal.SIGINT)
            assert call.is_over
            raise grpc.RpcError

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert signal.getsignal(signal.SIGINT) is former


def test_a_call_that_is_over_is_left_at_once() -> None:
    """Who writes the last of an answer is interrupted too."""
    with pytest.raises(KeyboardInterrupt), ended_by_ctrl_c(Call(is_over=True)):
        signal.raise_signal(signal.SIGINT)


def test_what_fails_by_itself_stays_a_failure() -> None:
    """Nobody has pressed anything."""
    with pytest.raises(grpc.RpcError), ended_by_ctrl_c(Call()):
        raise grpc.RpcError


def test_another_thread_has_no_signals() -> None:
    """It is left to whoever waits for it."""
    handlers: list[object] = []

    def look() -> None:
        with ended_by_ctrl_c(Call()):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
