#!/usr/bin/env python3
# Compiles suites of models made by others and compares each with its data, or with ONNX Runtime on random inputs.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Suites are folders of models: those with test data (onnx-pytorch-operator, onnx-simple, onnx-light) and those of
ONNX Runtime's own tests (ort-testdata), whose oracle is ONNX Runtime's CPU provider without graph optimisations, at up
to three sets of values for the symbolic dimensions, 1 among them. Each model ends in one of these ways:

passed        the outputs agree
unsupported   qcc ended with exit code 4 and its message names an op or a value of the model
broken        listed as broken in exceptions.json, and refused with exit code 3
refused run   the compiled model refuses inputs that ONNX Runtime takes, by a status
not run       ONNX Runtime does not run it, and qcc compiled it or refused it
wrong         the outputs differ, or a good model was called bad
crashed       anything else: another exit code, a signal, a time-out

Wrong and crashed models fail. So does a model of expected-suites.json (those that passed when it was written) that did
not pass, and a suite of which less than its share passed (strings, sequences, training and random ops not counted). exceptions.json says why a model is compared otherwise.

--update writes expected-suites.json and docs/model-conformance.md from this run.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import re
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("Support", "EndToEnd")]
import batch
import harness
import numpy as np
import onnx
import onnxruntime
import oracle
import qcc
import refused
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
EXPECTED = HERE / "expected-suites.json"
EXCEPTIONS = json.loads((HERE / "exceptions.json").read_text(encoding="utf-8"))
TABLE = harness.SOURCE / "docs" / "model-conformance.md"
KINDS = ("passed", "unsupported", "broken", "not run", "refused run", "wrong", "crashed")
BAD_MODEL, LIMIT = 3, 7
OUTSIDE = re.compile(r"STRING|only tensors are|training mode|operator '(Sequence|SplitTo|Optional|Random|Gradient)")
SECONDS = 100  # that one model may run, in both programs together

Pairs = list[tuple[oracle.Arrays, oracle.Arrays]]


@dataclasses.dataclass(frozen=True)
class Suite:
    """A folder of models; `share` of those that can be run at all must pass."""

    name: str
    share: float

    @property
    def folder(self) -> pathlib.Path:
        return harness.MODELS / self.name

    def title(self, model: pathlib.Path) -> str:
        """What a model is called: its path in the suite, without what all have in common."""
        return str(model.relative_to(self.folder)).removesuffix(".onnx").removesuffix("/model")


SUITES = [
    Suite("onnx-pytorch-operator", 0.9),
    Suite("onnx-simple", 0.9),
    Suite("onnx-light", 0.9),
    Suite("ort-testdata", 0.65),
]


def read_tensors(paths: list[pathlib.Path], values: list[onnx.ValueInfoProto]) -> oracle.Arrays:
    """Tensors of files by the names of the inputs or outputs that they are for."""
    arrays = {}
    for path, value in zip(paths, values):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(path.read_bytes())
        arrays[value.name] = numpy_helper.to_array(tensor)
    return arrays


def numbered(folder: pathlib.Path, kind: str) -> list[pathlib.Path]:
    """input_0.pb, input_1.pb, ... in the order of their numbers."""
    return sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))


def read_data(model: pathlib.Path) -> Pairs:
    """The inputs and outputs that lie beside a model."""
    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    sets = sorted(model.parent.glob("test_data_set_*"))
    if sets:
        return [(read_tensors(numbered(s, "input"), inputs), read_tensors(numbered(s, "output"), graph.output)) for s in sets]
    # The light models: an output beside the model, for elements that rise from 0 to 1.
    feed = {}
    for value in inputs:
        shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        feed[value.name] = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
    return [(feed, read_tensors([model.with_name(f"{model.stem}_output_0.pb")], graph.output))]


def run_given(session: onnxruntime.InferenceSession, values: dict[str, list]) -> tuple[oracle.Arrays, oracle.Arrays]:
    """The inputs that exceptions.json gives, and what ONNX Runtime computes from them."""
    _, inputs = oracle.make_inputs(session, None, 0, "")
    inputs = {name: np.array(values[name], array.dtype) for name, array in inputs.items()}
    return inputs, oracle.run(session, inputs)


def run_onnxruntime(suite: Suite, model: pathlib.Path) -> tuple[Pairs, str]:
    """What ONNX Runtime computes from random inputs; why not, when it does not."""
    title = suite.title(model)
    given = EXCEPTIONS["inputs"].get(title)
    try:
        session = oracle.load(model)
        pairs = [run_given(session, given["values"])] if given else oracle.find_runs(session, title)
    except Exception as error:  # of any kind: the model may be broken
        return [], " ".join(str(error).split())
    if EXCEPTIONS["reference"].get(title):
        pairs = [(inputs, oracle.run_reference(model, inputs)) for inputs, _ in pairs]
    if EXCEPTIONS["exact"].get(title):
        pairs = [(inputs, narrow(oracle.run_exact(model, inputs), want)) for inputs, want in pairs]
    return pairs, ""


def narrow(outputs: oracle.Arrays, like: oracle.Arrays) -> oracle.Arrays:
    """Exact outputs in the types that a model gives."""
    return {name: array.astype(like[name].dtype) for name, array in outputs.items()}


def compare(suite: Suite, model: pathlib.Path, artifact: pathlib.Path, pairs: Pairs) -> tuple[str, str]:
    """Runs an artifact on inputs; how the model ends, and what differs."""
    bounds = EXCEPTIONS["bounds"].get(suite.title(model), {})
    bound = bounds.get("bound", 1e-2 if oracle.is_narrow(model) else 1e-3 if suite.share == 0.9 else None)
    loaded = qcc.load(artifact, threads=1)
    for inputs, want in pairs:
        try:
            what = oracle.mismatch(loaded(inputs), want, bound, bounds.get("share", 0), bounds.get("most", 0))
        except qcc.QccError as error:
            return "refused run", f"{error} (with {oracle.pairs(inputs)})"
        if what:
            return "wrong", f"{what} (with {oracle.pairs(inputs)})"
    return "passed", ""


def judge(suite: Suite, model: pathlib.Path, artifact: pathlib.Path, compiled: tuple[int, str] | None) -> tuple[str, str]:
    """How a model ends, and what was said of it."""
    if compiled is None:
        return "crashed", "qcc ended without a word about it"
    code, message = compiled
    why = EXCEPTIONS["broken"].get(suite.title(model))
    if code == BAD_MODEL and why:
        return "broken", message
    if why:
        return "wrong", f"expected exit status {BAD_MODEL}, because {why}; but got {code}: {message}"
    if code not in (0, BAD_MODEL, batch.UNSUPPORTED, LIMIT):
        return "crashed", f"qcc: exit status {code}: {message}"
    # Before onnx reads the file: it does not read them all.
    pairs, problem = run_onnxruntime(suite, model) if suite.name == "ort-testdata" else (read_data(model), "")
    if not pairs:
        return "not run", problem
    if code == batch.UNSUPPORTED:
        named = batch.named_in(message, model) or "opset" in message
        return ("unsupported", message) if named else ("crashed", f"refused without naming an op: {message}")
    return ("wrong", f"exit status {code}: {message}") if code else compare(suite, model, artifact, pairs)


def run_suite(suite: Suite, target: str, only: str, chunk: int = 120) -> list[batch.Outcome]:
    """Runs the models of a suite, `chunk` at a time; prints progress, and each that is wrong or crashed."""
    models = sorted(path for path in suite.folder.rglob("*.onnx") if only in suite.title(path))
    outcomes = []
    for first in range(0, len(models), chunk):
        with tempfile.TemporaryDirectory(prefix="qcc-suite-") as name:
            scratch = pathlib.Path(name)
            items = [(model, scratch / str(i)) for i, model in enumerate(models[first : first + chunk])]
            compiled = batch.compile_all(items, scratch, target)
            jobs = [lambda m=m, a=a: batch.timed(lambda: judge(suite, m, a, compiled.get(m)), suite.title(m)) for m, a in items]
            for (model, _), (fine, outcome) in zip(items, batch.run_forked(jobs, SECONDS)):
                outcomes.append(outcome if fine else batch.Outcome(suite.title(model), "crashed", 0, str(outcome)))
                if outcomes[-1].kind in ("wrong", "crashed"):
                    print(f"{outcomes[-1].kind.upper():7} {suite.name}/{outcomes[-1].name}: {outcomes[-1].message}", flush=True)
        print(f"{suite.name}: {len(outcomes)} of {len(models)}", flush=True)
    return outcomes


def is_outside(outcome: batch.Outcome) -> bool:
    """Whether a model is refused for what the compiler does not set out to do: strings, sequences, training, chance."""
    return outcome.kind == "unsupported" and bool(OUTSIDE.search(outcome.message))


def to_results(suite: Suite, outcomes: list[batch.Outcome], expected: set[str], whole: bool) -> list[harness.Result]:
    """The cases that are counted: those that ran or fail, one for all of each kind of refusal, one for the share."""
    results = []
    others: dict[str, list[batch.Outcome]] = collections.defaultdict(list)
    for o in outcomes:
        name = f"{suite.name}/{o.name}"
        if o.kind == "passed":
            results.append(harness.Result(name, "passed", o.seconds))
        elif o.kind in ("wrong", "crashed"):
            results.append(harness.Result(name, "failed", o.seconds, f"{o.kind}: {o.message}"))
        elif o.name in expected:
            results.append(harness.Result(name, "failed", o.seconds, f"passed before, but is {o.kind}: {o.message}"))
        else:
            others[o.kind].append(o)
    for kind, found in others.items():
        title = f"{suite.name}/{len(found)}-{kind.replace(' ', '-')}"
        results.append(harness.Result(title, "passed", sum(o.seconds for o in found)))
    counted = [o for o in outcomes if o.kind not in ("broken", "not run") and not is_outside(o)]
    passed = sum(o.kind == "passed" for o in counted)
    if whole:
        enough = passed >= suite.share * len(counted)
        text = f"expected {suite.share:.0%} of {len(counted)} to pass, but got {passed}"
        results.append(harness.Result(f"{suite.name}/share", "passed" if enough else "failed", 0, "" if enough else text))
    return results


def short(message: str) -> str:
    """The part of a refusal that says why."""
    text = re.sub(r"^/\S+: ", "", message).split(";")[0]
    return re.sub(r"^(node|input|output) '[^']*' ?(\([^)]*\))?: ", "", text).replace("|", "/")[:160]


def reasons(suite: Suite, outcomes: list[batch.Outcome]) -> list[str]:
    """Rows of refusals: what is named, why, how many, which."""
    groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for o in outcomes:
        if o.kind == "refused run":
            groups["when run", short(o.message)].append(o.name)
        if o.kind != "unsupported":
            continue
        path = suite.folder / f"{o.name}.onnx"
        model = path if path.exists() else suite.folder / o.name / "model.onnx"
        ops, _ = batch.names_in(model)
        named = batch.named_in(o.message, model)
        groups[(named[0] if named and named[0] in ops else "an input or output", short(o.message))].append(o.name)
    order = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"| {op} | {why} | {len(which)} | {', '.join(which)} |" for (op, why), which in order]


def write_table(found: dict[str, list[batch.Outcome]], target: str) -> None:
    """Writes the lists of passed models and the tables in docs/."""
    passed = {name: [o.name for o in outcomes if o.kind == "passed"] for name, outcomes in found.items()}
    EXPECTED.write_text(json.dumps(passed, indent=0) + "\n", encoding="utf-8")
    lines = ["# Models of others", "",
             f"Written by `test/Conformance/run_suites.py --update` (`--target={target}`, {harness.cpu_name()}).", "",
             "| suite | models | passed | refused (4) | broken (3) | not run | refused when run | wrong | crashed | passed of those in scope |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, outcomes in found.items():
        counts = collections.Counter(o.kind for o in outcomes)
        inside = sum(o.kind not in ("broken", "not run") and not is_outside(o) for o in outcomes)
        numbers = " | ".join(str(counts[kind]) for kind in KINDS)
        lines.append(f"| {name} | {len(outcomes)} | {numbers} | {counts['passed'] / inside:.1%} |")
    lines += ["", "Not run: ONNX Runtime's CPU provider does not run the model. The oracle of ort-testdata is ONNX Runtime "
              "without graph optimisations, on random inputs; that of the others is the data in the suite. Strings, sequences, "
              "optionals, training and random operators are out of scope."]  # fmt: skip
    for suite in SUITES:
        rows = reasons(suite, found.get(suite.name, []))
        if rows:
            lines += ["", f"## Refused in {suite.name}", "", "| named | why | models | which |", "|---|---|---|---|", *rows]
    lines += ["", "## Exceptions", "", "| model | what | why |", "|---|---|---|"]
    lines += [f"| {name} | broken: exit code 3 | {why} |" for name, why in EXCEPTIONS["broken"].items()]
    lines += [f"| {name} | compared with onnx's reference evaluator | {why} |" for name, why in EXCEPTIONS["reference"].items()]
    lines += [f"| {name} | compared with its nodes in f64 | {why} |" for name, why in EXCEPTIONS["exact"].items()]
    lines += [f"| {name} | run on chosen inputs | {entry['why']} |" for name, entry in EXCEPTIONS["inputs"].items()]
    for name, entry in EXCEPTIONS["bounds"].items():
        share = f", {entry['most']:g} for {entry['share']:.2%} of the elements" if entry.get("share") else ""
        lines.append(f"| {name} | bound {entry['bound']:g}{share} | {entry['why']} |")
    lines += ["", "## Trained models", "", "`test/EndToEnd` compiles the models of vision, audio, nlp and external-data and compares "
              "them with ONNX Runtime on photographs, digits, speech and text. Refused are:", "",
              "| model | code | why |", "|---|---|---|"]  # fmt: skip
    lines += [f"| {path} | {code}, {name} | {why} |" for path, code, name, why in refused.REFUSED]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {EXPECTED.relative_to(harness.SOURCE)} and {TABLE.relative_to(harness.SOURCE)}")


def parse() -> argparse.Namespace:
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--update", action="store_true", help="write the list of passed models and the table")
    parser.add_argument("--only", default="", help="run the models whose path holds this text")
    parser.add_argument("--suite", default="", help="run one suite")
    parser.add_argument("--target", default="native")
    parser.add_argument("--json", help="write every outcome to this file")
    return parser.parse_args()


def main() -> None:
    options = parse()
    expected = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    results: list[harness.Result] = []
    found = {}
    for suite in SUITES:
        if options.suite not in ("", suite.name):
            continue
        if not suite.folder.is_dir():
            why = f"no models in {suite.folder}: set QCC_TEST_DATA"
            results += [harness.Result(f"{suite.name}/{name}", "skipped", 0, why) for name in expected.get(suite.name, ["all"])]
            continue
        outcomes = found[suite.name] = run_suite(suite, options.target, options.only)
        counts = collections.Counter(o.kind for o in outcomes)
        print(f"{suite.name}: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS), flush=True)
        results += to_results(suite, outcomes, set(expected.get(suite.name, [])), not options.only)
    if options.json:
        text = json.dumps({name: [vars(o) for o in outcomes] for name, outcomes in found.items()}, indent=1)
        pathlib.Path(options.json).write_text(text, encoding="utf-8")
    if options.update and not options.only and not options.suite:
        write_table(found, options.target)
    harness.finish("suites", results, options.junit)


if __name__ == "__main__":
    main()
