"""Exchange of files between Fivefold and Python, in both directions. Used by run.sh.

    check.py weights FILE    writes torchvision's ResNet50 with ImageNet's 1000-class head as safetensors, as initial weights
    check.py results DIR     opens the files of `fivefold results --npy --checkpoints` with torchvision, numpy and pandas
    check.py onnx MODELS DIR DATA
                             runs the files of `fivefold export` with onnxruntime: their scores are those of the same models
                             in torchvision, and those in the out-of-fold table
    check.py readme DIR      runs the README's example for ONNX in a folder with `models` and `data`
"""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file


def write_weights(path):
    torch.manual_seed(0)
    save_file(torchvision.models.resnet50().state_dict(), path)


def check_results(folder):
    for path in sorted(folder.glob("fold-*.safetensors")):
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["fivefold"])
            state = {name: file.get_tensor(name) for name in file.keys()}
        assert about["spec"]["head"] == "linear" and about["state"]["finished"], about
        epochs = about["state"]["epochs"]
        model = torchvision.models.resnet50(num_classes=28)
        model.load_state_dict(state, strict=True)
        model.eval()
        with torch.no_grad():
            probabilities = torch.sigmoid(model(torch.rand(2, 3, 64, 64)))
        assert probabilities.shape == (2, 28) and probabilities.isfinite().all()
        print(f"{path.name}: {len(state)} tensors load into torchvision; {len(epochs)} epochs, macro F1 {epochs[-1]['macro_f1']:.4f}")
    for name, rows_per_image in [("oof", 1), ("predictions", 2)]:
        array = np.load(folder / f"{name}.npy", allow_pickle=False)
        frame = pandas.DataFrame(array)
        print(f"{name}.npy: {len(frame)} rows in pandas, columns {', '.join(frame.columns[:5])}, …")
        if name == "oof":
            csv = pandas.read_csv(folder / "oof.csv", dtype={"Target": str}, keep_default_na=False)
            assert [id.decode() for id in array["Id"]] == csv["Id"].tolist()
            for label in range(28):
                assert (array[f"p{label}"] == csv[f"p{label}"].to_numpy(np.float32)).all()
        else:
            assert len(frame) == rows_per_image * frame["Id"].nunique()


def read_checkpoint(path):
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["fivefold"])
        return about, {name: file.get_tensor(name) for name in file.keys()}


def torchvision_model(about, state):
    """The model of a checkpoint, with its normalisation and its sigmoid."""
    spec = about["spec"]
    network = getattr(torchvision.models, spec["model_name"])(num_classes=28)
    if spec["head"] == "two_layer":
        features = network.fc.in_features
        hidden = features // 4
        network.fc = torch.nn.Sequential(
            torch.nn.Linear(features, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.Linear(hidden, 28)
        )
        state = {re.sub("^head", "fc", name): tensor for name, tensor in state.items()}
    network.load_state_dict(state, strict=True)
    network.eval()
    normalize = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    if spec["normalization"] == "none":
        normalize = torch.nn.Identity()
    return lambda images: torch.sigmoid(network(normalize(images)))


def compare(what, found, expected):
    error = np.abs(found - expected).max()
    assert found.shape == expected.shape and error <= 1e-4, f"{what}: scores differ by {error:.1e}"
    return error


def check_onnx(models, results, data):
    report = json.loads((results / "report.json").read_text())
    oof = pandas.DataFrame(np.load(results / "oof.npy", allow_pickle=False))
    paths = sorted(models.iterdir())
    assert [path.stem for path in paths] == [path.stem for path in sorted(results.glob("fold-*.safetensors"))], paths
    for path in paths:
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        about = session.get_modelmeta().custom_metadata_map
        fold = int(about["fold"])
        assert path.name == f"fold-{fold}.onnx" and about["job_set"] == report["job_set"], about
        assert float(about["threshold"]) == report["threshold"] and len(json.loads(about["classes"])) == 28, about

        checkpoint, state = read_checkpoint(results / f"fold-{fold}.safetensors")
        reference = torchvision_model(checkpoint, state)
        rng, errors = np.random.default_rng(fold), []
        for count, height, width in [(1, 32, 32), (3, 64, 64), (2, 96, 33)]:
            images = rng.random((count, 3, height, width), dtype=np.float32)
            logits, scores = session.run(["logits", "scores"], {"images": images})
            assert count == 1 or np.ptp(scores, axis=0).max() > 1e-3, "the scores do not depend on the image"
            with torch.no_grad():
                errors.append(compare(f"{path.name}, {height}x{width}", scores, reference(torch.from_numpy(images)).numpy()))
            assert np.abs(1 / (1 + np.exp(-logits.astype(np.float64))) - scores).max() <= 1e-6

        rows = oof[(oof["Fold"] == fold) & (oof["Source"] == b"train")]
        assert len(rows) >= 10, oof
        planes = [
            [np.asarray(Image.open(data / f"train/{id.decode()}_{colour}.png")) for colour in ["red", "green", "blue"]]
            for id in rows["Id"]
        ]
        [scores] = session.run(["scores"], {"images": np.array(planes, np.float32) / 255})
        error = compare(f"{path.name}, oof", scores, rows[[f"p{label}" for label in range(28)]].to_numpy())
        print(
            f"{path.name}: {checkpoint['spec']['model_name']}, scores within {max(errors):.0e} of torchvision's, and within "
            f"{error:.0e} of the {len(rows)} rows of the out-of-fold table"
        )


def check_readme(folder):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [example] = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "onnxruntime" in block]
    os.chdir(folder)
    id = pandas.read_csv("data/sample_submission.csv")["Id"][0]
    exec(example, {"id": id})


if __name__ == "__main__":
    command, paths = sys.argv[1], [Path(argument) for argument in sys.argv[2:]]
    commands = {"weights": write_weights, "results": check_results, "onnx": check_onnx, "readme": check_readme}
    commands[command](*paths)
