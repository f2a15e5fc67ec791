"""Makes common/tests/fixtures/scores.npy: a score table of three rows, saved by numpy.

    python tests/golden/score_array.py
"""

import pathlib

import numpy as np

FIXTURE = pathlib.Path(__file__).parents[2] / "common/tests/fixtures/scores.npy"

ROWS = [("a", "train", 0, [0, 27], 0.5), ("10580_1610_C1_1", "hpa", 4, [], 1.0), ("b-2", "train", 1, [25], 0.1)]
dtype = [("Id", "S15"), ("Source", "S5"), ("Fold", "u1"), ("Target", "<u4")] + [(f"p{label}", "<f4") for label in range(28)]


def record(name, source, fold, labels, first):
    scores = [np.float32(first) / np.float32(label + 1) for label in range(28)]
    return (name, source, fold, sum(1 << label for label in labels), *scores)


np.save(FIXTURE, np.array([record(*row) for row in ROWS], dtype=dtype))
