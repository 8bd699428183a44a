# Configuration of the lit suite: what RUN lines may call, and on what machines a test runs.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import os

import lit.formats

config.name = "qcc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test", ".textproto"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.qcc_build, "test", "lit")

# Folders whose tests are run by other means (test/run.py), and inputs.
config.excludes = [
    "Benchmark", "Conformance", "EndToEnd", "Fuzz", "Inputs", "Models",
    "Numerics", "Python", "Support", "Tree", "Unit",
]

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.qcc_build, "bin"), config.llvm_tools, os.environ["PATH"]]
)
config.environment["PYTHONPATH"] = os.path.join(config.qcc_source, "python")
config.environment["PYTHONDONTWRITEBYTECODE"] = "1"
for name in ("MALLOC_PERTURB_", "GLIBC_TUNABLES"):  # set by test/run.py
    if name in os.environ:
        config.environment[name] = os.environ[name]
# Each run of the suite has its own kernel cache: a test must not pass because of what another run left.
config.environment["QCC_CACHE_DIR"] = os.path.join(config.test_exec_root, "cache")

# %python           the project's Python, with numpy and onnx
# %make-onnx A B    writes the model in ONNX's text form A as the binary file B
# %shared           the folder with real models (only with the feature shared-data)
# %clang            the C and C++ compiler of the build
config.substitutions += [
    ("%python", config.python),
    ("%make-onnx", f"{config.python} {config.qcc_source}/test/Models/onnx_text.py"),
    ("%shared", config.shared_data),
    ("%clang", "clang-22"),
    ("%source", config.qcc_source),
    ("%build", config.qcc_build),
]

if os.path.isdir(os.path.join(config.shared_data, "models")):
    config.available_features.add("shared-data")
else:
    lit_config.note(f"no models in {config.shared_data}: tests that need them are unsupported")

with open("/proc/cpuinfo") as info:
    flags = next((line.split() for line in info if line.startswith("flags")), [])
for feature, needed in {
    "avx2": ["avx2", "fma", "f16c", "bmi2"],
    "avx512": ["avx512f", "avx512bw", "avx512dq", "avx512vl"],
    "avx512vnni": ["avx512_vnni", "avx512bw", "avx512vl"],
    "amx": ["amx_tile", "amx_int8", "amx_bf16"],
}.items():
    if set(needed) <= set(flags):
        config.available_features.add(feature)
