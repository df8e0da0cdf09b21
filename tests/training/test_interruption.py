import signal
import subprocess
import sys
import threading
import time

import pytest

from attention_unet.training.interruption import catching_signals


@pytest.fixture
def usual_interrupt():
    """Restore the default handlers, because background processes can ignore these signals."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])


@pytest.mark.usefixtures("usual_interrupt")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noticed(first):
    before = signal.getsignal(first)
    with catching_signals() as caught:
        signal.raise_signal(first)
        assert caught == [first]
    assert signal.getsignal(first) == before


def test_another_thread_catches_none():
    def collect():
        with catching_signals() as caught:
            found.append(caught)

    found, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    assert found == [[]]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_sent_to_the_group_and_passed_on_counts_once():
    code = (
        "import os, signal, threading\n"
        "from attention_unet.training.interruption import catching_signals\n"
        "with catching_signals() as caught:\n"
        "    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    assert caught == [signal.SIGTERM]\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_the_process_even_in_the_middle_of_a_long_computation(second):
    code = (
        "import os\n"
        "from attention_unet.training.interruption import catching_signals\n"
        "with catching_signals():\n"
        "    os.kill(os.getpid(), 2)\n"
        "    print('noticed', flush=True)\n"
        "    sum(range(10**15))\n"  # one call of C, during which Python runs no handler
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "noticed\n"
        time.sleep(0.3)
        process.send_signal(second)
        assert process.wait(timeout=10) == -second
    finally:
        process.kill()
        process.wait()


def test_the_second_of_a_notebook_keeps_its_variables():
    code = (
        "import os, signal, sys, time\n"
        "from attention_unet.training.interruption import catching_signals\n"
        "sys.ps1 = 'In : '\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background processes can ignore it
        "try:\n"
        "    with catching_signals() as caught:\n"
        "        os.kill(os.getpid(), 2)\n"
        "        while not caught:\n"
        "            time.sleep(0.01)\n"
        "        os.kill(os.getpid(), 2)\n"
        "        time.sleep(1)\n"
        "except KeyboardInterrupt:\n"
        "    print('kept')\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "kept\n")


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catching_signals() as caught:
            signal.raise_signal(signal.SIGHUP)
            assert not caught
    finally:
        signal.signal(signal.SIGHUP, before)
