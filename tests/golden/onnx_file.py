"""Makes onnx/tests/fixtures/operators.onnx: a small model with every operator that Fivefold writes, in the bytes of ONNX's own
library.

    python tests/golden/onnx_file.py [--out FILE]

Requires requirements.txt beside this file. The model is checked by ONNX's checker, shapes included.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FIXTURE = Path(__file__).parents[2] / "onnx/tests/fixtures/operators.onnx"


def model():
    def weights(name, *shape):
        values = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape) / 8
        return numpy_helper.from_array(values, name)

    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Sub", ["images", "mean"], ["centered"], "centered"),
        helper.make_node("Div", ["centered", "deviation"], ["normalized"], "normalized"),
        helper.make_node("Conv", ["normalized", "conv.weight"], ["conv"], "conv", group=1, **pool),
        helper.make_node(
            "BatchNormalization", ["conv", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["bn"], "bn", epsilon=1e-5
        ),
        helper.make_node("Relu", ["bn"], ["relu"], "relu"),
        helper.make_node("MaxPool", ["relu"], ["maxpool"], "maxpool", **pool),
        helper.make_node("Add", ["maxpool", "maxpool"], ["add"], "add"),
        helper.make_node("GlobalAveragePool", ["add"], ["avgpool"], "avgpool"),
        helper.make_node("Flatten", ["avgpool"], ["flatten"], "flatten", axis=1),
        helper.make_node("Gemm", ["flatten", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "scores"),
    ]
    initializers = [
        weights("mean", 1, 3, 1, 1), weights("deviation", 1, 3, 1, 1), weights("conv.weight", 4, 3, 3, 3),
        weights("bn.weight", 4), weights("bn.bias", 4), weights("bn.mean", 4), weights("bn.var", 4),
        weights("fc.weight", 2, 4), weights("fc.bias", 2),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"], "from 0 to 1")
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2], name) for name in ["logits", "scores"]]
    graph = helper.make_graph(nodes, "operators", [images], outputs, initializers)
    made = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="onnx",
        producer_version=onnx.__version__, doc_string="every operator",
    )
    helper.set_model_props(made, {"fold": "2", "classes": '["a", "b"]'})
    onnx.checker.check_model(made, full_check=True)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    arguments = parser.parse_args()
    arguments.out.write_bytes(model().SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
