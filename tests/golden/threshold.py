"""Makes common/tests/fixtures/threshold.json: scikit-learn's macro F1 at every distinct threshold.

    python tests/golden/threshold.py [--out FILE]

Requires requirements.txt beside this file. The scores of a case are integers, to be divided by its grid as f32. Its thresholds are
0, 1 and every distinct score, ascending: any other threshold predicts the same as one of these. For both treatments of empty
rows, the fixture has macro F1 at each threshold, and F1 per label at the best one.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score, precision_recall_fscore_support

LABEL_COUNT = 28
FIXTURE = Path(__file__).parents[2] / "common/tests/fixtures/threshold.json"


def drawn(seed, row_count, grid, density, signal, nobody=()):
    """Targets and scores of rows whose true labels score `signal` higher. Scores are on a grid; a coarse one gives many ties."""
    rng = np.random.default_rng(seed)
    targets = rng.random((row_count, LABEL_COUNT)) < density
    targets[:, list(nobody)] = False
    scores = np.clip(rng.normal(0.25, 0.2, targets.shape) + signal * targets, 0, 1)
    return grid, targets, np.rint(scores * grid).astype(int)


def same_scores(row_count):
    grid, targets, scores = drawn(10, row_count, 10, 0.1, 0.0)
    return grid, targets, np.full_like(scores, 3)


def cases():
    return {
        "ties everywhere": drawn(0, 30, 10, 0.1, 0.3),
        "two values": drawn(1, 20, 1, 0.1, 0.4),
        "percent": drawn(2, 25, 100, 0.06, 0.3),
        "no two alike": drawn(3, 8, 2**24, 0.1, 0.3),
        "labels nobody has": drawn(4, 20, 20, 0.15, 0.3, nobody=(0, 5, 6, 27)),
        "hardly any labels": drawn(5, 25, 20, 0.01, 0.5),
        "no labels at all": drawn(6, 10, 10, 0.0, 0.0),
        "nothing to learn": drawn(7, 20, 50, 0.1, 0.0),
        "perfect": drawn(8, 12, 20, 0.1, 1.0),
        "one row": drawn(9, 1, 10, 0.2, 0.3),
        "all the same": same_scores(10),
    }


def predict(scores, threshold, empty_rows):
    predicted = scores.astype(np.float64) > threshold
    if empty_rows == "argmax":
        for row in np.flatnonzero(~predicted.any(axis=1)):
            predicted[row, np.argmax(scores[row])] = True
    return predicted


def judged(targets, scores, thresholds, empty_rows):
    curve = [
        float(f1_score(targets, predict(scores, threshold, empty_rows), average="macro", zero_division=0))
        for threshold in thresholds
    ]
    best = int(np.argmax(curve))
    predicted = predict(scores, thresholds[best], empty_rows)
    precision, recall, f1, support = precision_recall_fscore_support(targets, predicted, average=None, zero_division=0)
    return {
        "curve": curve,
        "best": best,
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()
    made = []
    for name, (grid, targets, numbers) in cases().items():
        scores = numbers.astype(np.float32) / np.float32(grid)
        thresholds = sorted({0.0, 1.0, *scores.astype(np.float64).ravel().tolist()})
        made.append({
            "name": name,
            "grid": grid,
            "targets": [" ".join(str(label) for label in np.flatnonzero(row)) for row in targets],
            "numbers": numbers.tolist(),
            "argmax": judged(targets, scores, thresholds, "argmax"),
            "leave": judged(targets, scores, thresholds, "leave"),
        })
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in made)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
