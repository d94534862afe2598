import json
from pathlib import Path

import pytest
from datasets import Dataset

from hf_polyglot.data.corpora import fingerprint, load_corpora
from hf_polyglot.data.tagged_sentences import CorpusFormatError, Occurrences

SWAHILI = {
    "train": "Wizara B-ORG\nya I-ORG\nJumatatu B-DATE\n\nJuma I-PER\nalisema O\n",
    "dev": "Pwani B-LOC\n",
    "test": "leo B-DATE\n",
}
YORUBA = {"train": "Ìbàdàn B-LOC\nni O\n", "dev": "Tolu B-PER\n", "test": "ni O\n"}


def folder_of(parent: Path, name: str, files: dict[str, str], suffix: str = ".txt") -> Path:
    folder = parent / name
    folder.mkdir()
    for split, content in files.items():
        (folder / f"{split}{suffix}").write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def swahili(tmp_path) -> Path:
    return folder_of(tmp_path, "swa", SWAHILI)


@pytest.fixture
def yoruba(tmp_path) -> Path:
    return folder_of(tmp_path, "yor", YORUBA)


def tags_of(dataset: Dataset, column: str = "ner_tags") -> list[list[str]]:
    names = dataset.features[column].feature.names
    return [[names[label] for label in labels] for labels in dataset[column]]


def test_corpora_are_data_sets_of_tokens_tags_and_language(swahili, yoruba):
    corpora, _ = load_corpora({"swa": swahili, "yor": str(yoruba)})

    assert {language: list(splits) for language, splits in corpora.items()} == {
        "swa": ["train", "validation", "test"],
        "yor": ["train", "validation", "test"],
    }
    train = corpora["swa"]["train"]
    assert train.column_names == ["tokens", "ner_tags", "language"]
    assert list(train["tokens"]) == [["Wizara", "ya", "Jumatatu"], ["Juma", "alisema"]]
    assert tags_of(train) == [["B-ORG", "I-ORG", "B-DATE"], ["B-PER", "O"]]
    assert list(train["language"]) == ["swa", "swa"]


def test_all_languages_share_one_label_list(swahili, yoruba):
    corpora, report = load_corpora({"swa": swahili, "yor": yoruba})

    names = [dataset.features["ner_tags"].feature.names for splits in corpora.values() for dataset in splits.values()]
    expected = ["O", "B-DATE", "I-DATE", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert names == [expected] * 6
    assert report.labels == expected


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "dev.txt", "test.TXT"),
        ("eng.train", "eng.testa", "eng.testb"),
        ("kk_ktb-ud-train.iob2", "kk_ktb-ud-dev.iob2", "kk_ktb-ud-test.iob2"),
        ("training.tsv", "validation.tsv", "test.tsv"),
        ("TRAIN.conll", "valid.conll", "Test.conll"),
    ],
)
def test_the_files_of_a_folder_are_found_by_their_names(tmp_path, names):
    for name, content in zip(names, YORUBA.values(), strict=True):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "latest.txt").write_text("no split", encoding="utf-8")
    (tmp_path / "train.md").write_text("no column file", encoding="utf-8")

    corpora, _ = load_corpora({"yor": tmp_path})

    assert {split: dataset[0]["tokens"][0] for split, dataset in corpora["yor"].items()} == {
        "train": "Ìbàdàn",
        "validation": "Tolu",
        "test": "ni",
    }


def test_a_pattern_names_the_file_of_each_split(tmp_path):
    folder_of(tmp_path, "ud", {f"{code}-{split}": text for code in ("a", "b") for split, text in YORUBA.items()})

    corpora, _ = load_corpora({"yor": f"{tmp_path}/ud/b-{{split}}.txt"})

    assert list(corpora["yor"]) == ["train", "validation", "test"]


def test_a_mapping_names_the_file_of_each_split(swahili, yoruba):
    corpora, _ = load_corpora({"x": {"test": swahili / "train.txt", "dev": str(yoruba / "dev.txt")}})

    assert {split: len(dataset) for split, dataset in corpora["x"].items()} == {"validation": 1, "test": 2}


def test_mapped_types_are_renamed_merged_or_dropped_and_counted(swahili, yoruba):
    corpora, report = load_corpora({"swa": swahili, "yor": yoruba}, type_map={"DATE": "O", "ORG": "LOC"})

    assert report.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert tags_of(corpora["swa"]["train"])[0] == ["B-LOC", "I-LOC", "O"]
    assert report.languages["swa"]["train"].mapped == {
        "ORG -> LOC": Occurrences(1, f"{swahili}/train.txt:1"),
        "DATE -> O": Occurrences(1, f"{swahili}/train.txt:3"),
    }
    assert report.languages["swa"]["train"].entities == {"LOC": 1, "PER": 1}
    assert f"mapped DATE -> O: swa 2; first at {swahili}/train.txt:3" in str(report)


def test_spans_of_types_that_become_one_stay_apart(tmp_path):
    folder = folder_of(tmp_path, "x", {"train": "a B-ORG\nb B-LOC\n"})

    corpora, _ = load_corpora({"x": folder}, type_map={"ORG": "LOC"})

    assert tags_of(corpora["x"]["train"]) == [["B-LOC", "B-LOC"]]


def test_a_mapped_type_that_occurs_nowhere_is_reported(swahili):
    report = load_corpora({"swa": swahili}, type_map={"DTAE": "O", "DATE": "O"}).report

    assert [note for note in report.notes if "type_map" in note] == [
        "type_map: no corpus has the type DTAE, so DTAE -> O did nothing."
    ]
    assert "DTAE -> O did nothing" in str(report)


def test_counts_repairs_and_what_is_left_out_are_reported(swahili):
    (swahili / "dev.txt").write_text("# a comment\n\nPwani B-LOC\nb O\nc I-LOC\n", encoding="utf-8")

    report = load_corpora({"swa": swahili}).report

    split = report.languages["swa"]["validation"]
    assert (split.sentences, split.words, split.entities, split.scheme) == (1, 3, {"LOC": 2}, "IOB2")
    assert split.repaired == Occurrences(1, f"{swahili}/dev.txt:5")
    assert split.left_out["comments"] == Occurrences(1, f"{swahili}/dev.txt:1")
    assert str(report).splitlines()[:3] == [
        "language  split       sentences      words  entities",
        "swa       train               2          5         3  DATE 1, ORG 1, PER 1",
        "swa       validation          1          3         2  LOC 2",
    ]
    assert f"repaired tags: swa 2; first at {swahili}/train.txt:5" in str(report)
    assert f"left out comments: swa 1; first at {swahili}/dev.txt:1" in str(report)


def test_a_report_says_nothing_of_what_did_not_happen(tmp_path):
    folder = folder_of(tmp_path, "x", {"train": "a B-PER\n", "dev": "b B-PER\n", "test": "c B-PER\n"})

    report = str(load_corpora({"x": folder}).report)

    assert report.splitlines()[4:] == ["3 labels: O B-PER I-PER"]


def test_tags_of_another_scheme_are_reported(tmp_path):
    folder = folder_of(tmp_path, "x", {"train": "a I-PER\nb I-PER\n", "dev": "a O\nb S-PER\n\nc B-LOC\nd E-LOC\n"})

    report = load_corpora({"x": folder}).report

    assert f"tags rewritten from IOB1: x 1; first at {folder}/train.txt:1" in str(report)
    assert f"tags rewritten from BIOES: x 2; first at {folder}/dev.txt:2" in str(report)


def test_the_report_is_written_as_json(swahili):
    report = load_corpora({"swa": swahili}, type_map={"DATE": "O"}).report

    read = json.loads(json.dumps(report.to_dict()))

    assert read["languages"]["swa"]["train"]["mapped"]["DATE -> O"]["first"] == f"{swahili}/train.txt:3"


def test_a_split_without_entities_is_reported(yoruba):
    report = load_corpora({"yor": yoruba}).report

    assert "yor: no entity in test." in report.notes


def test_splits_that_are_missing_or_identical_are_reported(tmp_path):
    folder = folder_of(tmp_path, "x", {"dev": "a B-PER\n", "test": "a B-PER\n"})

    report = load_corpora({"x": folder}).report

    assert report.notes == ["x: no train split.", "x: validation and test are identical."]


def test_a_type_that_a_language_lacks_is_reported(swahili, yoruba):
    report = load_corpora({"swa": swahili, "yor": yoruba}).report

    assert "yor: no DATE, no ORG, unlike other languages." in report.notes


def test_labels_follow_the_scheme_asked_for(swahili):
    corpora, report = load_corpora({"swa": swahili}, scheme="BIOES", type_map={"DATE": "O", "LOC": "O"})

    assert report.labels == ["O", *(f"{prefix}-{name}" for name in ("ORG", "PER") for prefix in "BIES")]
    assert tags_of(corpora["swa"]["train"]) == [["B-ORG", "E-ORG", "O"], ["S-PER", "O"]]


def test_borders_that_plain_tags_lose_are_reported(tmp_path):
    folder = folder_of(tmp_path, "x", {"train": "z O\n\na B-PER\nb B-PER\n"})

    report = load_corpora({"x": folder}, scheme="plain").report

    assert report.languages["x"]["train"].left_out == {
        "borders between spans of one type, which plain tags lack": Occurrences(1, f"{folder}/train.txt:3")
    }


def test_parts_of_speech_are_a_task(tmp_path):
    row = "1\tmar\tmar\t{}\t_\t{}\t0\troot\t_\t_\n"
    folder = folder_of(tmp_path, "x", {"train": row.format("NOUN", "Number=Sing") + row.format("ADJ", "_")}, ".conllu")

    corpora, report = load_corpora({"x": folder}, task="upos")
    features, _ = load_corpora({"x": folder}, task="feats")

    assert report.labels == ["ADJ", "NOUN"]
    assert tags_of(corpora["x"]["train"], "upos") == [["NOUN", "ADJ"]]
    assert tags_of(features["x"]["train"], "feats") == [["Number=Sing", "_"]]
    assert "entit" not in str(report)


def test_the_report_holds_the_fingerprint_of_each_split(swahili):
    corpora, report = load_corpora({"swa": swahili})

    for split, dataset in corpora["swa"].items():
        assert fingerprint(dataset) == report.languages["swa"][split].fingerprint


def test_a_fingerprint_depends_on_tokens_and_tags_and_on_no_label_order(swahili, yoruba):
    alone = load_corpora({"yor": yoruba}).corpora["yor"]["train"]
    with_others = load_corpora({"swa": swahili, "yor": yoruba}).corpora["yor"]["train"]
    assert alone.features != with_others.features
    assert fingerprint(alone) == fingerprint(with_others)

    prints = {fingerprint(alone)}
    for changed in ("Ibadan B-LOC\nni O\n", "Ìbàdàn B-PER\nni O\n", "Ìbàdàn B-LOC\n\nni O\n", "Ìbàdàn B-LOC\n"):
        (yoruba / "train.txt").write_text(changed, encoding="utf-8")
        prints.add(fingerprint(load_corpora({"yor": yoruba}).corpora["yor"]["train"]))

    assert len(prints) == 5


def test_a_fingerprint_is_the_same_in_every_process(yoruba):
    train = load_corpora({"yor": yoruba}).corpora["yor"]["train"]

    assert fingerprint(train) == "1ec66a176e5bd6a820fc79f595cd5075aec116c480cb6f792c3c644700254252"


@pytest.mark.parametrize(
    "source",
    [Path("no/such"), "/no/such", "./no", "a/b/c", "no/such.txt", "no/{split}.txt", {"train": "no/such.txt"}],
)
def test_a_path_that_does_not_exist_is_no_hub_name(source):
    with pytest.raises(FileNotFoundError, match=r"`eng`: .* Correct the path; relative ones start at /"):
        load_corpora({"eng": source})


def test_two_files_of_one_split_are_refused(swahili):
    (swahili / "valid.tsv").write_text("a O\n", encoding="utf-8")

    with pytest.raises(ValueError, match=r"`swa` has two validation splits, .*dev.txt and .*valid.tsv.* with {split}"):
        load_corpora({"swa": swahili})


def test_two_names_of_one_split_are_refused(swahili):
    files = {"dev": swahili / "dev.txt", "validation": swahili / "test.txt"}

    with pytest.raises(ValueError, match="`swa` has two validation splits"):
        load_corpora({"swa": files})


def test_a_split_of_an_unknown_name_is_refused(swahili):
    with pytest.raises(ValueError, match=r"`swa` has a split 'extra'\. Expected train, validation, test. Rename it"):
        load_corpora({"swa": {"extra": swahili / "dev.txt"}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": {}}, "No sources. Expected one language or more"),
        ({"task": "pos"}, "Unknown task 'pos'. Expected one of ner_tags, upos, feats"),
        ({"scheme": "BIO"}, "Unknown `scheme` 'BIO'. Expected one of IOB1, IOB2, BIOES, plain"),
        ({"source_scheme": "BIO"}, "Unknown `source_scheme` 'BIO'"),
        ({"task": "upos", "type_map": {"X": "O"}}, "renames entity types, but the task is 'upos'. Leave"),
        ({"type_map": {"B-DATE": "O"}}, "has 'B-DATE': 'O'. Expected entity types without a prefix"),
        ({"type_map": {"DATE": ""}}, "has 'DATE': ''"),
    ],
)
def test_a_wrong_argument_is_refused(swahili, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpora(**({"sources": {"swa": swahili}} | arguments))


def test_a_broken_file_is_refused_by_file_and_line(swahili):
    (swahili / "test.txt").write_text("a O\nb\n", encoding="utf-8")

    with pytest.raises(CorpusFormatError, match=r"/swa/test\.txt:2: 1 column"):
        load_corpora({"swa": swahili})


def test_real_corpora_load_with_one_label_list(shared_data):
    corpora, report = load_corpora(
        {"luo": shared_data / "masakhaner1" / "luo", "swe": f"{shared_data}/uner/sv_talbanken-ud-{{split}}.iob2"},
        type_map={"DATE": "O"},
    )

    assert {language: len(splits["train"]) for language, splits in corpora.items()} == {"luo": 644, "swe": 4303}
    assert report.labels == ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert report.languages["luo"]["train"].mapped["DATE -> O"].count == 237


def test_sentences_without_borders_are_pointed_out(tmp_path):
    (tmp_path / "train.txt").write_text("".join("Kano B-LOC\nsays O\n" for _ in range(150)))

    _, report = load_corpora({"hau": str(tmp_path)})

    assert "hau: 300 words in 1 sentences of train. Does a blank line stand between sentences?" in report.notes
