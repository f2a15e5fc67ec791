"""Exchange of files between Fivefold and Python, in both directions. Used by run.sh.

    check.py weights FILE    writes torchvision's ResNet50 with ImageNet's 1000-class head as safetensors, as initial weights
    check.py results DIR     opens the files of `fivefold results --npy --checkpoints` with torchvision, numpy and pandas
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas
import torch
import torchvision
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


if __name__ == "__main__":
    command, path = sys.argv[1], Path(sys.argv[2])
    if command == "weights":
        write_weights(path)
    else:
        check_results(path)
