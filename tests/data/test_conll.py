import re
from pathlib import Path

import pytest

from hf_polyglot.data.conll import conll_lines, read_conll, read_words, write_conll
from hf_polyglot.data.tagged_sentences import CorpusFormatError, Occurrences
from hf_polyglot.models.label_scheme import SCHEMES, convert_tags

MASAKHANER = "Wizara B-ORG\nya I-ORG\n# O\n\nmno O\n"
WIKIANN = "0\tKarl\tB-PER\n1\tOve\tI-PER\n2\t#\tO\n\n0\t(\tO\n"
UNER = (
    "# sent_id = 1\n# text = SID går O\n1\tSID\tB-ORG\tB-ORGpart#O\ts\n2\tgår\tO\tO\ts\n\n"
    "# text = #\n1\t#\tO\tO#O\ts\n"
)
CONLL_2002 = "El DA O\nAbogado NC B-PER\nGeneral AQ I-PER\n\nde SP O\n"
CONLL_2003 = (
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\n\n-DOCSTART- -X- O O\n\nPeter NNP B-NP I-PER\n"
)
CONLLU = (
    "# text = Vámonos al mar\n"
    "1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tVamos\tir\tVERB\t_\tMood=Imp|Number=Plur\t0\troot\t_\t_\n"
    "2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n"
    "2.1\tya\tya\tADV\t_\t_\t_\t_\t1:advmod\t_\n"
    "3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_\n"
    "4\tel\tel\tDET\t_\tNumber=Sing\t5\tdet\t_\t_\n"
    "5\tmar\tmar\tNOUN\t_\tNumber=Sing\t1\tobl\t_\t_\n"
    "\n"
)


def file_of(folder: Path, content: str | bytes) -> Path:
    path = folder / "corpus.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(found) -> list[list[tuple[str, str]]]:
    """Words with their tags, sentence by sentence."""
    return [list(zip(sentence.tokens, sentence.tags, strict=True)) for sentence in found.sentences]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (MASAKHANER, [[("Wizara", "B-ORG"), ("ya", "I-ORG"), ("#", "O")], [("mno", "O")]]),
        (WIKIANN, [[("Karl", "B-PER"), ("Ove", "I-PER"), ("#", "O")], [("(", "O")]]),
        (UNER, [[("SID", "B-ORG"), ("går", "O")], [("#", "O")]]),
        (CONLL_2002, [[("El", "O"), ("Abogado", "B-PER"), ("General", "I-PER")], [("de", "O")]]),
        (CONLL_2003, [[("EU", "B-ORG"), ("rejects", "O")], [("Peter", "B-PER")]]),
    ],
    ids=["MasakhaNER", "WikiANN", "UNER", "CoNLL-2002", "CoNLL-2003"],
)
def test_separator_and_columns_of_the_usual_formats_are_found(tmp_path, content, expected):
    assert pairs(read_conll(file_of(tmp_path, content))) == expected


@pytest.mark.parametrize(
    ("task", "tags"),
    [
        ("upos", ["VERB", "PRON", "ADP", "DET", "NOUN"]),
        ("feats", ["Mood=Imp|Number=Plur", "_", "_", "Number=Sing", "Number=Sing"]),
    ],
)
def test_conllu_gives_parts_of_speech_and_features(tmp_path, task, tags):
    found = read_conll(file_of(tmp_path, CONLLU), task=task)

    assert pairs(found) == [list(zip(["Vamos", "nos", "a", "el", "mar"], tags, strict=True))]


def test_word_ranges_and_empty_nodes_are_left_out_and_counted(tmp_path):
    path = file_of(tmp_path, CONLLU)

    found = read_conll(path, task="upos")

    assert found.left_out["word ranges"] == Occurrences(2, f"{path}:2")
    assert found.left_out["empty nodes"] == Occurrences(1, f"{path}:5")


def test_comments_and_document_separators_are_left_out_and_counted(tmp_path):
    path = file_of(tmp_path, "# a comment of several words\n" + CONLL_2003 + "#\n# O\n")

    found = read_conll(path)

    assert found.left_out == {
        "comments": Occurrences(3, f"{path}:1"),
        "document separators": Occurrences(2, f"{path}:2"),
    }


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("# O\na O\n", ["#", "a"]),  # MasakhaNER
        ("#EndSARS B-ORG\n", ["#EndSARS"]),
        ("# id 1\na O\n", ["a"]),
        ("# text\na O\n", ["a"]),
        ("a\tO\n# text = b\n#\tO\n", ["a", "#"]),
        ("# PER\na PER\nb O\n", ["#", "a", "b"]),
    ],
)
def test_a_line_with_a_hash_is_a_row_if_it_has_columns_and_tag_of_one(tmp_path, content, tokens):
    found = read_conll(file_of(tmp_path, content))

    assert [token for sentence in found.sentences for token in sentence.tokens] == tokens


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n\n", "\n \t \n"),
        lambda text: "\n\n" + text.replace("\n\n", "\n\n\n\n") + "\n\n",
        lambda text: text.replace(" B", "   B").replace(" O", " O  "),
        lambda text: text.replace(" ", "\t"),
    ],
    ids=["no last newline", "CRLF", "BOM", "blanks", "empty sentences", "aligned with spaces", "tabs"],
)
def test_the_shape_of_a_file_does_not_change_its_sentences(tmp_path, change):
    expected = pairs(read_conll(file_of(tmp_path, MASAKHANER)))

    assert pairs(read_conll(file_of(tmp_path, change(MASAKHANER)))) == expected


@pytest.mark.parametrize(
    "token", ["10\u00a0000", "\u200b", "a\u200db", "a\u2028b", "a\x1cb", "a\x85", "\ufeffa", "\u3000"]
)
@pytest.mark.parametrize("separator", [" ", "\t"])
def test_no_other_white_space_splits_a_line(tmp_path, token, separator):
    found = read_conll(file_of(tmp_path, f"x{separator}O\n{token}{separator}B-PER\n"))

    assert pairs(found) == [[("x", "O"), (token, "B-PER")]]


def test_tokens_between_tabs_may_hold_spaces(tmp_path):
    assert pairs(read_conll(file_of(tmp_path, "học sinh\tO\nHà Nội\tB-LOC\n"))) == [
        [("học sinh", "O"), ("Hà Nội", "B-LOC")]
    ]


def test_a_comment_block_without_a_word_is_counted(tmp_path):
    path = file_of(tmp_path, "# id = 1\n\n# id = 2\n1\ta\tO\n")

    assert read_conll(path).left_out["comment blocks without a word"] == Occurrences(1, f"{path}:2")


def test_separator_and_columns_can_be_given(tmp_path):
    path = file_of(tmp_path, "B-PER|x|New York\nO|y|b\n")

    found = read_conll(path, separator="|", token_column=-1, tag_column=0)

    assert pairs(found) == [[("New York", "B-PER"), ("b", "O")]]


def test_with_both_columns_given_rows_may_differ_behind_them(tmp_path):
    path = file_of(tmp_path, "a O\nb B-PER x\nc I-PER x y\n")

    assert pairs(read_conll(path, token_column=0, tag_column=1)) == [[("a", "O"), ("b", "B-PER"), ("c", "I-PER")]]


def test_numbers_that_count_no_words_are_words(tmp_path):
    assert pairs(read_conll(file_of(tmp_path, "14 Z O\n3 Z O\n7 Z B-DATE\n"))) == [
        [("14", "O"), ("3", "O"), ("7", "B-DATE")]
    ]


def test_a_number_of_many_digits_is_a_word(tmp_path):
    number = "9" * 5000

    assert pairs(read_conll(file_of(tmp_path, f"{number}\tZ\tO\n"))) == [[(number, "O")]]


def test_word_ids_are_found_in_a_file_that_begins_inside_a_sentence(tmp_path):
    assert pairs(read_conll(file_of(tmp_path, "7\ta\tO\n8\tb\tO\n\n0\tc\tO\n"))) == [
        [("a", "O"), ("b", "O")],
        [("c", "O")],
    ]


def test_a_column_of_bare_types_is_found_by_its_commonest_value(tmp_path):
    content = "a O x\nb PER y\nc LOC z\nd O x\ne ORG O\n"

    assert pairs(read_conll(file_of(tmp_path, content)))[0][:2] == [("a", "O"), ("b", "B-PER")]


@pytest.mark.parametrize("source", SCHEMES)
@pytest.mark.parametrize("target", SCHEMES)
def test_any_scheme_is_read_as_any_other(tmp_path, source, target):
    tags = ["B-PER", "I-PER", "B-LOC", "O", "B-LOC", "I-LOC", "I-LOC"]
    in_source, in_target = convert_tags(tags, "IOB2", source), convert_tags(tags, "IOB2", target)

    found = read_conll(file_of(tmp_path, "".join(f"x {tag}\n" for tag in in_source)), target_scheme=target)

    assert (found.scheme, found.sentences[0].tags, found.repaired.count) == (source, in_target, 0)
    assert found.converted.count == sum(old != new for old, new in zip(in_source, in_target, strict=True))


def test_touching_spans_of_iob1_stay_apart(tmp_path):
    found = read_conll(file_of(tmp_path, "a I-PER\nb B-PER\nc I-PER\n"))

    assert (found.scheme, found.sentences[0].tags) == ("IOB1", ["B-PER", "B-PER", "I-PER"])
    assert found.repaired.count == 0


def test_an_inside_tag_behind_outside_is_repaired_and_counted(tmp_path):
    path = file_of(tmp_path, "a B-PER\nb O\nc I-LOC\nd I-LOC\n\ne I-PER\n")

    found = read_conll(path)

    assert [sentence.tags for sentence in found.sentences] == [["B-PER", "O", "B-LOC", "I-LOC"], ["B-PER"]]
    assert (found.scheme, found.repaired) == ("IOB2", Occurrences(2, f"{path}:3"))


def test_broken_bioes_is_repaired_and_counted(tmp_path):
    path = file_of(tmp_path, "a S-PER\nb B-LOC\nc O\nd I-LOC\ne E-LOC\n")

    found = read_conll(path, target_scheme="BIOES")

    assert found.sentences[0].tags == ["S-PER", "S-LOC", "O", "B-LOC", "E-LOC"]
    assert found.repaired == Occurrences(2, f"{path}:2")


ERRORS = {
    "too few columns": ("a O\nb\n", {}, r":2: 1 column, \['b'\]. Expected 2, split by ' '"),
    "too few of ten": (
        CONLLU.replace("\tNOUN\t_", "\tNOUN"),
        {"task": "upos"},
        r":9: 9 columns, .* Expected 10",
    ),
    "too many columns": (
        "a O\nNew York B-LOC\n",
        {},
        r":2: 3 columns, \['New', .* Expected 2, .* another sep",
    ),
    "one column": (
        "# c\na\nb\n",
        {},
        r":2: 1 column, 'a'. Expected a token and a tag, split by ' '.* give `separator`",
    ),
    "missing given column": ("a O\n", {"tag_column": 2}, r":1: `tag_column` is 2, but the row has 2 .* at most 1"),
    "no tags": ("a b c\nd e f\n", {}, r":1: no column of `ner_tags` in \['a', 'b', 'c'\].* Give `tag_column`"),
    "no conllu": ("a b c\n", {"task": "upos"}, r":1: no column of `upos` .* Expected ten columns"),
    "empty word": ("a\tO\n\tB-PER\n", {}, r":2: the word is '' in \['', 'B-PER'\].* not empty"),
    "word of spaces": ("a\tO\n  \tB-PER\n", {}, r":2: the word is '  ' "),
    "tab in a word": ("a O\nb O\nc\td O\n", {}, r":3: the word is 'c\\td' .* holds no tab"),
    "word id": (WIKIANN * 9 + "x\ta\tO\n", {}, r":46: the word id 'x' .* Expected a number, a range"),
    "word id of CoNLL-U": (CONLLU.replace("5\tmar", "x\tmar"), {"task": "upos"}, r":9: the word id 'x'"),
    "only word id of CoNLL-U": ("x\ta\ta\tADP\t_\t_\t0\t_\t_\t_\n", {"task": "upos"}, r":1: the word id 'x'"),
    "unknown tag": ("a O\nb B-PER\nc B_PER\nd B_PER\n", {}, r":3: unknown tag 'B_PER'. Expected `O`.* Correct it"),
    "unknown prefix": ("a O\nb X-PER\n", {}, r":2: unknown tag 'X-PER'"),
    "BILOU": ("a O\nb B-PER\nc L-PER\n", {}, r":3: unknown tag 'L-PER'.*L- and U- of BILOU"),
    "type O": ("a O\nb B-O\n", {}, r":2: unknown tag 'B-O'"),
    "prefix alone": ("a O\nb B\n", {}, r":2: unknown tag 'B'"),
    "type among prefixes": ("a O\nb B-PER\nc LOC\n", {}, r":3: unknown tag 'LOC'"),
    "bare types without O": ("a PER\n", {}, r":1: unknown tag 'PER'.* the scheme 'plain'"),
    "invisible character": ("a O\nb B-PER\u200b\n", {}, r":2: unknown tag 'B-PER\\u200b'"),
    "misspelt tag of a hash tag": ("a O\n#b B_PER\n", {}, r":2: unknown tag 'B_PER'"),
    "part of speech": (CONLLU.replace("DET", "ART"), {"task": "upos"}, r":8: unknown tag 'ART'.* ADJ ADP .* VERB X"),
    "features": (CONLLU.replace("Mood=Imp", "Imp"), {"task": "feats"}, r":3: unknown features 'Imp\|Number=Plur'"),
    "BIOES for IOB2": ("a O\nb S-PER\n", {"scheme": "IOB2"}, r":2: the tag 'S-PER' contradicts the scheme 'IOB2'"),
    "IOB2 for IOB1": ("a I-PER\nb B-LOC\n", {"scheme": "IOB1"}, r":2: the tag 'B-LOC' contradicts the scheme 'IOB1'"),
    "IOB1 for IOB2": (
        "a O\nb I-PER\n",
        {"scheme": "IOB2"},
        r":2: .* every span opens with I-.* scheme 'IOB1'",
    ),
    "IOB2 for BIOES": ("a O\nb B-PER\n", {"scheme": "BIOES"}, r":2: .* no E- and no S-.* Give the scheme 'IOB2'"),
    "IOB2 for plain": ("a O\nb B-PER\n", {"scheme": "plain"}, r":2: the tag 'B-PER' contradicts the scheme 'plain'"),
    "plain for IOB2": ("a O\nb PER\n", {"scheme": "IOB2"}, r":2: unknown tag 'PER'"),
    "Latin-1": (b"a O\nb\xe9 O\n", {}, r":2: the bytes b'\\xe9' are not UTF-8.*iconv -f LATIN1"),
    "Latin-1 behind a mark": (b"\xef\xbb\xbfa O\nb\xe9 O\n", {}, r":2: the bytes b'\\xe9' are not UTF-8"),
    "lone surrogate": (b"a O\n\xed\xa0\x80 O\n", {}, r":2: the bytes b'\\xed' are not UTF-8"),
    "UTF-16": ("a O\n".encode("utf-16"), {}, r":1: the bytes b'\\xff' are not UTF-8.* UTF-16"),
    "UTF-16 without a mark": ("a O\n".encode("utf-16-le"), {}, r":1: the character '\\x00' inside a line.* UTF-16"),
    "carriage returns": ("a O\nb O\rc O\r", {}, r":2: the character '\\r' inside a line.*tr '\\r' '\\n'"),
    "empty": ("", {}, r":1: the file is empty"),
    "white space": (" \n\t\r\n", {}, r":1: the file is empty"),
    "byte order mark": ("\ufeff", {}, r":1: no word in the file"),
    "comments": ("# a\n# b\n", {}, r":1: no word in the file"),
    "word ranges": ("1-2\tal\tO\n", {}, r":1: no word in the file"),
}


@pytest.mark.parametrize(("content", "arguments", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_input_is_refused_with_file_line_value_and_remedy(tmp_path, content, arguments, message):
    path = file_of(tmp_path, content)

    with pytest.raises(CorpusFormatError, match=f"^{re.escape(str(path))}{message}"):
        read_conll(path, **arguments)


def test_a_long_value_is_shortened_in_the_message(tmp_path):
    with pytest.raises(CorpusFormatError) as caught:
        read_conll(file_of(tmp_path, "a O\nb B-PER\nc " + "x" * 10_000 + "\n"))

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "pos"}, "Unknown task 'pos'. Expected one of ner_tags, upos, feats"),
        ({"scheme": "BIO"}, "Unknown `scheme` 'BIO'. Expected one of IOB1, IOB2, BIOES, plain"),
        ({"target_scheme": "BIO"}, "Unknown `target_scheme` 'BIO'"),
        ({"separator": ""}, "The separator '' splits no columns. Expected a tab or a space"),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_conll(file_of(tmp_path, "a O\n"), **arguments)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a\n#b\n#\n\nc\n", [["a", "#b", "#"], ["c"]]),
        ("a X-9\n# a comment\n\nb ?\n", [["a"], ["b"]]),
        (MASAKHANER, [["Wizara", "ya", "#"], ["mno"]]),
        (UNER, [["SID", "går"], ["#"]]),
        (CONLLU, [["Vamos", "nos", "a", "el", "mar"]]),
    ],
    ids=["words alone", "any tags", "MasakhaNER", "UNER", "CoNLL-U"],
)
def test_words_are_read_with_any_tags_and_without(tmp_path, content, expected):
    assert read_words(file_of(tmp_path, content)) == expected


def test_words_are_read_from_the_column_given(tmp_path):
    assert read_words(file_of(tmp_path, "x a b\ny New c\n"), token_column=1) == [["a", "New"]]


def test_a_sentence_without_words_is_written_as_a_blank_line(tmp_path):
    write_conll(tmp_path / "corpus.txt", [(["a"], ["O"]), ([], []), (["b"], ["B-PER"])])

    assert (tmp_path / "corpus.txt").read_bytes() == b"a\tO\n\n\nb\tB-PER\n\n"


@pytest.mark.parametrize("token", ["", "  ", "a\tb", "a\nb", "a\rb", "a\0b", "\ud800", "-DOCSTART-"])
def test_a_word_that_would_not_be_read_back_is_not_written(token):
    with pytest.raises(ValueError, match=r"would not be read back .* split by '\\t'\. Expected a word without"):
        conll_lines([token], ["O"])


@pytest.mark.parametrize(("token", "tag"), [("a b", "O"), ("#", "LOC"), ("a", ""), ("a", "B-X Y"), ("a", "O\u200b")])
def test_what_spaces_cannot_split_is_not_written_with_spaces(token, tag):
    with pytest.raises(ValueError, match="would not be read back from columns split by ' '"):
        conll_lines([token], [tag], separator=" ")


def test_a_sentence_with_fewer_tags_than_words_is_not_written():
    with pytest.raises(ValueError, match=r"1 tags for the 2 tokens \['a', 'b'\]. Expected one tag each"):
        conll_lines(["a", "b"], ["O"])
