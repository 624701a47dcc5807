from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from plugin_tools import kill_one_worker

from af_kit.errors import InputError
from af_kit.plugins.model import Model, model, send_model


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    """A model of two features: p = sigmoid(2 x - y)."""
    from onnx import TensorProto, helper, save

    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [2.0, -1.0])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save(built, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def score(x: list[float], y: list[float]) -> list[float]:
    return [round(float(p), 4) for p in model("dnn").predict([np.array(x), np.array(y)])]


def loaded_twice() -> bool:
    return model("dnn") is model("dnn")


def test_a_model_is_loaded_once_per_process_and_evaluated_on_flat_arrays(client: Client, onnx_path: Path) -> None:
    send_model(client, {"dnn": onnx_path})
    expected = [round(1 / (1 + np.exp(-z)), 4) for z in (0.0, 1.0)]
    assert list(client.run(score, [0.0, 1.0], [0.0, 1.0]).values()) == [expected] * 2
    assert all(client.run(loaded_twice).values())
    kill_one_worker(client)
    assert list(client.run(score, [0.0, 1.0], [0.0, 1.0]).values()) == [expected] * 2


def test_a_model_takes_matrices_with_many_rows_or_none(onnx_path: Path) -> None:
    dnn = Model(str(onnx_path), "dnn")
    rows = np.random.default_rng(2).normal(size=(150_000, 2))
    expected = 1 / (1 + np.exp(-(2 * rows[:, 0] - rows[:, 1])))
    np.testing.assert_allclose(dnn.predict(rows), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(dnn.predict(rows), dnn.predict([rows[:, 0], rows[:, 1]]))
    assert dnn.predict(np.zeros((0, 2))).shape == (0,)


def test_wrong_features_are_refused_with_what_the_model_takes(onnx_path: Path, tmp_path: Path) -> None:
    dnn = Model(str(onnx_path), "dnn")
    with pytest.raises(InputError, match=r"does not accept x \(5, 3\)"):
        dnn.predict(np.zeros((5, 3)))
    with pytest.raises(InputError, match="equal length"):
        dnn.predict([np.zeros(3), np.zeros(4)])
    with pytest.raises(InputError, match="takes x, not y"):
        dnn.predict({"y": np.zeros((5, 2))})
    with pytest.raises(InputError, match="no output 'q'; it has p"):
        dnn.predict(np.zeros((5, 2)), output="q")
    (tmp_path / "bad.onnx").write_text("no model")
    with pytest.raises(InputError, match="cannot be loaded as ONNX"):
        send_model(None, {"bad": tmp_path / "bad.onnx"})
