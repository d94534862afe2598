"""Corpora with a column for each of several tasks: what each source has, and what is said of what it has not."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from hf_polyglot.data.corpora import fingerprint, load_corpora, tasks_of_source
from hf_polyglot.data.joint_corpora import load_joint_corpora
from tests.tiny_treebanks import conllu, write_treebanks

ENTITIES = "Amina B-PER\nlives O\nin O\nKano B-LOC\n\n"


@pytest.fixture
def folder(tmp_path):
    return write_treebanks(tmp_path, ("aa_one",), num_train=3)


def entities(folder):
    folder.mkdir()
    for split in ("train", "dev", "test"):
        (folder / f"{split}.txt").write_text(ENTITIES)
    return folder


def tags_of(dataset, column):
    names = dataset.features[column].feature.names
    return [[names[label] for label in labels] for labels in dataset[column]]


def untagged(sentences, column):
    """CoNLL-U with `_` in a column."""
    lines = [line.split("\t") for line in sentences.split("\n")]
    return "\n".join(
        "\t".join([*line[:column], "_", *line[column + 1 :]]) if len(line) == 10 else line[0] for line in lines
    )


def test_each_task_has_a_column_as_it_would_alone(folder):
    source = {"aa": str(folder / "aa_one-ud")}

    joint = load_joint_corpora(source, ["upos", "feats"])

    train = joint.corpora["aa"]["train"]
    assert train.column_names == ["tokens", "upos", "feats", "language"]
    assert list(joint.corpora["aa"]) == ["train", "validation", "test"]
    for task in ("upos", "feats"):
        alone, report = load_corpora(source, task=task)
        assert joint.labels[task] == report.labels
        assert list(train[task]) == list(alone["aa"]["train"][task])
        assert fingerprint(train, task) == fingerprint(alone["aa"]["train"])
    assert fingerprint(train) not in (fingerprint(train, "upos"), fingerprint(train, "feats"))


def test_a_corpus_of_entities_stands_beside_a_treebank(folder, tmp_path):
    sources = {"swa": entities(tmp_path / "swa"), "aa": folder / "aa_one-ud"}

    joint = load_joint_corpora(sources, ["ner_tags", "upos"], type_map={"LOC": "O"}, scheme="BIOES")

    swahili, treebank = joint.corpora["swa"]["train"], joint.corpora["aa"]["train"]
    assert tags_of(swahili, "ner_tags") == [["S-PER", "O", "O", "O"]]
    assert swahili["upos"][:] == [[]]
    assert treebank["ner_tags"][:] == [[], [], []]
    assert tags_of(treebank, "upos")[0] == ["NOUN", "VERB", "PUNCT"]
    assert "swa: no upos. It is trained and scored on its other tasks." in joint.report.notes
    assert "aa: no ner_tags. It is trained and scored on its other tasks." in joint.report.notes
    assert str(joint.report).startswith("ner_tags\nlanguage")


def test_sentences_and_treebanks_without_tags_lack_the_task_alone(folder, tmp_path):
    untagged_words = untagged(conllu(1), 3) + conllu(2)
    (folder / "aa_one-ud-train.conllu").write_text(untagged_words)
    for split in ("train", "dev", "test"):
        (tmp_path / f"bb_two-ud-{split}.conllu").write_text(untagged(conllu(2), 5))

    joint = load_joint_corpora({name: tmp_path / f"{name}-ud" for name in ("aa_one", "bb_two")}, ["upos", "feats"])

    assert [len(labels) for labels in joint.corpora["aa_one"]["train"]["upos"]] == [0, 3, 3]
    assert [len(labels) for labels in joint.corpora["aa_one"]["train"]["feats"]] == [3, 3, 3]
    assert [len(labels) for labels in joint.corpora["bb_two"]["train"]["upos"]] == [3, 3]
    assert joint.corpora["bb_two"]["train"]["feats"][:] == [[], []]
    assert [note for note in joint.report.notes if "no feats" in note] == [
        "bb_two: no feats. It is trained and scored on its other tasks."
    ]


def test_sentences_without_any_task_are_left_out_and_counted(folder):
    path = folder / "aa_one-ud-train.conllu"
    path.write_text(untagged(untagged(conllu(2), 3), 5) + conllu(2))
    for split in ("dev", "test"):
        (folder / f"aa_one-ud-{split}.conllu").write_text(untagged(conllu(2), 5))
    path.write_text(untagged(path.read_text(), 5))

    joint = load_joint_corpora({"aa": folder / "aa_one-ud"}, ["upos", "feats"])

    assert len(joint.corpora["aa"]["train"]) == 2
    note = next(note for note in joint.report.notes if "left out" in note)
    assert note == f"aa ({folder}/aa_one-ud, train): 2 sentences without any tags are left out."


def test_one_wrong_tag_is_an_error_and_no_missing_task(folder):
    path = folder / "aa_one-ud-train.conllu"
    path.write_text(path.read_text().replace("NOUN", "_", 1))

    with pytest.raises(ValueError, match=r"aa_one-ud-train.conllu:2: unknown tag '_'\. Expected a universal part of"):
        load_joint_corpora({"aa": folder / "aa_one-ud"}, ["upos", "feats"])


def test_data_sets_have_the_columns_that_they_have(tmp_path):
    features = Features({
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=["O", "B-PER", "I-PER"])),
        "upos": List(Value("string")),
    })
    rows = {
        "tokens": [["Amina", "sings"], ["oh", "!"], ["Bako"]],
        "ner_tags": [[1, 0], [], [1]],
        "upos": [["PROPN", "VERB"], ["INTJ", "PUNCT"], ["_"]],
    }
    dataset = Dataset.from_dict(rows, features=features)
    for split in ("train", "test"):
        dataset.to_parquet(tmp_path / f"{split}.parquet")

    assert tasks_of_source("swa", str(tmp_path)) == ["ner_tags", "upos"]
    joint = load_joint_corpora({"swa": str(tmp_path)}, ["ner_tags", "upos"])

    assert isinstance(joint.corpora["swa"], DatasetDict)
    assert tags_of(joint.corpora["swa"]["train"], "ner_tags") == [["B-PER", "O"], [], ["B-PER"]]
    assert tags_of(joint.corpora["swa"]["train"], "upos") == [["PROPN", "VERB"], ["INTJ", "PUNCT"], []]


def test_a_column_of_entities_in_conllu_is_found(folder):
    assert tasks_of_source("aa", folder / "aa_one-ud") == ["upos", "feats"]
    for path in folder.glob("*.conllu"):
        path.write_text(path.read_text().replace("\t_\n", "\tO\n"))

    assert tasks_of_source("aa", folder / "aa_one-ud") == ["ner_tags", "upos", "feats"]


def test_a_task_that_the_model_knows_may_be_lacking_altogether(tmp_path):
    known = {"ner_tags": ["O", "B-LOC", "I-LOC"], "upos": ["NOUN", "VERB"]}

    joint = load_joint_corpora({"swa": entities(tmp_path / "swa")}, ["ner_tags", "upos"], known_labels=known)

    assert joint.labels == {"ner_tags": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"], "upos": ["NOUN", "VERB"]}
    train = joint.corpora["swa"]["train"]
    assert train["upos"][:] == [[]] and train.features["upos"].feature.names == ["NOUN", "VERB"]
    assert "swa: no upos. It is trained and scored on its other tasks." in joint.report.notes


def test_what_no_corpus_has_is_refused(folder, tmp_path):
    swahili, treebank = entities(tmp_path / "swa"), folder / "aa_one-ud"

    with pytest.raises(ValueError, match=r"No corpus has `feats`: swa have ner_tags\. Expected one at least; add it"):
        load_joint_corpora({"swa": swahili}, ["ner_tags", "feats"])
    with pytest.raises(ValueError, match=r"`swa`: .*swa has ner_tags; expected one of upos, feats at least"):
        load_joint_corpora({"swa": swahili, "aa": treebank}, ["upos", "feats"])


def test_a_task_alone_wants_its_tags(folder):
    path = folder / "aa_one-ud-train.conllu"
    path.write_text(untagged(path.read_text(), 3))

    with pytest.raises(ValueError, match="unknown tag '_'"):
        load_corpora({"aa": folder / "aa_one-ud"}, task="upos")


def test_a_sentence_that_nobody_annotated_has_no_features_either(folder):
    train, test = (folder / f"aa_one-ud-{split}.conllu" for split in ("train", "test"))
    train.write_text(train.read_text() + untagged(untagged(conllu(2), 3), 5))
    test.write_text(untagged(untagged(test.read_text(), 3), 5))

    joint = load_joint_corpora({"aa": str(folder / "aa_one-ud")}, ["upos", "feats"])

    assert len(joint.corpora["aa"]["train"]) == 3
    assert list(joint.corpora["aa"]) == ["train", "validation"]
    assert "test without any tags: as if it were not there" in str(joint.report)
