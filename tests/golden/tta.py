"""Makes train/tests/fixtures/tta.json: PyTorch's probabilities under ten passes of test-time augmentation.

    python tests/golden/tta.py [--out FILE]

Requires requirements.txt beside this file. The matrices are Fivefold's (tta_matrices.json beside the fixture); weights and images
are computed from their names, as in model.py. The warp is affine_grid and grid_sample.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from model import LABELS, fill, resnet50, units

FIXTURES = Path(__file__).parents[2] / "train/tests/fixtures"
SIZE = 64


def image_of(number):
    planes = [(units(f"tta {number} {colour}", SIZE * SIZE) + 1.0) * 128.0 for colour in ["red", "green", "blue"]]
    return torch.from_numpy(np.stack(planes).astype(np.uint8)).reshape(3, SIZE, SIZE).to(torch.float32) / 255


def normalised(matrix):
    """A matrix from output to input, converted from pixels to coordinates from -1 to 1 (centres of the outermost pixels)."""
    pixels = np.array([*matrix, 0, 0, 1]).reshape(3, 3)
    half = (SIZE - 1) / 2
    from_units = np.array([[half, 0, half], [0, half, half], [0, 0, 1]])
    return (np.linalg.inv(from_units) @ pixels @ from_units)[:2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES / "tta.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    passes = json.loads((FIXTURES / "tta_matrices.json").read_text())
    images = torch.stack([image_of(number) for number in range(len(passes[0]))])
    model = fill(resnet50(8, "linear"), "linear").eval()
    total = torch.zeros(len(images), LABELS, dtype=torch.float64)
    with torch.no_grad():
        for matrices in passes:
            theta = torch.from_numpy(np.stack([normalised(matrix) for matrix in matrices])).to(torch.float32)
            grid = functional.affine_grid(theta, list(images.shape), align_corners=True)
            warped = functional.grid_sample(images, grid, "bilinear", "reflection", align_corners=True)
            total += torch.sigmoid(model(warped).double())
    rows = [[float(f"{value:.9g}") for value in row] for row in (total / len(passes)).tolist()]
    out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
