"""Data sets that `load_dataset` reads: folders of Parquet and JSON lines, so that no network is needed."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

import hf_polyglot.data.corpora
from hf_polyglot.data.corpora import load_corpora
from hf_polyglot.data.tagged_sentences import CorpusFormatError, Occurrences

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ROWS = {"tokens": [["Ada", "Obi"], ["ni", "Jos"], []], "ner_tags": [[1, 2], [0, 4], []]}


def with_label_names(rows: dict[str, list]) -> Dataset:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=LABELS))})
    return Dataset.from_dict(rows, features=features)


def tags_of(dataset: Dataset) -> list[list[str]]:
    names = dataset.features["ner_tags"].feature.names
    return [[names[label] for label in labels] for labels in dataset["ner_tags"]]


@pytest.fixture
def parquet(tmp_path) -> Path:
    folder = tmp_path / "parquet"
    folder.mkdir()
    for split in ("train", "validation"):
        with_label_names(ROWS).to_parquet(folder / f"{split}.parquet")
    return folder


def test_a_data_set_with_label_ids_is_read(parquet):
    corpora, report = load_corpora({"ibo": parquet})

    assert list(corpora["ibo"]) == ["train", "validation"]
    assert tags_of(corpora["ibo"]["train"]) == [["B-PER", "I-PER"], ["O", "B-LOC"]]
    assert report.languages["ibo"]["train"].repaired == Occurrences(1, f"{parquet}[train]:1")
    assert report.languages["ibo"]["train"].left_out == {"empty sentences": Occurrences(1, f"{parquet}[train]:2")}


def test_a_data_set_with_tags_under_other_names_is_read(tmp_path):
    folder = tmp_path / "jsonl"
    folder.mkdir()
    Dataset.from_dict({"words": [["Ada", "ni"]], "labels": [["S-PER", "O"]]}).to_json(folder / "test.jsonl")

    corpora, _ = load_corpora({"ibo": folder}, token_column="words", tag_column="labels")

    assert corpora["ibo"]["test"].column_names == ["tokens", "ner_tags", "language"]
    assert tags_of(corpora["ibo"]["test"]) == [["B-PER", "O"]]


@pytest.mark.parametrize(
    ("content", "columns"),
    [("B-ORG x Ada\n", {"token_column": 2, "tag_column": 0}), ("Ada B-ORG\n", {"tag_column": "ner_tags"})],
)
def test_files_and_data_sets_share_labels_and_take_their_own_kind_of_column(tmp_path, parquet, content, columns):
    (tmp_path / "train.txt").write_text(content, encoding="utf-8")

    corpora, report = load_corpora({"ibo": parquet, "x": tmp_path}, **columns)

    assert report.labels == ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert corpora["x"]["train"][0]["tokens"] == ["Ada"]
    assert corpora["ibo"]["train"][0]["tokens"] == ["Ada", "Obi"]


@pytest.fixture
def hub(monkeypatch):
    """What `load_dataset` gives, by what it is asked for."""
    asked: dict[tuple, DatasetDict] = {}
    monkeypatch.setattr(hf_polyglot.data.corpora, "load_dataset", lambda *given: asked[given])
    return asked


def test_a_hub_name_may_hold_a_configuration(hub):
    hub["unimelb-nlp/wikiann", "en"] = DatasetDict({"train": with_label_names(ROWS)})
    hub["conll2003", None] = DatasetDict({"test": with_label_names(ROWS)})

    corpora, _ = load_corpora({"eng": "unimelb-nlp/wikiann:en", "deu": "conll2003"})

    assert (len(corpora["eng"]["train"]), len(corpora["deu"]["test"])) == (2, 2)


def test_splits_under_other_names_and_that_come_twice_are_left_out_and_reported(hub):
    splits = ("train", "extra", "dev", "validation")
    hub["owner/name", None] = DatasetDict({split: with_label_names(ROWS) for split in splits})

    corpora, report = load_corpora({"eng": "owner/name"})

    assert list(corpora["eng"]) == ["train", "validation"]
    assert report.languages["eng"]["validation"].source == "owner/name[dev]"
    assert [note for note in report.notes if "left out" in note] == [
        "eng: the split extra of owner/name is left out.",
        "eng: the split validation of owner/name is left out.",
    ]


UNREADABLE = [
    ({"words": [["a"]], "ner_tags": [["O"]]}, r": no column 'tokens'. Expected one of words, ner_tags. Give `token_"),
    ({"tokens": [["a"]], "tags": [["O"]]}, r": no column 'ner_tags'. Expected one of tokens, tags. Give `tag_column`"),
    ({"tokens": [["a"]], "ner_tags": [[1]]}, r": the column 'ner_tags' holds List\(Value\('int64'\)\).* cast the "),
    ({"tokens": [["a"]], "ner_tags": ["O"]}, r": the column 'ner_tags' holds Value\('string'\). Expected lists of"),
    ({"tokens": [["a"], ["b"]], "ner_tags": [["O"], []]}, r":1: the tokens \['b'\] and the tags \[\]. Expected"),
    ({"tokens": [["a"], None], "ner_tags": [["O"], ["O"]]}, r":1: the tokens None and the tags \['O'\]"),
    ({"tokens": [["a", " "]], "ner_tags": [["O", "O"]]}, r":0: the token ' ' with the tag 'O'. Expected a word"),
    ({"tokens": [["a", "b"]], "ner_tags": [["O", None]]}, r":0: the token 'b' with the tag None. Expected a word"),
    ({"tokens": [["a"]], "ner_tags": [["B_PER"]]}, r":0: unknown tag 'B_PER'"),
]


@pytest.mark.parametrize(("dataset", "message"), UNREADABLE)
def test_a_data_set_that_cannot_be_read_is_refused(hub, dataset, message):
    hub["owner/name", None] = DatasetDict({"train": Dataset.from_dict(dataset)})

    with pytest.raises(CorpusFormatError, match=rf"^owner/name\[train\]{message}"):
        load_corpora({"eng": "owner/name"})


@pytest.mark.parametrize("label", [-1, None])
def test_a_label_id_without_a_name_is_refused(hub, label):
    hub["owner/name", None] = DatasetDict({"train": with_label_names({"tokens": [["a"]], "ner_tags": [[label]]})})

    with pytest.raises(
        CorpusFormatError, match=rf"^owner/name\[train\]:0: the token 'a' with the tag {label}. Expected"
    ):
        load_corpora({"eng": "owner/name"})


def test_a_split_without_a_sentence_is_refused(hub):
    hub["owner/name", None] = DatasetDict({"train": with_label_names({"tokens": [[]], "ner_tags": [[]]})})

    with pytest.raises(CorpusFormatError, match=r"^owner/name\[train\]: no sentence in the split"):
        load_corpora({"eng": "owner/name"})


def test_a_data_set_without_a_usual_split_is_refused(hub):
    hub["owner/name", None] = DatasetDict({"all": with_label_names(ROWS)})

    with pytest.raises(ValueError, match=r"owner/name has the splits all\. Expected train, validation, test"):
        load_corpora({"eng": "owner/name"})


@pytest.mark.parametrize("name", ["no-such-owner/no-such-name", "no-such-name:en"])
def test_a_name_that_is_neither_on_the_hub_nor_a_folder_is_refused(name):
    with pytest.raises(ValueError, match=r"`eng`: `load_dataset\('no-such-.* says: .* If it is a path, it is missing"):
        load_corpora({"eng": name})
