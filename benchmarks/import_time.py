"""
How long `import hf_polyglot` takes beyond `import transformers`, and what each of them imports.

    python benchmarks/import_time.py

Every time is that of a fresh process, the two in turns. Goal: at most 0.2 s more, and no datasets, evaluate, peft or
matplotlib.
"""

import argparse
import json
import statistics
import subprocess
import sys

HEAVY = ("torch", "datasets", "evaluate", "peft", "matplotlib", "numba", "accelerate", "scipy")
PROGRAM = f"""
import json, sys, time
start = time.perf_counter()
import transformers
if len(sys.argv) > 1:
    import hf_polyglot
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {HEAVY} if name in sys.modules], transformers.__version__]))
"""


def timed(*names: str) -> tuple[float, list[str], str]:
    """Seconds of the imports in a fresh process, the heavy packages that came along, transformers' version."""
    output = subprocess.run([sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=True).stdout
    return tuple(json.loads(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    timed(), timed("hf_polyglot")  # the files are read from the disk once
    alone, both = zip(*((timed(), timed("hf_polyglot")) for _ in range(runs)), strict=True)
    medians = [statistics.median(seconds for seconds, *_ in of) for of in (alone, both)]
    print(f"Python {sys.version.split()[0]}, transformers {alone[0][2]}, medians of {runs} processes")
    print(f"import transformers               {medians[0]:.3f} s, with {', '.join(alone[0][1]) or 'nothing heavy'}")
    print(f"import transformers, hf_polyglot  {medians[1]:.3f} s, with {', '.join(both[0][1]) or 'nothing heavy'}")
    print(f"hf_polyglot adds                  {medians[1] - medians[0]:+.3f} s (goal: at most 0.2)")


if __name__ == "__main__":
    main()
