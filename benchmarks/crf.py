"""
Time of the CRF's loss with its gradient, of Viterbi decoding and of marginals, over that of pytorch-crf.

    pip install pytorch-crf
    python benchmarks/crf.py
    python benchmarks/crf.py --device cuda

All contestants take turns in one process, at batch x words x labels, with all sentences of full length. `languages`
are transition scores of four languages, which pytorch-crf does not have: there its time is that of one. The goals are
25, 60, 150 and 20 times the speed of pytorch-crf for the loss at the first four sizes, and 10 times for decoding; on a
GPU, 30 times for the loss at 64x128x9.

`--clock cpu` counts the time on the processor, for a machine that other programs share; it wants one thread.
"""

import argparse
import platform
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from time import perf_counter, process_time

import torch
from torchcrf import CRF as PytorchCRF

from hf_polyglot import LinearChainCRF

SIZES = [(32, 30, 9), (32, 128, 9), (16, 512, 9), (256, 30, 9), (32, 30, 64)]
SIZES_ON_GPU = [(64, 128, 9), *SIZES]
IMPLEMENTATIONS = {"cpu": ("reference", "matrix", "compiled"), "cuda": ("reference", "matrix", "triton")}


def tasks(
    device: str, batch: int, words: int, labels: int, num_languages: int | None
) -> dict[str, dict[str, Callable[[], object]]]:
    """Functions without arguments, by task and contestant."""
    emissions = torch.randn(batch, words, labels, device=device, requires_grad=True)
    gold = torch.randint(labels, (batch, words), device=device)
    mask = torch.ones(batch, words, dtype=torch.bool, device=device)
    ids = None if num_languages is None else torch.arange(batch, device=device) % num_languages
    peer = PytorchCRF(labels, batch_first=True).to(device)
    ours = {name: LinearChainCRF(labels, num_languages=num_languages).to(device) for name in IMPLEMENTATIONS[device]}
    for name, crf in ours.items():
        crf.implementation = name

    def loss(compute: Callable[[], torch.Tensor], crf: torch.nn.Module) -> None:
        emissions.grad = None
        crf.zero_grad()
        (-compute()).sum().backward()

    def ungraded(compute: Callable[[], object]) -> object:
        with torch.no_grad():
            return compute()

    return {
        "loss": {"pytorch-crf": lambda: loss(lambda: peer(emissions, gold, mask), peer)}
        | {
            name: lambda crf=crf: loss(lambda: crf.log_likelihood(emissions, gold, mask, ids), crf)
            for name, crf in ours.items()
        },
        "decode": {"pytorch-crf": lambda: ungraded(lambda: peer.decode(emissions, mask))}
        | {name: lambda crf=crf: ungraded(lambda: crf.decode(emissions, mask, ids)) for name, crf in ours.items()},
        "marginals": {
            name: lambda crf=crf: ungraded(lambda: crf.marginals(emissions, mask, ids)) for name, crf in ours.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--turn_seconds", type=float, default=0.05, help="At least one run is made in a turn.")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--device", choices=list(IMPLEMENTATIONS), default="cpu")
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    clock = perf_counter if arguments.clock == "wall" else process_time
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    compiler = "triton" if on_gpu else "numba"
    print(
        torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads",
        f"{arguments.clock} time, torch {torch.__version__}, {compiler} {version(compiler)}, pytorch-crf "
        f"{version('pytorch-crf')}, Python {platform.python_version()}",
        sep=", ",
    )
    torch.manual_seed(0)
    sizes = SIZES_ON_GPU if on_gpu else SIZES
    for size, num_languages in [*((size, None) for size in sizes), (sizes[0], 4)]:
        for task, contestants in tasks(arguments.device, *size, num_languages).items():
            seconds: dict[str, list[float]] = {name: [] for name in contestants}
            for name, run in contestants.items():
                started = clock()
                run()  # also compiles, where no earlier process has
                run()
                wait()
                if clock() - started > 1:
                    print(f"{name} {task}: {clock() - started:.1f} s until it was compiled or read")
            for _ in range(arguments.turns):
                for name, run in contestants.items():  # in turns, so that a slow moment hits all alike
                    until = clock() + arguments.turn_seconds
                    while True:
                        started = clock()
                        run()
                        wait()
                        stopped = clock()
                        seconds[name].append(stopped - started)
                        if stopped > until:
                            break
            first, *_ = seconds
            title = "x".join(map(str, size)) + (" languages" if num_languages else "")
            print(
                f"{title:18} {task:9}",
                *(
                    f"{name} {1000 * median(times):.2f} ms ({median(seconds[first]) / median(times):.1f}, best "
                    f"{min(seconds[first]) / min(times):.1f})"
                    for name, times in seconds.items()
                ),
                sep="  ",
                flush=True,
            )


if __name__ == "__main__":
    main()
