"""The first signal asks, the second one does what it always did."""

import os
import signal
import threading

import pytest

from prstack.stages.stopping import first_signal_asks


class Ended(BaseException):
    pass


def end(number, frame):
    raise Ended(number)


@pytest.fixture
def handlers():
    before = {s: signal.signal(s, end) for s in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)])
def test_the_first_signal_asks_and_the_second_ends(handlers, first, second):
    asked = []
    with pytest.raises(Ended), first_signal_asks(asked.append):
        os.kill(os.getpid(), first)
        assert asked == [first]
        os.kill(os.getpid(), second)
    assert asked == [first]


def test_after_the_block_a_signal_does_what_it_did_before(handlers):
    asked = []
    with first_signal_asks(asked.append):
        pass
    with pytest.raises(Ended):
        os.kill(os.getpid(), signal.SIGTERM)
    assert not asked


def test_in_another_thread_signals_stay_as_they_are(handlers):
    asked = []

    def block():
        with first_signal_asks(asked.append):
            seen.append(signal.getsignal(signal.SIGTERM))

    seen = []
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [end] and not asked
