# qcc.load on a model written by hand: arrays in and out, states, errors.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import copy
import gc
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper
from qcc import _arrays


@pytest.fixture
def model(fakes):
    return qcc.load(fakes / "embedded", threads=2)


def rows(batch):
    return np.arange(4 * batch, dtype=np.float32).reshape(batch, 4)


def expected(x):
    return 2 * x + np.array([10, 20, 30, 40], np.float32)


def test_describes_itself(model):
    assert model.name == "fake"
    assert model.level == "better"
    assert list(model.entries) == ["main", "count", "nonzero", "refuse", "probe", "wild"]
    assert model.inputs == (qcc.Tensor("x", "float32", ("batch", 4)),)
    assert model.entries["nonzero"].inputs[1] == qcc.Tensor("double", "float32", (None,))
    assert model.states[0] == qcc.Tensor("counter", "int64", (1,))


def test_runs_on_numpy_by_name_and_by_order(model):
    x = rows(3)
    np.testing.assert_array_equal(model({"x": x})["y"], expected(x))
    np.testing.assert_array_equal(model([x])["y"], expected(x))


def test_outputs_are_not_reused(model):
    first = model([rows(2)])["y"]
    kept = first.copy()
    model([rows(2) + 1])
    np.testing.assert_array_equal(first, kept)


def test_makes_strided_arrays_dense(model):
    x = np.arange(24, dtype=np.float32).reshape(4, 6).T[:, :4]
    np.testing.assert_array_equal(model([x[:3]])["y"], expected(x[:3]))


class Exporter:
    """Something that is no array but offers DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_takes_dlpack_exporters(model):
    x = rows(3)
    for _ in range(100):
        np.testing.assert_array_equal(model([Exporter(x)])["y"], expected(x))
    strided = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2]
    np.testing.assert_array_equal(model([Exporter(strided)])["y"], expected(strided))


def test_takes_dlpack_of_other_types(model):
    with pytest.raises(qcc.QccError, match="input 'x': expected float32, but got ") as error:
        model([Exporter(rows(2).astype(np.float64))])
    assert error.value.status == qcc.Status.BAD_TYPE


class Caller(Exporter):
    """Runs a model, with another size, while it is read."""

    def __init__(self, array, model):
        super().__init__(array)
        self.model = model

    def __dlpack__(self, **options):
        self.model.reset()  # a state has the size of the inputs
        self.inner = self.model([rows(7)])["y"]
        self.model.reset()
        return super().__dlpack__(**options)


def test_calls_of_every_kind_follow_each_other(model):
    """A context keeps the tensors of its calls: none finds what another has left there."""
    frozen = rows(3)
    frozen.flags.writeable = False
    calls = [rows(2), rows(2), rows(5), frozen, Exporter(rows(4)), rows(4), rows(1), Caller(rows(2), model), rows(2)]
    refused = [rows(2).astype(np.float64), rows(2)[:, :3], Exporter(rows(2).astype(np.int32)), rows(2).reshape((1,) * 40 + (2, 4))[0]]
    context = model.context()
    for run in (model, context):
        for i, value in enumerate(calls):
            array = value.array if isinstance(value, Exporter) else value
            run.reset()
            np.testing.assert_array_equal(run([value])["y"], expected(array))
            with pytest.raises(qcc.QccError):
                run([refused[i % len(refused)]])
            np.testing.assert_array_equal(run([array])["y"], expected(array))
        np.testing.assert_array_equal(calls[-2].inner, expected(rows(7)))
    caller = Caller(rows(3), context)
    np.testing.assert_array_equal(context([caller])["y"], expected(rows(3)))
    np.testing.assert_array_equal(caller.inner, expected(rows(7)))


def test_other_bytes_are_copied(model):
    """Arrays whose elements lie between words, or whose bytes are the other way round."""
    shifted = np.frombuffer(b"\0" + rows(3).tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 4)
    assert not shifted.flags.aligned
    for array in (shifted, rows(3).astype(">f4")):
        np.testing.assert_array_equal(model([array])["y"], expected(rows(3)))


@pytest.mark.parametrize("value", [rows(1), None, "x", 3.0])
def test_inputs_that_are_no_list_are_named(model, value):
    with pytest.raises(qcc.QccError, match="expected arrays by name, as {'x': array}, or a list of them, but got an? "):
        model(value)


def test_texts_are_no_numbers(model):
    with pytest.raises(qcc.QccError, match="input 'x': expected float32, but got str: could not convert"):
        model({"x": "abc"})


def test_contexts_are_not_copied(model):
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a context cannot be"):
            copied(model.context())
    with pytest.raises(TypeError, match="qcc.load opens an artifact in each process"):
        pickle.dumps(model)


def test_states_are_named(model):
    with pytest.raises(qcc.QccError, match="state 'history' has no size before the first run"):
        model.context().state("history")
    with pytest.raises(qcc.QccError, match="state 'history': expected float32, but got float64"):
        model.context().set_state("history", np.zeros((1, 4)))
    with pytest.raises(qcc.QccError, match="expected one of the states counter, history, but got nothing"):
        model.context().state("nothing")


def test_numbers_and_lists_take_the_type_of_the_input(model):
    assert model([5], entry="count")["total"].tolist() == [5]
    np.testing.assert_array_equal(model([[[1, 2, 3, 4]]])["y"], [[12, 24, 36, 48]])


def test_shapes_found_while_running(model):
    values = np.array([0, 1, 0, 3, 4, 0], np.float32)
    feed = {"values": values, "double": np.zeros(12, np.float32)}
    assert model(feed, entry="nonzero")["indices"].tolist() == [1, 3, 4]
    empty = {"values": values[:0], "double": values[:0]}
    found = model(empty, entry="nonzero")["indices"]
    assert found.shape == (0,) and found.dtype == np.int64


def test_states(model):
    context, other = model.context(), model.context()
    for total in (5, 10, 15):
        assert context.run([5], "count")["total"][0] == total
    assert other.run([1], "count")["total"][0] == 1
    assert context.state("counter").tolist() == [15]
    context.set_state("counter", np.array([100]))
    assert context.run([5], "count")["total"][0] == 105
    context.reset()
    assert context.state("counter").tolist() == [0]
    with pytest.raises(qcc.QccError, match="expected one of the states counter, history, but got nothing"):
        context.state("nothing")


def test_threads_have_their_own_contexts(model):
    wrong = []

    def work(number):
        for i in range(1, 100):
            if model([number], "count")["total"][0] != number * i:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_threads_share_a_context(model):
    context = model.context()

    def work():
        for _ in range(100):
            context.run([1], "count")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert context.run([0], "count")["total"][0] == 400


@pytest.mark.parametrize("threads", [-1, 1025, 2**40])
def test_numbers_of_threads_are_checked(fakes, threads):
    with pytest.raises(qcc.QccError, match=f"expected threads from 1 to 1024, or 0 for one per CPU, but got {threads}"):
        qcc.load(fakes / "embedded", threads=threads)


@pytest.mark.parametrize(
    "feed, status, text",
    [
        ({}, qcc.Status.INVALID_ARGUMENT, "expected an array for input 'x', but got none"),
        ({"X": rows(1)}, qcc.Status.INVALID_ARGUMENT, "expected inputs x, but got 'X'"),
        ({"x": rows(1), "z": 1}, qcc.Status.INVALID_ARGUMENT, "expected inputs x, but got 'z'"),
        ([], qcc.Status.INVALID_ARGUMENT, "expected 1 inputs, but got 0"),
        ([rows(1)[:, :3]], qcc.Status.BAD_SHAPE, "input 'x': expected dim 1 to be 4, but got 3"),
        ([rows(65)], qcc.Status.BAD_SHAPE, r"input 'x': expected dim 0 \('batch'\) from 1 to 64, but got 65"),
        ([rows(1).astype(np.float64)], qcc.Status.BAD_TYPE, "input 'x': expected float32, but got float64"),
    ],
)
def test_says_what_is_wrong(model, feed, status, text):
    with pytest.raises(qcc.QccError, match=f"^{text}$") as error:
        model(feed)
    assert error.value.status is status


def test_errors_of_nodes_and_names(model):
    with pytest.raises(qcc.QccError, match="node 'Gather_7'") as error:
        model(entry="refuse")
    assert error.value.status is qcc.Status.BAD_DATA
    with pytest.raises(qcc.QccError, match="expected one of the entries main, .* but got nothing"):
        model(entry="nothing")


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np, qcc
# What runs the tests may have been started with SIGINT ignored, as a shell starts jobs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
model, x = qcc.load(sys.argv[1], threads=1), {"x": np.ones((512, 256), np.float32)}
start = time.perf_counter()
want = model(x)["y"]
whole = time.perf_counter() - start
for first in (False, True):
    context = model.context()
    if not first:
        context.run(x)
    # Early: a machine with other work to do may be several times as fast in the next run as in this one, or as slow.
    for part in (0.1, 0.2):
        timer = threading.Timer(part * whole, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        start = time.perf_counter()
        try:
            context.run(x)
            sys.exit("not interrupted")
        except KeyboardInterrupt:
            took = time.perf_counter() - start
        assert took < 0.7 * whole, (took, whole)
    # The context is as good as before.
    np.testing.assert_array_equal(context.run(x)["y"], want)
print("done")
"""


def test_keyboard_interrupts(tmp_path):
    """Ctrl-C ends a run of seconds at its next kernel, and the one after it is whole."""
    weights = [numpy_helper.from_array((np.eye(256) + 0.01).astype(np.float32), f"w{i}") for i in range(32)]
    nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"v{i - 1}", f"w{i}"], ["y" if i == 31 else f"v{i}"]) for i in range(32)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [512, 256])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    artifact = qcc.compile(tmp_path / "m.onnx", target="reference")
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, artifact], capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stdout + done.stderr


def test_late_cancellations_are_forgotten(model, monkeypatch):
    """One that comes when its run has ended does not end the next."""
    call = qcc._calls.Call(model._handle.api, 0, model._first.input_types, model._first.output_types)
    context, gone = model.context(), []

    class Late(BaseException):
        pass

    def wait(event, timeout=None, was=threading.Event.wait):
        was(event, timeout)
        if not gone:
            gone.append(event)
            raise Late

    monkeypatch.setattr(threading.Event, "wait", wait)
    with pytest.raises(Late):
        call.run(context._context, [rows(2)], ["x"], context._free, context.cancel)
    assert call._was_late
    status, outputs = call.run(context._context, [rows(2)], ["x"], context._free, context.cancel)
    assert status == 0 and not call._was_late
    np.testing.assert_array_equal(outputs[0], expected(rows(2)))


def test_cancel(model):
    context = model.context()
    context.cancel()
    with pytest.raises(qcc.QccError, match="cancelled"):
        context.run([rows(1)])
    np.testing.assert_array_equal(context.run([rows(1)])["y"], expected(rows(1)))


def test_loading_what_is_no_model(tmp_path):
    with pytest.raises(qcc.QccError, match="expected an artifact with libmodel.so"):
        qcc.load(tmp_path)
    (tmp_path / "libmodel.so").write_bytes(b"no library")
    with pytest.raises(qcc.QccError, match="is no compiled model"):
        qcc.load(tmp_path)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 1])
def test_loading_a_part_of_a_library(fakes, tmp_path, share):
    # In a process of its own: the dynamic loader ends one that it cannot map the rest for.
    whole = (fakes / "embedded" / "libmodel.so").read_bytes()
    (tmp_path / "libmodel.so").write_bytes(whole[: max(4, int(share * (len(whole) - 1)))])
    done = subprocess.run(
        [sys.executable, "-c", "import qcc, sys; qcc.load(sys.argv[1])", tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert re.search(r"libmodel.so is no compiled model: the library is cut short: expected \d+ bytes or more", done.stderr)


def test_weights_in_a_file(fakes, tmp_path):
    np.testing.assert_array_equal(qcc.load(fakes / "external", verify=True)([rows(1)])["y"], expected(rows(1)))
    weights = bytearray((fakes / "external" / "weights.safetensors").read_bytes())
    weights[0] ^= 1
    (tmp_path / "other").write_bytes(weights)
    with pytest.raises(qcc.QccError, match="not those of this model") as error:
        qcc.load(fakes / "external", weights=tmp_path / "other")
    assert error.value.status is qcc.Status.BAD_WEIGHTS


def test_weights_that_are_not_there(fakes, tmp_path):
    library = (fakes / "external" / "libmodel.so").read_bytes()
    (tmp_path / "libmodel.so").write_bytes(library)
    with pytest.raises(qcc.QccError, match="cannot open the weights .*keep the file beside the library itself, or name it"):
        qcc.load(tmp_path)


def test_contexts_outlive_names(fakes):
    context = qcc.load(fakes / "embedded", threads=1).context()
    gc.collect()
    np.testing.assert_array_equal(context.run([rows(1)])["y"], expected(rows(1)))


@pytest.mark.parametrize("name, low, high", [("int4", -8, 8), ("uint4", 0, 16), ("int2", -2, 2), ("uint2", 0, 4)])
def test_packing(name, low, high):
    element = next(type for type in _arrays._TYPES.values() if type.name == name)
    for count in (0, 1, 3, 4, 9):
        values = np.resize(np.arange(low, high), count).astype(element.raw)
        packed = _arrays.pack(values, element.bits)
        assert packed.size == -(-count * element.bits // 8)
        back = _arrays.unpack(packed, (count,), element)
        np.testing.assert_array_equal(back.astype(np.int64), values.astype(np.int64))
    assert _arrays.pack(np.array([1, 2], np.uint8), 4).tolist() == [0x21]


@pytest.mark.parametrize("move", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_reach_other_processes(move):
    """A pool of processes waits forever for a result that cannot be unpickled."""
    error = move(qcc.QccError(3, "expected 2, but got 3"))
    assert type(error) is qcc.QccError and error.status is qcc.Status.BAD_SHAPE and str(error) == "expected 2, but got 3"
    assert move(qcc.QccError(99, "x")).status == 99
    for text in ("qcc: error: no", ""):
        want = qcc.CompileError(3, "QCC-E101", text)
        error = move(want)
        assert type(error) is qcc.CompileError and str(error) == str(want)
        assert (error.exit_code, error.code, error.text) == (3, "QCC-E101", text)
