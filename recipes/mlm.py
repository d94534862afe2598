"""
Train a pretrained encoder further as a masked language model on the text of the task (Howard and Ruder 2018, section
3.2; Devlin et al. 2019, section 3.1), before it is fine-tuned.

    accelerate launch recipes/mlm.py --encoder xlm-roberta-base --corpora ../shared/data/masakhaner1/* \
        --output_dir runs/mlm
    accelerate launch recipes/encoder_crf.py --encoder runs/mlm --corpora ../shared/data/masakhaner1/*

The sentences of the training sets are read without their tags, and the dev sets tell what was gained. What comes out
is an encoder that every other recipe takes. Without --encoder it trains the one that comes with this package, which
gets a new head for this, as every encoder does that comes without.
"""

import json
import math
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import HubStrategy, IntervalStrategy, get_last_checkpoint

from hf_polyglot.data.corpora import fingerprint, load_corpora
from hf_polyglot.data.demo import DEMO_FOLDER
from hf_polyglot.models.piece_encoder import keep_lowest_layers, max_pieces_of
from hf_polyglot.models.word_pieces import load_piece_tokenizer
from hf_polyglot.training.command_line import parse_recipe, without_tokens
from hf_polyglot.training.encoder_layers import freeze_lowest_layers
from hf_polyglot.training.masked_language_model import MaskedLanguageModelTrainer
from hf_polyglot.training.recipe_corpora import named_sources
from hf_polyglot.training.recipe_encoders import EncoderChoice, chosen_encoder


@dataclass
class MaskedLanguageModelArguments(EncoderChoice):
    """Which encoder is trained, on which text, and how it is masked."""

    corpora: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Corpora whose training sentences are read, each LANGUAGE=SOURCE or a folder named after its "
            "language. Default: the embedded synthetic corpus, unless there are --text_files."
        },
    )
    text_files: list[str] = field(
        default_factory=list, metadata={"help": "Files of further text, in UTF-8, each line a text."}
    )
    mlm_probability: float = field(default=0.15, metadata={"help": "Share of the pieces that are to be guessed."})
    max_pieces: int = field(
        default=128, metadata={"help": "Pieces read at once; what is longer is cut into rows of this length."}
    )


def read_texts(arguments: MaskedLanguageModelArguments) -> tuple[dict[str, list[str]], dict[str, list[str]], Any]:
    """
    Texts to train on and texts to evaluate on, by language or file, and a description of them.

    Raises:
        ValueError: if a text file has no text.
    """
    train: dict[str, list[str]] = {}
    validation: dict[str, list[str]] = {}
    description: dict[str, Any] = {}
    sources = named_sources(arguments.corpora)
    if not sources and not arguments.text_files:
        sources = {language: str(DEMO_FOLDER / language) for language in ("swa", "spa")}
    if sources:
        loaded = load_corpora(sources)
        print(loaded.report)
        for language, splits in loaded.corpora.items():
            for split, texts in (("train", train), ("validation", validation)):
                if split in splits:
                    texts[language] = [" ".join(words) for words in splits[split]["tokens"]]
                    of_split = {"sentences": len(texts[language]), "fingerprint": fingerprint(splits[split])}
                    description.setdefault(language, {})[split] = of_split
    for name in arguments.text_files:
        texts = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
        if not texts:
            raise ValueError(f"The text file {name} has no text; expected a text to a line. Leave it out.")
        train[name] = texts
        description[name] = {"train": {"texts": len(texts)}}
    return train, validation, description


def rows_of_pieces(texts: list[str], tokenizer: PreTrainedTokenizerFast, max_pieces: int) -> Dataset:
    """Rows of at most so many pieces, special ones included, that hold all of the texts; the longest first."""

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer(
            batch["text"],
            truncation=True,
            max_length=max_pieces,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        return {name: encoded[name] for name in ("input_ids", "attention_mask", "special_tokens_mask")}

    rows = Dataset.from_dict({"text": texts}).map(encode, batched=True, remove_columns=["text"])
    # Rows of like length share a batch in evaluation, which takes them as they come; training shuffles them.
    lengths = np.fromiter(map(len, rows["input_ids"]), int)
    return rows.select(np.argsort(-lengths, kind="stable"))


def perplexities(metrics: dict[str, float], languages: list[str]) -> dict[str, float]:
    """Perplexity of the hidden pieces of each language's dev set."""
    return {language: math.exp(metrics[f"eval_{language}_loss"]) for language in languages}


def main(arguments: MaskedLanguageModelArguments, training: TrainingArguments) -> dict[str, Any]:
    if training.hub_strategy != "end":
        given = HubStrategy(training.hub_strategy).value
        raise ValueError(f"`hub_strategy` is {given}; expected end, when training is over. Leave it out.")
    resume = str(training.resume_from_checkpoint or "false")
    train, validation, description = read_texts(arguments)
    # What begins with `_` is not uploaded with the model.
    name = chosen_encoder(arguments, training, (text for texts in train.values() for text in texts), "_encoder")
    tokenizer = load_piece_tokenizer(name)
    if tokenizer.mask_token is None:
        raise ValueError(
            f"The tokenizer of {name} has no mask piece; expected one such as BERT's [MASK]. Take an encoder that was "
            "trained as a masked language model."
        )
    set_seed(training.seed)  # where the checkpoint has no head for this, one is drawn
    model = AutoModelForMaskedLM.from_pretrained(name, dtype=torch.float32)
    if arguments.num_encoder_layers is not None:
        keep_lowest_layers(model.base_model, arguments.num_encoder_layers)
    freeze_lowest_layers(model.base_model, arguments.num_frozen_layers)
    if arguments.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    max_pieces = min(arguments.max_pieces, max_pieces_of(model.config, tokenizer))
    with training.main_process_first():
        train_rows = {key: rows_of_pieces(texts, tokenizer, max_pieces) for key, texts in train.items()}
        validation_rows = {key: rows_of_pieces(texts, tokenizer, max_pieces) for key, texts in validation.items()}
    if not validation_rows:
        training.eval_strategy = IntervalStrategy.NO
    trainer = MaskedLanguageModelTrainer(
        model,
        training,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=arguments.mlm_probability),
        train_dataset=concatenate_datasets([*train_rows.values()]),
        eval_dataset=validation_rows or None,
        processing_class=tokenizer,
    )

    languages = list(validation_rows)
    before = perplexities(trainer.evaluate(), languages) if languages else {}
    if resume.lower() in ("true", "false"):
        has_begun = resume.lower() == "true" and Path(training.output_dir).is_dir()
        checkpoint = get_last_checkpoint(training.output_dir) if has_begun else None
    else:
        checkpoint = resume
    trainer.train(resume_from_checkpoint=checkpoint)
    after = perplexities(trainer.evaluate(), languages) if languages else {}
    results = {
        "command": shlex.join(["recipes/mlm.py", *without_tokens(sys.argv[1:])]),
        "encoder": name,
        "data": description,
        "perplexity": {language: {"before": before[language], "after": after[language]} for language in languages},
        "steps": trainer.state.global_step,
    }
    trainer.save_model()
    if trainer.is_world_process_zero():
        text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
        Path(training.output_dir, "mlm_results.json").write_text(text, encoding="utf-8")
        for language in languages:
            print(f"{language}: perplexity {before[language]:.2f} before, {after[language]:.2f} after")
        print(f"Encoder: {training.output_dir}")
    if training.push_to_hub:
        trainer.push_to_hub(language=[key for key in description if key not in arguments.text_files])
    return results


if __name__ == "__main__":
    defaults = {
        "output_dir": "runs/mlm",
        "num_train_epochs": 10.0,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "report_to": "none",
        "hub_strategy": "end",
        "train_sampling_strategy": "group_by_length",
    }
    main(*parse_recipe(MaskedLanguageModelArguments, TrainingArguments, **defaults))
