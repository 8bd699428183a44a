# What tests of operators share: a graph in ONNX's text form is compiled, run, and compared.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import onnx.parser
import onnxruntime
import qcc


def compile_text(folder, text, opset=17, domain=""):
    """The model of one graph in ONNX's text form, and what it is compiled to."""
    versions = f'"" : {opset}' + (f', "{domain}" : 1' if domain else "")
    model = onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{versions}]>\n{text}")
    onnx.save(model, folder / "m.onnx")
    return model, qcc.load(qcc.compile(folder / "m.onnx", folder / "m.qcc"))


def check(folder, text, *inputs, expected=None, rtol=1e-4, atol=1e-5, **options):
    """Runs a graph on each dictionary of inputs; `expected` maps one to the outputs, or is None for ONNX Runtime."""
    model, compiled = compile_text(folder, text, **options)
    session = None if expected else onnxruntime.InferenceSession(model.SerializeToString())
    for arrays in inputs:
        outputs = compiled(arrays)
        wanted = expected(**arrays) if expected else session.run(None, arrays)
        wanted = wanted if isinstance(wanted, (list, tuple)) else [wanted]
        assert len(outputs) == len(wanted)
        for (name, got), want in zip(outputs.items(), wanted, strict=True):
            assert got.shape == want.shape, name
            assert got.dtype == want.dtype, name
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=name)


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
