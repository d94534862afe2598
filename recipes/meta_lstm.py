"""
Train a Meta-LSTM from nothing, on one language or on many at once (Bohnet et al. 2018, Tsai et al. 2019).

    accelerate launch recipes/meta_lstm.py --task upos --corpora '../shared/data/ud/*' --output_dir runs/meta_lstm

First the characters of sentences are read, then their words, then what the two say is read jointly: each part is
trained for --num_train_epochs, and its best epoch kept. Without --corpora it trains on the embedded synthetic corpus.
Needs nothing beforehand; --word_vectors takes vectors of fastText.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from hf_polyglot import MetaLSTMForTokenClassification, WordSpellingTokenizer
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.from_scratch import SpellingArguments, spelling_tokenizer, train_from_scratch
from hf_polyglot.training.language_runs import train_together_or_apart
from hf_polyglot.training.meta_lstm import MetaLSTMTrainer
from hf_polyglot.training.publishing import results_summary
from hf_polyglot.training.recipe_corpora import RecipeCorpora, load_recipe_corpora
from hf_polyglot.training.recipe_words import WordArguments, named_word_vectors, table_of_words
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class MetaLSTMArguments(WordArguments, SpellingArguments):
    """Sizes of the model; the defaults are those of the published code, whose LSTMs are smaller than the paper's."""

    units: str = field(
        default="characters", metadata={"help": "What sentences are spelled with.", "choices": ["bytes", "characters"]}
    )
    embedding_size: int = field(default=100, metadata={"help": "Width of a character's embedding."})
    unit_hidden_size: int = field(
        default=300, metadata={"help": "Width of one direction of the BiLSTM over characters."}
    )
    num_unit_layers: int = field(default=2, metadata={"help": "Layers of the BiLSTM over characters."})
    word_hidden_size: int = field(default=300, metadata={"help": "Width of one direction of the BiLSTM over words."})
    num_word_layers: int = field(default=2, metadata={"help": "Layers of the BiLSTM over words."})
    hidden_size: int = field(default=300, metadata={"help": "Width of one direction of the joint BiLSTM."})
    num_hidden_layers: int = field(default=1, metadata={"help": "Layers of the joint BiLSTM."})
    mlp_size: int = field(default=300, metadata={"help": "Width of what each part hands on."})
    unit_dropout: float = field(default=0.05, metadata={"help": "Probability of dropping a character, all of it."})
    word_dropout: float = field(default=0.33, metadata={"help": "Probability of dropping a word's vector."})
    layer_dropout: float = field(default=0.33, metadata={"help": "Dropout between two layers of a BiLSTM."})
    mlp_dropout: float = field(default=0.33, metadata={"help": "Dropout behind each BiLSTM and between the parts."})
    training_order: str = field(
        default="parts",
        metadata={
            "help": "parts: characters, words, joint, one after the other, each for all epochs. together: all three "
            "at once, each by its own loss, no gradient from one to another.",
            "choices": ["parts", "together"],
        },
    )


def main(arguments: MetaLSTMArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    corpora = load_recipe_corpora(arguments)
    training.print(corpora.report)
    files = named_word_vectors(arguments.word_vectors, [*corpora.train, *corpora.zero_shot_languages])

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        table = table_of_words(arguments, corpora, files)
        training.print(table.report)
        vectors, subword_vectors = (
            None if of_table is None else torch.from_numpy(of_table)
            for of_table in (table.vectors, table.subword_vectors)
        )

        def new_trainer(model: MetaLSTMForTokenClassification, args: PolyglotTrainingArguments, **options: Any):
            if vectors is not None:
                model.set_word_vectors(vectors, subword_vectors)
            trainer_class = MetaLSTMTrainer if arguments.training_order == "parts" else PolyglotTrainer
            return trainer_class(model, args, **options)

        return train_from_scratch(
            MetaLSTMForTokenClassification,
            arguments,
            training,
            corpora,
            tokenizer=WordSpellingTokenizer.with_words(
                spelling_tokenizer(arguments.units, corpora),
                table.words,
                lowercase=arguments.lowercase_words,
                subwords=table.subwords,
            ),
            new_trainer=new_trainer,
            num_words=len(table.words) + 1,
            num_trained_words=table.num_trained,
            word_vector_size=arguments.word_vector_size if vectors is None else vectors.shape[1],
            pretrained_vectors="none" if vectors is None else "frozen" if arguments.freeze_word_vectors else "trained",
            num_subwords=0 if subword_vectors is None else len(subword_vectors),
        )

    results = train_together_or_apart(train, arguments, training, corpora)
    training.print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    main(*parse_recipe(MetaLSTMArguments, PolyglotTrainingArguments, output_dir="runs/meta_lstm", learning_rate=2e-3))
