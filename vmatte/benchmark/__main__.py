"""A case in a process of its own: a pickled (Subject, Case) on stdin, what `measure` says of it on stdout."""

import pickle
import sys

from vmatte.benchmark.measure import Meter
from vmatte.errors import VmatteError

if __name__ == "__main__":
    subject, case = pickle.load(sys.stdin.buffer)
    outcome: object
    try:
        outcome = Meter(subject).measure(case)
    except VmatteError as error:
        outcome = error
    pickle.dump(outcome, sys.stdout.buffer)
