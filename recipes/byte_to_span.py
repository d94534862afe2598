"""
Train Byte-to-Span from nothing, on one language or on many at once (Gillick et al. 2016, Mueller et al. 2020).

    accelerate launch recipes/byte_to_span.py --corpora ../shared/data/masakhaner1/* --output_dir runs/byte_to_span
    accelerate launch recipes/byte_to_span.py --optim adamw_torch --learning_rate 1e-3

Without --corpora it trains on the embedded synthetic corpus. Needs nothing beforehand. The defaults are the paper's
and want a GPU: an epoch has as many segments as the corpora have bytes, unless --stride says otherwise. Expect less
than from the byte-CRF: all that is written of a segment comes out of one state, and longer spans are lost.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from hf_polyglot import ByteToSpanConfig, ByteToSpanForConditionalGeneration, SpellingTokenizer
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.language_runs import MonolingualArguments, train_together_or_apart
from hf_polyglot.training.publishing import results_summary, train_and_publish
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora, load_recipe_corpora
from hf_polyglot.training.segment_trainer import ByteToSpanTrainer


@dataclass
class ByteToSpanArguments(MonolingualArguments, CorpusArguments):
    """Sizes of the model and of its segments; the defaults are those of Gillick et al. (2016)."""

    stride: int = field(default=1, metadata={"help": "A training segment begins at every so many bytes."})
    segment_bytes: int = field(default=60, metadata={"help": "Bytes read at once. Longer spans cannot be found."})
    segment_overlap: int = field(
        default=30, metadata={"help": "Bytes that a segment shares with the next one in prediction."}
    )
    context: str = field(
        default="document",
        metadata={
            "help": "document: segments run on over the sentences of a document, or of the whole data set where no "
            "documents are marked, as in the papers. sentence: each sentence by itself, for use on short texts.",
            "choices": ["document", "sentence"],
        },
    )
    embedding_size: int = field(default=320, metadata={"help": "Width of the embedding of a byte or symbol."})
    hidden_size: int = field(default=320, metadata={"help": "Width of the LSTMs."})
    num_hidden_layers: int = field(default=4, metadata={"help": "Layers of each of the two LSTMs."})
    byte_dropout: float = field(default=0.3, metadata={"help": "Share of the bytes replaced by DROP in training."})
    layer_dropout: float = field(
        default=0.5, metadata={"help": "Dropout above each LSTM layer. Mueller et al.'s code has 0.2."}
    )
    num_beams: int = field(default=1, metadata={"help": "Beams in prediction; 1 is greedy, as in the paper."})


def main(arguments: ByteToSpanArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    if arguments.task != "ner":
        raise ValueError(
            f"`task` is {arguments.task!r}; expected 'ner': Byte-to-Span writes where entities begin and end, and no "
            "class of every word. Use byte_crf.py."
        )
    corpora = load_recipe_corpora(arguments)
    training.print(corpora.report)

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        def make_trainer(args: PolyglotTrainingArguments) -> ByteToSpanTrainer:
            config = ByteToSpanConfig(
                **{
                    name: value
                    for name, value in asdict(arguments).items()
                    if name in ByteToSpanConfig.__annotations__
                },
                id2label=dict(enumerate(corpora.labels)),
                label2id={label: index for index, label in enumerate(corpora.labels)},
            )
            model = ByteToSpanForConditionalGeneration(config)
            model.generation_config.num_beams = arguments.num_beams
            trainer = ByteToSpanTrainer(
                model,
                args,
                processing_class=SpellingTokenizer.of_bytes(),
                train_dataset=corpora.train,
                eval_dataset=corpora.source_validation,
                stride=arguments.stride,
            )
            training.print("\n".join(f"{language}: {report}" for language, report in trainer.segment_reports.items()))
            return trainer

        return train_and_publish(make_trainer, arguments, training, corpora)

    results = train_together_or_apart(train, arguments, training, corpora)
    training.print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    main(
        *parse_recipe(
            ByteToSpanArguments,
            PolyglotTrainingArguments,
            output_dir="runs/byte_to_span",
            optim="sgd",
            optim_args="momentum=0.9",
            learning_rate=0.3,
            lr_scheduler_type="constant",
            max_grad_norm=5.0,
            per_device_train_batch_size=128,
            per_device_eval_batch_size=256,
        )
    )
