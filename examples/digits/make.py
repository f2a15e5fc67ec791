"""Makes two data sets from scikit-learn's handwritten digits (1,797 scans of 8 x 8 pixels, part of the package):

    digits/    multiclass: one digit on each image of 32 px
    canvas/    multilabel: one to four digits on each image of 32 px, with a column of groups

    make.py [--out data] [--digits 1797] [--canvases 1200] [--test-canvases 300] [--seed 1]

Each folder has dataset.toml, train.csv, test.csv, the labels of the test list in test_truth.csv, and images/. Paths of images
begin at --out, so that one worker with `--data data` serves both sets. The same arguments give the same bytes. Requires
requirements.txt beside this file.
"""

import argparse
import csv
import dataclasses
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# One digit in so many is of the test lists.
TEST_SHARE = 6
# Groups of training digits. The canvases of a group share digits, those of two groups do not.
GROUPS = 10
IMAGE_PIXELS = 32

DIGITS_TOML = """\
# Handwritten digits, one on each image. Made by examples/digits/make.py.
name = "digits"
task = "multiclass"
objective = "accuracy"
classes = {classes}
split_method = "skf"
split_shuffle = true

[lists]
train = "train.csv"             # image,digit
test = "test.csv"               # image

[labels]
id_column = "image"
label_column = "digit"

[images]
image_files = "digits/images/{{id}}.png"
channels = ["grey"]
image_size = 32
resize = "exact"

[training]
epochs = 5
train_batch_per_epoch = {batches}
{training}"""

CANVAS_TOML = """\
# One to four handwritten digits on each canvas. Made by examples/digits/make.py.
name = "canvas"
task = "multilabel"
classes = {classes}
split_method = "gkf"            # no scan of a digit is in two folds

[lists]
train = "train.csv"             # image,digits,scans
test = "test.csv"               # image

[labels]
id_column = "image"
label_column = "digits"
label_format = "names"
label_separator = "bar"
group_column = "scans"

[images]
image_files = "canvas/images/{{id}}.png"
channels = ["grey"]
image_size = 32
resize = "exact"

[training]
epochs = 8
train_batch_per_epoch = {batches}
{training}"""

TRAINING = """\
batch_size = 32
model_name = "resnet18"
head = "linear"
augmentation = "none"
weighted_samples = false
optimizer = "adamw"
learning_rate = 1e-3
weight_decay = 0.05
lr_schedule = "cosine"
lr_warmup_epochs = 1
early_stop_patience = 100
tta = 1
intraop_threads = 1
"""


@dataclasses.dataclass
class Digit:
    """A scan: its pixels [8, 8], 0 to 16, and what it shows."""

    pixels: np.ndarray
    label: int

    def drawn(self, side_pixels):
        """The scan as a grey image, white on black; each of its pixels becomes a square."""
        grey = np.round(self.pixels * (255 / 16)).astype(np.uint8)
        return Image.fromarray(grey).resize((side_pixels, side_pixels), Image.Resampling.NEAREST)


def stratified(digits, generator):
    """The digits in random order within their class, class by class: every n-th one is a sample with all classes."""
    shuffled = generator.sample(digits, len(digits))
    return sorted(shuffled, key=lambda digit: digit.label)


def read_digits(count, generator):
    """`count` of the scans for training and for test."""
    data = load_digits()
    digits = [Digit(pixels, int(label)) for pixels, label in zip(data.images, data.target)]
    if not 10 * TEST_SHARE <= count <= len(digits):
        sys.exit(f"--digits {count}: expected {10 * TEST_SHARE} to {len(digits)}")
    ordered = stratified(digits, generator)
    chosen = [ordered[place * len(ordered) // count] for place in range(count)]
    test = chosen[::TEST_SHARE]
    train = [digit for place, digit in enumerate(chosen) if place % TEST_SHARE != 0]
    return generator.sample(train, len(train)), generator.sample(test, len(test))


def draw_canvas(digits, generator):
    """A canvas with one to four of the digits, each class once, in a quarter of its own; and the sorted labels."""
    wanted = generator.randint(1, 4)
    on_canvas = {}
    for digit in generator.sample(digits, len(digits)):
        if len(on_canvas) == wanted:
            break
        on_canvas.setdefault(digit.label, digit)
    canvas = Image.new("L", (IMAGE_PIXELS, IMAGE_PIXELS))
    quarter = IMAGE_PIXELS // 2
    for place, digit in zip(generator.sample(range(4), len(on_canvas)), on_canvas.values()):
        canvas.paste(digit.drawn(quarter), (place % 2 * quarter, place // 2 * quarter))
    return canvas, sorted(on_canvas)


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def batches_of(row_count):
    """The batches of 32 in which the training rows of five folds are seen about once."""
    return max(1, round(row_count * 4 / 5 / 32))


def write_toml(folder, template, row_count):
    classes = "[" + ", ".join(f'"{name}"' for name in NAMES) + "]"
    toml = template.format(classes=classes, batches=batches_of(row_count), training=TRAINING)
    (folder / "dataset.toml").write_text(toml)


def make_digits(folder, train, test):
    """The multiclass set."""
    images = folder / "images"
    images.mkdir(parents=True)
    rows = []
    for digit in train + test:
        rows.append((f"d{len(rows):04}", digit.label))
        digit.drawn(IMAGE_PIXELS).save(images / f"{rows[-1][0]}.png", optimize=True)
    listed, tested = rows[: len(train)], rows[len(train) :]
    write_csv(folder / "train.csv", ["image", "digit"], listed)
    write_csv(folder / "test.csv", ["image"], [(name,) for name, _ in tested])
    write_csv(folder / "test_truth.csv", ["image", "digit"], tested)
    write_toml(folder, DIGITS_TOML, len(listed))


def make_canvases(folder, train, test, counts, generator):
    """The multilabel set, with as many canvases for training and for test as `counts` says."""
    images = folder / "images"
    images.mkdir(parents=True)
    ordered = stratified(train, generator)
    groups = {f"s{group}": ordered[group::GROUPS] for group in range(GROUPS)}

    def rows_of(count, first, digits_of):
        for place in range(count):
            group, digits = digits_of(place)
            canvas, labels = draw_canvas(digits, generator)
            name = f"c{first + place:04}"
            canvas.save(images / f"{name}.png", optimize=True)
            yield name, "|".join(NAMES[label] for label in labels), group

    train_count, test_count = counts
    listed = list(rows_of(train_count, 0, lambda place: list(groups.items())[place % GROUPS]))
    tested = list(rows_of(test_count, train_count, lambda _: ("", test)))
    write_csv(folder / "train.csv", ["image", "digits", "scans"], listed)
    write_csv(folder / "test.csv", ["image"], [(name,) for name, _, _ in tested])
    write_csv(folder / "test_truth.csv", ["image", "digits"], [row[:2] for row in tested])
    write_toml(folder, CANVAS_TOML, len(listed))


def make(out, digits, canvases, test_canvases, seed):
    """Makes both sets in the folder `out`."""
    generator = random.Random(seed)
    train, test = read_digits(digits, generator)
    make_digits(out / "digits", train, test)
    make_canvases(out / "canvas", train, test, (canvases, test_canvases), generator)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="a new or empty folder")
    parser.add_argument("--digits", type=int, default=1797, help="scans to use, a sixth of them for the test lists")
    parser.add_argument("--canvases", type=int, default=1200, help="canvases of the training list")
    parser.add_argument("--test-canvases", type=int, default=300, help="canvases of the test list")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.out.exists() and any(arguments.out.iterdir()):
        sys.exit(f"{arguments.out} is not empty: remove it, or name another folder with --out")
    make(**vars(arguments))
    for name in ("digits", "canvas"):
        print(arguments.out / name / "dataset.toml")


if __name__ == "__main__":
    main()
