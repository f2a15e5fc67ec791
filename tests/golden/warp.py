"""Makes train/tests/fixtures/warp.json: images warped by OpenCV's warpAffine with random transformations.

    python tests/golden/warp.py [--out FILE]

Requires requirements.txt beside this file. Each transformation is composed here of OpenCV's and numpy's own parts, from input to
output. The images are not stored: both sides compute them from a hash (`noise`). The fixture has some pixels of each warped image.
"""

import argparse
import json
import math
import random
from pathlib import Path

import cv2
import numpy as np

FIXTURE = Path(__file__).parents[2] / "train/tests/fixtures/warp.json"
MASK = (1 << 64) - 1
# Size in pixels -> number of transformations; odd sizes have a pixel in the centre.
SIZES = {32: 150, 33: 20, 512: 30}
PIXELS = 14
# Values are stored as multiples of this.
UNIT = 1e-7


def fnv1a(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = ((digest ^ byte) * 0x100000001B3) & MASK
    return digest


def noise(size):
    """An image of noise, 8 bits [size, size]: SplitMix64 from the FNV-1a digest of `warp SIZE`."""
    z = np.uint64(fnv1a(f"warp {size}".encode()))
    z = z + np.arange(1, size * size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(56)).astype(np.uint8).reshape(size, size)


def random_transformation(generator, size):
    side = generator.randint((size + 1) // 2, size)
    case = {
        "left": generator.randint(0, size - side),
        "top": generator.randint(0, size - side),
        "side": side,
        "quarter_turns": generator.randrange(4),
        "flip_sides": generator.random() < 0.5,
        "flip_ends": generator.random() < 0.5,
        "shear_degrees": 0.0,
        "right": 0.0,
        "down": 0.0,
        "scale": 1.0,
        "degrees": 0.0,
    }
    if generator.random() < 0.5:
        case["shear_degrees"] = generator.uniform(-15, 15)
    if generator.random() < 0.5:
        case["right"] = generator.uniform(-0.05, 0.05) * size
        case["down"] = generator.uniform(-0.05, 0.05) * size
        case["scale"] = generator.uniform(0.9, 1.1)
        case["degrees"] = generator.uniform(-10, 10)
    return case


def affine(*entries):
    return np.array([*entries, 0, 0, 1], float).reshape(3, 3)


def composed(case, size):
    """The complete transformation from input to output in pixels, 2x3."""
    last, centre = size - 1, (size - 1) / 2
    blown_up = size / case["side"]
    # cv2.resize aligns the outer edges of the outermost pixels.
    crop = affine(
        blown_up, 0, (0.5 - case["left"]) * blown_up - 0.5,
        0, blown_up, (0.5 - case["top"]) * blown_up - 0.5,
    )  # fmt: skip
    # numpy.rot90: the rightmost column becomes the top row.
    turn = np.linalg.matrix_power(affine(0, 1, 0, -1, 0, last), case["quarter_turns"])
    sides = affine(-1, 0, last, 0, 1, 0) if case["flip_sides"] else np.eye(3)
    ends = affine(1, 0, 0, 0, -1, last) if case["flip_ends"] else np.eye(3)
    tangent = math.tan(math.radians(case["shear_degrees"]))
    shear = affine(1, tangent, -tangent * centre, 0, 1, 0)
    rotation = np.vstack([cv2.getRotationMatrix2D((centre, centre), case["degrees"], case["scale"]), [0, 0, 1]])
    rotation[:2, 2] += [case["right"], case["down"]]
    return (rotation @ shear @ ends @ sides @ turn @ crop)[:2]


def turned_and_flipped(image, case):
    image = np.rot90(image, case["quarter_turns"])
    image = np.fliplr(image) if case["flip_sides"] else image
    return np.flipud(image) if case["flip_ends"] else image


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    out = parser.parse_args().out
    generator = random.Random(5)
    lines = []
    for size, count in SIZES.items():
        image = noise(size)
        floats = image.astype(np.float32) / np.float32(255)
        for _ in range(count):
            case = random_transformation(generator, size)
            matrix = composed(case, size)
            warped = cv2.warpAffine(
                floats, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            places = [0, size - 1, size * (size - 1), size * size - 1]
            places += [generator.randrange(size * size) for _ in range(PIXELS - len(places))]
            # From output to input, as Fivefold stores it.
            inverse = cv2.invertAffineTransform(matrix).reshape(-1).tolist()
            values = [round(float(warped.reshape(-1)[place]) / UNIT) for place in places]
            lines.append(json.dumps({"size": size, **case, "matrix": inverse, "places": places, "values": values}))
            # Turns and flips alone move pixels without changing values.
            plain = {**case, "side": size, "left": 0, "top": 0, "shear_degrees": 0.0, "scale": 1.0, "degrees": 0.0}
            assert np.array_equal(
                turned_and_flipped(image, case),
                cv2.warpAffine(image, composed(plain | {"right": 0, "down": 0}, size), (size, size), flags=cv2.INTER_NEAREST),
            )
    cases = ",\n".join(lines)
    out.write_text(f'{{"opencv": "{cv2.__version__}", "unit": {UNIT}, "cases": [\n{cases}\n]}}\n')


if __name__ == "__main__":
    main()
