"""
Teach a small encoder the vectors of a large one on unlabelled text: no head, no labels (Jiao et al. 2020).

    accelerate launch recipes/distill_encoder.py --teacher intfloat/multilingual-e5-small \
        --text_files swa=swahili.txt yor=yoruba.txt --output_dir runs/mini_encoder
    accelerate launch recipes/slicer.py --encoder runs/mini_encoder --corpora ../shared/data/masakhaner1/*

The student has 3 layers, 256 wide, and those of the teacher's pieces that occur in the texts. What comes out is an
encoder that every other recipe takes; --save_dtype float16 halves it. Texts are those of --text_files and the training
sentences of --corpora; one of a hundred is held out to measure.
"""

import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_polyglot.inference.tagged_words import segment_words
from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models.piece_encoder import keep_lowest_layers, without_pooler
from hf_polyglot.models.word_pieces import load_piece_tokenizer
from hf_polyglot.training.arguments import asks_to_resume
from hf_polyglot.training.command_line import parse_recipe, without_tokens, write_json
from hf_polyglot.training.distillation_run import joined_sentences
from hf_polyglot.training.encoder_distillation import EncoderDistillationTrainer, max_row_pieces, rows_of_pieces
from hf_polyglot.training.recipe_corpora import named_sources
from hf_polyglot.training.students import StudentArguments, load_student
from hf_polyglot.training.unlabelled_text import (
    TextArguments,
    read_text_files,
    texts_as_read,
    training_sentences,
    words_of_texts,
)


@dataclass
class DistillEncoderArguments(TextArguments, StudentArguments):
    """Which encoder teaches which, on which text."""

    teacher: str = field(default="", metadata={"help": "Folder or Hub id of a pretrained encoder."})
    num_teacher_layers: int | None = field(
        default=None,
        metadata={
            "help": "Learn the vectors of this layer of the teacher instead of the last: half the time, if half."
        },
    )
    freeze_embeddings: bool = field(
        default=False,
        metadata={"help": "Leave the student's piece embeddings as they begin, for pieces that the texts lack."},
    )
    corpora: list[str] = field(
        default_factory=list,
        metadata={"help": "Corpora whose training sentences are read, each LANGUAGE=SOURCE or a folder."},
    )
    max_train_sentences: int | None = field(
        default=None, metadata={"help": "Sentences kept of each corpus, drawn at random. Default: all."}
    )
    max_pieces: int = field(default=128, metadata={"help": "Pieces read at once; what is longer is cut into rows."})
    keep_teacher_outputs: bool = field(
        default=False,
        metadata={
            "help": "Let the teacher read each row once, and keep its vectors in 16 bits below the cache of datasets: "
            "768 bytes for each piece, with a teacher of width 384."
        },
    )
    save_dtype: str = field(
        default="float32",
        metadata={"help": "Type of the saved weights.", "choices": ["float32", "float16", "bfloat16"]},
    )


def main(arguments: DistillEncoderArguments, training: TrainingArguments) -> dict[str, Any]:
    is_resumed = asks_to_resume(training)
    if not arguments.teacher or not (arguments.text_files or arguments.corpora):
        raise ValueError(
            "`teacher` is missing, or there is neither a text file nor a corpus; expected an encoder and some text. "
            "Use --teacher, and --text_files or --corpora."
        )
    if arguments.student_type != "encoder_crf":
        raise ValueError("`student_type` is 'byte_crf'; expected an encoder of pieces. Leave it out.")
    name = checked_model_name(arguments.teacher)
    # A pooler that the checkpoint lacks would be drawn anew each time, and what the teacher said never be found again.
    no_pooler = without_pooler(AutoConfig.from_pretrained(name))
    teacher, teacher_tokenizer = (
        AutoModel.from_pretrained(name, dtype=torch.float32, **no_pooler),
        load_piece_tokenizer(name),
    )
    if arguments.num_teacher_layers is not None:
        keep_lowest_layers(teacher, arguments.num_teacher_layers)
    texts = read_text_files(arguments)
    corpora = training_sentences(named_sources(arguments.corpora), arguments.max_train_sentences)
    words_of_lines = words_of_texts(texts, segment_words)
    sentences = joined_sentences(corpora, words_of_lines)
    student = load_student(
        arguments, training, teacher, teacher_tokenizer, texts_as_read(corpora, words_of_lines, texts)
    )
    set_seed(training.seed)
    # Nothing would teach a pooler.
    model = AutoModel.from_pretrained(
        student.encoder, dtype=torch.float32, **without_pooler(AutoConfig.from_pretrained(student.encoder))
    )
    model.get_input_embeddings().requires_grad_(not arguments.freeze_embeddings)
    most = max_row_pieces(model, student.tokenizer, teacher, teacher_tokenizer, arguments.max_pieces)
    words = [of_sentence for dataset in sentences.values() for of_sentence in dataset["tokens"]]
    with training.main_process_first():
        rows = rows_of_pieces(words, student.tokenizer, most).train_test_split(test_size=0.01, seed=0)
    trainer = EncoderDistillationTrainer(
        model,
        training,
        teacher=teacher,
        teacher_tokenizer=teacher_tokenizer,
        processing_class=student.tokenizer,
        train_dataset=rows["train"],
        eval_dataset=rows["test"],
        keep_outputs=arguments.keep_teacher_outputs,
    )

    before = trainer.evaluate()["eval_loss"]
    trainer.train(resume_from_checkpoint=get_last_checkpoint(training.output_dir) if is_resumed else None)
    after = trainer.evaluate()["eval_loss"]
    trainer.finish().to(getattr(torch, arguments.save_dtype))
    trainer.save_model()
    results = {
        "command": shlex.join(["recipes/distill_encoder.py", *without_tokens(sys.argv[1:])]),
        "teacher": arguments.teacher,
        "teacher_layers": teacher.config.num_hidden_layers,
        "sentences": {language: len(dataset) for language, dataset in sentences.items()},
        "pieces": len(student.tokenizer),
        "squared_difference": {"before": before, "after": after},
        "steps": trainer.state.global_step,
    }
    if trainer.is_world_process_zero():
        write_json(str(Path(training.output_dir) / "distillation_results.json"), results)
        print(json.dumps(results["squared_difference"]))
        print(f"Encoder: {training.output_dir}")
    return results


if __name__ == "__main__":
    defaults = {
        "output_dir": "runs/distilled_encoder",
        "learning_rate": 1e-3,
        "num_train_epochs": 3.0,
        "per_device_train_batch_size": 32,
        "train_sampling_strategy": "group_by_length",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "warmup_steps": 0.05,
        "report_to": "none",
        "hub_strategy": "end",
    }
    main(*parse_recipe(DistillEncoderArguments, TrainingArguments, **defaults))
