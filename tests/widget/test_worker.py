"""The worker's thread."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from support.widgets import make, until, working

WORK = """
import os, pathlib, threading, time
from exclip_widget.widget.worker import Worker

def megabytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

kept, peak = [], []

def job():
    freed = []
    for _ in range(1000):
        freed.append(b"f" * 100_000)
        kept.append(b"k" * 1000)  # between them, so that only a trim finds what is free
    peak.append(megabytes())

before = megabytes()
Worker("a test").submit(0, job)
while any(thread.name == "a test" for thread in threading.enumerate()):
    time.sleep(0.01)
print(before, *peak, megabytes())
"""


def test_thread_is_there_only_while_there_is_work() -> None:
    widget = make()
    widget.wait(60)
    until(lambda: not working())
    widget.caption = "a blue boat"
    widget.wait(60)
    until(lambda: not working())


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps it"
)
def test_memory_that_a_job_frees_goes_back_to_the_system() -> None:
    # In a separate process, because leftovers of other tests influence how much memory is kept.
    run = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    before, peak, after = map(float, run.stdout.split())
    assert peak > before + 80
    assert after < before + 20
