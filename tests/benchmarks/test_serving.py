"""Many threads ask one model at once: all answers are those of one thread, and memory does not grow."""

import os

import pytest

from tests.support.commands import python

MOST_MB = 15  # of growth after the first fifth of the time: less than a kilobyte an answer
SCRIPT = """
    import sys
    from benchmarks.serving import serve
    found = serve(int(sys.argv[1]), float(sys.argv[2]))
    assert not found.wrong, found.wrong[:5]
    assert set(found.answers) == {"transform", "decode", "score_samples", "sample", "evaluate"}
    print(found.growth / 2**20)
"""


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads VmRSS from /proc")
def test_sixteen_threads():
    python(SCRIPT, 16, 2)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads VmRSS from /proc")
def test_sixty_four_threads_for_a_minute():
    growth = float(python(SCRIPT, 64, 60))
    print(f"growth of memory: {growth:+.1f} MB")
    assert growth < MOST_MB
