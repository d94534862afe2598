"""The two phases of a distillation in one run: what its command line says of them, and the first of them."""

import copy
import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from safetensors.torch import load_file
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_polyglot.data.corpora import fingerprint
from hf_polyglot.models.label_scheme import WORD_CLASSES
from hf_polyglot.results import differing_keys
from hf_polyglot.tasks import task_of
from hf_polyglot.training.arguments import PolyglotTrainingArguments, asks_to_resume
from hf_polyglot.training.checkpoints import last_whole_checkpoint, seconds_of_checkpoint
from hf_polyglot.training.command_line import write_json
from hf_polyglot.training.distillation import DistillationTrainer
from hf_polyglot.training.distillation_batches import POSITIONS, DistillationSettings
from hf_polyglot.training.hidden_projections import remove_projections
from hf_polyglot.training.recipe_corpora import CorpusArguments
from hf_polyglot.training.students import Student, StudentArguments, shares_pieces

DISTILLED = "distilled"

# Less of the teacher's probability is warned of.
LEAST_KEPT_PERCENT = 50


@dataclass
class DistillationArguments:
    """What the student learns of its teacher, and how long; the defaults are those of Tsai et al. (2019)."""

    teacher: str = field(default="", metadata={"help": "Folder or Hub id of a trained tagger."})
    temperature: float = field(default=3.0, metadata={"help": "What all scores are divided by; 1, 2 or 3."})
    positions: str | None = field(
        default=None,
        metadata={
            "help": "Where teacher and student are compared: pieces, all of them, or words. Default: pieces where "
            "both have a linear layer on the same pieces.",
            "choices": POSITIONS,
        },
    )
    num_kept_labels: int | None = field(
        default=16,
        metadata={
            "help": "Labels of the teacher that are kept for each position, the most probable ones, in 16 bits; the "
            "probability that they leave is spread evenly over the others."
        },
    )
    sequence_nbest: int = field(
        default=0,
        metadata={"help": "Of two CRFs, compare this many best paths of each sentence, not the labels of its words."},
    )
    hidden_weight: float = field(
        default=0.0, metadata={"help": "Weight of the mean squared difference of hidden states; 0: not compared."}
    )
    attention_weight: float = field(
        default=0.0, metadata={"help": "Weight of that of attentions; needs the same pieces."}
    )
    keep_teacher_outputs: bool = field(
        default=True,
        metadata={
            "help": "Ask the teacher once, and keep what it says below the cache of datasets, where later runs find "
            "it; of several processes on a machine one asks, and the others wait (--ddp_timeout, in seconds). False: "
            "ask it for every batch, which keeps all labels in 32 bits, and is so with the two weights above."
        },
    )
    distillation_epochs: float = field(default=3.0, metadata={"help": "Passes over the texts; 0: no distillation."})
    distillation_learning_rate: float = field(default=1e-4, metadata={"help": "Of the first phase."})
    distillation_batch_size: int = field(default=256, metadata={"help": "Sentences that each process reads at once."})
    distillation_accumulation_steps: int = field(default=1, metadata={"help": "Such batches to an update."})
    teacher_share: float = field(
        default=0.0,
        metadata={
            "help": "Share of the teacher in the loss of the second phase, beside the labels; 0: the labels alone, as "
            "in Tsai et al. (2019); 1: the teacher alone."
        },
    )


def distillation_settings(
    arguments: DistillationArguments,
    student: Student,
    teacher: Any,
    teacher_tokenizer: Any,
    sentences: Mapping[str, Dataset],
) -> DistillationSettings:
    """
    What a command line says that is compared, and where, if it does not say that.

    Args:
        arguments ([`DistillationArguments`]):
            From the command line.
        student ([`Student`]):
            Of whom.
        teacher (`nn.Module`):
            By whom.
        teacher_tokenizer (`PreTrainedTokenizerFast`):
            Whose pieces the student may share.
        sentences (`Mapping[str, Dataset]`):
            What the teacher is asked about, by language, by which that is found out.
    """
    positions = arguments.positions
    if positions is None:
        are_linear = (
            getattr(teacher, "classifies_pieces", False)
            and student.encoder is not None
            and not student.arguments.use_crf
        )
        # Rare pieces, where they are left out, stand anywhere.
        at_most = 1000 if student.arguments.min_piece_count == 1 else None
        same = are_linear and all(
            shares_pieces(student.tokenizer, teacher_tokenizer, dataset[:at_most]["tokens"])
            for dataset in sentences.values()
        )
        positions = "pieces" if same else "words"
    # A teacher that reads along, because something inside of it is compared, is asked for every batch too.
    is_kept = arguments.keep_teacher_outputs and not (arguments.hidden_weight or arguments.attention_weight)
    return DistillationSettings(
        temperature=arguments.temperature,
        positions=positions,
        num_kept=arguments.num_kept_labels if is_kept else None,
        sequence_nbest=arguments.sequence_nbest,
        hidden_weight=arguments.hidden_weight,
        attention_weight=arguments.attention_weight,
    )


def fine_tuning_settings(arguments: DistillationArguments) -> DistillationSettings:
    """
    What of its teacher the student learns beside labels: which labels of words are likely.

    Args:
        arguments ([`DistillationArguments`]):
            From the command line.
    """
    is_kept = arguments.keep_teacher_outputs
    return DistillationSettings(
        temperature=arguments.temperature, num_kept=arguments.num_kept_labels if is_kept else None
    )


def distillation_training(
    training: PolyglotTrainingArguments, arguments: DistillationArguments
) -> PolyglotTrainingArguments:
    """
    How the first phase is trained: its own rate, batches and epochs, to its last step; below the run's folder.

    Args:
        training ([`PolyglotTrainingArguments`]):
            Of the second phase.
        arguments ([`DistillationArguments`]):
            From the command line.
    """
    first = copy.copy(training)
    first.output_dir = str(Path(training.output_dir) / DISTILLED)
    first.learning_rate = arguments.distillation_learning_rate
    first.num_train_epochs = arguments.distillation_epochs
    first.per_device_train_batch_size = arguments.distillation_batch_size
    first.gradient_accumulation_steps = arguments.distillation_accumulation_steps
    first.max_steps = -1
    # What chooses or changes by labels, or treats the layers of a pretrained encoder apart, is of the second phase.
    first.load_best_model_at_end = first.compare_selection = False
    first.selection = first.early_stopping_patience = None
    first.head_learning_rate = first.unfrozen_layers_per_epoch = None
    first.layer_rate_divisor = 1.0
    first.slanted_triangular = first.gradient_surgery = False
    if first.sampling == "dynamic":
        first.sampling = type(training).sampling
    return first


def distil_first(trainer: DistillationTrainer) -> float:
    """
    Run the first phase, or go on with it, or, in a run that is resumed, take what it left when it ended.

    Args:
        trainer ([`DistillationTrainer`]):
            Of the first phase; its model is the student of the second.

    Returns:
        `float`: seconds that earlier processes trained it, as far as checkpoints tell.

    Raises:
        SystemExit: if Ctrl-C or SIGTERM ended it; it says how to go on.
    """
    is_resumed = asks_to_resume(trainer.args)
    ended = Path(trainer.args.output_dir) / SAFE_WEIGHTS_NAME
    if is_resumed and ended.is_file():
        remove_projections(trainer.model)
        trainer.model.load_state_dict(load_file(ended))
        trainer.args.print(f"The student was distilled already: {ended.parent}")
        checkpoint, _ = last_whole_checkpoint(ended.parent)
        return 0.0 if checkpoint is None else seconds_of_checkpoint(checkpoint)
    trainer.args.print(f"Distillation on {len(trainer.train_dataset):,} sentences, at {trainer.settings.positions}")
    try:
        trainer.train(resume_from_checkpoint=is_resumed)
    except KeyboardInterrupt as interruption:
        raise SystemExit(f"\n{interruption}" if interruption.args else 130) from None
    trainer.save_model()
    return trainer.seconds_before


def report_kept_shares(trainer: DistillationTrainer) -> None:
    """
    Print which share of the teacher's probability its kept labels have, and warn where little is left of what it says.

    Of thousands of labels, a temperature of 3 makes nearly all of the probability that of labels that are not kept.

    Args:
        trainer ([`DistillationTrainer`]):
            Whose teacher has been asked.
    """
    settings, kept = trainer.settings, trainer.data_collator.kept
    if kept is None or settings.num_kept is None or settings.sequence_nbest:
        return
    shares = {
        name.removeprefix("target_probabilities."): 100 * float(array.rows.sum(1, dtype=np.float64).mean())
        for name, array in kept.items()
        if name.startswith("target_probabilities.")
    }
    said = ", ".join(f"{share:.1f} % ({scheme})" for scheme, share in shares.items())
    trainer.args.print(
        f"At temperature {settings.temperature:g}, the labels that are kept of each position, at most "
        f"{settings.num_kept}, have {said} of the teacher's probability."
    )
    for scheme, share in shares.items():
        if share < LEAST_KEPT_PERCENT:
            warnings.warn(
                f"The kept labels of {scheme} have {share:.1f} % of the teacher's probability at `temperature` "
                f"{settings.temperature:g}, and the student is told little but that all others are alike; expected "
                f"{LEAST_KEPT_PERCENT} % or more. Take a lower temperature, which suits many labels, or more "
                "`num_kept_labels`.",
                stacklevel=2,
            )


def check_same_distillation(
    first: PolyglotTrainingArguments,
    digest: str,
    settings: DistillationSettings,
    tasks: Sequence[str],
    sentences: Mapping[str, Dataset],
    student: StudentArguments,
) -> None:
    """
    Note teacher, text and settings beside the checkpoints, or, in a run that is resumed, refuse to go on with others.

    Args:
        first ([`PolyglotTrainingArguments`]):
            Of the first phase.
        digest (`str`):
            Of the teacher, by [`teacher_digest`](hf_polyglot.training.teacher.teacher_digest).
        settings ([`DistillationSettings`]):
            What is compared.
        tasks (`Sequence[str]`):
            Names of those that are taught.
        sentences (`Mapping[str, Dataset]`):
            What the teacher is asked about, by language.
        student ([`StudentArguments`]):
            What is taught.

    Raises:
        ValueError: if teacher, sentences or student are others, or if something else is to be compared, or for longer.
    """
    note = Path(first.output_dir) / "distillation.json"
    taught = {"teacher": digest[:12], **dataclasses.asdict(settings), "tasks": list(tasks)}
    taught |= {"epochs": first.num_train_epochs, "learning_rate": first.learning_rate, "alpha": first.alpha}
    taught |= {"batch_size": first.per_device_train_batch_size * first.gradient_accumulation_steps}
    taught |= {field.name: getattr(student, field.name) for field in dataclasses.fields(StudentArguments)}
    taught |= {f"sentences of {language}": fingerprint(dataset)[:12] for language, dataset in sentences.items()}
    if asks_to_resume(first) and note.is_file():
        begun = json.loads(note.read_text(encoding="utf-8"))
        if differing := differing_keys(taught, begun):
            had = ", ".join(
                "another teacher, or one of another version of transformers" if name == "teacher"
                else f"{'no' if name not in begun else 'other' if name in taught else 'further'} {name}"
                if name.startswith("sentences of ")
                else f"{name} {begun.get(name)!r} (now {taught.get(name)!r})"
                for name in differing
            )  # fmt: skip
            raise ValueError(
                f"The distillation in {note.parent} began with {had}; expected the same. Resume it with what it began "
                "with, or begin another with a new --output_dir."
            )
    elif first.process_index == 0:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.with_name(SAFE_WEIGHTS_NAME).unlink(missing_ok=True)  # what another run has left there
        write_json(str(note), taught)


def scheme_of_stock_teacher(arguments: CorpusArguments) -> str:
    """
    Scheme of the labels of a teacher that does not know its own, one of transformers' classes.

    Args:
        arguments ([`CorpusArguments`]):
            From the command line; of a task without spans, that is its name.
    """
    return arguments.task if arguments.task in WORD_CLASSES else arguments.label_scheme


def take_tasks_of_teacher(arguments: CorpusArguments, taught: Mapping[str, Sequence[str]]) -> str:
    """
    Let a command line name the tasks that the student learns, all of its teacher's by default, and their scheme.

    Args:
        arguments ([`CorpusArguments`]):
            From the command line; `task` and `label_scheme` are set.
        taught (`Mapping[str, Sequence[str]]`):
            Labels of the teacher's tasks, by scheme.

    Returns:
        `str`: the scheme of the first of the tasks.

    Raises:
        ValueError: if one is asked for that the teacher has not learned.
    """
    schemes = {task_of(scheme): scheme for scheme in taught}
    if not arguments.task:
        arguments.task = " ".join(task.name for task in schemes)
    if unknown := [task.name for task in arguments.tasks if task not in schemes]:
        raise ValueError(
            f"`task` is {arguments.task!r}, and the teacher was trained for "
            f"{', '.join(task.name for task in schemes)}; expected tasks of the teacher, which knows nothing of "
            f"{', '.join(unknown)}. Leave `task` out for all of them, or take another teacher. One that "
            "is not of this package has a single task, which `task` names."
        )
    first = schemes[arguments.tasks[0]]
    if first not in WORD_CLASSES:
        arguments.label_scheme = first
    return first


def joined_sentences(*given: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """
    The words of sentences by language, those of several mappings behind one another.

    Args:
        given (`Mapping[str, Dataset]`):
            Sentences with `tokens`.
    """
    languages = dict.fromkeys(language for datasets in given for language in datasets)
    return {
        language: concatenate_datasets([
            datasets[language].select_columns("tokens") for datasets in given if language in datasets
        ])
        for language in languages
    }
