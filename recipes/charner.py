"""
Train CharNER from nothing, on one language or on many at once (Kuru et al. 2016, Mueller et al. 2020).

    accelerate launch recipes/charner.py --corpora ../shared/data/masakhaner1/* --output_dir runs/charner

Without --corpora it trains on the embedded synthetic corpus. Needs nothing beforehand; the sizes of the paper want
a GPU.
"""

from dataclasses import dataclass, field
from typing import Any

from hf_polyglot import CharNERForTokenClassification
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.from_scratch import SpellingArguments, train_from_scratch
from hf_polyglot.training.language_runs import train_together_or_apart
from hf_polyglot.training.publishing import results_summary
from hf_polyglot.training.recipe_corpora import RecipeCorpora, load_recipe_corpora


@dataclass
class CharNERArguments(SpellingArguments):
    """Sizes of the model; the defaults are the paper's, those of the training arguments below too."""

    embedding_size: int = field(default=128, metadata={"help": "Width of a byte's embedding."})
    hidden_size: int = field(default=128, metadata={"help": "Width of one direction of a BiLSTM layer."})
    num_hidden_layers: int = field(default=5, metadata={"help": "BiLSTM layers over the bytes of a sentence."})
    unit_dropout: float = field(default=0.2, metadata={"help": "Probability of dropping a byte, all of it."})
    layer_dropout: float = field(default=0.5, metadata={"help": "Dropout between two layers."})
    last_dropout: float = field(default=0.8, metadata={"help": "Dropout between the last layer and the classifier."})
    boundaries: bool = field(
        default=False,
        metadata={
            "help": "Adjacent words of one type are two entities where the space between them is outside of both. "
            "Default: they are always one, as in the paper."
        },
    )


def main(arguments: CharNERArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    corpora = load_recipe_corpora(arguments)
    training.print(corpora.report)

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        return train_from_scratch(CharNERForTokenClassification, arguments, training, corpora)

    results = train_together_or_apart(train, arguments, training, corpora)
    training.print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    main(
        *parse_recipe(
            CharNERArguments,
            PolyglotTrainingArguments,
            output_dir="runs/charner",
            learning_rate=1e-3,
            per_device_train_batch_size=32,
            max_grad_norm=1.0,
        )
    )
