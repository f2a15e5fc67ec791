"""Scores the results of a set of make.py: out of fold, and on the test list.

    score.py SET RESULTS        such as score.py data/canvas results/canvas
    score.py SET oof.csv ...    out-of-fold tables alone

SET has dataset.toml, train.csv and test_truth.csv. RESULTS is a folder of `fivefold results`, with oof.csv and submission.csv.
Accuracy and F1 are scikit-learn's. With several digits on a canvas, accuracy is the share of canvases whose digits are all
right, and the threshold of an out-of-fold table is the one with the best macro F1. Requires Python 3.11 and requirements.txt.
"""

import argparse
import csv
import sys
import tomllib
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, f1_score


def read_labels(path, dataset):
    """{image: labels}: for each row of a list an array [classes], 0 or 1."""
    classes, keys = dataset["classes"], dataset["labels"]
    with path.open(newline="") as file:
        rows = {row[keys["id_column"]]: row[keys["label_column"]] for row in csv.DictReader(file)}
    labels = {}
    for name, text in rows.items():
        numbers = [classes.index(word) if word in classes else int(word) for word in text.split("|") if word]
        labels[name] = np.isin(np.arange(len(classes)), numbers)
    return labels


def figures(predicted, truth):
    return f"accuracy {accuracy_score(truth, predicted):.4f}, macro F1 {f1_score(truth, predicted, average='macro', zero_division=0):.4f}"


def out_of_fold(path, dataset, truth):
    """The figures of an out-of-fold table."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if sorted(row["Id"] for row in rows) != sorted(truth):
        sys.exit(f"{path}: its rows are not those of the training list")
    scores = np.array([[float(row[f"p{place}"]) for place in range(len(dataset["classes"]))] for row in rows])
    labels = np.array([truth[row["Id"]] for row in rows])
    highest = np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)]
    if dataset["task"] == "multiclass":
        return figures(highest, labels)
    # A canvas without a score above the threshold gets its highest one.
    predictions = [(scores > threshold) | highest for threshold in np.linspace(0, 1, 1001)]
    best = max(predictions, key=lambda predicted: f1_score(labels, predicted, average="macro", zero_division=0))
    return figures(best, labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    arguments = parser.parse_args()
    dataset = tomllib.loads((arguments.set / "dataset.toml").read_text())
    truth = read_labels(arguments.set / "train.csv", dataset)
    for path in arguments.results:
        if not path.is_dir():
            print(f"{path}: {out_of_fold(path, dataset, truth)}")
            continue
        print(f"out of fold: {out_of_fold(path / 'oof.csv', dataset, truth)}")
        wanted = read_labels(arguments.set / "test_truth.csv", dataset)
        submitted = read_labels(path / "submission.csv", dataset)
        if list(submitted) != list(wanted):
            sys.exit(f"{path / 'submission.csv'}: its rows are not those of the test list")
        print(f"test list:   {figures(np.array(list(submitted.values())), np.array(list(wanted.values())))}")


if __name__ == "__main__":
    main()
