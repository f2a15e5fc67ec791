"""Makes common/tests/fixtures/metrics.json: scikit-learn's metrics of scores, multilabel and multiclass.

    python tests/golden/metrics.py [--out FILE]

Requires requirements.txt beside this file. The scores of a case are integers, to be divided by its grid as f32; a coarse grid
gives many ties. Multilabel predictions are the scores above `threshold`; multiclass ones are the first of the highest scores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, f1_score, roc_auc_score

FIXTURE = Path(__file__).parents[2] / "common/tests/fixtures/metrics.json"


def multilabel(seed, rows, classes, grid, density, signal, threshold, nobody=(), everybody=()):
    rng = np.random.default_rng(seed)
    targets = rng.random((rows, classes)) < density
    targets[:, list(nobody)] = False
    targets[:, list(everybody)] = True
    scores = np.clip(rng.normal(0.25, 0.2, targets.shape) + signal * targets, 0, 1)
    return "multilabel", grid, targets, np.rint(scores * grid).astype(int), threshold


def multiclass(seed, rows, classes, grid, signal, nobody=()):
    rng = np.random.default_rng(seed)
    some = np.array([label for label in range(classes) if label not in nobody])
    targets = np.zeros((rows, classes), dtype=bool)
    targets[np.arange(rows), rng.choice(some, rows)] = True
    scores = np.clip(rng.normal(0.25, 0.2, targets.shape) + signal * targets, 0, 1)
    return "multiclass", grid, targets, np.rint(scores * grid).astype(int), None


def cases():
    return {
        "ties everywhere": multilabel(0, 40, 6, 10, 0.3, 0.3, 0.35),
        "two values": multilabel(1, 30, 5, 1, 0.3, 0.4, 0.5),
        "no two alike": multilabel(2, 30, 14, 2**24, 0.15, 0.3, 0.4),
        "classes that nobody and everybody has": multilabel(3, 25, 6, 20, 0.3, 0.3, 0.4, nobody=(1,), everybody=(4,)),
        "nothing to learn": multilabel(4, 30, 3, 50, 0.3, 0.0, 0.3),
        "perfect": multilabel(5, 20, 4, 20, 0.3, 1.0, 0.9),
        "no labels": multilabel(6, 10, 3, 20, 0.0, 0.0, 0.4),
        "one of ten": multiclass(7, 60, 10, 100, 0.3),
        "one of three, with ties": multiclass(8, 40, 3, 5, 0.2),
        "one of five, one of which nobody has": multiclass(9, 30, 5, 20, 0.3, nobody=(2,)),
        "always right": multiclass(10, 20, 4, 20, 1.0),
    }


def judged(task, targets, scores, threshold):
    if task == "multilabel":
        predicted = scores.astype(np.float64) > threshold
    else:
        predicted = np.zeros_like(targets)
        predicted[np.arange(len(scores)), scores.argmax(axis=1)] = True
    ranked = [label for label in range(targets.shape[1]) if 0 < targets[:, label].sum() < len(targets)]
    auroc = [float(roc_auc_score(targets[:, label], scores[:, label])) for label in ranked]
    precision = [float(average_precision_score(targets[:, label], scores[:, label])) for label in ranked]
    result = {
        "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(targets, predicted, average="micro", zero_division=0)),
        "accuracy": float(accuracy_score(targets, predicted)),
        "ranked": ranked,
        "auroc": auroc,
        "average_precision": precision,
        "mean_auroc": float(np.mean(auroc)) if ranked else None,
        "map": float(np.mean(precision)) if ranked else None,
    }
    if len(ranked) == targets.shape[1]:
        # Of all classes at once: scikit-learn's own means.
        assert abs(roc_auc_score(targets, scores, average="macro") - result["mean_auroc"]) < 1e-12
        assert abs(average_precision_score(targets, scores, average="macro") - result["map"]) < 1e-12
    if task == "multiclass":
        true_classes, classes = targets.argmax(axis=1), predicted.argmax(axis=1)
        assert accuracy_score(true_classes, classes) == result["accuracy"]
        matrix = confusion_matrix(true_classes, classes, labels=range(targets.shape[1]))
        result["confusion"] = matrix.tolist()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()
    made = []
    for name, (task, grid, targets, numbers, threshold) in cases().items():
        scores = numbers.astype(np.float32) / np.float32(grid)
        made.append({
            "name": name,
            "task": task,
            "grid": grid,
            "threshold": threshold,
            "targets": [" ".join(str(label) for label in np.flatnonzero(row)) for row in targets],
            "numbers": numbers.tolist(),
            "judged": judged(task, targets, scores, threshold),
        })
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in made)
    arguments.out.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
