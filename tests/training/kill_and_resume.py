"""
Kill training at random moments, resume it each time, and compare what comes out with an undisturbed run.

    python tests/training/kill_and_resume.py --kills 30
    python tests/training/kill_and_resume.py --kills 30 --processes 2

Trains a small byte-CRF on the embedded corpus. Weights, Adam's state, scores and the history of losses must be equal
bit for bit. About ten seconds a kill.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # comes with accelerate

ROOT = Path(__file__).parents[2]
CORPORA = [str(ROOT / "hf_polyglot" / "data" / "demo" / language) for language in ("swa", "spa")]
RECIPE = [
    str(ROOT / "recipes" / "byte_crf.py"), "--corpora", *CORPORA,
    "--embedding_size", "16", "--unit_hidden_size", "16", "--hidden_size", "16",
    "--max_train_sentences", "60", "--max_test_sentences", "20", "--per_device_train_batch_size", "4",
    "--num_train_epochs", "3", "--save_strategy", "steps", "--save_steps", "7", "--eval_strategy", "steps",
    "--eval_steps", "7", "--logging_strategy", "steps", "--logging_steps", "7", "--load_best_model_at_end", "false",
    "--use_cpu", "true", "--disable_tqdm", "true", "--resume_from_checkpoint", "true", "--seeds", "42",
    "--compare_selection", "true",
]  # fmt: skip


def command(folder: Path, processes: int) -> list[str]:
    """The recipe, started as `accelerate launch` starts it on so many processes of a CPU."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    )
    return [sys.executable, *launcher, *RECIPE, "--output_dir", str(folder)]


def start(folder: Path, processes: int, log: Path) -> subprocess.Popen:
    """The recipe in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(command(folder, processes), stdout=output, stderr=output, env=environment)


def outcome(folder: Path) -> dict[str, object]:
    """What must be the same, whatever happened on the way."""
    state = json.loads(max(folder.glob("seed-42/checkpoint-*/trainer_state.json"), key=_steps).read_text())
    timings = ("runtime", "per_second")
    return {
        **{name: (folder / name).read_bytes() for name in ("model.safetensors", "adam_state.safetensors")},
        **{key: json.loads((folder / "results.json").read_text())[key] for key in ("scores", "selection")},
        "history": [
            {key: value for key, value in entry.items() if not any(word in key for word in timings)}
            for entry in state["log_history"]
            if "train_runtime" not in entry
        ],
    }


def _steps(path: Path) -> int:
    return int(path.parent.name.rpartition("-")[2])


def kill_and_resume(kills: int, processes: int, seed: int) -> bool:
    """
    Whether a run that is killed so many times ends as an undisturbed one.

    Args:
        kills (`int`):
            How often; the run is started anew, in another folder, each time it has ended.
        processes (`int`):
            That it trains on.
        seed (`int`):
            Of the moments.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name, "log.txt")
        if start(folder / "whole", processes, log).wait() != 0:
            print(log.read_text()[-3000:])
            return False
        expected = outcome(folder / "whole")
        killed = 0
        while killed < kills:
            shutil.rmtree(folder / "killed", ignore_errors=True)
            process = start(folder / "killed", processes, log)
            is_at_its_end = False  # where it is killed once, and would otherwise be again and again
            while killed < kills and not is_at_its_end and reached(folder / "killed", process, draw.randint(0, 8)):
                is_at_its_end = (folder / "killed" / "model.safetensors").exists()
                time.sleep(draw.uniform(0, 0.15))  # a step takes some hundredths of a second, a checkpoint too
                kill(process)
                killed += 1
                steps = [_steps(path) for path in folder.glob("killed/seed-42/checkpoint-*/trainer_state.json")]
                place = "at the end" if is_at_its_end else f"behind step {max(steps, default=0)}"
                print(f"kill {killed} {place}", flush=True)
                process = start(folder / "killed", processes, log)
            if process.wait() != 0:
                print(log.read_text()[-3000:])
                return False
            found = outcome(folder / "killed")
            different = [key for key in expected if found[key] != expected[key]]
            print(f"after {killed} kills, different from undisturbed: {', '.join(different) or 'nothing'}", flush=True)
            if different:
                return False
    return True


def kill(process: subprocess.Popen) -> None:
    """Kill the recipe and all processes that it has started, some of them in sessions of their own."""
    tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    _, alive = psutil.wait_procs(tree[:-1], timeout=60)
    if alive:
        raise RuntimeError(f"Processes outlived their kill: {alive}. End them by hand.")


def reached(folder: Path, process: subprocess.Popen, more: int) -> bool:
    """
    Wait until this process has begun so many checkpoints more, or writes what is left at the end.

    Returns:
        `bool`: whether it has not ended before.
    """
    before = set(folder.glob("seed-42/checkpoint-*"))
    seen = set()
    while process.poll() is None:
        # Older ones are removed, and a checkpoint that was not finished is begun again.
        seen |= set(folder.glob("seed-42/checkpoint-*")) - before
        if len(seen) > more or (folder / "model.safetensors").exists():
            return True
        time.sleep(0.002)
    return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="How often to kill.")
    parser.add_argument("--processes", type=int, default=1, help="Processes to train on.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the moments at which to kill.")
    given = parser.parse_args()
    sys.exit(not kill_and_resume(given.kills, given.processes, given.seed))
