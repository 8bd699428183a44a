# Operands that are smaller than what is read of them: an error when compiling, or before the run where sizes are symbols.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import re

import numpy as np
import pytest
import qcc
from operator_checks import compile_text

F, I = np.float32, np.int64


def zeros(*shape, dtype=F):
    return np.zeros(shape, dtype)


# Inputs, results' types, node, opset, domain, inputs that fit, those of them that do not.
CASES = {
    "OneHot": ("int64[k] i, float[v] x", "float[a,b] y", "OneHot(i, three, x)", 17, "", {"i": zeros(2, dtype=I), "x": zeros(2)}, {"x": zeros(1)}),
    "OneHot of nothing": ("int64[k] i, float[v] x", "float[a,b] y", "OneHot(i, three, x)", 17, "", {"i": zeros(2, dtype=I), "x": zeros(2)}, {"x": zeros(0)}),
    "GatherND": ("float[n,b] x, int64[m,1] i", "float[k] y", "GatherND<batch_dims=1>(x, i)", 17, "",
                 {"x": zeros(3, 4), "i": zeros(3, 1, dtype=I)}, {"i": zeros(5, 1, dtype=I)}),
    "ReverseSequence": ("float[t,b] x, int64[n] i", "float[c,d] y", "ReverseSequence(x, i)", 17, "", {"x": zeros(3, 4), "i": zeros(4, dtype=I)}, {"i": zeros(2, dtype=I)}),
    "GridSample": ("float[n,1,h,w] x, float[m,r,c,2] g", "float[a,b,d,e] y", "GridSample(x, g)", 20, "", {"x": zeros(2, 1, 3, 3), "g": zeros(2, 2, 2, 2)}, {"g": zeros(1, 2, 2, 2)}),
    "loss": ("float[n,c] x, int64[m] t, float[w] s", "float y", "NegativeLogLikelihoodLoss(x, t, s)", 17, "",
             {"x": zeros(3, 4), "t": zeros(3, dtype=I), "s": zeros(4)}, {"t": zeros(5, dtype=I)}),
    "weights of a loss": ("float[n,c] x, int64[m] t, float[w] s", "float y", "NegativeLogLikelihoodLoss(x, t, s)", 17, "",
                          {"x": zeros(3, 4), "t": zeros(3, dtype=I), "s": zeros(4)}, {"s": zeros(1)}),
    "caches": ("float[b,2,t,8] x, float[m,4] c, float[n,4] s, int64[d,e] p", "float[f,g,h,i] y", "RotaryEmbedding(x, c, s, p)", 23, "",
               {"x": zeros(1, 2, 3, 8), "c": zeros(5, 4), "s": zeros(5, 4), "p": zeros(1, 3, dtype=I)}, {"s": zeros(1, 4)}),
    "width of caches": ("float[b,2,t,8] x, float[m,w] c, float[m,w] s, int64[d,e] p", "float[f,g,h,i] y", "RotaryEmbedding(x, c, s, p)", 23, "",
                        {"x": zeros(1, 2, 3, 8), "c": zeros(5, 4), "s": zeros(5, 4), "p": zeros(1, 3, dtype=I)}, {"c": zeros(5, 1), "s": zeros(5, 1)}),
    "positions": ("float[b,2,t,8] x, float[m,4] c, float[n,4] s, int64[d,e] p", "float[f,g,h,i] y", "RotaryEmbedding(x, c, s, p)", 23, "",
                  {"x": zeros(1, 2, 3, 8), "c": zeros(5, 4), "s": zeros(5, 4), "p": zeros(1, 3, dtype=I)}, {"p": zeros(1, 1, dtype=I)}),
    "caches of tokens": ("float[b,2,t,8] x, float[d,e,4] c, float[d,e,4] s", "float[f,g,h,i] y", "RotaryEmbedding(x, c, s)", 23, "",
                         {"x": zeros(1, 2, 3, 8), "c": zeros(1, 3, 4), "s": zeros(1, 3, 4)}, {"c": zeros(1, 2, 4), "s": zeros(1, 2, 4)}),
    "first position": ("float[b,2,t,8] x, float[m,4] c, float[m,4] s, int64[p] p", "float[f,g,h,i] y", "com.microsoft.RotaryEmbedding(x, p, c, s)", 17, "com.microsoft",
                       {"x": zeros(1, 2, 3, 8), "c": zeros(5, 4), "s": zeros(5, 4), "p": zeros(1, dtype=I)}, {"p": zeros(0, dtype=I)}),
    "lengths": ("float[t,b,2] x, float[1,9,2] w, float[1,9,3] r, int32[n] l", "float[e,d,f,g] y", "GRU<hidden_size=3>(x, w, r, , l)", 17, "",
                {"x": zeros(4, 2, 2), "w": zeros(1, 9, 2), "r": zeros(1, 9, 3), "l": zeros(2, dtype=np.int32)}, {"l": zeros(1, dtype=np.int32)}),
}  # fmt: skip


def compile_case(folder, name, arrays=None):
    inputs, output, node, opset, domain, _, _ = CASES[name]
    if arrays:
        inputs = re.sub(r"\[[^]]*\] (\w+)", lambda m: f"[{','.join(map(str, arrays[m[1]].shape))}] {m[1]}", inputs)
    return compile_text(folder, f"g ({inputs}) => ({output}) <int64 three = {{3}}> {{ [the_node] y = {node} }}", opset=opset, domain=domain)[1]


@pytest.mark.parametrize("name", CASES)
def test_sizes_that_do_not_fit(tmp_path, name):
    fits, wrong = CASES[name][-2:]
    compiled = compile_case(tmp_path, name)
    compiled(fits)
    with pytest.raises(qcc.QccError, match="the shapes of the inputs do not fit each other"):
        compiled({**fits, **wrong})
    with pytest.raises(qcc.CompileError, match="the_node.*expected .*QCC-E103"):
        compile_case(tmp_path, name, {**fits, **wrong})
    compile_case(tmp_path, name, fits)(fits)
