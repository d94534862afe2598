"""
Fine-tune a pretrained encoder with a BiLSTM and a CRF over words (Mueller et al. 2020), or with a linear layer alone.

    accelerate launch recipes/encoder_crf.py --encoder bert-base-multilingual-cased \
        --corpora ../shared/data/masakhaner1/*

`--num_concatenated_layers 1 --num_hidden_layers 0 --use_crf false` makes the linear tagger of Devlin et al. (2019).
Without --encoder it takes the one that comes with this package, and without --corpora the embedded synthetic corpus.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from hf_polyglot import EncoderCRFConfig, EncoderCRFForTokenClassification
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.language_runs import MonolingualArguments, train_together_or_apart
from hf_polyglot.training.publishing import results_summary, train_and_publish
from hf_polyglot.training.recipe_corpora import RecipeCorpora, load_recipe_corpora
from hf_polyglot.training.recipe_encoders import EncoderArguments, load_recipe_encoder
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class EncoderCRFArguments(MonolingualArguments, EncoderArguments):
    """What is built on the encoder; the defaults are the paper's."""

    num_concatenated_layers: int | None = field(
        default=None,
        metadata={
            "help": "Last layers of the encoder whose vectors make a word's vector. Default: 4, or all of an encoder "
            "that has fewer."
        },
    )
    hidden_size: int = field(default=256, metadata={"help": "Width of one direction of the BiLSTM over words."})
    num_hidden_layers: int = field(default=1, metadata={"help": "Layers of the BiLSTM over words; 0 for none."})
    use_crf: bool = field(default=True, metadata={"help": "Decode the labels of a sentence jointly."})
    word_dropout: float = field(default=0.1, metadata={"help": "Dropout on word vectors."})
    sentence_dropout: float = field(default=0.3, metadata={"help": "Dropout on the output of the BiLSTM."})
    language_transitions: bool = field(
        default=False, metadata={"help": "Give each training language transition scores of its own."}
    )


def main(arguments: EncoderCRFArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    corpora = load_recipe_corpora(arguments)
    training.print(corpora.report)
    corpora.check_crf(arguments.use_crf)
    encoder = load_recipe_encoder(arguments, training, corpora)

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        def make_trainer(args: PolyglotTrainingArguments) -> PolyglotTrainer:
            fields = EncoderCRFConfig.__annotations__
            settings = {name: value for name, value in asdict(arguments).items() if name in fields}
            settings |= corpora.task_settings
            if arguments.num_concatenated_layers is None:
                settings["num_concatenated_layers"] = min(4, encoder.num_layers)
            model = encoder.new_model(
                EncoderCRFForTokenClassification,
                corpora.labels,
                languages=list(corpora.train) if arguments.language_transitions else None,
                **settings,
            )
            return PolyglotTrainer(
                model,
                args,
                processing_class=encoder.tokenizer,
                train_dataset=corpora.train,
                eval_dataset=corpora.source_validation,
            )

        return train_and_publish(make_trainer, arguments, training, corpora, base_model=arguments.named_base_model)

    results = train_together_or_apart(train, arguments, training, corpora)
    training.print(results_summary(results, training.output_dir))
    return results


if __name__ == "__main__":
    defaults = {"output_dir": "runs/encoder_crf", "learning_rate": 5e-5, "head_learning_rate": 1e-3}
    main(*parse_recipe(EncoderCRFArguments, PolyglotTrainingArguments, **defaults))
