"""
Teach a small tagger what a large one knows, on unlabelled text, and fine-tune it on labelled data (Tsai et al. 2019).

    accelerate launch recipes/distill.py --teacher runs/encoder_crf --corpora ../shared/data/masakhaner1/* \
        --text_files swa=swahili.txt

The student is a new encoder of 3 layers, 256 wide, with those of the teacher's pieces that occur in the texts, and a
linear layer: --preset recipes/presets/distill-paper.args has the paper's rates and batches. The texts are those of
--text_files and the training sentences of --corpora, whose labels the first phase does not look at. Either phase can
be left out: --distillation_epochs 0 trains the same student without a teacher, for comparison, and --num_train_epochs
0 ends with what the teacher taught. With --teacher_share 0.5 the student goes on listening in the second phase: half
to its teacher, half to the labels.

Needs a trained tagger: a folder that a recipe has left, or any model for token classification on the Hub.
"""

from dataclasses import dataclass, field
from typing import Any

from hf_polyglot.inference.tagged_words import segment_words
from hf_polyglot.models.label_scheme import labels_by_scheme
from hf_polyglot.tasks import TASKS
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.distillation import DistillationTrainer
from hf_polyglot.training.distillation_run import (
    DistillationArguments,
    check_same_distillation,
    distil_first,
    distillation_settings,
    distillation_training,
    fine_tuning_settings,
    joined_sentences,
    report_kept_shares,
    scheme_of_stock_teacher,
    take_tasks_of_teacher,
)
from hf_polyglot.training.publishing import results_summary, train_and_publish
from hf_polyglot.training.recipe_corpora import CorpusArguments, load_recipe_corpora
from hf_polyglot.training.students import StudentArguments, load_student
from hf_polyglot.training.taught_fine_tuning import TaughtFineTuningTrainer, check_teacher_share
from hf_polyglot.training.teacher import load_teacher, teacher_digest
from hf_polyglot.training.trainer import PolyglotTrainer
from hf_polyglot.training.unlabelled_text import TextArguments, read_text_files, texts_as_read, words_of_texts


@dataclass
class DistillArguments(CorpusArguments, TextArguments, DistillationArguments, StudentArguments):
    """Who teaches whom, on which texts."""

    task: str = field(
        default="",
        metadata={
            "help": "Which of the teacher's tasks the student learns. Default: all.",
            "choices": list(TASKS),
            "nargs": "+",
        },
    )


def main(arguments: DistillArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    if not arguments.teacher:
        raise ValueError("`teacher` is missing; expected the folder or Hub id of a trained tagger. Use --teacher.")
    is_distilled, is_taught = arguments.distillation_epochs > 0, arguments.teacher_share > 0
    check_teacher_share(arguments.teacher_share)
    if is_taught and training.num_train_epochs == 0:
        raise ValueError(
            f"`teacher_share` is {arguments.teacher_share} and `num_train_epochs` is 0; expected epochs on labelled "
            "data, in which the teacher has that share. Leave it out."
        )
    if is_distilled and training.num_train_epochs == 0 and training.compare_selection:
        raise ValueError(
            "`compare_selection` is True and `num_train_epochs` is 0; expected epochs on labelled data to "
            "select from. Leave it out."
        )
    teacher, teacher_tokenizer = load_teacher(arguments.teacher, scheme_of_stock_teacher(arguments))
    taught = labels_by_scheme(teacher.config)
    scheme = take_tasks_of_teacher(arguments, taught)
    corpora = load_recipe_corpora(arguments, scheme=scheme, known_labels=taught)
    training.print(corpora.report)
    corpora.check_crf(arguments.use_crf)
    texts = read_text_files(arguments)
    words = words_of_texts(texts, segment_words)
    sentences = joined_sentences(corpora.train, words)
    student = load_student(arguments, training, teacher, teacher_tokenizer, texts_as_read(corpora.train, words, texts))
    settings = distillation_settings(arguments, student, teacher, teacher_tokenizer, sentences)
    digest = teacher_digest(teacher, teacher_tokenizer) if is_distilled or is_taught else None

    def make_trainer(args: PolyglotTrainingArguments) -> PolyglotTrainer:
        model = student.new_model(corpora.labels, corpora.task_settings)
        seconds = 0.0
        options = {"processing_class": student.tokenizer, "eval_dataset": corpora.source_validation}
        taught = options | {
            "teacher": teacher,
            "teacher_tokenizer": teacher_tokenizer,
            "keep_outputs": arguments.keep_teacher_outputs,
            "digest": digest,
        }
        if digest is not None:
            first = distillation_training(args, arguments)
            check_same_distillation(
                first, digest, settings, [task.name for task in corpora.tasks], sentences, arguments
            )
        if is_distilled:
            distillation = DistillationTrainer(model, first, settings=settings, train_dataset=sentences, **taught)
            report_kept_shares(distillation)
            if training.num_train_epochs == 0:
                return distillation
            seconds = distil_first(distillation)
        trainer: PolyglotTrainer
        if is_taught:
            trainer = TaughtFineTuningTrainer(
                model,
                args,
                teacher_share=arguments.teacher_share,
                settings=fine_tuning_settings(arguments),
                train_dataset=corpora.train,
                **taught,
            )
            report_kept_shares(trainer)
        else:
            trainer = PolyglotTrainer(model, args, train_dataset=corpora.train, **options)
        trainer.seconds_of_first_phase = seconds
        return trainer

    described: dict[str, Any] = {"base_model": arguments.named_base_model(arguments.teacher)}
    if digest is not None:
        described |= {"regime": "distilled", "teacher": arguments.teacher}
    if is_distilled:
        described["distilled_on"] = {language: len(dataset) for language, dataset in sentences.items()}
    results = train_and_publish(make_trainer, arguments, training, corpora, **described)
    training.print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    defaults = {"output_dir": "runs/distill", "learning_rate": 3e-5, "per_device_train_batch_size": 16}
    main(*parse_recipe(DistillArguments, PolyglotTrainingArguments, **defaults))
