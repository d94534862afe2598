"""
Train a byte-CRF or char-CRF from nothing, on one language or on many at once (Mueller et al. 2020).

    accelerate launch recipes/byte_crf.py --corpora ../shared/data/masakhaner1/* --output_dir runs/byte_crf

Without --corpora it trains on the embedded synthetic corpus. Needs nothing beforehand; the sizes of the paper want
a GPU.
"""

from dataclasses import dataclass, field
from typing import Any

from hf_polyglot import ByteCRFForTokenClassification
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.from_scratch import SpellingArguments, train_from_scratch
from hf_polyglot.training.language_runs import train_together_or_apart
from hf_polyglot.training.publishing import results_summary
from hf_polyglot.training.recipe_corpora import RecipeCorpora, load_recipe_corpora


@dataclass
class ByteCRFArguments(SpellingArguments):
    """Sizes of the model; the defaults are the paper's."""

    embedding_size: int = field(default=256, metadata={"help": "Width of a byte's embedding."})
    unit_hidden_size: int = field(default=256, metadata={"help": "Width of one direction of the BiLSTM over bytes."})
    num_unit_layers: int = field(default=2, metadata={"help": "Layers of the BiLSTM over bytes."})
    hidden_size: int = field(default=256, metadata={"help": "Width of one direction of the BiLSTM over words."})
    num_hidden_layers: int = field(default=1, metadata={"help": "Layers of the BiLSTM over words."})
    use_crf: bool = field(
        default=True, metadata={"help": "Decode the labels of a sentence jointly. false suits thousands of labels."}
    )
    embedding_dropout: float = field(default=0.1, metadata={"help": "Dropout on the embeddings of bytes."})
    word_dropout: float = field(default=0.3, metadata={"help": "Dropout on word vectors."})
    sentence_dropout: float = field(default=0.3, metadata={"help": "Dropout before the emission scores."})
    language_transitions: bool = field(
        default=False, metadata={"help": "Give each training language transition scores of its own."}
    )


def main(arguments: ByteCRFArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    corpora = load_recipe_corpora(arguments)
    training.print(corpora.report)
    corpora.check_crf(arguments.use_crf)

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        languages = list(corpora.train) if arguments.language_transitions else None
        return train_from_scratch(ByteCRFForTokenClassification, arguments, training, corpora, languages=languages)

    results = train_together_or_apart(train, arguments, training, corpora)
    training.print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    main(*parse_recipe(ByteCRFArguments, PolyglotTrainingArguments, output_dir="runs/byte_crf", learning_rate=1e-3))
