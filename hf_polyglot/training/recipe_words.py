"""The words of a recipe, and the vectors that its command line names for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hf_polyglot.data.word_vectors import WordTable, open_word_vectors, trained_words, union_of_vectors
from hf_polyglot.training.recipe_corpora import RecipeCorpora


@dataclass
class WordArguments:
    """Which words a model knows, and by which vectors."""

    word_vectors: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Vectors of fastText, .vec or .bin (with n-grams), each LANGUAGE=FILE, or one FILE for all "
            "languages. A word has the mean of its vectors in all files that list it; one that none lists, that of "
            "its n-grams in the .bin file of its language. Default: none; all vectors are trained from random ones."
        },
    )
    word_vector_size: int = field(
        default=100, metadata={"help": "Width of a word's vector; of those in files, theirs."}
    )
    freeze_word_vectors: bool = field(
        default=True, metadata={"help": "Leave the vectors of files as they are, beside trained ones."}
    )
    num_frequent_words: int = field(
        default=0,
        metadata={"help": "Words of each file that are kept beside those of the data, the most frequent ones."},
    )
    num_subwords: int = field(
        default=20_000,
        metadata={
            "help": "N-grams of each .bin file that are kept, those of most words: a word that is new when the model "
            "is used has the mean of the vectors of its n-grams among them."
        },
    )
    min_word_count: int = field(
        default=2,
        metadata={
            "help": "Occurrences in the training data from which a word has a trained vector of its own. Rarer ones "
            "train that of unknown words."
        },
    )
    lowercase_words: bool = field(default=False, metadata={"help": "Look words up in lower case."})


def named_word_vectors(given: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """
    File of the word vectors of each language.

    Args:
        given (`Sequence[str]`):
            As on the command line.
        languages (`Sequence[str]`):
            Of the corpora.

    Raises:
        ValueError: if a language has no corpus, or is named twice, or if one file is for all and there are others.

    Example:
        >>> named_word_vectors(["swa=cc.sw.300.vec"], ["swa", "yor"])
        {'swa': 'cc.sw.300.vec'}
    """
    pairs = [entry.partition("=") if "=" in entry else ("", "", entry) for entry in given]
    if [language for language, *_ in pairs] == [""]:
        return dict.fromkeys(languages, pairs[0][2])
    files = {language: path for language, _, path in pairs}
    if len(files) < len(pairs) or not set(files) <= set(languages):
        raise ValueError(
            f"`word_vectors` is {' '.join(given)}; expected one FILE for all languages, or LANGUAGE=FILE, each "
            f"language once and one of {', '.join(languages)}. Correct it."
        )
    return files


def table_of_words(arguments: WordArguments, corpora: RecipeCorpora, files: Mapping[str, str]) -> WordTable:
    """
    The words of the data with the vectors that there are for them.

    Args:
        arguments ([`WordArguments`]):
            Of the recipe.
        corpora ([`RecipeCorpora`]):
            What is trained and tested on.
        files (`Mapping[str, str]`):
            Of [`named_word_vectors`]; those of languages that are not among the corpora are left out.
    """
    lowercase = arguments.lowercase_words
    sentences = (words for dataset in corpora.train.values() for words in dataset["tokens"])
    trained = trained_words(sentences, min_count=arguments.min_word_count, lowercase=lowercase)
    words_of = _words_of(corpora, lowercase=lowercase)
    opened = {path: open_word_vectors(path) for language, path in files.items() if language in words_of}
    if not opened:
        report = f"{len(trained):,} words have a vector of their own, random at first."
        return WordTable(words=trained, num_trained=len(trained) + 1, report=report)
    return union_of_vectors(
        trained,
        words_of,
        {language: opened[path] for language, path in files.items() if language in words_of},
        num_frequent=arguments.num_frequent_words,
        num_subwords=arguments.num_subwords,
        lowercase=lowercase,
    )


def _words_of(corpora: RecipeCorpora, *, lowercase: bool) -> dict[str, set[str]]:
    """Words of all splits of each language, the zero-shot ones too."""
    words_of: dict[str, set[str]] = {}
    for datasets in (corpora.train, *corpora.evaluation.values()):
        for language, dataset in datasets.items():
            words = {word for sentence in dataset["tokens"] for word in sentence}
            words_of.setdefault(language, set()).update(word.lower() if lowercase else word for word in words)
    return words_of
