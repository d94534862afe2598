"""
Export a trained model for CPUs without torch: an ONNX graph that decodes too, with 8-bit weights if wanted.

    python recipes/export.py --model runs/mine --output_dir runs/mine-onnx
    python recipes/export.py --model runs/mine --output_dir runs/mine-int8 --int8 true --corpora my_corpora/*

Needs the folder or Hub id of a model of this package that labels words, and `pip install 'hf_polyglot[onnx]'`. The
export tags the test split of the corpora beside PyTorch, and is written if all labels are the same and, with 8-bit
weights, if no language loses more F1 than `--max_f1_loss`. Without corpora it reads the embedded ones, which are
synthetic, and the tags of PyTorch are taken for gold. `predict.py` takes the folder like any model; programs use
`OnnxTagger` of `hf_polyglot.inference.onnx_runtime`, which needs no torch.
"""

from dataclasses import dataclass, field
from typing import Any

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.data.corpora import SPLIT_OF_NAME
from hf_polyglot.data.demo import demo_corpora
from hf_polyglot.inference.adapters import load_tagger
from hf_polyglot.inference.onnx_parity import ParitySentences, export_tagger
from hf_polyglot.models.label_scheme import labels_by_scheme
from hf_polyglot.result_tables import parity_table
from hf_polyglot.tasks import task_of
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.recipe_corpora import load_gold_corpora, named_sources, parsed_type_map


@dataclass
class ExportArguments:
    """What is exported, where to, and how it is checked."""

    model: str = field(metadata={"help": "Folder or Hub id of the model."})
    output_dir: str = field(metadata={"help": "Folder for the exported model; it must be empty, or not be there."})
    int8: bool = field(
        default=False,
        metadata={"help": "Weights as 8-bit integers: a quarter of the size, and faster. They may cost some F1."},
    )
    corpora: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Corpora to check the export on, each LANGUAGE=SOURCE or a folder named after its language. "
            "Default: the embedded ones."
        },
    )
    type_map: list[str] = field(default_factory=list, metadata={"help": "Entity types to rename in files, as DATE=O."})
    split: str = field(default="test", metadata={"help": "Split to check on: train, validation (or dev) or test."})
    max_sentences: int | None = field(
        default=1000, metadata={"help": "Sentences of each language to check on, the first ones."}
    )
    max_f1_loss: float = field(
        default=0.5,
        metadata={
            "help": "Percentage points of F1 that 8-bit weights may cost in a language; else nothing is written."
        },
    )
    max_differing_labels: int = field(
        default=0,
        metadata={"help": "Words to which the export without 8-bit weights may give another label than PyTorch does."},
    )
    batch_size: int = field(default=32, metadata={"help": "Sentences read at once."})
    base_model: str | None = field(
        default=None,
        metadata={"help": "Of an adapter: folder or Hub id of its base. Default: as it was called in its training."},
    )


def sentences_to_check(arguments: ExportArguments, config: Any) -> dict[str, ParitySentences]:
    """
    Sentences of each language, with gold tags if the corpora were given.

    Raises:
        ValueError: if a corpus has no such split.
    """
    split = SPLIT_OF_NAME.get(arguments.split, arguments.split)
    if not arguments.corpora:
        corpora, labels = demo_corpora().corpora, {}
    else:
        corpora, labels, report = load_gold_corpora(
            config, named_sources(arguments.corpora), parsed_type_map(arguments.type_map)
        )
        print(report)
    columns = {scheme: task_of(scheme).label_column for scheme in labels_by_scheme(config)}
    sentences = {}
    for language, splits in corpora.items():
        if split not in splits:
            raise ValueError(
                f"The corpus of {language} has no {split} split, but {', '.join(splits)}. Name one of these "
                "(`--split`), or leave the corpus out."
            )
        kept = splits[split].select(range(min(len(splits[split]), arguments.max_sentences or len(splits[split]))))
        tags = {}
        for scheme, column in columns.items():
            if column not in labels:
                continue
            names = kept.features[column].feature.names
            tags[scheme] = [[names[label] for label in ids] for ids in kept[column]]
        sentences[language] = ParitySentences(kept["tokens"][:], tags if arguments.corpora else None)
    return sentences


def main(arguments: ExportArguments) -> None:
    model, tokenizer = load_tagger(arguments.model, arguments.base_model)
    report = export_tagger(
        model,
        tokenizer,
        arguments.output_dir,
        sentences_to_check(arguments, model.config),
        int8=arguments.int8,
        max_f1_loss=arguments.max_f1_loss,
        max_differing_labels=arguments.max_differing_labels,
        batch_size=arguments.batch_size,
    )
    print(parity_table(report))
    print(f"Model: {arguments.output_dir}")


if __name__ == "__main__":
    main(*parse_recipe(ExportArguments))
