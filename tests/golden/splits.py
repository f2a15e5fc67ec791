"""Make common/tests/fixtures/splits.json: folds as scikit-learn's KFold, StratifiedKFold, GroupKFold and
StratifiedGroupKFold make them.

    python tests/golden/splits.py --data DIR [--out FILE]

Needs requirements.txt beside this file. DIR holds the real lists, train.csv and HPAv18RBGY_wodpl.csv (Id,Target). The
fixture has a few lists with all their folds, and digests of the folds of many random lists, which the test draws again
with the same generator.

GroupKFold without a shuffle orders groups of equal size by numpy's unstable argsort, which depends on the processor. The
fixture is that of a processor with AVX-512; on another one the script leaves the fixture as it is.
"""

import argparse
import csv
import hashlib
import json
import random
import warnings
from pathlib import Path

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

METHODS = {"kfold": KFold, "skf": StratifiedKFold, "gkf": GroupKFold, "sgkf": StratifiedGroupKFold}
RANDOM_LISTS = 800
FIXTURE = Path(__file__).parents[2] / "common/tests/fixtures/splits.json"


def folds_of(method, classes, groups, fold_count, shuffle_seed):
    """The fold of each row; None where scikit-learn refuses the list, or gives a fold without rows."""
    shuffle = shuffle_seed is not None
    splitter = METHODS[method](fold_count, shuffle=shuffle, random_state=shuffle_seed)
    folds = np.full(len(classes), -1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for fold, (_, members) in enumerate(splitter.split(classes, classes, groups)):
                assert (folds[members] == -1).all()
                folds[members] = fold
    except ValueError as error:
        assert "n_splits" in str(error), error
        return None
    assert (folds >= 0).all()
    return folds if len(np.unique(folds)) == fold_count else None


def digest(folds):
    return "refused" if folds is None else hashlib.sha256(folds.astype(np.uint8).tobytes()).hexdigest()[:8]


def digests(classes, groups, fold_count, seed):
    """The digests of each method's folds, without and with a shuffle."""
    return " ".join(
        digest(folds_of(method, classes, groups, fold_count, shuffle_seed))
        for method in METHODS
        for shuffle_seed in (None, seed)
    )


class Draws:
    """The linear congruential generator of Numerical Recipes, without its lowest bits; so that the test can repeat it."""

    def __init__(self, seed):
        self.state = seed

    def below(self, count):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return (self.state >> 8) % count


def random_list(number, row_count, class_count, group_count, skewed):
    """Classes and groups; low numbers are the more frequent ones in a skewed list."""
    draws = Draws(number)

    def draw(count):
        return min(draws.below(count), draws.below(count)) if skewed else draws.below(count)

    return map(np.array, zip(*((draw(class_count), draw(group_count)) for _ in range(row_count))))


def random_lists():
    generator = random.Random(12)
    lists = []
    for number in range(RANDOM_LISTS):
        row_count = generator.choice([8, 20, 60, 150, 400, 1500 if number % 10 == 0 else 30])
        shape = {
            "row_count": row_count,
            "class_count": generator.choice([1, 2, 3, 5, 8, 9, 28, 150]),
            "group_count": generator.choice([3, 6, 12, row_count // 4 + 1, row_count]),
            "skewed": generator.random() < 0.5,
        }
        fold_count = generator.choice([2, 3, 5, 8, 10, 17])
        seed = generator.choice([0, 1, 42, generator.randrange(2**32)])
        classes, groups = random_list(number, **shape)
        found = digests(classes, groups, fold_count, seed)
        lists.append({**shape, "fold_count": fold_count, "seed": seed, "digests": found})
    return lists


def many_groups():
    """Numbers of groups above 256, where numpy's argsort partitions before it sorts: (groups, size of the largest)."""
    generator = random.Random(13)
    lists = []
    for number in range(200):
        group_count = generator.choice([257, 258, 270, 288, 289, 300, 511, 512, 513, 700, 1000, 3000, 5003])
        largest = generator.choice([1, 2, 2, 3, 5, 40])
        draws = Draws(number)
        sizes = [1 + min(draws.below(largest), draws.below(largest)) for _ in range(group_count)]
        groups = np.repeat(np.arange(group_count), sizes)
        folds = folds_of("gkf", groups, groups, 5, None)
        lists.append({"group_count": group_count, "largest": largest, "digest": digest(folds)})
    return lists


def whole_lists():
    """Lists with their folds written out, as far as scikit-learn splits them."""
    text = ["anna", "Anna", "zoë", "zoe", "10", "9", "ärzte", "anna ", "x-1", "x_1", "x1", "007", "7"]
    generator = random.Random(14)
    lists = {
        "the example of StratifiedGroupKFold": (
            [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [1, 1, 2, 2, 3, 3, 3, 4, 5, 5, 5, 5, 6, 6, 7, 8, 8],
        ),
        "groups that are numbers": (
            [generator.choice([0, 0, 0, 1, 5]) for _ in range(40)],
            [generator.choice([100, 20, 3, -7, 0, 11, 9]) for _ in range(40)],
        ),
        "groups that are text": (
            [generator.choice([0, 0, 0, 1, 5]) for _ in range(40)],
            text + [generator.choice(text) for _ in range(27)],
        ),
        "a group for each row": ([row % 4 for row in range(20)], list(range(20))),
        "one class": ([3] * 20, [row * row % 9 for row in range(20)]),
    }
    entries = []
    for name, (classes, groups) in lists.items():
        folds = {}
        for method in METHODS:
            for key, shuffle_seed in ((method, None), (f"{method} shuffled", 42)):
                found = folds_of(method, np.array(classes), np.array(groups), 4, shuffle_seed)
                if found is not None:
                    folds[key] = "".join(map(str, found))
        entries.append({"name": name, "classes": classes, "groups": list(map(str, groups)), "folds": folds})
    return entries


def real_lists(folder):
    """The real lists: a row's class is the first of its labels, its group the first part of its id (HPA: the antibody)."""
    entries = []
    for name, group_of in [("train.csv", lambda id: id[:3]), ("HPAv18RBGY_wodpl.csv", lambda id: id.split("_")[0])]:
        with open(folder / name, newline="") as file:
            rows = list(csv.DictReader(file))
        classes = np.array([int(row["Target"].split()[0]) for row in rows])
        groups = [group_of(row["Id"]) for row in rows]
        groups = np.array(list(map(int, groups)) if name.startswith("HPA") else groups)
        for fold_count in [5, 10]:
            for seed in [0, 42]:
                found = digests(classes, groups, fold_count, seed)
                entries.append({"file": name, "fold_count": fold_count, "seed": seed, "digests": found})
    return entries


def dump(fixture):
    """JSON with one case a line."""
    parts = []
    for key, cases in fixture.items():
        lines = ",\n    ".join(json.dumps(case) for case in cases)
        parts.append(f'  "{key}": [\n    {lines}\n  ]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with the real lists")
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()
    if not __cpu_features__["AVX512_SKX"]:
        print("skipped: GroupKFold's reference needs a processor with AVX-512")
        return

    text = dump({
        "whole": whole_lists(),
        "random": random_lists(),
        "many_groups": many_groups(),
        "real": real_lists(arguments.data),
    })
    json.loads(text)
    arguments.out.write_text(text)


if __name__ == "__main__":
    main()
