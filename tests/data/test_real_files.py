"""The public files of `../shared/data`, counted a second time by code that knows nothing of the reader."""

import re
from collections import Counter
from pathlib import Path

import conllu
import pytest

from hf_polyglot.data.conll import read_conll

slow = pytest.mark.slow


def counted_by_hand(path: Path, separator: str, tag_column: int) -> tuple[int, int, int]:
    """Sentences, words, and entities: a tag with a type that the tag before it does not continue."""
    sentences = words = entities = 0
    previous = ""
    for line in path.read_bytes().decode("utf-8-sig").split("\n"):
        if path.suffix in (".iob2", ".conllu") and re.match(r"#|[0-9]+[-.]", line):
            continue
        if not line:
            previous = ""
            continue
        tag = line.split(separator)[tag_column]
        words += 1
        sentences += not previous
        entities += tag[0] == "B" or (tag[0] == "I" and tag[2:] != previous[2:])
        previous = tag
    return sentences, words, entities


@pytest.mark.parametrize(
    ("pattern", "separator", "tag_column"),
    [
        ("masakhaner1/*/[dt]e*.txt", " ", 1),
        ("uner/*-test.iob2", "\t", 2),
        ("wikiann/en/dev.tsv", "\t", 2),
        pytest.param("masakhaner1/*/train.txt", " ", 1, marks=slow),
        pytest.param("uner/*[nv].iob2", "\t", 2, marks=slow),
        pytest.param("wikiann/*/*.tsv", "\t", 2, marks=slow),
    ],
)
def test_files_hold_as_many_sentences_words_and_entities_as_counted_by_hand(
    shared_data, pattern, separator, tag_column
):
    paths = sorted(shared_data.glob(pattern))
    assert paths

    for path in paths:
        sentences = read_conll(path).sentences
        tags = Counter(tag[0] for sentence in sentences for tag in sentence.tags)
        assert (len(sentences), sum(tags.values()), tags["B"]) == counted_by_hand(path, separator, tag_column), path


@pytest.mark.parametrize("pattern", ["*-test.conllu", pytest.param("*[nv].conllu", marks=slow)])
def test_treebanks_hold_as_many_sentences_and_words_as_counted_by_hand(shared_data, pattern):
    paths = sorted(shared_data.glob(f"ud/{pattern}"))
    assert paths

    for path in paths:
        sentences = read_conll(path, task="upos").sentences
        words = sum(len(sentence.tokens) for sentence in sentences)
        assert (len(sentences), words) == counted_by_hand(path, "\t", 3)[:2], path


@pytest.mark.parametrize("name", ["kk_ktb-ud-train", "ta_ttb-ud-test", "mr_ufal-ud-train", "wo_wtb-ud-dev"])
@pytest.mark.parametrize("task", ["upos", "feats"])
def test_treebanks_hold_the_words_and_tags_that_the_conllu_package_reads(shared_data, name, task):
    path = shared_data / "ud" / f"{name}.conllu"
    parsers = {task: lambda row, column: row[column]}  # as it stands

    expected = [
        [(word["form"], word[task]) for word in sentence if isinstance(word["id"], int)]
        for sentence in conllu.parse(path.read_text(encoding="utf-8"), field_parsers=parsers)
    ]

    found = read_conll(path, task=task).sentences
    assert [list(zip(sentence.tokens, sentence.tags, strict=True)) for sentence in found] == expected


def test_the_stray_inside_tags_of_masakhaner_are_repaired_and_counted(shared_data):
    path = shared_data / "masakhaner1" / "lug" / "train.txt"

    found = read_conll(path)

    # A blank line cuts "Ekibiina kyAmawanga Amagatte", the United Nations, in two.
    tags = {token: sentence.tags[0] for sentence in found.sentences for token in sentence.tokens[:1]}
    assert (found.repaired.count, found.repaired.first) == (3, f"{path}:6309")
    assert tags["Amagatte"] == "B-ORG"
