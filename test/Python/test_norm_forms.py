# Norms as exporters write them: a quotient by the root, or a product with its reciprocal in one of several forms.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import pytest
from operator_checks import check, normal

MEAN = "m = ReduceMean<axes = [-1]>(x) c = Sub(x, m)"
SCALED = {
    "quotient": "s = Sqrt(e) n = Div({x}, s)",
    "reciprocal": "s = Sqrt(e) r = Reciprocal(s) n = Mul({x}, r)",
    "one over the root": "s = Sqrt(e) r = Div(one, s) n = Mul(r, {x})",
    "power of -1/2": "r = Pow(e, power) n = Mul({x}, r)",
}


@pytest.mark.parametrize("scaled", SCALED)
@pytest.mark.parametrize("centred", [True, False], ids=["layer", "rms"])
def test_forms(tmp_path, scaled, centred):
    x = "c" if centred else "x"
    text = f"""g (float[b, 5, 48] x) => (float[b, 5, 48] y) <float one = {{1.0}}, float two = {{2.0}}, float power = {{-0.5}}, float eps = {{1e-5}}> {{
      {MEAN if centred else ""} q = Pow({x}, two) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) {SCALED[scaled].format(x=x)} y = Identity(n) }}"""
    check(tmp_path, text, {"x": normal(3, 5, 48, seed=3) + 1}, {"x": np.zeros((1, 5, 48), np.float32)}, opset=17)
    ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
    assert [op["op"] for op in ops] == ["qcc.norm"], ops
