#!/usr/bin/env python3
# Compiles random graphs and compares them with ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each graph has random nodes over the supported operators and up to two symbolic dimensions, and is run at three sets of
sizes, with 1 and sometimes 0 among them. A graph that differs is made smaller while it still fails, then printed and
kept as build/test/random/SEED.onnx with its inputs.

--seed=N --count=N   the graphs to make (default: 50 from seed 0 on; 1000 in a soak)
--target=NAME        what to compile for
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Support"))
import batch
import harness
import numpy as np
import onnx
import oracle
import qcc
import random_graph
from random_flow import DATA, FLOW
from random_graph import Case, Graph, Value, reads
from random_moves import MOVES, SHAPES
from random_ops import ELEMENTWISE, PRODUCTS, REDUCTIONS, SPECIAL

KEPT = harness.BUILD / "test" / "random"
SECONDS = 60
# A graph may be refused by name; more than this share of them and the test says too little.
MOST_REFUSED = 0.1
FAMILIES = [(ELEMENTWISE, 5), (PRODUCTS, 2), (REDUCTIONS, 2), (MOVES, 4), (SHAPES, 1), (DATA, 1), (FLOW, 1)]


def make_case(seed: int) -> Case:
    """The graph of a seed."""
    graph = Graph(seed)
    rng = graph.rng
    for _ in range(graph.integer(1, 3)):
        dims: list[int | str] = [graph.integer(1, 6) for _ in range(graph.integer(1, 5))]
        for name in random_graph.SYMBOLS:
            if graph.chance(0.5):
                dims[graph.integer(0, len(dims) - 1)] = name
        graph.add_input(graph.one_of(["float32"] * 5 + ["int64", "int32", "bool", "float64", "float16"]), dims)
    families = [(SPECIAL, 3), (MOVES, 2)] if graph.special else FAMILIES
    weights = np.array([weight for _, weight in families], float)
    wanted = graph.integer(3, 16)
    for _ in range(6 * wanted):
        if len(graph.nodes) >= wanted:
            break
        family = families[int(rng.choice(len(families), p=weights / weights.sum()))][0]
        graph.one_of(family)(graph)
    return random_graph.finish(graph)


@dataclasses.dataclass
class Failed:
    """How a graph fails: the kind, what was said, and the output that is wrong if one is."""

    kind: str
    message: str
    output: str = ""


def run_case(case: Case, artifact: pathlib.Path) -> Failed | None:
    """Runs a compiled graph at all sets; None when all outputs agree."""
    session = oracle.load(case.model().SerializeToString())
    loaded = qcc.load(artifact, threads=1)
    narrow = any(tensor.dtype == np.float16 for value in case.inputs for tensor in value.arrays) or any(
        attribute.name == "to" and attribute.i in oracle.NARROW for node in case.nodes for attribute in node.attribute
    )
    for i, feed in enumerate(case.feeds()):
        want = oracle.run(session, feed)
        try:
            got = loaded(feed)
        except qcc.QccError as error:
            return Failed("refused when run", f"set {i}: {error} ({oracle.pairs(feed)})")
        for name in want:
            what = oracle.mismatch(got, {name: want[name]}, 1e-2 if narrow else None)
            if what:
                return Failed("wrong", f"set {i}: {what} ({oracle.pairs(feed)})", name)
    return None


def judge(case: Case, artifact: pathlib.Path, compiled: tuple[int, str] | None) -> Failed | None:
    """How a graph ends."""
    if compiled is None:
        return Failed("crashed", "qcc ended without a word about it")
    code, message = compiled
    if code == batch.UNSUPPORTED:
        return Failed("refused", message)
    return Failed("crashed", f"qcc: exit status {code}: {message}") if code else run_case(case, artifact)


def run_cases(cases: list[Case], target: str) -> list[Failed | None]:
    """How each of some graphs ends."""
    with tempfile.TemporaryDirectory(prefix="qcc-random-") as folder:
        scratch = pathlib.Path(folder)
        items = []
        for i, case in enumerate(cases):
            model = scratch / f"{i}.onnx"
            onnx.save(case.model(), model)
            items.append((model, scratch / f"{i}.qcc"))
        compiled = batch.compile_all(items, scratch, target)
        jobs = [lambda c=c, m=m, a=a: judge(c, a, compiled.get(m)) for c, (m, a) in zip(cases, items)]
        found = batch.run_forked(jobs, SECONDS)
    return [outcome if fine else Failed("crashed", str(outcome)) for fine, outcome in found]


def cone(case: Case, outputs: list[str]) -> Case:
    """The nodes that some outputs need."""
    needed, nodes = set(outputs), []
    for node in reversed(case.nodes):
        if needed & set(node.output):
            needed |= reads(node)
            nodes.insert(0, node)
    return dataclasses.replace(case, nodes=nodes, outputs=outputs)


def all_values(case: Case) -> dict[str, list[np.ndarray]]:
    """Every value of a graph at each set, by ONNX Runtime."""
    names = [name for node in case.nodes for name in node.output]
    session = oracle.load(dataclasses.replace(case, outputs=names).model().SerializeToString())
    runs = [oracle.run(session, feed) for feed in case.feeds()]
    return {name: [run[name] for run in runs] for name in names}


def without(case: Case, values: dict[str, list[np.ndarray]], name: str, constant: bool) -> Case:
    """The graph with a value as an input (or as a constant where it is the same at all sets) in place of its node."""
    arrays = values[name]
    inputs, constants = list(case.inputs), dict(case.constants)
    if constant:
        constants[name] = arrays[0]
    else:
        inputs.append(Value(name, arrays, True))
    nodes = [node for node in case.nodes if name not in node.output]
    return cone(dataclasses.replace(case, nodes=nodes, inputs=inputs, constants=constants), case.outputs)


def shrink(case: Case, failed: Failed, target: str, budget: float) -> tuple[Case, Failed]:
    """A smaller graph that fails in the same way: one output if one is wrong, then nodes away while it still fails."""
    deadline = time.monotonic() + budget

    def still(candidate: Case) -> Failed | None:
        found = run_cases([candidate], target)[0]
        return found if found and found.kind == failed.kind else None

    for name in [failed.output] if failed.output else case.outputs:
        smaller = cone(case, [name])
        found = still(smaller)
        if found:
            case, failed = smaller, found
            break
    (fine, values), = batch.run_forked([lambda: all_values(case)], SECONDS)
    if not fine:  # then it stays as large as it is
        return case, failed
    changed = True
    while changed:
        changed = False
        for node in list(reversed(case.nodes)):
            if time.monotonic() > deadline:
                return case, failed
            if len(node.output) != 1 or node.output[0] in case.outputs:
                continue
            arrays = values[node.output[0]]
            same = all(np.array_equal(array, arrays[0]) for array in arrays) and arrays[0].size <= 64
            smaller = without(case, values, node.output[0], same and arrays[0].dtype == np.int64)
            if len(smaller.nodes) == len(case.nodes):
                continue
            found = still(smaller)
            if found:
                case, failed, changed = smaller, found, True
                break
    return case, failed


def keep(case: Case) -> pathlib.Path:
    """Writes a graph and its inputs where they can be looked at."""
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{case.seed}.onnx"
    onnx.save(case.model(), path)
    for i, feed in enumerate(case.feeds()):
        np.savez(path.with_suffix(f".{i}.npz"), **feed)
    return path


def parse() -> argparse.Namespace:
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, help="how many graphs")
    parser.add_argument("--target", default="native")
    parser.add_argument("--print", action="store_true", help="print the graphs, run nothing")
    options = parser.parse_args()
    options.count = options.count or (1000 if options.soak else 50)
    return options


def describe(case: Case) -> str:
    """A graph as text, with the shapes of its inputs."""
    shapes = {value.name: f"{value.dtype}{[list(a.shape) for a in value.arrays]}" for value in case.inputs}
    return onnx.printer.to_text(case.model()) + f"\ninputs: {shapes}"


def main() -> None:
    options = parse()
    results = []
    kinds: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    seeds = range(options.seed, options.seed + options.count)
    if options.print:
        for seed in seeds:
            print(describe(make_case(seed)))
        return
    for first in range(0, len(seeds), 100):
        part = seeds[first : first + 100]
        start = time.monotonic()
        made = dict(zip(part, batch.run_forked([lambda s=s: make_case(s) for s in part], SECONDS)))
        for seed, (fine, text) in made.items():
            if not fine:
                kinds["without a reference"] += 1
                print(f"seed{seed} has no reference: ONNX Runtime {text}", flush=True)
        cases = [case for fine, case in made.values() if fine and case.outputs]
        for case, failed in zip(cases, run_cases(cases, options.target)):
            kinds[failed.kind if failed else "passed"] += 1
            name = f"seed{case.seed}"
            if failed is None:
                results.append(harness.Result(name, "passed", (time.monotonic() - start) / len(cases)))
            elif failed.kind == "refused":
                reasons[re.sub(r"'[^']*'|\d+", "_", failed.message.split(": ", 1)[-1].split(";")[0])] += 1
            else:
                print(f"{failed.kind.upper()} {name}: {failed.message}", flush=True)
                small, failed = shrink(case, failed, options.target, 60)
                path = keep(small)
                print(f"smaller, {path}:\n{describe(small)}\n{failed.message}", flush=True)
                results.append(harness.Result(name, "failed", 0, f"{failed.kind}: {failed.message}"))
        print(f"{min(first + 100, len(seeds))} of {len(seeds)}: {dict(kinds)}", flush=True)
    for reason, count in reasons.most_common():
        print(f"refused {count}: {reason}")
    few = kinds["refused"] <= MOST_REFUSED * sum(kinds.values())
    text = f"expected at most {MOST_REFUSED:.0%} of {sum(kinds.values())} to be refused, but got {kinds['refused']}"
    results.append(harness.Result("share", "passed" if few else "failed", 0, "" if few else text))
    harness.finish("random", results, options.junit)


if __name__ == "__main__":
    main()
