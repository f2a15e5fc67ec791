"""The table of `make quality`: out-of-fold macro F1 of Fivefold and of plain PyTorch, seed by seed, as Markdown.

    table.py --folder DIR --seeds 1 2 3 --machine TEXT --settings TEXT

DIR contains, for each program (fivefold, pytorch) and seed, the out-of-fold table PROGRAM-SEED.csv and its report
PROGRAM-SEED.json, made by `fivefold threshold`; train.py's log pytorch-SEED.log; and PROGRAM-all.seconds. The tables must have the
same rows in the same folds. Needs no packages.
"""

import argparse
import csv
import json
import math
import pathlib
import statistics
import sys

PROGRAMS = {"fivefold": "Fivefold", "pytorch": "plain PyTorch"}


def rows_and_folds(path):
    """{(source, id): (fold, labels)} of an out-of-fold table."""
    with open(path, newline="") as file:
        return {
            (row["Source"], row["Id"]): (int(row["Fold"]), frozenset(row["Target"].split()))
            for row in csv.DictReader(file)
        }


def mean_and_deviation(values):
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", nargs="+", required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--settings", required=True)
    arguments = parser.parse_args()

    first = rows_and_folds(arguments.folder / f"fivefold-{arguments.seeds[0]}.csv")
    columns = [f"seed {seed}" for seed in arguments.seeds] + ["mean ± sd", "cross-fitted", "best constant", "seconds"]
    lines = ["| macro F1 | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    macro_f1 = {}
    for program, name in PROGRAMS.items():
        reports = []
        for seed in arguments.seeds:
            if rows_and_folds(arguments.folder / f"{program}-{seed}.csv") != first:
                sys.exit(f"{program}-{seed}.csv differs from fivefold-{arguments.seeds[0]}.csv in rows, labels or folds: nothing to compare")
            reports.append(json.loads((arguments.folder / f"{program}-{seed}.json").read_text()))
        macro_f1[program] = [report["macro_f1"] for report in reports]
        # Null if only one fold was trained.
        cross_fitted = [report["cross_fitted"]["macro_f1"] for report in reports if report["cross_fitted"]]
        cells = [f"{score:.4f}" for score in macro_f1[program]]
        cells.append(mean_and_deviation(macro_f1[program]))
        cells.append(mean_and_deviation(cross_fitted) if cross_fitted else "")
        cells.append(f"{reports[0]['best_constant']['macro_f1']:.4f}")
        cells.append((arguments.folder / f"{program}-all.seconds").read_text().strip())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    print("\n".join(lines))
    print()
    if len(arguments.seeds) > 1:
        difference = statistics.mean(macro_f1["fivefold"]) - statistics.mean(macro_f1["pytorch"])
        error = math.sqrt(sum(statistics.variance(scores) for scores in macro_f1.values()) / len(arguments.seeds))
        verdict = "within" if abs(difference) <= 2 * error else "more than"
        print(f"Fivefold minus plain PyTorch: {difference:+.4f}, {verdict} two standard errors of the difference ({2 * error:.4f}).")
        print()
    # The last line of each log is train.py's summary with the macro F1 that it computed itself.
    for seed, score in zip(arguments.seeds, macro_f1["pytorch"]):
        own = json.loads((arguments.folder / f"pytorch-{seed}.log").read_text().splitlines()[-1])["macro_f1"]
        if abs(own - score) > 1e-9:
            print(f"Seed {seed}: train.py computed {own:.6f} for its table, `fivefold threshold` {score:.6f}.\n")
    print(f"{arguments.machine}. {arguments.settings}")


if __name__ == "__main__":
    main()
