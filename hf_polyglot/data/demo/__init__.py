"""The embedded corpus: synthetic sentences in ten languages and four scripts. `README.md` here is its data card."""

from pathlib import Path

from hf_polyglot.data.corpora import LoadedCorpora, load_corpora

DEMO_FOLDER = Path(__file__).parent
SOURCE_LANGUAGES = ("arb", "deu", "hin", "rus", "spa", "swa")
# Each shares its script, and many towns and given names, with a source language: Hindi, German, Spanish, Russian.
ZERO_SHOT_LANGUAGES = ("mar", "nld", "por", "ukr")


def demo_corpora() -> LoadedCorpora:
    """
    The embedded corpus, all languages with one label list.

    Returns:
        [`LoadedCorpora`]: `train`, `validation` and `test` of every language, and the report on them.

    Example:
        >>> corpora, report = demo_corpora()
        >>> report.labels
        ['O', 'B-LOC', 'I-LOC', 'B-ORG', 'I-ORG', 'B-PER', 'I-PER']
        >>> {split: len(dataset) for split, dataset in corpora["ukr"].items()}
        {'train': 300, 'validation': 50, 'test': 100}
    """
    return load_corpora({language: DEMO_FOLDER / language for language in (*SOURCE_LANGUAGES, *ZERO_SHOT_LANGUAGES)})
