#!/usr/bin/env python3
# Quantizes a model on several machines: runs the shards of each round of calibration by a launcher.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""calibrate.py --shards=N [--launch=HOW] -- MODEL --calib=DATA --checkpoint=DIR [flags of qcc] -o ARTIFACT

Sequential algorithms need statistics of each block's inputs once the blocks before it are quantized. `qcc --shards=N`
goes as far as statistics are there, and leaves a file `wanted` in DIR when it needs those of N shards of the samples;
this script then has N processes `qcc calibrate --shard=I/N` write them into DIR, which all machines must see, and starts
over. The artifact has the bytes that one process would have written.

--launch=local          N processes on this machine (default)
--launch=ray            N tasks of Ray: of the cluster in $RAY_ADDRESS, else of this machine
--launch='mpirun -n N'  any command that starts this script N times with a rank in the environment: MPI, srun, jobs of
                        Kubernetes with an index
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

# Flags that say what becomes of the weights.
ONLY_COMPILE = ("-o", "--emit", "--require-fused", "--embed-weights", "--no-embed-weights", "--json")
RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "JOB_COMPLETION_INDEX")


def run(command: list[str]) -> tuple[int, str]:
    """Exit code and messages of a command."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    return done.returncode, done.stderr


def shard_command(qcc: str, flags: list[str], number: int, count: int) -> list[str]:
    """What computes shard `number` (from 1) of the round that is due."""
    own = [flag for i, flag in enumerate(flags) if not flag.startswith(ONLY_COMPILE) and (i == 0 or flags[i - 1] != "-o")]
    return [qcc, "calibrate", *own, f"--shard={number}/{count}"]


def launch_local(commands: list[list[str]]) -> None:
    started = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace") for command in commands]
    problems = [process.communicate()[1] for process in started]
    for process, problem in zip(started, problems):
        # All say the same of what they share: the first is enough.
        if process.returncode != 0:
            sys.exit(f"{problem}failed: {' '.join(process.args)}")


def launch_ray(commands: list[list[str]]) -> None:
    import ray

    if not ray.is_initialized():
        # Without a cluster, one on this machine; a shard uses the cores that it finds, so that all may run at once.
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": len(commands), "include_dashboard": False}
        ray.init(log_to_driver=False, **here)
    shard = ray.remote(max_retries=2)(run)
    for status, problems in ray.get([shard.remote(command) for command in commands]):
        if status != 0:
            sys.exit(problems)


def launch_ranks(starter: list[str], commands: list[list[str]]) -> None:
    """Has the starter run this script with each rank's command."""
    flags = commands[0][:-1]
    done = subprocess.run([*starter, sys.executable, __file__, f"--shards={len(commands)}", "--rank", "--", *flags], stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(done.returncode)


def run_rank(command: list[str], count: int) -> None:
    """A process that a starter made: finds out which one it is."""
    rank = next((os.environ[name] for name in RANKS if name in os.environ), None)
    if rank is None or int(rank) >= count:
        sys.exit(f"expected a rank below {count} in one of {', '.join(RANKS)}, but got {rank}")
    os.execvp(command[0], [*command, f"--shard={int(rank) + 1}/{count}"])


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--launch", default="local")
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("flags", nargs="+")
    args = parser.parse_args()
    if args.rank:
        run_rank(args.flags, args.shards)
    if args.shards < 1:
        parser.error(f"expected --shards=1 or more, but got {args.shards}")
    starter = args.launch.split()
    if args.launch not in ("local", "ray") and not (starter and shutil.which(starter[0])):
        parser.error(f"expected --launch=local, ray or a command, but found no program '{' '.join(starter[:1])}'")
    qcc = os.environ.get("QCC") or shutil.which("qcc") or sys.exit("found no program qcc: put it on the PATH, or its path into QCC")
    commands = [shard_command(qcc, args.flags, i + 1, args.shards) for i in range(args.shards)]
    folder = next((flag.split("=", 1)[1] for flag in args.flags if flag.startswith("--checkpoint=")), None)
    wanted = pathlib.Path(folder or sys.exit("expected --checkpoint=DIR")) / "wanted"
    rounds = 0
    while True:
        wanted.unlink(missing_ok=True)
        status, problems = run([qcc, *args.flags, f"--shards={args.shards}"])
        if status == 0 or not wanted.exists():
            sys.stderr.write(problems)
            print(f"{rounds} rounds of {args.shards} shards")
            sys.exit(status)
        rounds += 1
        if args.launch == "local":
            launch_local(commands)
        elif args.launch == "ray":
            launch_ray(commands)
        else:
            launch_ranks(starter, commands)


if __name__ == "__main__":
    main()
