"""
Score a trained model on annotated files: precision, recall and F1 of spans, for each language and type.

    python recipes/evaluate.py --model runs/byte_crf --corpora ../shared/data/masakhaner1/*

Needs the folder or Hub id of a model of this package. Tests on the test split unless --split says otherwise.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import AutoModelForTokenClassification, AutoTokenizer

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.data.corpora import SPLIT_OF_NAME, fingerprint, load_corpora
from hf_polyglot.inference.tagging import check_tagger, tag_words
from hf_polyglot.models.label_scheme import types_of_labels, with_types_mapped
from hf_polyglot.result_tables import scores_table
from hf_polyglot.sentence_counts import SentenceCounts, write_sentence_counts
from hf_polyglot.span_metrics import (
    scores_with_average,
    sentence_span_counts,
    span_scores_by_language,
    with_stray_spans,
)
from hf_polyglot.training.command_line import checked_model_name, parse_recipe
from hf_polyglot.training.recipe_corpora import named_sources, parsed_type_map


@dataclass
class EvaluateArguments:
    """What is scored, and on what."""

    model: str = field(metadata={"help": "Folder or Hub id of the model."})
    corpora: list[str] = field(
        metadata={"help": "Corpora, each LANGUAGE=SOURCE or a folder named after its language."}
    )
    type_map: list[str] = field(
        default_factory=list, metadata={"help": "Entity types to rename in files and predictions, as DATE=O."}
    )
    split: str = field(default="test", metadata={"help": "Split to score on: train, validation (or dev) or test."})
    mode: str = field(
        default="conlleval",
        metadata={"help": "How ill-formed tags are read.", "choices": ["conlleval", "strict"]},
    )
    batch_size: int = field(default=64, metadata={"help": "Sentences read at once."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the scores."})
    sentence_counts: str | None = field(
        default=None, metadata={"help": "JSON file for the counts of each sentence, which compare.py reads."}
    )


def main(arguments: EvaluateArguments) -> dict[str, dict[str, Any]]:
    arguments = replace(arguments, split=SPLIT_OF_NAME.get(arguments.split, arguments.split))
    model = AutoModelForTokenClassification.from_pretrained(checked_model_name(arguments.model)).to(
        Accelerator().device
    )
    check_tagger(model)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    scheme = model.config.label_scheme
    type_map = parsed_type_map(arguments.type_map)
    loaded = load_corpora(named_sources(arguments.corpora), type_map=type_map, scheme=scheme)
    print(loaded.report)
    known = types_of_labels(model.config.id2label.values(), scheme)
    unknown = set(types_of_labels(loaded.report.labels, scheme)).difference(known)
    if unknown:
        print(
            f"The model knows no {', '.join(sorted(unknown))}: it cannot find these. --type_map {min(unknown)}=O "
            f"ignores one."
        )

    gold, predicted, languages = [], [], []
    for language, splits in loaded.corpora.items():
        if arguments.split not in splits:
            raise ValueError(f"The corpus of {language} has no {arguments.split} split, but {', '.join(splits)}.")
        dataset = splits[arguments.split]
        tags = dataset.features["ner_tags"].feature.names
        tagged = tag_words(
            model, tokenizer, dataset["tokens"][:], arguments.batch_size, languages=dataset["language"][:]
        )
        for labels, sentence in zip(dataset["ner_tags"], tagged, strict=True):
            found = with_types_mapped(sentence.tags, type_map, scheme)
            counted = with_stray_spans([tags[label] for label in labels], found, sentence.stray_types, scheme)
            gold.append(counted[0])
            predicted.append(counted[1])
        languages += [language] * len(dataset)

    scores = scores_with_average(
        span_scores_by_language(gold, predicted, languages, scheme=scheme, mode=arguments.mode)
    )
    print(scores_table(scores))
    if arguments.output_file is not None:
        Path(arguments.output_file).write_text(
            json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    if arguments.sentence_counts is not None:
        counts = sentence_span_counts(gold, predicted, scheme=scheme, mode=arguments.mode)
        of_languages = {language: counts[None, np.array(languages) == language] for language in loaded.corpora}
        fingerprints = {language: fingerprint(splits[arguments.split]) for language, splits in loaded.corpora.items()}
        write_sentence_counts(
            arguments.sentence_counts,
            SentenceCounts(
                Path(arguments.model).name, {arguments.split: of_languages}, {arguments.split: fingerprints}
            ),
        )
    return scores


if __name__ == "__main__":
    main(*parse_recipe(EvaluateArguments))
