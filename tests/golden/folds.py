"""Makes common/tests/fixtures/folds.json: the folds of iterative-stratification, and the random draws behind them.

    python tests/golden/folds.py --data DIR [--out FILE]

Requires requirements.txt beside this file. DIR has the real lists, train.csv and HPAv18RBGY_wodpl.csv (Id,Target). For each
split, the fixture has the SHA-256 of one byte per row, and the first 20 folds as digits. Takes some minutes.
"""

import argparse
import csv
import hashlib
import json
import random
from pathlib import Path

import numpy as np
from iterstrat.ml_stratifiers import IterativeStratification, MultilabelStratifiedKFold

FOLD_COUNTS = [2, 3, 5, 10]
SEEDS = [0, 1, 42, 12345, 2**32 - 1]
REAL_LISTS = ["train.csv", "HPAv18RBGY_wodpl.csv"]
FIXTURE = Path(__file__).parents[2] / "common/tests/fixtures/folds.json"


def synthetic_lists():
    """Name -> rows of labels below 28. Small lists, each with a case that the real lists lack."""
    generator = random.Random(7)

    def sample(row_count, chances):
        return [[label for label, chance in chances.items() if generator.random() < chance] for _ in range(row_count)]

    return {
        "no labels at all": [[] for _ in range(23)],
        "one label only": [[4] for _ in range(17)],
        "every row the same": [[0, 9, 27] for _ in range(31)],
        "each label once": [[label] for label in range(28)],
        "two rows": [[3], []],
        "ten rows": [[0], [1], [0, 1], [], [2], [2, 1], [], [27], [0, 27], [5]],
        "equal pairs": [[label, (label + 1) % 8] for label in range(8) for _ in range(3)],
        "labels nobody has": sample(120, {0: 0.5, 3: 0.2, 11: 0.1, 27: 0.05}),
        "many rows without labels": sample(300, {label: 0.01 for label in range(28)}),
        "a row with every label": [list(range(28))] + sample(60, {label: 0.1 for label in range(0, 28, 2)}),
        "long tail": sample(400, {label: 0.6 * 0.75**label for label in range(28)}),
    }


def indicator(rows):
    labels = np.zeros((len(rows), 28), dtype=bool)
    for row, of_row in enumerate(rows):
        labels[row, of_row] = True
    return labels


def read_list(path):
    with open(path, newline="") as file:
        return [[int(label) for label in row["Target"].split()] for row in csv.DictReader(file)]


def folds_of(labels, fold_count, seed, shuffle):
    if not shuffle:
        # scikit-learn refuses a seed without shuffling, so this calls what the class would call.
        shares = np.asarray([1 / fold_count] * fold_count)
        return IterativeStratification(labels=labels, r=shares, random_state=np.random.RandomState(seed))
    folds = np.full(len(labels), -1)
    splitter = MultilabelStratifiedKFold(n_splits=fold_count, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(splitter.split(labels, labels.astype(int))):
        folds[members] = fold
    assert (folds >= 0).all()
    return folds


def cases_of(rows):
    labels = indicator(rows)
    cases = []
    for fold_count in FOLD_COUNTS:
        if fold_count > len(rows):
            continue
        for seed in SEEDS:
            for shuffle in [False, True]:
                folds = folds_of(labels, fold_count, seed, shuffle)
                cases.append({
                    "fold_count": fold_count,
                    "seed": seed,
                    "shuffle": shuffle,
                    "first_folds": "".join(str(fold) for fold in folds[:20]),
                    "sha256": hashlib.sha256(folds.astype(np.uint8).tobytes()).hexdigest(),
                })
    return cases


def draws_of(seed):
    """The random draws of a split: choices among few, and permutations."""
    choices = np.random.RandomState(seed)
    return {
        "seed": seed,
        "choices": [{"count": count, "numbers": [int(choices.choice(count)) for _ in range(12)]} for count in
                    [2, 3, 4, 5, 10, 28, 1000, 74606]],
        "permutation": np.random.RandomState(seed).permutation(30).tolist(),
    }


def dump(fixture):
    """JSON with one case a line, for readable diffs."""
    lists = []
    for of_list in fixture["lists"]:
        head = json.dumps({key: value for key, value in of_list.items() if key != "cases"})
        cases = ",\n      ".join(json.dumps(case) for case in of_list["cases"])
        lists.append(f'    {head[:-1]}, "cases": [\n      {cases}\n    ]}}')
    draws = ",\n    ".join(json.dumps(draw) for draw in fixture["draws"])
    return '{\n  "draws": [\n    ' + draws + '\n  ],\n  "lists": [\n' + ",\n".join(lists) + "\n  ]\n}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with the real lists")
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()

    lists = []
    for name, rows in synthetic_lists().items():
        targets = ",".join(" ".join(map(str, row)) for row in rows)
        lists.append({"name": name, "targets": targets, "cases": cases_of(rows)})
    for name in REAL_LISTS:
        lists.append({"name": name, "file": name, "cases": cases_of(read_list(arguments.data / name))})
    text = dump({"draws": [draws_of(seed) for seed in SEEDS], "lists": lists})
    json.loads(text)
    arguments.out.write_text(text)


if __name__ == "__main__":
    main()
