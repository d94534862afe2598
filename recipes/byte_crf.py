"""
Train a byte-CRF or char-CRF from nothing, on one language or on many at once (Mueller et al. 2020).

    accelerate launch recipes/byte_crf.py --corpora ../shared/data/masakhaner1/* --output_dir runs/byte_crf

Without --corpora it trains on the embedded synthetic corpus. Needs nothing beforehand; the sizes of the paper want
a GPU.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from hf_polyglot import ByteCRFConfig, ByteCRFForTokenClassification, SpellingTokenizer
from hf_polyglot.training.arguments import PolyglotTrainingArguments, parse_recipe
from hf_polyglot.training.publishing import publish_run, results_summary
from hf_polyglot.training.recipe_corpora import CorpusArguments, load_recipe_corpora
from hf_polyglot.training.runs import train_over_seeds
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class ByteCRFArguments(CorpusArguments):
    """Sizes of the model; the defaults are the paper's."""

    units: str = field(
        default="bytes", metadata={"help": "What words are spelled with.", "choices": ["bytes", "characters"]}
    )
    embedding_size: int = field(default=256, metadata={"help": "Width of a byte's embedding."})
    unit_hidden_size: int = field(default=256, metadata={"help": "Width of one direction of the BiLSTM over bytes."})
    num_unit_layers: int = field(default=2, metadata={"help": "Layers of the BiLSTM over bytes."})
    hidden_size: int = field(default=256, metadata={"help": "Width of one direction of the BiLSTM over words."})
    num_hidden_layers: int = field(default=1, metadata={"help": "Layers of the BiLSTM over words."})
    embedding_dropout: float = field(default=0.1, metadata={"help": "Dropout on the embeddings of bytes."})
    word_dropout: float = field(default=0.3, metadata={"help": "Dropout on word vectors."})
    sentence_dropout: float = field(default=0.3, metadata={"help": "Dropout before the emission scores."})
    language_transitions: bool = field(
        default=False, metadata={"help": "Give each training language transition scores of its own."}
    )


def main(arguments: ByteCRFArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    corpora = load_recipe_corpora(arguments)
    print(corpora.report)
    if arguments.units == "bytes":
        tokenizer = SpellingTokenizer.of_bytes()
    else:
        words = (word for dataset in corpora.train.values() for sentence in dataset["tokens"] for word in sentence)
        tokenizer = SpellingTokenizer.of_characters(words)

    def make_trainer(args: PolyglotTrainingArguments) -> PolyglotTrainer:
        config = ByteCRFConfig(
            **{name: value for name, value in asdict(arguments).items() if name in ByteCRFConfig.__annotations__},
            vocab_size=len(tokenizer),
            languages=list(corpora.train) if arguments.language_transitions else None,
            id2label=dict(enumerate(corpora.labels)),
            label2id={label: index for index, label in enumerate(corpora.labels)},
        )
        return PolyglotTrainer(
            ByteCRFForTokenClassification(config),
            args,
            processing_class=tokenizer,
            train_dataset=corpora.train,
            eval_dataset=corpora.source_validation,
        )

    runs = train_over_seeds(make_trainer, training, arguments.seeds, corpora.evaluation, corpora.zero_shot_languages)
    regime = "polyglot" if len(corpora.train) > 1 else "monolingual"
    results = publish_run(runs, arguments, training, corpora, regime=regime)
    print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    main(*parse_recipe(ByteCRFArguments, PolyglotTrainingArguments, output_dir="runs/byte_crf", learning_rate=1e-3))
