//===- Options.td - the command line of qcc ------------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One table for all sub-commands: the visibility of a flag says which of them
// take it. Flags with HelpHidden are shown by --help-advanced.
//
//===----------------------------------------------------------------------===//
include "llvm/Option/OptParser.td"

// One per sub-command; the order is that of `enum class Verb`.
def CompileVis : OptionVisibility;
def CheckVis : OptionVisibility;
def InspectVis : OptionVisibility;
def CalibrateVis : OptionVisibility;
def MergeStatsVis : OptionVisibility;
def CompareVis : OptionVisibility;
def EvalVis : OptionVisibility;
def ReportVis : OptionVisibility;
def VerifyVis : OptionVisibility;
def TargetsVis : OptionVisibility;
def SchemesVis : OptionVisibility;
def ExplainVis : OptionVisibility;

defvar All = [CompileVis, CheckVis, InspectVis, CalibrateVis, MergeStatsVis, CompareVis, EvalVis, ReportVis, VerifyVis,
              TargetsVis, SchemesVis, ExplainVis];
// What reads a model.
defvar Readers = [CompileVis, CheckVis, InspectVis, CalibrateVis, CompareVis, EvalVis];
// What runs the compiler's stages.
defvar Makers = [CompileVis, CalibrateVis, CompareVis];

class Switch<string name, list<OptionVisibility> vis, string help>
    : Flag<["--"], name>, Visibility<vis>, HelpText<help>;
class Setting<string name, string var, list<OptionVisibility> vis, string help>
    : Joined<["--"], name # "=">, MetaVarName<var>, Visibility<vis>, HelpText<help>;

def grp_make : OptionGroup<"<what to make>">, HelpText<"WHAT TO MAKE">;
def grp_data : OptionGroup<"<data>">, HelpText<"DATA AND SHAPES">;
def grp_run : OptionGroup<"<run>">, HelpText<"HOW IT RUNS">;

// What to make.
def output : JoinedOrSeparate<["-"], "o">, MetaVarName<"PATH">, Visibility<[CompileVis, CalibrateVis, MergeStatsVis, ReportVis]>,
             Group<grp_make>, HelpText<"Folder or file to write (default: MODEL.qcc; of calibrate MODEL.stats, of report report.html)">;
def target : Setting<"target", "NAME", [CompileVis, CalibrateVis, CompareVis, TargetsVis],
                     "Machine to compile for (default: native; see `qcc targets`)">, Group<grp_make>;
def precision : Setting<"precision", "NAME", Makers, "Numbers to compute in (default: f32; see `qcc schemes`); several or mixed with a budget">,
                Group<grp_make>;
def algo : CommaJoined<["--"], "algo=">, MetaVarName<"NAME,...">, Visibility<Makers>, Group<grp_make>,
           HelpText<"Choose weights by data: clip, awq, gptq, gptq-correct, refine, smoothquant, rotate ... (qcc schemes)">;
def max_size : Setting<"max-size", "X", [CompileVis],
                       "Mixed precision: weights of at most 0.3x of the float model's, or 120MB">, Group<grp_make>;
def max_latency : Setting<"max-latency", "X", [CompileVis],
                          "Mixed precision: at most 0.5x of the float model's predicted time">, Group<grp_make>;
def sensitivity : Setting<"sensitivity", "HOW", [CompileVis],
                          "How mixed precision finds losses: measured, estimated or auto">,
                  Group<grp_make>, Flags<[HelpHidden]>;
def keep : Setting<"keep", "REGEX", Makers, "Nodes to leave in float; may be repeated">, Group<grp_make>;
def require_fused : Switch<"require-fused", [CompileVis], "Refuse a node that cannot run in the precision asked for">,
                    Group<grp_make>;
def emit : Setting<"emit", "STAGE", [CompileVis],
                   "Stop after a stage and print it (import ... emit), or make obj, a, qdq-onnx">, Group<grp_make>;
def symbol_prefix : Setting<"symbol-prefix", "P", [CompileVis], "Of obj and a: what the symbol begins with, so that several models link together">,
                    Group<grp_make>, Flags<[HelpHidden]>;
def embed_weights : Switch<"embed-weights", [CompileVis], "Put the weights in the library (default: below 16 MiB)">,
                    Group<grp_make>;
def no_embed_weights : Switch<"no-embed-weights", [CompileVis], "Leave the weights in weights.safetensors">,
                       Group<grp_make>, Flags<[HelpHidden]>;
def recipe : Setting<"recipe", "FILE", Makers, "Take the choices of a recipe.yaml; flags have the last word">,
             Group<grp_make>;
def tune : Setting<"tune", "FILE", [CompileVis],
                   "Take the fastest schedules of kernels from a file, timing those that it lacks on this machine">,
           Group<grp_make>;
def load_plugin : Setting<"load-plugin", "LIB", All, "Load a plugin; may be repeated">, Group<grp_make>;

// Data and shapes.
def calib : Setting<"calib", "DATA", Makers, "Calibrate on an .npz, a folder of them or ONNX test data">,
            Group<grp_data>;
def calib_mode : Setting<"calib-mode", "MODE", [CompileVis, CalibrateVis],
                        "sequential: algorithms see inputs of quantized layers (default); parallel: of the float model">,
                Group<grp_data>;
def stats : Setting<"stats", "FILE", Makers, "Statistics that `qcc calibrate` wrote">, Group<grp_data>;
def calib_nan : Setting<"calib-nan", "WHAT", !listconcat(Makers, [MergeStatsVis]),
                        "Samples with NaN: tolerate (skip up to 1 %, the default), refuse or skip">, Group<grp_data>;
def calib_method : Setting<"calib-method", "NAME", [CompileVis, CalibrateVis],
                           "Ranges from statistics: minmax (default), percentile[:P], entropy or mse">, Group<grp_data>;
def shard : Setting<"shard", "I/N", [CalibrateVis], "Use every N-th sample from the I-th on; see `qcc merge-stats`">,
            Group<grp_data>;
def checkpoint : Setting<"checkpoint", "DIR", [CompileVis, CalibrateVis],
                        "Keep finished work of --algo in a folder; an interrupted run goes on from there">, Group<grp_data>;
def shards : Setting<"shards", "N", [CompileVis],
                     "With --checkpoint: N processes `qcc calibrate --shard=I/N` run the samples">,
             Group<grp_data>;
def dim : Setting<"dim", "NAME=RULE", Readers, "A dimension's size (8), sizes (1,8), bounds (1..64) or equal">, Group<grp_data>;
def state : Setting<"state", "INPUT=OUTPUT", [CompileVis, CheckVis, CalibrateVis, CompareVis, EvalVis],
                    "Keep an output and feed it to an input of the next run">, Group<grp_data>;
def drop_output : Setting<"drop-output", "REGEX", Makers,
                          "Outputs to leave out, say those that states keep; may be repeated">, Group<grp_data>;
def inputs : Setting<"inputs", "NPZ", [CompareVis], "Inputs to run both sides on">, Group<grp_data>;
def reference : Setting<"against", "NAME", [CompareVis], "Target to compare with (default: reference)">,
                Group<grp_data>;
def rtol : Setting<"rtol", "X", [CompareVis],
                   "Largest difference allowed, of the reference's largest magnitude (default: 1e-4)">,
           Group<grp_data>;
def eval_reference : Setting<"reference", "MODEL", [EvalVis], "Model that is compiled in fp32, or an artifact">,
                     Group<grp_data>;
def data : Setting<"data", "DATA", [EvalVis], "Measure on an .npz, a folder of them or ONNX test data">, Group<grp_data>;
def metric : CommaJoined<["--"], "metric=">, MetaVarName<"NAME,...">, Visibility<[EvalVis]>, Group<grp_data>,
             HelpText<"cosine, sqnr, top1, perplexity, kl (default: cosine,sqnr)">;
def eval_output : Setting<"output", "NAME", [EvalVis], "Output that is measured (default: the first)">, Group<grp_data>;
def labels : Setting<"labels", "NAME", [EvalVis], "Array of the data with labels for top1 (default: agreement)">,
             Group<grp_data>;
def tokens : Setting<"tokens", "NAME", [EvalVis],
                     "Array with token ids for perplexity (default: the input that has them)">, Group<grp_data>;
def min_cos : Setting<"min-cos", "X", [CompileVis, CalibrateVis, EvalVis],
                      "Least cosine with fp32, for which int8 keeps layers (default: 0.99; 0: none); eval exits with 6">,
              Group<grp_data>;
def no_correct_bias : Switch<"no-correct-bias", [CompileVis, CalibrateVis],
                             "int8 with --calib: do not add the mean error of layers to their biases">,
                      Group<grp_data>;
def correct_bias : Switch<"correct-bias", [CompileVis, CalibrateVis], "int8 with --calib: correct biases (the default), whatever the recipe says">,
                   Group<grp_data>, Flags<[HelpHidden]>;
def max_drop : Setting<"max-drop", "X", [CompileVis, EvalVis],
                       "Loss of top1 or perplexity allowed, as 0.01 or 1%: a budget of mixed precision; eval exits with 6">,
               Group<grp_data>;
def report_file : Setting<"report", "FILE", [EvalVis], "Write what was measured and what was compiled as a page (HTML)">,
                  Group<grp_data>;
def profile : Setting<"profile", "FILE", [ReportVis],
                      "What `qcc-run --profile --ceilings --json` printed; one for each artifact, in order">,
              Group<grp_data>;
def eval_file : Setting<"eval", "FILE", [ReportVis], "What `qcc eval --json` printed for these artifacts">, Group<grp_data>;

// How it runs.
def jobs : Setting<"jobs", "N", !listconcat(Makers, [EvalVis]), "Kernels compiled at the same time (default: all cores)">, Group<grp_run>;
def max_memory : Setting<"max-memory", "MIB", Readers, "Stop with exit code 7 when more memory is needed">,
                 Group<grp_run>;
def cache_dir : Setting<"cache-dir", "DIR", !listconcat(Makers, [EvalVis]),
                        "Compiled kernels are kept here (default: $QCC_CACHE_DIR, or qcc in the user's cache)">,
                Group<grp_run>, Flags<[HelpHidden]>;
def no_cache : Switch<"no-cache", !listconcat(Makers, [EvalVis]), "Compile every kernel anew">, Group<grp_run>, Flags<[HelpHidden]>;
def json : Switch<"json", All, "Print the result as JSON">, Group<grp_run>;
def progress : Setting<"progress", "WHEN", Readers, "auto, plain, bar or none">, Group<grp_run>, Flags<[HelpHidden]>;
def color : Setting<"color", "WHEN", All, "auto, always or never">, Group<grp_run>, Flags<[HelpHidden]>;
def quiet : Flag<["-"], "q">, Visibility<Readers>, Group<grp_run>, HelpText<"Print errors only">;
def verbose : Flag<["-"], "v">, Visibility<Readers>, Group<grp_run>, HelpText<"Print what happened to every operation">;
def batch : Setting<"batch", "FILE", [CompileVis],
                    "Compile many: a line MODEL<tab>FOLDER for each; prints a line for each">,
            Group<grp_run>, Flags<[HelpHidden]>;

def list_ops : Switch<"list-ops", [CheckVis], "Print the table of ONNX operators that are supported">, Group<grp_run>;
def help : Switch<"help", All, "Show this text">, Group<grp_run>;
def help_h : Flag<["-"], "h">, Alias<help>, Visibility<All>;
def help_advanced : Switch<"help-advanced", All, "Show all flags">, Group<grp_run>;
def version : Switch<"version", All, "Show the version">, Group<grp_run>;
