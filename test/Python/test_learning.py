# Operators of ai.onnx.ml on numbers, and counts of n-grams, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, save
from operator_checks import check, normal


def run(folder, node, inputs, outputs=(TensorProto.FLOAT,)):
    """Runs one node of ai.onnx.ml with both; every dimension but the last is symbolic."""
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype),
            [f"{name}{i}" if i + 1 < array.ndim else n for i, n in enumerate(array.shape)],
        )
        for name, array in inputs.items()
    ]  # fmt: skip
    results = [helper.make_tensor_value_info(n, t, None) for n, t in zip(node.output, outputs, strict=True)]
    graph = helper.make_graph([node], "g", values, results)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    save(model, folder / "m.onnx")
    got = qcc.load(qcc.compile(folder / "m.onnx", folder / "m.qcc"))(inputs)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    for (name, have), want in zip(got.items(), wanted, strict=True):
        assert have.shape == want.shape and have.dtype == want.dtype, name
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5, err_msg=name)


def forest(trees, depth, features, targets, seed):
    """Attributes of complete trees with random tests, two votes at each leaf, one tree being a single leaf."""
    rng = np.random.default_rng(seed)
    nodes = {k: [] for k in ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids", "missing")}
    votes = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"]
    for tree in range(trees):
        levels = depth if tree else 0
        for i in range(2 ** (levels + 1) - 1):
            leaf = i >= 2**levels - 1
            row = ["LEAF" if leaf else modes[rng.integers(4)], int(rng.integers(features)), float(rng.standard_normal())]
            children = [0, 0] if leaf else [2 * i + 1, 2 * i + 2]
            for key, value in zip(nodes, [tree, i, *row, *children, int(rng.integers(2))], strict=True):
                nodes[key].append(value)
            for _ in range(2 if leaf else 0):
                vote = [tree, i, int(rng.integers(targets)), float(rng.standard_normal())]
                for key, value in zip(votes, vote, strict=True):
                    votes[key].append(value)
    nodes["missing_value_tracks_true"] = nodes.pop("missing")
    return {f"nodes_{k}": v for k, v in nodes.items()} | {f"target_{k}": v for k, v in votes.items()}


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_tree_regressor(tmp_path, aggregate):
    attributes = forest(trees=7, depth=4, features=5, targets=3, seed=1)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=3, aggregate_function=aggregate,
        base_values=[0.5, -1.0, 2.0], **attributes,
    )  # fmt: skip
    x = normal(40, 5)
    x[::7, 2] = np.nan
    run(tmp_path, node, {"x": x})


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_models(tmp_path, transform):
    numbers = {"coefficients": list(range(-7, 8)), "intercepts": [0.5, -1.0, 0.25]}
    numbers["coefficients"] = [c / 10 for c in numbers["coefficients"]]
    (tmp_path / "r").mkdir()
    (tmp_path / "c").mkdir()
    node = helper.make_node(
        "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", targets=3, post_transform=transform, **numbers
    )
    run(tmp_path / "r", node, {"x": normal(6, 5)})
    node = helper.make_node(
        "LinearClassifier", ["x"], ["y", "z"], domain="ai.onnx.ml", classlabels_ints=[10, 20, 30],
        post_transform=transform, **numbers,
    )  # fmt: skip
    run(tmp_path / "c", node, {"x": normal(6, 5)}, outputs=(TensorProto.INT64, TensorProto.FLOAT))


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(tmp_path, norm):
    x = normal(5, 4)
    x[2] = 0
    run(tmp_path, helper.make_node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm=norm), {"x": x})


def test_scaler_and_binarizer(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "b").mkdir()
    scaler = helper.make_node(
        "Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, -1.0]
    )
    run(tmp_path / "s", scaler, {"x": np.arange(12, dtype=np.int64).reshape(4, 3)})
    binarizer = helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", threshold=0.3)
    run(tmp_path / "b", binarizer, {"x": normal(4, 3)})


@pytest.mark.parametrize("shape", [(4, 5), (5,)])
def test_feature_extractor(tmp_path, shape):
    node = helper.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")
    run(tmp_path, node, {"x": normal(*shape), "i": np.array([4, 0, 2])})


def test_label_encoder(tmp_path):
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_int64s=[3, 1, 7], values_floats=[0.5, 1.5, -2.0],
        default_float=9.0,
    )  # fmt: skip
    run(tmp_path, node, {"x": np.array([[1, 2], [3, 7]])})


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("skips", [0, 2])
def test_tf_idf(tmp_path, mode, skips):
    text = f"""g (int64[n,c] x) => (float[n,7] y)
    {{ y = TfIdfVectorizer<mode="{mode}", max_gram_length=2, min_gram_length=1, max_skip_count={skips},
         ngram_counts=[0, 4], ngram_indexes=[0, 1, 2, 3, 6, 5, 4], weights=[1.0, 2.0, 0.5, 3.0, 0.1, 0.2, 0.3],
         pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7]>(x) }}"""
    check(tmp_path, text, {"x": np.random.default_rng(0).integers(2, 9, (3, 12))})
