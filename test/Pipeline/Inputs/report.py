# Compiles a model with hostile names and reads its report as data and as a page: report.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import html.parser
import json
import pathlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(3)
SCRIPT, IMAGE, STYLE = "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'</td></table></style><script>x</script>&amp;"
LONG = "long" * 10_000
LIMIT = 1000  # rows of a table


def run(*words, status: int = 0, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == status, f"{words}: expected {status}, but got {done.returncode}: {done.stderr}"
    return done


# ----------------------------------------------------------------------------------------------------------------------
# The page
# ----------------------------------------------------------------------------------------------------------------------

VOID = {"meta", "line", "br"}
ELEMENTS = VOID | set(
    "html head title style body header h1 h2 h3 p dl div dt dd small nav ul li a main b pre table caption thead tbody tr th td span i "
    "svg desc text path circle details summary footer".split()
)


class Page(html.parser.HTMLParser):
    """Reads a page strictly: known elements, properly nested, no attribute that runs or loads anything."""

    def __init__(self, path: pathlib.Path):
        super().__init__(convert_charrefs=True)
        raw = path.read_bytes()
        self.open, self.text, self.ids, self.links, self.tables = [], [], [], [], []
        self.feed(raw.decode("utf-8"))
        self.close()
        assert self.open == [], self.open
        everything = " ".join(self.text)
        size = re.search(r"This page is +(\d+) bytes", everything)
        assert size and int(size[1]) == len(raw), (size, len(raw))
        assert set(self.links) <= {"#" + name for name in self.ids} and len(set(self.ids)) == len(self.ids)
        self.all = everything

    def handle_starttag(self, tag, attributes):
        assert tag in ELEMENTS, tag
        for name, value in attributes:
            assert not name.startswith("on") and name not in ("src", "srcset", "action", "data", "xlink:href"), (tag, name)
            if name == "href":
                assert value.startswith("#"), value
                self.links.append(value)
            if name == "style":
                assert re.fullmatch(r"flex:[0-9.]+", value), value
            if name == "id":
                self.ids.append(value)
            if name == "class":
                assert re.fullmatch(r"[a-z0-9 ]+", value), value
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attributes:
            assert "default-src 'none'" in dict(attributes)["content"]
            self.open.append("policy")
            self.open.pop()
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, (tag, self.open)
            self.open.pop()

    def handle_data(self, data):
        if "style" in self.open:
            assert "url(" not in data and "@import" not in data
        elif "title" not in self.open:
            self.text.append(data)
            if "table" in self.open and self.tables[-1] and self.tables[-1][-1]:
                self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> list[list[str]]:
        """Rows of the one table whose columns begin with these."""
        (found,) = [table[1:] for table in self.tables if tuple(table[0][: len(heads)]) == heads]
        return found


# ----------------------------------------------------------------------------------------------------------------------
# A model
# ----------------------------------------------------------------------------------------------------------------------


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), name)


def make_model(path: pathlib.Path) -> list[str]:
    """An input with an outlier channel; names of nodes, inputs and outputs that mean something to HTML. Returns nodes."""
    nodes = [
        helper.make_node("MatMul", ["<input>", "w1"], ["a"], name=SCRIPT),
        helper.make_node("Relu", ["a"], ["b"], name=IMAGE),
        helper.make_node("Add", ["c1", "c2"], ["bias"], name="constant"),
        helper.make_node("Add", ["b", "bias"], ["c"], name=STYLE),
        helper.make_node("MatMul", ["c", "w2"], ["d"], name=LONG),
        helper.make_node("Reshape", ["d", "shape"], ["e"], name="view"),
        helper.make_node("Softmax", ["e"], ["f"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["c", "w3"], ["g"], name="small"),
        helper.make_node("Tanh", ["g"], ["out2"], name="tanh"),
        helper.make_node("Tanh", ["g"], ["h"], name="tanh again"),
        helper.make_node("ReduceSum", ["h", "axis"], ["out3"], name="sum", keepdims=0),
        helper.make_node("Identity", ["f"], ["out<1>"], name="identity"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("<input>", TensorProto.FLOAT, ["<batch>", 64])],
        [
            helper.make_tensor_value_info("out<1>", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("out2", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("out3", TensorProto.FLOAT, None),
        ],
        [
            weight("w1", 64, 96),
            weight("w2", 96, 64),
            weight("w3", 96, 16),
            weight("c1", 96),
            weight("c2", 96),
            numpy_helper.from_array(np.int64([-1, 4, 16]), "shape"),
            numpy_helper.from_array(np.int64([1]), "axis"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return [node.name for node in nodes]


def check_accounts(artifact: pathlib.Path, nodes: list[str], dispatches: int) -> dict:
    """Each operation once with kernel and precision, each node in one list; the page has the same. Returns the data."""
    report = json.loads((artifact / "report.json").read_text())
    assert report["schema"] == "qcc-report/2"
    ops, kernels = report["ops"], [kernel["name"] for kernel in report["kernels"]]
    assert len(ops) == dispatches == report["summary"]["ops"]
    assert len({op["site"] for op in ops}) == len(ops) and len(set(kernels)) == len(kernels)
    assert {op["kernel"] for op in ops} == set(kernels)
    for op in ops:
        assert op["executed"] and op["requested"] and re.match("as asked|kept: |not supported: |sums codes", op["reason"]), op
        # What is done to an input before any node reads it is named after the input.
        assert op["node"] in op["nodes"] or (not op["nodes"] and op["node"].endswith(".input")), op
        assert op["flops"] and op["bytes"] and op["bytes_at_sizes"] > 0 and op["compute"], op
        assert op["entry"] in [entry["name"] for entry in report["entries"]]
    assert sum(report["summary"]["precisions"].values()) == len(ops)
    computed = {node for op in ops for node in op["nodes"]}
    idle = [node["node"] for node in report["nodes_without_op"]]
    assert not computed & set(idle) and len(set(idle)) == len(idle)
    assert computed | set(idle) == set(nodes), computed.symmetric_difference(nodes)
    page = Page(artifact / "report.html")
    rows = page.table("node", "operation", "kernel", "runs in", "reason")
    assert [row[2] for row in rows] == [op["kernel"] for op in ops]
    assert all(row[3].startswith(op["executed"]) and op["reason"] in row[4] for row, op in zip(rows, ops, strict=True))
    return report


model = folder / "<i>'&\".onnx"
nodes = make_model(model)
x = rng.standard_normal((40, 64)).astype(np.float32)
x[:, 5] *= 50
np.savez(folder / "data.npz", **{"<input>": x})
options = ["--target=avx2", f"--calib={folder / 'data.npz'}", "-q"]
int8 = ["--precision=int8"]
plan = run("qcc", model, *options, *int8, "--emit=plan", "-o", "-").stdout
dispatches = len(re.findall(r"^ +qcc_host\.dispatch ", plan, re.MULTILINE))
for jobs in (1, 2):
    run("qcc", model, "-o", folder / f"int8-{jobs}", *options, *int8, f"--jobs={jobs}", "--no-cache")
for name in ("report.json", "report.html"):
    one, two = ((folder / f"int8-{jobs}" / name).read_bytes() for jobs in (1, 2))
    assert one == two, name
int8_artifact = folder / "int8-1"
report = check_accounts(int8_artifact, nodes, dispatches)
assert str(folder) not in (int8_artifact / "report.json").read_text()
reasons = {node["node"]: node["reason"] for node in report["nodes_without_op"]}
assert reasons["constant"] == "constant" and reasons["view"] == "view" and reasons["tanh again"] == "merged", reasons
page = Page(int8_artifact / "report.html")
for name in (SCRIPT, IMAGE, STYLE, "<input>", "out<1>", model.name):
    assert name in page.all, name
assert LONG not in page.all and LONG[:150] in page.all and len(page.all) < 40_000

# The outlier channel of the input.
(given,) = [a for a in report["activations"] if a["value"] == "<input>.input"]
assert given["channels"] == 64 and given["outliers"] == 1 and given["largest"][0]["channel"] == 5, given
np.testing.assert_allclose(given["absmax"], np.abs(x).max(), rtol=1e-6)
np.testing.assert_allclose(given["median_channel_absmax"], np.sort(np.abs(x).max(0))[::-1][32], rtol=1e-6)
assert "<input>.input" in [row[0] for row in page.table("activation", "channels", "outliers")]

# Work: sizes are at 1 row; products by hand.
assert report["sizes"] == {"<batch>": 1}
work = {op["node"]: op for op in report["ops"]}
assert work[SCRIPT]["flops_at_sizes"] == 2 * 64 * 96 and work["small"]["flops_at_sizes"] == 2 * 96 * 16
assert work[SCRIPT]["weight_bytes"] >= 64 * 96 and work[SCRIPT]["compute"] == "int8" and work["softmax"]["compute"] == "f32"

# Samples give the error of each layer in int8, as a root in the data and squared on the page.
layers = {op["node"]: op["layer_error"] for op in report["ops"] if "layer_error" in op}
assert {SCRIPT, LONG, "small"} == set(layers) and all(1e-4 < error < 0.3 for error in layers.values()), layers
rows = page.table("node", "runs in", "error")
assert Counter(row[2] for row in rows) == Counter(f"{error**2:.3g}" for error in layers.values()), (rows, layers)

# Symbols that have the names by which others are printed.
sizes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["s1", "s0"])
node = helper.make_node("Relu", ["x"], ["y"], name="relu")
graph = helper.make_graph([node], "g", [sizes], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "symbols.onnx")
run("qcc", folder / "symbols.onnx", "-o", folder / "symbols", "--target=avx2", "-q")
(op,) = json.loads((folder / "symbols" / "report.json").read_text())["ops"]
assert sorted(re.findall(r"s\d", op["flops"])) == ["s0", "s1"] and op["flops_at_sizes"] == 128, op

# Weights chosen by data: an error for each layer, in the data and on the page; nothing of it in f32.
run("qcc", model, "-o", folder / "w4", *options, "--precision=w4a16:g32", "--algo=gptq,awq")
report = check_accounts(folder / "w4", nodes, len(json.loads((folder / "w4" / "report.json").read_text())["ops"]))
chosen = [op for op in report["ops"] if "error_chosen" in op]
page = Page(folder / "w4" / "report.html")
assert len(chosen) == len(page.table("node", "runs in", "error")) == 3 and "errors" in page.ids
run("qcc", model, "-o", folder / "f32", "--target=avx2", "-q")
page = Page(folder / "f32" / "report.html")
assert "errors" not in page.ids and "channels" not in page.ids and {"precision", "roofline", "kernels", "operations"} <= set(page.ids)

# ----------------------------------------------------------------------------------------------------------------------
# With measurements
# ----------------------------------------------------------------------------------------------------------------------

page_path = folder / "page.html"
profile = run("qcc-run", int8_artifact, "--profile", "--ceilings", "--json", "--threads=1", "--runs=3").stdout
(folder / "profile.json").write_text(profile)
measured = json.loads(profile)
assert {row["site"] for row in measured["profile"]} == {op["site"] for op in json.loads((int8_artifact / "report.json").read_text())["ops"]}
ceilings = measured["ceilings"]
assert 1 < ceilings["f32_gops"] < 1e5 and 1 < ceilings["int8_gops"] < 1e6 and 0.1 < ceilings["memory_gbs"] < ceilings["cache_gbs"] * 4
done = run("qcc", "report", int8_artifact, f"--profile={folder / 'profile.json'}", "-o", page_path)
assert f"({page_path.stat().st_size} bytes)" in done.stderr
page = Page(page_path)
assert "measured by qcc-run --profile on 1 thread at level avx2" in page.all and "modelled" not in page.all
times = {row["site"]: row["us_per_run"] for row in measured["profile"]}
rows = page.table("node", "operation", "kernel")
assert len(rows) == len(times) and all(re.fullmatch(r"[0-9.]+ (µs|ms|s)", row[9]) for row in rows)
assert "modelled" in run("qcc", "report", int8_artifact, "-o", "-").stdout

low = [int8_artifact, folder / "w4", folder / "f32"]
done = run("qcc", "eval", *low, f"--reference={model}", f"--data={folder / 'data.npz'}", "--metric=cosine,sqnr,top1,kl", "--json",
           f"--report={page_path}", "--output=out2", "--progress=none")  # fmt: skip
page = Page(page_path)
assert {"accuracy", "front", "artifacts", "a1-operations", "a3-operations"} <= set(page.ids)
for entry in json.loads(done.stdout)["results"]:
    name = pathlib.Path(entry["artifact"]).name
    rows = [row for table in page.tables for row in table if row and row[0] == name]
    if entry["metric"] == "cosine":
        assert any(f"{entry['value']:.6f}" in row for row in rows), (entry, rows)
sizes = page.table("artifact", "size", "1 - cosine")
assert len(sizes) == 3 and any("yes" in row[3] for row in sizes)
# The same page from what was printed.
(folder / "eval.json").write_text(done.stdout)
first = page_path.read_text()
run("qcc", "report", *low, f"--eval={folder / 'eval.json'}", "-o", page_path)
assert page_path.read_text() == first
# Artifacts of one name are told apart by their folders, the others by their names.
same = [folder / "avx2" / "m.qcc", folder / "reference" / "m.qcc"]
for artifact in same:
    artifact.parent.mkdir()
    run("qcc", model, "-o", artifact, f"--target={artifact.parent.name}", "--precision=w4a16", "-q")
run("qcc", "report", *(f"{artifact}/" for artifact in same), folder / "f32", "-o", page_path)
rows = Page(page_path).table("artifact", "precision", "target")
assert [row[:3] for row in rows] == [["avx2/m.qcc", "w4a16", "avx2"], ["reference/m.qcc", "w4a16", "reference"], ["f32", "f32", "avx2"]], rows

# ----------------------------------------------------------------------------------------------------------------------
# Reports of strangers
# ----------------------------------------------------------------------------------------------------------------------


def write(name: str, text: str) -> pathlib.Path:
    artifact = folder / name
    artifact.mkdir(exist_ok=True)
    (artifact / "report.json").write_text(text)
    return artifact


def make_large(count: int, distinct: bool) -> dict:
    """A report of many operations: all different, or of a hundred kinds."""
    large = json.loads((int8_artifact / "report.json").read_text())
    pattern, activation = large["ops"][0], large["activations"][0]
    kind = lambda i: i if distinct else i % 100
    large["ops"] = [
        {**pattern, "site": i, "node": f"{SCRIPT}{i}", "nodes": [f"{SCRIPT}{i}"], "flops": str(1000 + kind(i)),
         "flops_at_sizes": 1000 + kind(i), "kernel": f"k{kind(i)}", "algorithm": "gptq", "error_nearest": 0.1, "error_chosen": 0.001 * (1 + i % 7)}
        for i in range(count)
    ]  # fmt: skip
    large["kernels"] = [{"name": f"k{i}", "emitter": IMAGE, "schedule": STYLE} for i in range(kind(count - 1) + 1)]
    large["activations"] = [{**activation, "value": f"{IMAGE}{i}"} for i in range(count)]
    large["nodes_without_op"] = [{"node": f"{STYLE}{i}", "op": IMAGE, "reason": "merged"} for i in range(count)]
    large["warnings"] = [SCRIPT] * count
    return large


COUNT = 10_000
for distinct in (False, True):
    artifact = write("large", json.dumps(make_large(COUNT, distinct)))
    run("qcc", "report", artifact, "-o", page_path)
    page = Page(page_path)
    rows = page.table("node", "operation", "kernel")
    assert page_path.stat().st_size < (3 << 20), page_path.stat().st_size
    counts = [int(found[1]) + 1 if (found := re.search(r"and (\d+) like it", row[0])) else 1 for row in rows]
    if distinct:
        assert len(rows) == LIMIT + 1 and f"{COUNT - LIMIT} more operations" in rows[-1][0]
    else:
        assert len(rows) == 100 and sum(counts) == COUNT

# Several formats: the first tile counts them all. Errors that are no numbers are said to be that.
mixed = json.loads((folder / "w4" / "report.json").read_text())
mixed["precision"] = "mixed"
products = [op for op in mixed["ops"] if op["executed"] != "f32"]
for op, form in zip(products, ("w4a16:g64", "w8a16", "w3a16:channel"), strict=True):
    op["executed"] = form
share = sum(op["flops_at_sizes"] for op in products) / sum(op["flops_at_sizes"] for op in mixed["ops"])
products[0]["error_chosen"] = products[1]["error_nearest"] = None
run("qcc", "report", write("mixed", json.dumps(mixed)), "-o", page_path)
page = Page(page_path)
(found,) = re.findall(r"arithmetic in 3 formats ([0-9.]+)% ?3 operations: w3a16:channel, w4a16:g64, w8a16", page.all)
assert abs(float(found) - 100 * share) < 0.1, (found, share)
assert "not finite" in page.all and not re.search(r"\b(nan|inf)\b", page.all.replace(SCRIPT, ""))
assert page.table("node", "runs in", "error")[0][2] == "not finite"

broken = {
    "not json": "{",
    "list": "[]",
    "deep": '{"schema": "qcc-report/2", "ops": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "schema": '{"schema": "qcc-report/9"}',
    "no schema": "{}",
    "number": '{"schema": "qcc-report/2", "model": 3}',
    "text": '{"schema": "qcc-report/2", "ops": [{"site": "x"}]}',
    "negative": '{"schema": "qcc-report/2", "ops": [{"site": -1}]}',
    "large number": '{"schema": "qcc-report/2", "ops": [{"site": 5000000000}]}',
    "strings": '{"schema": "qcc-report/2", "ops": ["x"]}',
    "object": '{"schema": "qcc-report/2", "ops": {}}',
}
for name, text in broken.items():
    done = run("qcc", "report", write("broken", text), "-o", page_path, status=9)
    assert "report.json" in done.stderr and done.stderr.startswith("qcc: error: "), f"{name}: {done.stderr}"
# Odd, but whole: numbers without meaning give a page all the same.
odd = {"schema": "qcc-report/2", "ops": [{"flops_at_sizes": 1e308, "bytes_at_sizes": 1e308}, {"flops_at_sizes": -5, "bytes_at_sizes": None}, {}],
       "ceilings": [{"f32_gops": -1, "memory_gbs": 1e-300}], "activations": [{"median_channel_absmax": -1, "absmax": 1e38}]}  # fmt: skip
run("qcc", "report", write("odd", json.dumps(odd)), "-o", page_path)
Page(page_path)
for text in ("{}", '{"profile": [{"site": 4294967295, "us_per_run": 1e300}], "ceilings": {"f32_gops": null}}'):
    (folder / "odd.json").write_text(text)
    run("qcc", "report", int8_artifact, f"--profile={folder / 'odd.json'}", "-o", page_path, status=9 if text == "{}" else 0)
Page(page_path)
for words, status, text in [
    ([], 2, "expected one or more artifacts"),
    ([folder / "nothing"], 9, "nothing"),
    ([int8_artifact, f"--eval={folder / 'none.json'}"], 3, "none.json"),
    ([int8_artifact, f"--eval={folder / 'profile.json'}"], 9, "profile.json"),
    ([int8_artifact, folder / "f32", f"--profile={folder / 'profile.json'}"], 2, "--profile"),
    ([int8_artifact, "-o", folder / "no" / "page.html"], 8, "page.html"),
]:
    done = run("qcc", "report", *words, status=status, cwd=folder)
    assert text in done.stderr, done.stderr
print(Counter(op["executed"] for op in report["ops"]))
