"""
Programs run in processes of their own, without each of them importing torch and transformers anew.

A server process imports these once, starts no thread, and forks for every program, which then imports this package and
runs as `python program arguments` does, seconds earlier; but all hash strings alike. Where a library reads the
environment when it is imported, as huggingface_hub does the Hub's address, start a program with `subprocess` instead.
"""

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.preloaded"])
SECONDS = 300


class Outcome(NamedTuple):
    """How a program ended, as `subprocess` has it; of several processes, the first that failed."""

    returncode: int
    stdout: str
    stderr: str


def run_program(program, *arguments, processes=1, cwd=ROOT, input="") -> Outcome:
    """`python program arguments` in the folder `cwd`, or that many processes of it as torchrun would start them."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "stdin"
        given.write_text(input)
        outputs = [(Path(folder) / f"{rank}.out", Path(folder) / f"{rank}.err") for rank in range(processes)]
        command = [str(program), *map(str, arguments)]
        environments = _environments(processes)
        started = [
            SERVER.Process(target=_run, args=(command, environment, str(cwd), str(given), *map(str, files)))
            for environment, files in zip(environments, outputs, strict=True)
        ]
        for process in started:
            process.start()
        _wait_for(started)
        outcomes = [
            Outcome(process.exitcode, *(file.read_text() for file in files))
            for process, files in zip(started, outputs, strict=True)
        ]
    return next((outcome for outcome in outcomes if outcome.returncode != 0), outcomes[0])


def _wait_for(processes) -> None:
    """Until all have ended; when one fails or takes too long, the others, which may wait for it, are ended too."""
    deadline = time.monotonic() + SECONDS
    while running := [process for process in processes if process.is_alive()]:
        wait([process.sentinel for process in running], timeout=max(0.0, deadline - time.monotonic()))
        if time.monotonic() > deadline or any(process.exitcode not in (None, 0) for process in processes):
            time.sleep(1)  # for those that end by themselves
            for process in running:
                process.kill()
                process.join()


def _environments(processes: int) -> list[dict[str, str]]:
    if processes == 1:
        return [dict(os.environ)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def _run(command: list[str], environment: dict[str, str], cwd: str, *files: str) -> None:
    """What a forked process does: it becomes the program, which reads and writes these files."""
    if "tests.preloaded" not in sys.modules:
        raise RuntimeError(f"The server imported nothing: run pytest in {ROOT}.")
    for descriptor, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    sys.stdin = os.fdopen(0)  # multiprocessing has put /dev/null there
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).absolute().parent))
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
