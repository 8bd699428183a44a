# Rules that hold for every file of the repository.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = (".cpp", ".h", ".c", ".td", ".def", ".py", ".mlir")
LINES = 700
# What programs and plugins may need besides the C++ runtime: shared LLVM and MLIR, never their archives.
LIBRARIES = re.compile(r"(lib(QCC|MLIR|LLVM|protobuf|z|zstd|crypto|zip|Cbc|CbcSolver|Cgl|OsiClp|OsiCbc|Osi|ClpSolver|Clp|CoinUtils|stdc\+\+|m|gcc_s|c)|ld-linux)[-.]")


def tracked() -> list[pathlib.Path]:
    """The files under version control, and those that would be."""
    words = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for name in names if (path := ROOT / name).is_file()]


def names(paths: list[pathlib.Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_files_are_short():
    long = [path for path in tracked() if path.suffix in CODE and len(path.read_text().splitlines()) > LINES]
    assert names(long) == []


def test_files_name_the_licence():
    lacking = [
        path
        for path in tracked()
        if path.suffix in (".cpp", ".h", ".c", ".td", ".def", ".py") and path.stat().st_size
        and "SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception" not in path.read_text()[:1000]
    ]  # fmt: skip
    assert names(lacking) == []


def test_nothing_is_left_for_later():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    left = [p for p in tracked() if p.suffix in CODE and p != pathlib.Path(__file__).resolve() and marks.search(p.read_text())]
    assert names(left) == []


def test_sources_are_formatted():
    sources = [str(path) for path in tracked() if path.suffix in (".cpp", ".h", ".c")]
    done = subprocess.run(["clang-format-22", "--dry-run", "--Werror", *sources], cwd=ROOT, capture_output=True, text=True)
    files = sorted(set(re.findall(r"^(?:\./)?([^\s:]+):\d+:\d+: error", done.stderr, re.MULTILINE)))
    assert [str(pathlib.Path(file).relative_to(ROOT)) for file in files] == [], "run ./dev format"
    assert done.returncode == 0, done.stderr


def test_headers_open_no_namespace():
    headers = [path for path in tracked() if path.suffix == ".h"]
    opening = [path for path in headers if re.search(r"^\s*using namespace ", path.read_text(), re.MULTILINE)]
    assert names(opening) == []


def test_passes_and_targets_stand_alone():
    """A folder of passes/ or targets/ includes the public headers and its own, as a plugin would."""
    wrong = []
    for path in tracked():
        part = path.relative_to(ROOT).parts
        if path.suffix not in (".cpp", ".h") or part[0] not in ("passes", "targets"):
            continue
        for include in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
            own = (path.parent / include).exists()
            if not own and not include.startswith(("qcc/", "mlir/", "llvm/", "llvm-c/", "lld/")):
                wrong.append(f"{path.relative_to(ROOT)}: {include}")
    assert wrong == []


def test_options_are_declared_in_tools():
    wrong = [
        path
        for path in tracked()
        if path.suffix in (".cpp", ".h") and path.relative_to(ROOT).parts[0] in ("lib", "include", "passes", "targets")
        and re.search(r"\bcl::(opt|list|alias)\b", path.read_text())
    ]  # fmt: skip
    assert names(wrong) == []


@pytest.mark.parametrize("program", ["bin/qcc", "bin/qcc-opt", "bin/qcc-run", "lib/libQCC.so"])
def test_programs_link_shared_libraries(program):
    """LLVM and MLIR are linked once, shared: no archive of theirs, and in qcc-run none of them at all."""
    path = ROOT / "build" / program
    needed = subprocess.run(["/usr/lib/llvm-22/bin/llvm-readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"NEEDED.*\[(.*)\]", needed)
    assert [library for library in libraries if not LIBRARIES.match(library)] == []
    linked = any(library.startswith(("libLLVM", "libMLIR")) for library in libraries)
    assert linked == (program != "bin/qcc-run")
    rules = (ROOT / "build" / "build.ninja").read_text()
    assert re.findall(r"\S*/lib(?:MLIR|LLVM)\w+\.a\b", rules) == []


# What may open files, and why that is no file a model names.
OPENERS = {
    "lib/Support/MappedFile.cpp": "the one resolver",
    "lib/Support/LibraryFile.cpp": "the library of an artifact that the user names",
    "lib/Support/AtomicDirectory.cpp": "the artifact that is written",
    "lib/Support/TemporaryFolder.cpp": "folders that qcc makes",
    "lib/Support/ScratchFile.cpp": "scratch files without a name",
    "lib/Calibration/Checkpoint.cpp": "the folder of checkpoints that the user names",
    "lib/Codegen/Compiler/KernelCache.cpp": "the kernel cache",
    "lib/Package/Link.cpp": "objects of the artifact and the linker's log",
    "lib/Data/TestData.cpp": "test data that the user names",
    "lib/Data/Npz.cpp": "arrays that the user names",
    "tools/qcc-run/Batch.cpp": "a list that the user names",
    "tools/qcc-run/Observe.cpp": "the manifest of an artifact that the user names",
    "tools/qcc/Compile.cpp": "-o",
    "tools/qcc/main.cpp": "/dev/null",
}


def test_models_open_files_in_one_place():
    """Names of files that come from a model are opened by the resolver of MappedFile.cpp and by nothing else."""
    calls = re.compile(r"(?<![\w.>:])(::)?(open|openat|fopen|creat)\(|SYS_openat2|std::i?fstream\b|MemoryBuffer::get(File|Open|STDIN)"
                       r"|openFileForRead|openNativeFile|raw_fd_ostream \w+\(|\bzip_open\(")  # fmt: skip
    found = {}
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if path.suffix != ".cpp" or not name.startswith(("lib/", "tools/", "passes/", "targets/")):
            continue
        if name.startswith("lib/Runtime/"):  # reads artifacts, on its own
            continue
        code = "\n".join(line.split("//")[0] for line in path.read_text().splitlines())
        if calls.search(code):
            found[name] = calls.search(code)[0]
    assert {name: call for name, call in found.items() if name not in OPENERS} == {}
    assert [name for name in OPENERS if name not in found] == [], "what opens no file any more is not to be listed"


def test_every_diagnostic_has_a_test():
    """Each code of the catalogue is expected by a test that makes the compiler say it; `qcc explain` alone does not count."""
    catalogue = (ROOT / "include/qcc/Support/Diagnostics.def").read_text()
    codes = re.findall(r'^QCC_DIAGNOSTIC\(\w+, "QCC-(E\d+)"', catalogue, re.MULTILINE)
    assert len(codes) == catalogue.count("\nQCC_DIAGNOSTIC(") > 20
    texts = [
        path.read_text()
        for path in tracked()
        if path.relative_to(ROOT).parts[0] == "test" and path.suffix in (".test", ".mlir", ".py") and "explain" not in path.name
    ]  # fmt: skip
    assert [code for code in codes if not any(re.search(rf"\b{code}\b", text) for text in texts)] == []
