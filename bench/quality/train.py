"""The Human Protein Atlas recipe in plain PyTorch, written as for a Kaggle kernel: the reference of `make quality`.

It shares no code with Fivefold. It trains all folds in one process, one after the other, scores the out-of-fold rows, and
writes them as `Id,Source,Fold,Target,p0,...,p27`. Flags carry the names of Fivefold's settings and mean the same.

    train.py --data DIR --out oof.csv [--folds_csv FILE...] [--device cpu|cuda:0] [--seed 1] [--image_size 64] ...

DIR holds train.csv, HPAv18RGBY_wodpl.csv and train/ and hpa/ with <Id>_{red,green,blue}.png. Folds come from the files
(`Id,Fold`, as `fivefold folds` writes them), or from the package iterative-stratification where none is given. All images are
kept in memory: three bytes a pixel.

Needs torch, torchvision, numpy, pandas and opencv-python (headless will do).
"""

import argparse
import copy
import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

LABELS = 28
# OpenCV's threads do not survive the fork of the loader's processes.
cv2.setNumThreads(0)


# ---- rows and folds


def read_rows(arguments):
    """One row per image: Id, Source, Fold, Target, path; Kaggle's rows before the HPA's."""
    lists = [("train", "train.csv")]
    if arguments.train_with_hpa or arguments.valid_with_hpa:
        lists.append(("hpa", "HPAv18RGBY_wodpl.csv"))
    tables = []
    for source, name in lists:
        table = pd.read_csv(os.path.join(arguments.data, name), dtype={"Id": str, "Target": str}, keep_default_na=False)
        table["Source"] = source
        table["path"] = [os.path.join(arguments.data, source, row) for row in table["Id"]]
        if not arguments.folds_csv:
            table["Fold"] = stratified_folds(one_hot(table), arguments)
        tables.append(table)
    rows = pd.concat(tables, ignore_index=True)
    if arguments.folds_csv:
        folds = pd.concat([pd.read_csv(name, dtype={"Id": str}) for name in arguments.folds_csv]).set_index("Id")["Fold"]
        rows["Fold"] = rows["Id"].map(folds)
        if rows["Fold"].isna().any():
            sys.exit(f"{', '.join(arguments.folds_csv)}: no fold for {rows['Id'][rows['Fold'].isna()].iloc[0]}")
        rows["Fold"] = rows["Fold"].astype(int)
    return rows


def stratified_folds(targets, arguments):
    """MultilabelStratifiedKFold's folds; called directly, because scikit-learn refuses a seed without shuffling."""
    from iterstrat.ml_stratifiers import IterativeStratification

    generator = np.random.RandomState(arguments.split_seed)
    order = np.arange(len(targets))
    if arguments.split_shuffle:
        generator.shuffle(order)
    shares = np.full(arguments.folds, 1 / arguments.folds)
    folds = IterativeStratification(labels=targets[order].astype(bool), r=shares, random_state=generator)
    return folds[np.argsort(order)]


def one_hot(rows):
    targets = np.zeros((len(rows), LABELS), np.float32)
    for row, target in enumerate(rows["Target"]):
        targets[row, [int(label) for label in target.split()]] = 1
    return targets


def sample_weights(targets):
    """A row weighs as much as its rarest label: round(clip(ln(0.5 sum(N) / N_l), 1, 10), 2); 1 without labels."""
    counts = targets.sum(axis=0)
    with np.errstate(divide="ignore"):
        label_weights = np.round(np.clip(np.log(0.5 * counts.sum() / counts), 1, 10), 2)
    weights = (targets * label_weights).max(axis=1)
    return np.where(targets.any(axis=1), weights, 1.0)


# ---- images


def read_images(rows, size):
    """All images [N, size, size, 3], 8 bits, red green blue."""
    images = np.empty((len(rows), size, size, 3), np.uint8)

    def read(row):
        for channel, colour in enumerate(("red", "green", "blue")):
            path = f"{rows['path'].iloc[row]}_{colour}.png"
            plane = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
            if plane is None:
                raise SystemExit(f"{path}: cannot be read")
            if plane.shape != (size, size):
                raise SystemExit(f"{path}: it has {plane.shape[1]} x {plane.shape[0]} pixels, not {size} x {size}")
            images[row, :, :, channel] = plane

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(len(rows))))
    return images


def crop_turn_flip(image):
    """A random square crop of half to the full side, back to full size; a random quarter turn; random flips."""
    size = image.shape[0]
    side = random.randint(size // 2, size)
    top, left = random.randint(0, size - side), random.randint(0, size - side)
    image = cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_LINEAR)
    image = np.rot90(image, random.randrange(4))
    if random.random() < 0.5:
        image = image[:, ::-1]
    if random.random() < 0.5:
        image = image[::-1]
    return np.ascontiguousarray(image)


def augmented(image):
    """A training image: crop, turn and flips, then shear and shift, scale and rotation."""
    image = crop_turn_flip(image)
    size = image.shape[0]
    centre = (size - 1) / 2
    if random.random() < 0.5:
        shear = np.tan(np.radians(random.uniform(-15, 15)))
        image = warped(image, np.array([[1, shear, -shear * centre], [0, 1, 0]]))
    if random.random() < 0.3:
        matrix = cv2.getRotationMatrix2D((centre, centre), random.uniform(-10, 10), 1 + random.uniform(-0.1, 0.1))
        matrix[:, 2] += size * np.array([random.uniform(-0.05, 0.05), random.uniform(-0.05, 0.05)])
        image = warped(image, matrix)
    return image


def warped(image, matrix):
    size = image.shape[:2][::-1]
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


class Images(Dataset):
    """Rows of the image array, each transformed at random."""

    def __init__(self, images, targets, rows, transform):
        self.images, self.targets, self.rows, self.transform = images, targets, rows, transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        row = self.rows[place]
        image = self.images[row]
        return self.transform(image) if self.transform else image, self.targets[row]


def stacked(samples):
    # Arrays, because tensors are passed through /dev/shm, which is small in many containers.
    images, targets = zip(*samples)
    return np.stack(images), np.stack(targets)


def to_device(images, arguments):
    """Images [N, S, S, 3], 8 bits, to [N, 3, S, S] on the device, in 0..1 and normalised if asked."""
    images = torch.from_numpy(images).to(arguments.device).permute(0, 3, 1, 2).float().div_(255)
    if arguments.normalization == "imagenet":
        mean = torch.tensor([0.485, 0.456, 0.406], device=images.device).view(1, 3, 1, 1)
        deviation = torch.tensor([0.229, 0.224, 0.225], device=images.device).view(1, 3, 1, 1)
        images = (images - mean) / deviation
    return images


# ---- model and loss


def new_model(head):
    model = torchvision.models.resnet50(weights=None)
    if head == "two_layer":
        model.fc = nn.Sequential(nn.Linear(2048, 512), nn.BatchNorm1d(512), nn.Linear(512, LABELS))
    else:
        model.fc = nn.Linear(2048, LABELS)
    return model


def loss_of(kind, logits, targets):
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits, targets)
    if kind == "focal":
        return torchvision.ops.sigmoid_focal_loss(logits, targets, alpha=-1, gamma=2, reduction="mean")
    scores = logits.sigmoid()
    return 1 - (2 * (scores * targets).sum(0) / ((scores + targets).sum(0) + 1e-7)).mean()


def new_optimizer(model, arguments):
    if arguments.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=arguments.learning_rate, weight_decay=arguments.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        lr=arguments.learning_rate,
        momentum=arguments.momentum,
        weight_decay=arguments.weight_decay,
        nesterov=arguments.nesterov,
    )


def autocast(arguments):
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    half = arguments.precision != "fp32"
    return torch.autocast(arguments.device.type, dtype=kinds[arguments.precision] if half else None, enabled=half)


# ---- threshold


def best_threshold(scores, targets, empty_rows):
    """The threshold with the best macro F1, `score > threshold`, of all distinct scores; and that macro F1.

    A row with no score above the threshold gets its highest one (`argmax`), so that score counts at every threshold.
    """
    scores = scores.astype(np.float64)
    candidates = np.unique(np.append(scores, 0.0))
    if empty_rows == "argmax":
        scores = scores.copy()
        scores[np.arange(len(scores)), scores.argmax(axis=1)] = np.inf
    macro_f1 = np.zeros(len(candidates))
    for label in range(LABELS):
        of_all = np.sort(scores[:, label])
        of_true = np.sort(scores[targets[:, label] > 0, label])
        predicted = len(of_all) - np.searchsorted(of_all, candidates, side="right")
        hits = len(of_true) - np.searchsorted(of_true, candidates, side="right")
        macro_f1 += 2 * hits / np.maximum(predicted + len(of_true), 1) / LABELS
    best = macro_f1.argmax()
    return candidates[best], macro_f1[best]


# ---- one fold


def train_fold(fold, rows, images, targets, arguments):
    """Trains one model and returns it with the number of images trained and the seconds that took."""
    torch.manual_seed(1000 * arguments.seed + fold)
    random.seed(1000 * arguments.seed + fold)
    in_fold = (rows["Fold"] == fold).to_numpy()
    is_hpa = (rows["Source"] == "hpa").to_numpy()
    train_rows = np.flatnonzero(~in_fold & (~is_hpa | arguments.train_with_hpa))
    valid_rows = np.flatnonzero(in_fold & (~is_hpa | arguments.valid_with_hpa))

    model = new_model(arguments.head).to(arguments.device)
    optimizer = new_optimizer(model, arguments)
    scaler = torch.amp.GradScaler(arguments.device.type, enabled=arguments.precision == "fp16")
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=arguments.lr_factor,
        patience=arguments.lr_patience,
        cooldown=arguments.lr_cooldown,
        min_lr=arguments.min_learning_rate,
    )

    samples = arguments.batch_size * arguments.train_batch_per_epoch
    if arguments.weighted_samples:
        sampler = WeightedRandomSampler(sample_weights(targets[train_rows]), samples, replacement=True)
    else:
        # Passes over all rows, each in a new order, until there are enough.
        sampler = RandomSampler(train_rows, num_samples=samples)
    transform = augmented if arguments.augmentation == "full" else None
    loader = DataLoader(
        Images(images, targets, train_rows, transform),
        batch_size=arguments.batch_size,
        sampler=sampler,
        collate_fn=stacked,
        num_workers=arguments.loader_workers,
        persistent_workers=arguments.loader_workers > 0,
    )

    best_score, epochs_without_rise = -np.inf, 0
    best_macro_f1, best_weights = -np.inf, None
    seconds, trained_images = 0.0, 0
    for epoch in range(arguments.epochs):
        model.train()
        loss_sum = torch.zeros((), device=arguments.device)
        start = time.perf_counter()
        for batch_images, batch_targets in loader:
            optimizer.zero_grad(set_to_none=True)
            with autocast(arguments):
                logits = model(to_device(batch_images, arguments))
            loss = loss_of(arguments.loss, logits.float(), torch.from_numpy(batch_targets).to(arguments.device))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss_sum += loss.detach()
        train_loss = loss_sum.item() / arguments.train_batch_per_epoch
        seconds += time.perf_counter() - start
        trained_images += samples

        subset = valid_rows[torch.randperm(len(valid_rows)).numpy()]
        subset = subset[: arguments.batch_size * arguments.valid_batch_per_epoch]
        scores = score_rows(model, subset, images, targets, 1, arguments)
        threshold, macro_f1 = best_threshold(scores, targets[subset], arguments.empty_rows)
        learning_rate = optimizer.param_groups[0]["lr"]
        print(
            f"fold {fold} epoch {epoch + 1}/{arguments.epochs} loss {train_loss:.4f} macro F1 {macro_f1:.4f}"
            f" at {threshold:.3f} lr {learning_rate:g}",
            flush=True,
        )
        if macro_f1 > best_macro_f1:
            best_macro_f1 = macro_f1
            best_weights = copy.deepcopy(model.state_dict()) if arguments.oof_checkpoint == "best" else None
        plateau.step(macro_f1)
        if macro_f1 > best_score + arguments.early_stop_min_delta:
            best_score, epochs_without_rise = macro_f1, 0
        else:
            epochs_without_rise += 1
            if epochs_without_rise >= arguments.early_stop_patience:
                print(f"fold {fold} stops early", flush=True)
                break
    if arguments.oof_checkpoint == "best":
        model.load_state_dict(best_weights)
    return model, valid_rows, trained_images, seconds


@torch.no_grad()
def score_rows(model, rows, images, targets, tta, arguments):
    """Mean of the sigmoids [N, 28] over the passes: the first with the plain images, the others with crops, turns and flips."""
    model.eval()
    # The plain images are in memory already: processes would only take time.
    passes = [(1, None, 0)]
    if tta > 1:
        passes.append((tta - 1, crop_turn_flip, arguments.loader_workers))
    total = np.zeros((len(rows), LABELS), np.float64)
    for count, transform, processes in passes:
        loader = DataLoader(
            Images(images, targets, np.tile(rows, count), transform),
            batch_size=arguments.batch_size,
            collate_fn=stacked,
            num_workers=processes,
        )
        scores = []
        for batch_images, _ in loader:
            with autocast(arguments):
                logits = model(to_device(batch_images, arguments))
            scores.append(logits.float().sigmoid())
        scores = torch.cat(scores).cpu().numpy()
        total += scores.reshape(count, len(rows), LABELS).sum(axis=0, dtype=np.float64)
    return total / tta


# ---- command line


def flag(text):
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} should be True or False")
    return words[text.lower()]


def whole_numbers(text):
    return [int(word) for word in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(description="The recipe in plain PyTorch; see the top of this file.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--folds_csv", nargs="*", default=[])
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--loader_workers", type=int, help="processes that augment; 4 for a GPU, 0 for a CPU")

    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=whole_numbers, default=[], help="the folds to train, such as 0,2; default: all")
    parser.add_argument("--split_method", choices=["mskf"], default="mskf")
    parser.add_argument("--split_seed", type=int, default=42)
    parser.add_argument("--split_shuffle", type=flag, default=False)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--train_with_hpa", type=flag, default=True)
    parser.add_argument("--valid_with_hpa", type=flag, default=True)
    parser.add_argument("--weighted_samples", type=flag, default=True)
    parser.add_argument("--model_name", choices=["resnet50"], default="resnet50")
    parser.add_argument("--head", choices=["two_layer", "linear"], default="two_layer")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--normalization", choices=["none", "imagenet"], default="none")
    parser.add_argument("--augmentation", choices=["none", "full"], default="full")
    parser.add_argument("--tta", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--train_batch_per_epoch", type=int, default=800)
    parser.add_argument("--valid_batch_per_epoch", type=int, default=448)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--loss", choices=["bce", "soft_f1", "focal"], default="bce")
    parser.add_argument("--optimizer", choices=["adam", "sgd"], default="adam")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--weight_decay", type=float, default=0.0)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--nesterov", type=flag, default=False)
    parser.add_argument("--lr_factor", type=float, default=0.1)
    parser.add_argument("--lr_patience", type=int, default=4)
    parser.add_argument("--lr_cooldown", type=int, default=1)
    parser.add_argument("--min_learning_rate", type=float, default=1e-6)
    parser.add_argument("--early_stop_patience", type=int, default=7)
    parser.add_argument("--early_stop_min_delta", type=float, default=0.001)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--intraop_threads", type=int, default=4)
    parser.add_argument("--oof_checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--empty_rows", choices=["argmax", "leave"], default="argmax")
    arguments = parser.parse_args()
    if arguments.loader_workers is None:
        arguments.loader_workers = 4 if arguments.device.type == "cuda" else 0
    return arguments


def main():
    arguments = parse_arguments()
    started = time.perf_counter()
    torch.set_num_threads(arguments.intraop_threads)
    torch.backends.cudnn.benchmark = True
    rows = read_rows(arguments)
    targets = one_hot(rows)
    images = read_images(rows, arguments.image_size)
    print(f"{len(rows)} rows, {arguments.image_size} px, on {arguments.device}, PyTorch {torch.__version__}", flush=True)

    trained_images, train_seconds, tables = 0, 0.0, []
    for fold in arguments.fold or range(arguments.folds):
        model, valid_rows, count, seconds = train_fold(fold, rows, images, targets, arguments)
        trained_images, train_seconds = trained_images + count, train_seconds + seconds
        scores = score_rows(model, valid_rows, images, targets, arguments.tta, arguments)
        table = rows.iloc[valid_rows][["Id", "Source", "Fold", "Target"]].reset_index(drop=True)
        # Rounding may leave a mean of ones just above one.
        columns = pd.DataFrame(np.clip(scores, 0, 1).astype(np.float32), columns=[f"p{label}" for label in range(LABELS)])
        tables.append(pd.concat([table, columns], axis=1))
    oof = pd.concat(tables, ignore_index=True)
    oof.to_csv(arguments.out, index=False)

    kaggle = oof[oof["Source"] == "train"]
    scores = kaggle[[f"p{label}" for label in range(LABELS)]].to_numpy()
    threshold, macro_f1 = best_threshold(scores, one_hot(kaggle), arguments.empty_rows)
    summary = {
        "macro_f1": float(macro_f1),
        "threshold": float(threshold),
        "rows": len(kaggle),
        "train_images_per_second": trained_images / train_seconds,
        "seconds": time.perf_counter() - started,
    }
    # The last line is for table.py.
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
