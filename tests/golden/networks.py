"""Makes train/tests/fixtures/networks.json: names, shapes and outputs of torchvision 0.26's residual networks, and timm's
conversion of a first layer for other channels than RGB.

    python tests/golden/networks.py [--out FILE]

Requires requirements.txt beside this file. Weights and images are not stored: both sides compute them from names, as in
model.py.
"""

import argparse
import json
from pathlib import Path

import torch
import torchvision
from timm.models import adapt_input_conv

from model import LABELS, fill, filled, fnv1a, images_of, numbers, our_name

FIXTURE = Path(__file__).parents[2] / "train/tests/fixtures/networks.json"
STAGES = {
    "resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3], "resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3],
    "resnet152": [3, 8, 36, 3], "resnext50_32x4d": [3, 4, 6, 3], "resnext101_32x8d": [3, 4, 23, 3],
    "wide_resnet50_2": [3, 4, 6, 3],
}


def network(name, width, head, channels=3, classes=LABELS):
    """torchvision's network; narrower ones than its 64 channels are built with its own methods."""
    model = getattr(torchvision.models, name)(num_classes=classes)
    block = type(model.layer1[0])
    if width != 64 or channels != 3:
        model.conv1 = torch.nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        model.bn1 = torch.nn.BatchNorm2d(width)
        model.inplanes = width
        for stage, blocks in enumerate(STAGES[name]):
            layer = model._make_layer(block, width << stage, blocks, stride=1 if stage == 0 else 2)
            setattr(model, f"layer{stage + 1}", layer)
    features = 8 * width * block.expansion
    model.fc = torch.nn.Linear(features, classes)
    if head == "two_layer":
        hidden = features // 4
        model.fc = torch.nn.Sequential(
            torch.nn.Linear(features, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.Linear(hidden, classes)
        )
    return model


def names():
    cases = []
    for name in STAGES:
        for width, head, channels, classes in [
            (64, "linear", 3, LABELS), (64, "two_layer", 3, LABELS), (64, "linear", 3, 1000), (16, "two_layer", 4, 2),
        ]:
            state = network(name, width, head, channels, classes).state_dict()
            lines = sorted(
                f"{our_name(raw, head)} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}\n"
                for raw, tensor in state.items()
            )
            digest = f"{fnv1a(''.join(lines).encode()):016x}"
            cases.append({
                "model": name, "width": width, "head": head, "channels": channels, "classes": classes,
                "count": len(lines), "fnv1a": digest,
            })
    return cases


def forwards():
    cases = []
    full = [(name, 64, "linear", "eval", 1, 64) for name in ["resnet18", "resnet34", "resnext50_32x4d", "wide_resnet50_2"]]
    narrow = [(name, 16, "two_layer", "eval", 2, 64) for name in STAGES]
    training = [(name, 16, "linear", "train", 8, 64) for name in ["resnet18", "resnext50_32x4d", "wide_resnet50_2"]]
    for name, width, head, mode, count, size in full + narrow + training:
        model = fill(network(name, width, head), head).train(mode == "train")
        with torch.no_grad():
            logits = model(images_of("images", count, size))
        cases.append({
            "model": name, "width": width, "head": head, "mode": mode, "count": count, "size": size,
            "logits": numbers(logits), "first_running_mean": numbers(model.state_dict()["layer1.0.bn1.running_mean"][:8]),
        })
    return cases


def first_layers():
    weight = filled("first layer", (4, 3, 7, 7), 0.0, 1.0)
    return [
        {"channels": channels, "values": numbers(adapt_input_conv(channels, weight))}
        for channels in [1, 2, 4, 6, 7]
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    fixture = {"names": names(), "forwards": forwards(), "first_layers": first_layers()}
    parts = []
    for key, cases in fixture.items():
        lines = ",\n    ".join(json.dumps(case) for case in cases)
        parts.append(f'  "{key}": [\n    {lines}\n  ]')
    arguments.out.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
