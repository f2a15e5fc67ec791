"""Makes train/tests/fixtures/losses.json: PyTorch 2.11's cross-entropy and class weights, and its ReduceLROnPlateau of losses.

    python tests/golden/losses.py [--out FILE]

Requires requirements.txt beside this file. Logits, targets and weights are computed from a name, as in model.py.
"""

import argparse
import json
from pathlib import Path

import torch
from model import LABELS, filled, numbers, targets_of, units
from torch.nn import functional

FIXTURE = Path(__file__).parents[2] / "train/tests/fixtures/losses.json"
ROWS = 7


def classes_of(name):
    """One class a row, the first one more often than the others."""
    return torch.tensor([max(0, int((unit + 0.5) / 1.5 * LABELS)) for unit in units(name, ROWS)])


def losses():
    weights = filled("weights", (LABELS,), 1.5, 1.2)
    cases = []
    for loss, smoothing, weighted in [
        ("bce", 0.0, True),
        ("cross_entropy", 0.0, False),
        ("cross_entropy", 0.1, False),
        ("cross_entropy", 1.0, False),
        ("cross_entropy", 0.0, True),
        ("cross_entropy", 0.2, True),
    ]:
        for name, spread in [("mild", 4.0), ("extreme", 60.0)]:
            logits = filled(f"logits {name}", (ROWS, LABELS), 0.0, spread).requires_grad_()
            weight = weights if weighted else None
            if loss == "bce":
                targets = targets_of(f"targets {name}", ROWS)
                value = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)
            else:
                classes = classes_of(f"classes {name}")
                value = functional.cross_entropy(logits, classes, weight=weight, label_smoothing=smoothing)
            value.backward()
            cases.append({
                "loss": loss, "smoothing": smoothing, "weights": numbers(weights) if weighted else None, "logits": name,
                "spread": spread, "value": numbers(value)[0], "gradient": numbers(logits.grad),
            })
    return cases


def plateaus():
    """100 sequences of losses: patience, cooldown, the size of the steps, and the epochs in which the learning rate falls."""
    cases = []
    for index in range(100):
        patience, cooldown, step = index % 4, index // 4 % 3, [1e-5, 1e-3, 0.02][index // 12 % 3]
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, "min", factor=0.5, patience=patience, cooldown=cooldown
        )
        loss, rate, falls = 0.7, 1e-3, []
        for epoch, draw in enumerate(units(f"losses {index}", 80).tolist()):
            if draw > -0.5:
                loss = abs(loss - step * (draw - 0.2))
            plateau.step(loss)
            if optimizer.param_groups[0]["lr"] != rate:
                rate = optimizer.param_groups[0]["lr"]
                falls.append(epoch)
        cases.append([patience, cooldown, step, falls])
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()
    fixture = {"losses": losses(), "plateaus": plateaus()}
    arguments.out.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
