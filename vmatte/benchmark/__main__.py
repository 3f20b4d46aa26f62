"""A case in a process of its own: a pickled (Subject, Case) on stdin; what `measure` says of it goes, pickled, into the
file that the argument names."""

import pickle
import sys
from pathlib import Path

from vmatte.benchmark.measure import Meter

if __name__ == "__main__":
    subject, case = pickle.load(sys.stdin.buffer)
    Path(sys.argv[1]).write_bytes(pickle.dumps(Meter(subject).measure(case)))
