"""Reads the runs of a job set with TensorBoard's own reader, and compares them with `fivefold curves --json`.

    tensorboard_curves.py RUNS/js-abcdefgh curves.json
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "loss/train": "train_loss",
    "loss/valid": "valid_loss",
    "valid/macro_f1": "valid_macro_f1",
    "learning_rate": "learning_rate",
}


def main():
    runs, curves = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
    assert {run.name for run in runs.iterdir()} == {f"fold-{fold['fold']}" for fold in curves["folds"]}
    for fold in curves["folds"]:
        reader = EventAccumulator(str(runs / f"fold-{fold['fold']}"))
        reader.Reload()
        for tag, key in TAGS.items():
            scalars = reader.Scalars(tag)
            assert [scalar.step for scalar in scalars] == list(range(1, len(fold["epochs"]) + 1)), (tag, scalars)
            for scalar, epoch in zip(scalars, fold["epochs"]):
                assert math.isclose(scalar.value, epoch[key], rel_tol=1e-6), (tag, scalar, epoch)
        print(f"{runs}: fold {fold['fold']}, {len(fold['epochs'])} epochs as in curves --json")


main()
