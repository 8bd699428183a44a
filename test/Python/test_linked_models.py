# Two models linked into one C program: --symbol-prefix.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS, COLUMNS = 24, 16
# Each model takes ones; the headers come before and behind that of the interface.
PROGRAM = """
#include "one/model.h"
#include <qcc/Runtime/qcc.h>
#include "two/model.h"
#include <stdio.h>

static int run(const qcc_model_api *api, int rows, int columns) {
  float x[64], y[64];
  int64_t given[2] = {1, rows}, made[2] = {1, columns};
  DLTensor in = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = given};
  DLTensor out = in;
  const DLTensor *inputs[] = {&in};
  DLTensor *outputs[] = {&out};
  qcc_open_options options = {.struct_size = sizeof(options)};
  qcc_model *model = NULL;
  qcc_context *context = NULL;
  for (int i = 0; i < rows; ++i)
    x[i] = 1;
  out.data = y;
  out.shape = made;
  if (api->open(&options, &model) || api->context_create(model, NULL, &context) || api->run(context, 0, inputs, 1, outputs, 1))
    return 1;
  for (int i = 0; i < columns; ++i)
    printf("%.6g ", y[i]);
  api->context_destroy(context);
  return api->close(model) != QCC_OK;
}

int main(void) {
  return run(one_qcc_model_query_v1(ONE_QCC_MODEL_ABI_VERSION, NULL), ONE_QCC_ENTRY_MAIN_INPUT_X_DIM1, ONE_QCC_ENTRY_MAIN_OUTPUT_Y_DIM1) ||
         run(Two2_qcc_model_query_v1(QCC_ABI_VERSION, NULL), TWO2_QCC_ENTRY_MAIN_INPUT_X_DIM1, TWO2_QCC_ENTRY_MAIN_OUTPUT_Y_DIM1);
}
"""


def save(path, op, seed):
    """A product and an operation behind it, so that both models have kernels of their own."""
    weight = np.random.default_rng(seed).integers(-4, 5, (ROWS, COLUMNS * seed)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node(op, ["a"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, ROWS])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, COLUMNS * seed])], [numpy_helper.from_array(weight, "w")])  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    sums = weight.sum(0)
    return np.abs(sums) if op == "Abs" else np.maximum(sums, 0)


@pytest.mark.parametrize("kind", ["obj", "a"])
def test_two_models_in_one_program(tmp_path, kind):
    want = np.concatenate([save(tmp_path / "one.onnx", "Abs", 1), save(tmp_path / "two.onnx", "Relu", 2)])
    qcc.compile(tmp_path / "one.onnx", tmp_path / "one", emit=kind, symbol_prefix="one_")
    qcc.compile(tmp_path / "two.onnx", tmp_path / "two", emit=kind, symbol_prefix="Two2_")
    (tmp_path / "main.c").write_text(PROGRAM)
    files = [tmp_path / name / ("model.o" if kind == "obj" else "libmodel.a") for name in ("one", "two")]
    for file, symbol in zip(files, ("one_qcc_model_query_v1", "Two2_qcc_model_query_v1")):
        listed = subprocess.run(["nm", "--extern-only", "--defined-only", file], capture_output=True, text=True, check=True).stdout
        assert [line.split()[-1] for line in listed.splitlines() if " " in line] == [symbol]
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include", f"-I{tmp_path}", tmp_path / "main.c", *files]
    subprocess.run([*command, "-lm", "-lpthread", "-o", tmp_path / "main"], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    assert done.returncode == 0
    np.testing.assert_array_equal([float(word) for word in done.stdout.split()], want)
