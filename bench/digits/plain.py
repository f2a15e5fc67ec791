"""The folds of examples/digits in plain PyTorch: torchvision's resnet18, AdamW, a cosine with a warm-up, no augmentation.

    plain.py DATASET.toml --folds FILE --out oof.csv [--seed 1] [--threads 2] [--epochs N]

It shares no code with Fivefold. It reads the settings of the data set (Python 3.11 or later), trains its folds one after the
other on the CPU, scores their rows, and writes them as `Id,Source,Fold,Target,p0,...,p9`, from which
examples/digits/score.py computes accuracy and macro F1. FILE has the columns Id and Fold, as `fivefold folds` and the
out-of-fold table of `fivefold results` have them. Requires requirements.txt beside this file.
"""

import argparse
import csv
import math
import time
import tomllib
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional


def read_settings(path):
    """The keys of all tables of a dataset.toml, without those of [lists]."""
    settings = {}
    for key, value in tomllib.loads(path.read_text()).items():
        if key == "lists":
            settings["train_csv"] = path.parent / value["train"]
        elif isinstance(value, dict):
            settings |= value
        else:
            settings[key] = value
    return settings


def read_rows(settings):
    """The ids, and the targets [rows, classes], 0 or 1."""
    classes = settings["classes"]
    with settings["train_csv"].open(newline="") as file:
        listed = [(row[settings["id_column"]], row[settings["label_column"]]) for row in csv.DictReader(file)]
    targets = np.zeros((len(listed), len(classes)), np.float32)
    for row, (_, labels) in enumerate(listed):
        if settings.get("label_format") == "names":
            targets[row, [classes.index(name) for name in labels.split("|")]] = 1
        else:
            targets[row, int(labels)] = 1
    return [name for name, _ in listed], targets


def read_images(ids, settings, data):
    """All images [rows, 1, size, size], 0 to 1."""
    paths = [data / settings["image_files"].format(id=name) for name in ids]
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    return torch.from_numpy(images).unsqueeze(1).float() / 255


def read_folds(path, ids):
    with path.open(newline="") as file:
        folds = {row["Id"]: int(row["Fold"]) for row in csv.DictReader(file)}
    return np.array([folds[name] for name in ids])


def new_model(class_count):
    model = torchvision.models.resnet18(weights=None, num_classes=class_count)
    model.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    torch.nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def rate(step, warmup, steps):
    """The share of the learning rate of a batch: a linear warm-up, then half a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def train_fold(images, targets, settings):
    """Trains a model on the rows."""
    is_multiclass = settings["task"] == "multiclass"
    model = new_model(targets.shape[1])
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    batches, size = settings["train_batch_per_epoch"], settings["batch_size"]
    warmup, steps = batches * settings["lr_warmup_epochs"], batches * settings["epochs"]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, warmup, steps))
    for _ in range(settings["epochs"]):
        # Passes over all rows, each in a new order.
        passes = math.ceil(batches * size / len(images))
        order = torch.cat([torch.randperm(len(images)) for _ in range(passes)])
        for places in order[: batches * size].split(size):
            optimizer.zero_grad(set_to_none=True)
            logits = model(images[places])
            if is_multiclass:
                loss = functional.cross_entropy(logits, targets[places].argmax(1))
            else:
                loss = functional.binary_cross_entropy_with_logits(logits, targets[places])
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


@torch.no_grad()
def score(model, images, task):
    """The scores [rows, classes] of the images."""
    model.eval()
    logits = torch.cat([model(batch) for batch in images.split(256)])
    return (logits.softmax(1) if task == "multiclass" else logits.sigmoid()).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the images [default: that above the file's folder]")
    parser.add_argument("--folds", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = read_settings(arguments.dataset)
    settings["epochs"] = arguments.epochs or settings["epochs"]
    ids, targets = read_rows(settings)
    images = read_images(ids, settings, arguments.data or arguments.dataset.parent.parent)
    folds = read_folds(arguments.folds, ids)
    held = torch.from_numpy(targets)
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Id", "Source", "Fold", "Target"] + [f"p{place}" for place in range(targets.shape[1])])
        for fold in sorted(set(folds.tolist())):
            torch.manual_seed(1000 * arguments.seed + fold)
            began = time.perf_counter()
            inside, outside = (torch.from_numpy(np.flatnonzero(mask)) for mask in (folds == fold, folds != fold))
            model = train_fold(images[outside], held[outside], settings)
            for row, scores in zip(inside.tolist(), score(model, images[inside], settings["task"])):
                labels = " ".join(str(place) for place in np.flatnonzero(targets[row]))
                writer.writerow([ids[row], "train", fold, labels, *(f"{value:.9g}" for value in scores)])
            print(f"fold {fold}: {len(inside)} rows, {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
