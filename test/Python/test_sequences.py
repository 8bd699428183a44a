# Sequences of tensors, in straight lines and where loops append to them, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest
import qcc
from operator_checks import check, compile_text, normal

INPUTS = "float[3,w] a, float[3,w] b, float[3,w] c"
ARRAYS = [{n: normal(3, w, seed=i) for i, n in enumerate("abc")} for w in (4, 1)]
LINES = {
    "stack": ("s = SequenceConstruct(a, b, c) y = ConcatFromSequence<axis=0, new_axis=1>(s)", "3,3,w"),
    "stack in the middle": ("s = SequenceConstruct(a, b) y = ConcatFromSequence<axis=1, new_axis=1>(s)", "3,2,w"),
    "stack at the end": ("s = SequenceConstruct(a, b) y = ConcatFromSequence<axis=-1, new_axis=1>(s)", "3,w,2"),
    "concat": ("s = SequenceConstruct(a, b, c) y = ConcatFromSequence<axis=-1>(s)", "3,v"),
    "appends": ("e = SequenceEmpty<dtype=1>() s = SequenceInsert(e, a) t = SequenceInsert(s, b) y = ConcatFromSequence<axis=0>(t)", "6,w"),
    "inserts": ("""p = Constant<value_int=0>() q = Constant<value_int=-1>() s = SequenceConstruct(a) t = SequenceInsert(s, b, p)
                u = SequenceInsert(t, c, q) y = ConcatFromSequence<axis=0>(u)""", "9,w"),
    "erases": ("""p = Constant<value_int=-3>() s = SequenceConstruct(a, b, c) t = SequenceErase(s, p) u = SequenceErase(t)
               y = ConcatFromSequence<axis=0>(u)""", "3,w"),
    "element": ("p = Constant<value_int=-2>() s = SequenceConstruct(a, b, c) y = SequenceAt(s, p)", "3,w"),
    "identity": ("s = SequenceConstruct(a, b) t = Identity(s) y = ConcatFromSequence<axis=1>(t)", "3,v"),
    "split": ("s = SplitToSequence<axis=0, keepdims=0>(a) y = ConcatFromSequence<axis=0>(s)", "v"),
    "split that keeps": ("s = SplitToSequence<axis=0>(a) y = ConcatFromSequence<axis=1>(s)", "1,v"),
    "split in twos": ("p = Constant<value_int=2>() q = Constant<value_int=1>() s = SplitToSequence<axis=0>(a, p) y = SequenceAt(s, q)", "1,w"),
    "split in parts": ("p = Constant<value_ints=[1, 2]>() q = Constant<value_int=1>() s = SplitToSequence<axis=0>(a, p) y = SequenceAt(s, q)",
                       "2,w"),
    "split of a free axis": ("s = SplitToSequence<axis=1, keepdims=0>(a) y = ConcatFromSequence<axis=1, new_axis=1>(s)", "3,v"),
    "split of a free axis that keeps": ("s = SplitToSequence<axis=1>(a) y = ConcatFromSequence<axis=0>(s)", "u,1"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_straight_lines(tmp_path, name):
    nodes, shape = LINES[name]
    check(tmp_path, f"g ({INPUTS}) => (float[{shape}] y) {{ {nodes} }}", *ARRAYS)


def test_length(tmp_path):
    text = f"""g ({INPUTS}) => (int64 n, int64 m) {{ s = SequenceConstruct(a, b, c) n = SequenceLength(s)
    t = SplitToSequence<axis=1>(a) m = SequenceLength(t) }}"""
    check(tmp_path, text, *ARRAYS)


def test_elements_at_run_time(tmp_path):
    text = f"g ({INPUTS}, int64 at) => (float[3,w] y) {{ s = SequenceConstruct(a, b, c) y = SequenceAt(s, at) }}"
    check(tmp_path, text, *(arrays | {"at": np.array(at)} for arrays in ARRAYS for at in (0, 2)))


@pytest.mark.parametrize("at", [3, 1000])
def test_elements_that_are_not_there(tmp_path, at):
    text = f"g ({INPUTS}, int64 at) => (float[3,w] y) {{ s = SequenceConstruct(a, b, c) y = SequenceAt(s, at) }}"
    _, compiled = compile_text(tmp_path, text)
    with pytest.raises(qcc.QccError):
        compiled(ARRAYS[0] | {"at": np.array(at)})


def loop(body, carried="seq(float[3,w]) s", behind="y = ConcatFromSequence<axis=0, new_axis=1>(t)", before="e = SequenceEmpty<dtype=1>()",
         outputs="float[n,3,w] y", inputs="", initial="e", given="t", results="seq(float[3,w]) r"):  # fmt: skip
    return f"""g (int64 n, float[3,w] a{inputs}) => ({outputs}) {{ {before} yes = Constant<value = bool {{1}}>()
    {given} = Loop<body = b (int64 i, bool c, {carried}) => (bool d, {results}) {{ d = Identity(c) {body} }}>(n, yes, {initial}) {behind} }}"""


BODY = "f = Cast<to=1>(i) g = Add(a, f) r = SequenceInsert(s, g)"
COUNTS = [{"n": np.array(n), "a": normal(3, w)} for n, w in ((1, 4), (7, 2))]
LOOPS = {
    "stack": loop(BODY),
    "stack at the end": loop(BODY, behind="y = ConcatFromSequence<axis=-1, new_axis=1>(t)", outputs="float[3,w,n] y"),
    "concat": loop(BODY, behind="y = ConcatFromSequence<axis=0>(t)", outputs="float[m,w] y"),
    "concat of columns": loop(BODY, behind="y = ConcatFromSequence<axis=1>(t)", outputs="float[3,m] y"),
    "behind elements": loop(BODY, before="e = SequenceConstruct(a, a)", outputs="float[m,3,w] y"),
    "behind elements, joined": loop(BODY, before="e = SequenceConstruct(a, a)", behind="y = ConcatFromSequence<axis=1>(t)", outputs="float[3,m] y"),
    "length": loop(BODY, behind="y = SequenceLength(t)", outputs="int64 y"),
    "last element": loop(BODY, behind="p = Constant<value_int=-1>() y = SequenceAt(t, p)", outputs="float[3,w] y"),
    "element": loop(BODY, behind="p = Constant<value_int=0>() y = SequenceAt(t, p)", outputs="float[3,w] y"),
    "beside tensors": loop(
        "q = Add(z, a) r = SequenceInsert(s, q) u = Mul(q, a)", "float[3,w] z, seq(float[3,w]) s", initial="a, e", given="k, t, stack",
        results="float[3,w] q, seq(float[3,w]) r, float[3,w] u", outputs="float[n,3,w] y, float[3,w] k, float[n,3,w] stack"),
    "two lists": loop(
        "f = Cast<to=1>(i) g = Add(a, f) r = SequenceInsert(s, g) h = Neg(g) r2 = SequenceInsert(s2, h)",
        "seq(float[3,w]) s, seq(float[3,w]) s2", initial="e, e", given="t, t2", results="seq(float[3,w]) r, seq(float[3,w]) r2",
        behind="y = ConcatFromSequence<axis=0, new_axis=1>(t) y2 = ConcatFromSequence<axis=0>(t2)", outputs="float[n,3,w] y, float[m,w] y2"),
    "a list that stays": loop("r = Identity(s)", before="e = SequenceConstruct(a, a)", behind="y = ConcatFromSequence<axis=0>(t)", outputs="float[6,w] y"),
    "elements of a list": loop("f = SequenceAt(l, i) r = SequenceInsert(s, f)", before="e = SequenceEmpty<dtype=1>() l = SplitToSequence<axis=1, keepdims=0>(x)",
                               inputs=", float[3,n] x", carried="seq(float[3]) s", results="seq(float[3]) r", outputs="float[n,3] y"),
    "lists in the body": loop("l = SequenceConstruct(a, a) f = ConcatFromSequence<axis=0, new_axis=1>(l) g = ReduceSum<keepdims=0>(f, z) r = SequenceInsert(s, g)",
                              before="e = SequenceEmpty<dtype=1>() z = Constant<value_ints=[0]>()"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_loops_that_append(tmp_path, name):
    calls = [c | ({"x": normal(3, int(c["n"]), seed=2)} if " x)" in LOOPS[name] else {}) for c in COUNTS]
    check(tmp_path, LOOPS[name], *calls)


def test_shapes_that_change(tmp_path):
    """A stack has elements of one shape: other lists end the run."""
    body = "one = Constant<value_ints=[1]>() u = Unsqueeze(i, z) p = Concat<axis=0>(one, u) g = Tile(a, p) r = SequenceInsert(s, g)"
    text = loop(body, before="e = SequenceEmpty<dtype=1>() z = Constant<value_ints=[0]>()", behind="y = SequenceLength(t)", outputs="int64 y")
    _, compiled = compile_text(tmp_path, text)
    with pytest.raises(qcc.QccError):
        compiled(COUNTS[1])


REFUSED = {
    "expected a tensor as input 0, but got a sequence": f"g ({INPUTS}) => (float[3,w] y) {{ s = SequenceConstruct(a, b) y = Relu(s) }}",
    "expected a tensor as input 1, but got a sequence":
        f"g ({INPUTS}) => (float[3,w] y) {{ s = SequenceConstruct(a) t = SequenceInsert(s, s) y = ConcatFromSequence<axis=0>(t) }}",
    "expected a sequence as input 0, but got a tensor": f"g ({INPUTS}) => (float[3,w] y) {{ y = ConcatFromSequence<axis=0>(a) }}",
    "expected a tensor as output, but got a sequence": f"g ({INPUTS}) => (seq(float[3,w]) y) {{ y = SequenceConstruct(a, b) }}",
    "expected a sequence that is not empty": "g (float[3] a) => (float[3] y) { s = SequenceEmpty() y = ConcatFromSequence<axis=0>(s) }",
    "expected a position from -2 to 1, but got 2":
        f"g ({INPUTS}) => (float[3,w] y) {{ p = Constant<value_int=2>() s = SequenceConstruct(a, b) y = SequenceAt(s, p) }}",
    "expected a position from 0 to -1": "g (float[3] a, int64 n) => (float[3] y) { p = Constant<value_int=0>() s = SequenceEmpty() y = SequenceErase(s, p) }",
    "expected tensors of one element type": "g (float[3] a, int64[3] b) => (float[3] y) { s = SequenceConstruct(a) t = SequenceInsert(s, b) y = ConcatFromSequence<axis=0>(t) }",
    "expected parts that make up 3 elements":
        f"g ({INPUTS}) => (float[3,w] y) {{ p = Constant<value_ints=[1, 1]>() s = SplitToSequence(a, p) y = ConcatFromSequence<axis=0>(s) }}",
    "expected parts that make up": f"g ({INPUTS}) => (float[3,w] y) {{ p = Constant<value_int=0>() s = SplitToSequence(a, p) y = ConcatFromSequence<axis=0>(s) }}",
    "parts of an axis need its size": f"g ({INPUTS}) => (float[3,w] y) {{ p = Constant<value_int=2>() s = SplitToSequence<axis=1>(a, p) y = ConcatFromSequence<axis=0>(s) }}",
    "expected sequences of at most 4096 tensors": "g (float[5000] a) => (float[5000] y) { s = SplitToSequence(a) y = ConcatFromSequence<axis=0>(s) }",
    "appends at most one tensor": loop("f = SequenceInsert(s, a) r = SequenceInsert(f, a)"),
    "that appends at most one": loop("r = SequenceConstruct(a)"),
    "sequences that a loop carries are not supported": loop("f = SequenceLength(s) r = SequenceInsert(s, a)"),
    "but for appending to them": loop("p = Constant<value_int=0>() r = SequenceInsert(s, a, p)"),
    "expected a sequence whose length is known": loop(BODY, behind="u = SequenceErase(t) y = ConcatFromSequence<axis=0, new_axis=1>(u)"),
    "expected a branch that gives tensors": """g (bool c, float[3] a) => (float[3] y) { s = If<then_branch = t () => (seq(float[3]) x) { x = SequenceConstruct(a) },
        else_branch = e () => (seq(float[3]) z) { z = SequenceConstruct(a, a) }>(c) y = ConcatFromSequence<axis=0>(s) }""",
    "expected a body that gives tensors": loop("r = SequenceConstruct(a)", carried="float[3,w] s", initial="a"),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refused(tmp_path, message):
    with pytest.raises(qcc.CompileError, match=message):
        compile_text(tmp_path, REFUSED[message])
