"""Whole sentences of CoNLL-U."""

import pytest
from conllu import parse

from hf_polyglot.data.conll import read_words
from hf_polyglot.data.conllu import FORM, conllu_lines, read_conllu, sentence_of_text, with_tags
from hf_polyglot.data.tagged_sentences import CorpusFormatError

TEXT = """\
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t_\t_
2.1\tjuntos\t_\tADJ\t_\t_\t_\t_\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\tGender=Masc\t1\tobl\t_\t_

# sent_id = 2
1\t#\t#\tSYM\t_\t_\t0\troot\t_\t_

"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "test.conllu"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_file_comes_back_as_it_was(file):
    assert "".join(line for sentence in read_conllu(file) for line in conllu_lines(sentence)) == TEXT


def test_words_are_those_of_the_conllu_package_and_of_the_column_reader(file):
    words = [[row.columns[FORM] for row in sentence.words] for sentence in read_conllu(file)]

    assert words == [[token["form"] for token in tokens if isinstance(token["id"], int)] for tokens in parse(TEXT)]
    assert words == read_words(file)


def test_tags_go_into_their_column_and_nothing_else_changes(file):
    first, _ = read_conllu(file)
    tags = ["A=1", "B=2", "C=3", "_", "E=5"]

    lines = conllu_lines(with_tags(first, "feats", tags))

    before, after = ([line.split("\t") for line in of.splitlines()] for of in (TEXT.split("\n\n")[0], "".join(lines)))
    words = [row for row in after if row[0].isdecimal()]
    assert [row[5] for row in words] == tags
    restored = [[*row[:5], old[5], *row[6:]] if len(row) > 1 else row for row, old in zip(after, before, strict=False)]
    assert restored == before
    with pytest.raises(ValueError, match="4 tags for 5 words"):
        with_tags(first, "upos", tags[1:])


def test_a_text_becomes_a_sentence(tmp_path):
    text = "Oh,  no\tway"
    sentence = sentence_of_text(text, [(0, 2), (2, 3), (5, 7), (8, 11)])
    path = tmp_path / "text.conllu"
    path.write_text("".join(conllu_lines(sentence)), encoding="utf-8")

    (tokens,) = parse(path.read_text(encoding="utf-8"))

    assert tokens.metadata == {"text": "Oh, no way"}
    assert [(token["form"], token["misc"]) for token in tokens] == [
        ("Oh", {"SpaceAfter": "No"}), (",", None), ("no", None), ("way", None)
    ]  # fmt: skip
    assert read_conllu(path)[0].words[0].columns == sentence.words[0].columns


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1\tvamos", "2\tvamos", r"test.conllu:4: the word id '2' in .*Expected 1, a range such as 1-2"),
        ("2\tnos\t", "2\tnos ", r"test.conllu:5: 9 columns"),
        ("3-4\tal", "2-4\tal", r"test.conllu:7: the word id '2-4'"),
        ("3-4\tal", "3-2\tal", r"test.conllu:7: the word id '3-2'"),
        ("3-4\tal", "3-7\tal", r"test.conllu:10: the sentence ends before the last word of a multi-word token"),
        ("2.1\tj", "3.1\tj", r"test.conllu:6: the word id '3.1'.*or an empty node 2.1"),
        ("2\tnos\t", "2-3\tnos\t", r"test.conllu:5: the word id '2-3'"),
        ("1\t#\t#", "1\t \t#", r"test.conllu:13: the word is ' '"),
        ("5\tmar", "x\tmar", r"test.conllu:10: the word id 'x'"),
    ],
)
def test_what_is_no_conllu_is_refused_by_its_line(file, old, new, message):
    file.write_text(TEXT.replace(old, new), encoding="utf-8")

    with pytest.raises(CorpusFormatError, match=message):
        read_conllu(file)
