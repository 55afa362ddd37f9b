"""Memory that is freed goes back to the system, so that several large fits have room beside each other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

MADE = '''
import numpy as np, re
from concurrent.futures import ThreadPoolExecutor
from training.recipes import Ground
from training.saved_model import Column
from training.tables import Rows

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1000

n, p = 30_000, 150
x = np.random.default_rng(0).normal(size=(n, p))
rows = Rows(x, (x[:, 0] > 0).astype(float), np.arange(n).astype(str).astype(object), np.zeros(n, "datetime64[us]"))
columns = tuple(Column(f"x{j}", "behaviour", "n", "x", "x") for j in range(p))
Ground(rows.where(np.arange(n) < 500), columns).bins
before = resident()

def kept(i):
    ground = Ground(rows, columns)
    ground.bins
    return ground

with ThreadPoolExecutor(2) as pool:
    held = list(pool.map(kept, range(4)))
print("MB", (resident() - before) / len(held))
'''


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_bins_leave_nothing_behind_but_themselves():
    """The matrix has 36 MB and its bins about 5; without giving back each thread's arena keeps the columns that were sampled."""
    said = subprocess.run([sys.executable, "-c", MADE], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    found = re.search(r"MB (\S+)", said)
    assert found and float(found.group(1)) < 14, said
