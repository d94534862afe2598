"""Training of a tagger that spells its words: everything that recipes of models without a pretrained encoder share."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import PreTrainedModel

from hf_polyglot.models import SpellingTokenizer
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.language_runs import MonolingualArguments
from hf_polyglot.training.publishing import train_and_publish
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class SpellingArguments(MonolingualArguments, CorpusArguments):
    """What is trained on, and what it is spelled with. Recipes add the sizes of their model."""

    units: str = field(
        default="bytes", metadata={"help": "What words are spelled with.", "choices": ["bytes", "characters"]}
    )


def spelling_tokenizer(units: str, corpora: RecipeCorpora) -> SpellingTokenizer:
    """
    The tokenizer of bytes, or of the characters of the training sentences and the space between their words.

    Args:
        units (`str`):
            `"bytes"` or `"characters"`.
        corpora ([`RecipeCorpora`]):
            What is trained on.
    """
    if units == "bytes":
        return SpellingTokenizer.of_bytes()
    sentences = (words for dataset in corpora.train.values() for words in dataset["tokens"])
    return SpellingTokenizer.of_characters(" ".join(words) for words in sentences)


def train_from_scratch(
    model_class: type[PreTrainedModel],
    arguments: SpellingArguments,
    training: PolyglotTrainingArguments,
    corpora: RecipeCorpora,
    *,
    tokenizer: SpellingTokenizer | None = None,
    new_trainer: Callable[..., PolyglotTrainer] = PolyglotTrainer,
    **settings: Any,
) -> dict[str, Any]:
    """
    Train a model on one language or on many at once, from nothing, over all seeds, and publish the best.

    Args:
        model_class (`type[PreTrainedModel]`):
            A tagger that reads what a [`SpellingTokenizer`] makes.
        arguments ([`SpellingArguments`]):
            Of the recipe. Those with the name of a field of the model's configuration are its values.
        training ([`PolyglotTrainingArguments`]):
            How to train.
        corpora ([`RecipeCorpora`]):
            What to train and test on.
        tokenizer ([`SpellingTokenizer`], *optional*):
            Defaults to one of the units of the recipe.
        new_trainer (`Callable`, *optional*):
            Takes what [`PolyglotTrainer`] takes, which is the default.
        settings:
            Further fields of the model's configuration.

    Returns:
        What `results.json` says.
    """
    tokenizer = tokenizer or spelling_tokenizer(arguments.units, corpora)
    config_class: Any = model_class.config_class
    if "further_labels" not in config_class.__annotations__:
        corpora.check_one_task(config_class.model_type)

    def make_trainer(args: PolyglotTrainingArguments) -> PolyglotTrainer:
        of_recipe = {name: value for name, value in asdict(arguments).items() if name in config_class.__annotations__}
        config = config_class(
            **of_recipe | settings | corpora.task_settings,
            vocab_size=len(tokenizer),
            id2label=dict(enumerate(corpora.labels)),
            label2id={label: index for index, label in enumerate(corpora.labels)},
        )
        return new_trainer(
            model_class(config),
            args,
            processing_class=tokenizer,
            train_dataset=corpora.train,
            eval_dataset=corpora.source_validation,
        )

    return train_and_publish(make_trainer, arguments, training, corpora)
