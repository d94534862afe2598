"""
Fine-tune a pretrained encoder with SLICER, beside standard fine-tuning, and test on languages it never saw (Schmidt
et al. 2022).

    accelerate launch recipes/slicer.py
    accelerate launch recipes/slicer.py --encoder xlm-roberta-base --corpora eng=unimelb-nlp/wikiann:en \
        --zero_shot_corpora ../shared/data/masakhaner1/* --type_map DATE=O --preset recipes/presets/slicer-paper.args

Without arguments it fine-tunes the small encoder that comes with this package on the embedded synthetic corpus: a
trial of the installation, no result.
"""

import copy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_polyglot import SlicerForTokenClassification
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.publishing import results_summary, train_and_publish
from hf_polyglot.training.recipe_corpora import load_recipe_corpora
from hf_polyglot.training.recipe_encoders import EncoderArguments, load_recipe_encoder
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class SlicerArguments(EncoderArguments):
    """What is fine-tuned, and how it is sliced."""

    slice_width: int = field(
        default=8, metadata={"help": "Width h of a slice of a token vector; 1, 2 or 8 in the paper."}
    )
    train_classifier: bool = field(
        default=True,
        metadata={"help": "Train the classifier's weight, as the paper says; the published code does not."},
    )
    classifier_dropout: float = field(default=0.1, metadata={"help": "Dropout on token vectors."})
    compare_standard: bool = field(
        default=True, metadata={"help": "Fine-tune an ordinary head too, with the same settings."}
    )


def main(arguments: SlicerArguments, training: PolyglotTrainingArguments) -> dict[str, dict[str, Any]]:
    corpora = load_recipe_corpora(arguments)
    training.print(corpora.report)
    encoder = load_recipe_encoder(arguments, training, corpora)

    results = {}
    for regime, slice_width in [("standard", None)] * arguments.compare_standard + [
        ("zero-shot", arguments.slice_width)
    ]:

        def make_trainer(args: PolyglotTrainingArguments, slice_width: int | None = slice_width) -> PolyglotTrainer:
            model = encoder.new_model(
                SlicerForTokenClassification,
                corpora.labels,
                **corpora.task_settings,
                slice_width=slice_width,
                train_classifier=arguments.train_classifier or slice_width is None,
                classifier_dropout=arguments.classifier_dropout,
            )
            return PolyglotTrainer(
                model,
                args,
                processing_class=encoder.tokenizer,
                train_dataset=corpora.train,
                eval_dataset=corpora.source_validation,
            )

        name = "standard" if slice_width is None else f"slicer-h{slice_width}"
        args = copy.copy(training)
        args.output_dir = str(Path(training.output_dir) / name)
        args.push_to_hub = training.push_to_hub and slice_width is not None
        training.print(f"\n{name}: {'an ordinary head' if slice_width is None else f'slices of width {slice_width}'}")
        results[name] = train_and_publish(
            make_trainer, arguments, args, corpora, regime=regime, name=name, base_model=arguments.named_base_model
        )
    training.print(results_summary(results, training.output_dir))
    if corpora.is_demo:
        training.print(
            "The embedded corpus is synthetic: this shows that everything works, and nothing about SLICER.\n"
            "The real thing: accelerate launch recipes/slicer.py --preset recipes/presets/slicer-paper.args "
            "--zero_shot_corpora LANGUAGE=FOLDER_OR_HUB_ID ..."
        )
    return results


if __name__ == "__main__":
    demo = ["--preset", str(Path(__file__).parent / "presets" / "slicer-demo.args")]
    names_what_to_train = any(word.startswith(("--encoder", "--preset")) for word in sys.argv)
    argv = sys.argv[1:] if names_what_to_train else demo + sys.argv[1:]
    main(*parse_recipe(SlicerArguments, PolyglotTrainingArguments, argv=argv, output_dir="runs/slicer"))
