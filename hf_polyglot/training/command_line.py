"""How a recipe reads its command line and preset files, and how it says what is wrong."""

import argparse
import dataclasses
import json
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

PACKAGE = Path(__file__).parents[1]

# What --help shows of transformers' arguments: those that a run of one of the recipes is likely to change.
_OFTEN_USED = (
    "output_dir", "num_train_epochs", "max_steps", "per_device_train_batch_size", "per_device_eval_batch_size",
    "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps",
    "weight_decay", "max_grad_norm", "optim", "bf16", "use_cpu", "eval_strategy", "save_strategy", "save_total_limit",
    "load_best_model_at_end", "resume_from_checkpoint", "report_to", "disable_tqdm", "push_to_hub", "hub_model_id",
    "hub_private_repo",
)  # fmt: skip


def parse_recipe(*argument_classes: type, argv: Sequence[str] | None = None, **defaults: Any) -> tuple:
    """
    One object of each dataclass, from the command line.

    `--preset FILE` reads flags from a file first; flags on the command line override it. In a preset, `#` begins a
    comment.

    Args:
        argument_classes (`type`):
            Dataclasses, whose fields are the flags.
        argv (`Sequence[str]`, *optional*):
            The command line without the program, defaults to that of this process.
        defaults:
            Defaults of this recipe that differ from the dataclasses'.

    Returns:
        `tuple` of one instance of each class.

    A flag that is unknown or has a wrong value ends the program, with the reason on stderr. `--help` leaves out most
    flags of transformers' `TrainingArguments`; `--help_all` has them. From here on,
    errors that this package raises end the program without a traceback, see [`print_error`].
    """
    sys.excepthook = print_error
    argv = sys.argv[1:] if argv is None else argv
    parser = HfArgumentParser(argument_classes, allow_abbrev=False)
    parser.add_argument("--preset", metavar="FILE", help="File of flags, one or more to a line.")
    parser.set_defaults(**defaults)
    if any(issubclass(of_recipe, TrainingArguments) for of_recipe in argument_classes):
        _shorten_help(parser, argv)
    *parsed, rest, unknown = parser.parse_args_into_dataclasses(
        with_preset(argv), return_remaining_strings=True, look_for_args_file=False
    )
    del rest  # holds nothing but `preset`
    if unknown:
        help_flag = "--help_all" if "--help_all" in parser.format_usage() else "--help"
        parser.error(f"unknown: {' '.join(unknown)}. {help_flag} lists what there is.")
    return tuple(parsed)


def with_preset(argv: Sequence[str]) -> list[str]:
    """
    The command line with the flags of its presets before its own.

    Args:
        argv (`Sequence[str]`):
            As given.

    Raises:
        ValueError: if a preset is not a file.
    """
    from_files: list[str] = []
    own: list[str] = []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag != "--preset":
            own.append(word)
            continue
        path = Path(value if equals else next(words, ""))
        if not path.is_file():
            raise ValueError(
                f"The preset {str(path)!r} is not a file. The presets that come along lie in recipes/presets."
            )
        for line in path.read_text(encoding="utf-8").splitlines():
            from_files.extend(shlex.split(line, comments=True))
    return from_files + own


def print_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """
    Print an uncaught error as a program's hook for them (`sys.excepthook`).

    Where a `raise` of this package or of the program itself refused something, its message says what to do, and is
    printed alone. Anything else is shown with its traceback.

    Args:
        kind (`type[BaseException]`):
            Class of the error.
        error (`BaseException`):
            The error.
        trace (`TracebackType`, *optional*):
            Where it was raised.
    """
    # A value that a config's own validation refuses comes as the cause of an error of huggingface_hub.
    for refusal in (error, error.__cause__):
        if isinstance(refusal, Exception) and _is_refusal(refusal.__traceback__):
            sys.stderr.write(f"{Path(sys.argv[0]).name}: error: {refusal}\n")
            return
    traceback.print_exception(kind, error, trace)


def _is_refusal(trace: TracebackType | None) -> bool:
    """Whether the error came from a `raise` in the package or in the program."""
    frames = traceback.extract_tb(trace)
    if not frames or not (frames[-1].line or "").startswith("raise "):
        return False
    file = Path(frames[-1].filename).absolute()
    return file.is_relative_to(PACKAGE) or file == Path(sys.argv[0]).absolute()


def write_json(path: str, values: Any) -> None:
    """
    Write a file that people read too.

    Args:
        path (`str`):
            The file.
        values:
            What JSON can hold.
    """
    Path(path).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def without_tokens(words: Sequence[str]) -> list[str]:
    """
    A command line whose `--hub_token` is made unreadable: it is written into what is published.

    Args:
        words (`Sequence[str]`):
            As given.

    Example:
        >>> without_tokens(["--hub_token", "hf_abc", "--hub_token=hf_abc"])
        ['--hub_token', '...', '--hub_token=...']
    """
    flags = [word.partition("=")[0] for word in words]
    hidden = []
    for word, flag, previous in zip(words, flags, ["", *words], strict=False):
        if previous == "--hub_token":
            hidden.append("...")
        else:
            hidden.append(f"{flag}=..." if flag == "--hub_token" and "=" in word else word)
    return hidden


def _shorten_help(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Leave the arguments of transformers that are seldom used out of `--help`, and add `--help_all`."""
    parser.add_argument(
        "--help_all", action="help", help="Show this help with all arguments of transformers' TrainingArguments."
    )
    if "--help_all" not in argv:
        seldom = {inherited.name for inherited in dataclasses.fields(TrainingArguments)} - set(_OFTEN_USED)
        for action in parser._actions:
            if action.dest in seldom:
                action.help = argparse.SUPPRESS
