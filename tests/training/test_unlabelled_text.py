"""Unlabelled text: which files are read, as which language, and what becomes of their lines."""

import pytest
from datasets import Dataset

from hf_polyglot.training.unlabelled_text import (
    TextArguments,
    read_text_files,
    texts_as_read,
    training_sentences,
    words_of_texts,
)


def test_lines_are_read_by_language(tmp_path):
    for name, text in (("swa.txt", "a b\n\nc\n"), ("more.en=1.txt", "d\ne\nf\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")

    files = [str(tmp_path / "swa.txt"), f"swa={tmp_path / 'more.en=1.txt'}", str(tmp_path / "more.en=1.txt")]
    texts = read_text_files(TextArguments(text_files=files, max_text_sentences=2))

    assert texts == {"swa": ["a b", "c", "d", "e"], "more": ["d", "e"]}
    datasets = words_of_texts(texts | {"eng": ["", "x"]}, lambda text: [(0, 1)] if text else [])
    assert datasets["swa"].to_dict() == {"tokens": [["a"], ["c"], ["d"], ["e"]], "language": ["swa"] * 4}
    assert datasets["eng"].to_dict() == {"tokens": [["x"]], "language": ["eng"]}
    corpora = {"eng": Dataset.from_dict({"tokens": [["y", "!"]]})}
    read = texts_as_read(corpora, {"eng": datasets["eng"]}, {"eng": ["x."]})
    assert list(read) == [["y", "!"], "y !", ["x"], "x."]  # each sentence once by its words and once as running text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"is not there; expected FILE or LANGUAGE=FILE"),
        ("\n \n", r"has no text; expected a"),
        ("\ufeff\n", r"has no text; expected a"),
        (b"Amina\nalifik\xe1\n", r"swa\.txt:2: the bytes b'\\xe1' are not UTF-8"),
    ],
)
def test_files_without_text_are_refused(text, message, tmp_path):
    if text is not None:
        (tmp_path / "swa.txt").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ValueError, match=message):
        read_text_files(TextArguments(text_files=[str(tmp_path / "swa.txt")]))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "swa.txt").write_text("Amina alifika\n", encoding="utf-8-sig")

    assert read_text_files(TextArguments(text_files=[str(tmp_path / "swa.txt")])) == {"swa": ["Amina alifika"]}


def test_training_sentences_of_corpora_are_read_whatever_their_labels(tmp_path):
    entities, words = ((tmp_path / name) for name in ("swa.txt", "tam-train.conllu"))
    entities.write_text("".join(f"w{index} O\nin B-LOC\n\n" for index in range(9)))
    words.write_text("1\tஒன்று\t_\tNUM\t_\t_\t0\troot\t_\t_\n\n")
    (tmp_path / "swa").mkdir()
    entities.rename(tmp_path / "swa" / "train.txt")
    sources = {"tam": str(tmp_path / "tam"), "swa": str(tmp_path / "swa")}

    found, few = training_sentences(sources), training_sentences(sources, 4)

    assert list(found) == ["tam", "swa"]
    assert found["tam"]["tokens"][:] == [["ஒன்று"]]
    assert found["swa"]["tokens"][:] == [[f"w{index}", "in"] for index in range(9)]
    drawn = few["swa"]["tokens"][:]
    assert len(drawn) == 4 and few["tam"]["tokens"][:] == [["ஒன்று"]]
    assert training_sentences(sources, 4)["swa"]["tokens"][:] == drawn
    assert training_sentences({}) == {}


def test_corpora_without_training_sentences_are_refused(tmp_path):
    (tmp_path / "test.txt").write_text("in B-LOC\n\n")

    with pytest.raises(ValueError, match=r"The corpus of swa, .*, has no training sentences, but test; expected some"):
        training_sentences({"swa": str(tmp_path)})
