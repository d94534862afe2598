"""Command lines, presets, and the corpora that they name."""

import dataclasses
import re

import pytest

from hf_polyglot.data.demo import DEMO_FOLDER, SOURCE_LANGUAGES, ZERO_SHOT_LANGUAGES
from hf_polyglot.training.arguments import PolyglotTrainingArguments, asks_to_resume
from hf_polyglot.training.recipe_corpora import CorpusArguments, load_recipe_corpora, named_sources, parsed_type_map
from tests.tiny_treebanks import write_treebanks


def test_folders_are_named_after_their_language(tmp_path):
    for language in ("swa", "yor"):
        (tmp_path / language).mkdir()

    assert named_sources([f"{tmp_path}/*"]) == {"swa": f"{tmp_path}/swa", "yor": f"{tmp_path}/yor"}
    assert named_sources(["eng=unimelb-nlp/wikiann:en"]) == {"eng": "unimelb-nlp/wikiann:en"}
    with pytest.raises(ValueError, match="No folder matches"):
        named_sources([f"{tmp_path}/z*"])
    with pytest.raises(ValueError, match="'swa' has two corpora"):
        named_sources(["swa=a", f"{tmp_path}/swa"])


@pytest.mark.parametrize("source", ["unimelb-nlp/wikiann:en", "data/{split}.txt", "data/x=1/swa"])
def test_what_is_no_folder_names_no_language(source):
    with pytest.raises(ValueError, match=f"{re.escape(source)}' is no folder.* as swa="):
        named_sources([source])


def test_type_maps_are_pairs():
    with pytest.raises(ValueError, match="is not made of OLD=NEW"):
        parsed_type_map(["DATE"])
    with pytest.raises(ValueError, match="renames a type twice"):
        parsed_type_map(["DATE=O", "DATE=TIME"])


def test_a_language_must_not_be_called_like_an_average(tmp_path):
    with pytest.raises(ValueError, match="A language is called average"):
        load_recipe_corpora(CorpusArguments(corpora=[f"average={tmp_path}"]))


def test_columns_and_scheme_reach_the_reader(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.txt").write_text("1 B-PER Amina\n2 O lives\n\n")

    corpora = load_recipe_corpora(
        CorpusArguments(
            corpora=[f"swa={tmp_path}"], token_column="2", tag_column="1", separator="space", source_scheme="IOB2"
        )
    )

    assert corpora.train["swa"][0]["tokens"] == ["Amina", "lives"]


def test_without_corpora_the_embedded_one_is_used():
    corpora = load_recipe_corpora(CorpusArguments(max_train_sentences=10, max_test_sentences=5))

    assert corpora.is_demo
    assert list(corpora.train) == list(SOURCE_LANGUAGES)
    assert corpora.zero_shot_languages == list(ZERO_SHOT_LANGUAGES)
    assert list(corpora.source_validation) == list(SOURCE_LANGUAGES)
    assert {len(dataset) for dataset in corpora.train.values()} == {10}
    data = corpora.to_dict()
    assert "train" not in data[ZERO_SHOT_LANGUAGES[0]]
    assert data[SOURCE_LANGUAGES[0]]["test"]["sentences"] == 5


def test_a_language_cannot_be_trained_on_and_zero_shot():
    swahili = str(DEMO_FOLDER / "swa")
    with pytest.raises(ValueError, match="Trained on and zero-shot at once: swa"):
        load_recipe_corpora(CorpusArguments(corpora=[swahili], zero_shot_corpora=[swahili]))


def test_sources_and_licences_are_of_all_languages_or_of_one():
    arguments = CorpusArguments(
        corpora=[f"{language}={DEMO_FOLDER / language}" for language in ("swa", "hin")],
        data_source=["swa=Stories", "News"],
        data_license=["CC0-1.0"],
        max_train_sentences=5,
    )

    described = load_recipe_corpora(arguments).to_dict()

    assert {key: described["swa"][key] for key in ("source", "license")} == {"source": "Stories", "license": "CC0-1.0"}
    assert described["hin"]["source"] == "News"
    with pytest.raises(ValueError, match=r"`data_source` has 'yor=x', and there is no corpus of 'yor'"):
        load_recipe_corpora(dataclasses.replace(arguments, data_source=["yor=x"]))


def test_a_corpus_needs_its_splits(tmp_path):
    (tmp_path / "train.txt").write_text("Amina B-PER\nlives O\n\n")

    with pytest.raises(ValueError, match=r"The corpus of swa has no test split\. Add the file"):
        load_recipe_corpora(CorpusArguments(corpora=[f"swa={tmp_path}"]))


def test_a_corpus_without_a_dev_set_is_trained_on_and_chosen_by_the_others(tmp_path):
    folder = write_treebanks(tmp_path)
    (folder / "bb_two-ud-dev.conllu").unlink()

    corpora = load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="upos"))

    assert list(corpora.train) == ["aa_one", "bb_two"] == list(corpora.evaluation["test"])
    assert list(corpora.source_validation) == ["aa_one"]
    assert "validation" not in corpora.to_dict()["bb_two"]
    note = next(note for note in corpora.report.notes if "last epoch" in note)
    assert note.startswith("bb_two: without a dev set, a model of several languages is chosen by the dev sets of the")
    alone = corpora.of_languages(["bb_two"])
    assert alone.source_validation == {}
    assert list(alone.evaluation) == ["test"]


def test_without_any_dev_set_the_last_epoch_is_the_model(tmp_path):
    training = PolyglotTrainingArguments(output_dir=str(tmp_path))

    changed = training.without_dev_set()

    assert (changed.selection, changed.load_best_model_at_end, changed.eval_strategy) == ("last", False, "no")
    assert (training.selection, training.load_best_model_at_end, training.eval_strategy) == (None, True, "epoch")


@pytest.mark.parametrize(
    ("asked_for", "shown"),
    [
        ({"selection": "source_dev"}, "`selection` is 'source_dev'"),
        ({"compare_selection": True}, "`compare_selection` is True"),
        ({"early_stopping_patience": 2}, "`early_stopping_patience` is 2"),
        ({"sampling": "dynamic"}, "`sampling` is 'dynamic'"),
    ],
)
def test_what_follows_dev_scores_needs_a_dev_set(asked_for, shown, tmp_path):
    training = PolyglotTrainingArguments(output_dir=str(tmp_path), **asked_for)

    with pytest.raises(ValueError, match=rf"{shown}, and no language that is trained on has a dev set"):
        training.without_dev_set()


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB1", "I-PER I-PER O I-LOC"),
        ("IOB2", "B-PER I-PER O B-LOC"),
        ("BIOES", "B-PER E-PER O S-LOC"),
        ("plain", "PER PER O LOC"),
    ],
)
def test_labels_are_of_the_scheme_that_is_asked_for(scheme, tags, tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.txt").write_text("Amina B-PER\nHassan I-PER\nlives O\nKano B-LOC\n\n")

    corpora = load_recipe_corpora(CorpusArguments(corpora=[f"swa={tmp_path}"], label_scheme=scheme))

    assert [corpora.labels[label] for label in corpora.train["swa"][0]["ner_tags"]] == tags.split()


def test_the_scheme_of_a_model_that_is_continued_stays():
    with pytest.raises(ValueError, match="`label_scheme` is 'IOB1', and the model writes IOB2; expected its own"):
        load_recipe_corpora(CorpusArguments(label_scheme="IOB1"), scheme="IOB2")


def test_what_is_drawn_is_reported():
    corpora = load_recipe_corpora(
        CorpusArguments(corpora=[str(DEMO_FOLDER / "swa")], max_train_sentences=7, max_test_sentences=1000)
    )

    assert len(corpora.train["swa"]) == 7
    assert [note for note in corpora.report.notes if "drawn" in note] == [
        "swa: 7 sentences are drawn from train, and no others read."
    ]


def treebanks(tmp_path, **arguments):
    folder = write_treebanks(tmp_path)
    return load_recipe_corpora(CorpusArguments(**{"corpora": [f"{folder}/*"], "task": "feats"} | arguments))


def test_the_files_of_treebanks_in_one_folder_are_told_apart(tmp_path):
    folder = write_treebanks(tmp_path)
    expected = {"aa_one": f"{folder}/aa_one-ud", "bb_two": f"{folder}/bb_two-ud"}
    (folder / "README.md").write_text("no corpus")

    assert named_sources([f"{folder}/*"]) == expected
    assert named_sources(sorted(map(str, folder.glob("*.conllu")))) == expected  # as a shell expands it
    assert named_sources([f"{folder}/a*"]) == {"aa_one": expected["aa_one"]}
    assert named_sources([expected["aa_one"], f"bbb={expected['bb_two']}"]) == {
        "aa_one": expected["aa_one"],
        "bbb": expected["bb_two"],
    }
    with pytest.raises(ValueError, match=r"README.md' is no folder"):
        named_sources([f"{folder}/README.md"])


def test_a_task_chooses_column_labels_and_scheme(tmp_path):
    corpora = treebanks(tmp_path)

    assert corpora.label_scheme == "feats"
    assert corpora.labels == ["Case=Nom|Number=Sing", "Number=Sing", "Tense=Past", "_"]
    assert corpora.train["aa_one"].column_names == ["tokens", "feats", "language"]
    assert corpora.train["aa_one"][0]["tokens"] == ["amina", "sings", "!"]
    assert load_recipe_corpora(CorpusArguments()).label_scheme == "IOB2"


def test_labels_that_no_training_sentence_has_are_kept_and_counted(tmp_path):
    folder = write_treebanks(tmp_path)
    test = folder / "bb_two-ud-test.conllu"
    test.write_text(test.read_text().replace("Tense=Past", "Tense=Fut").replace("Case=Nom", "Case=Gen", 2))

    corpora = load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="feats"))

    assert {"Tense=Fut", "Case=Gen|Number=Sing"} < set(corpora.labels)
    (note,) = [note for note in corpora.report.notes if "no training sentence" in note]
    words = test.read_text().count("Tense=Fut") + 2
    assert note.startswith(f"bb_two: {words} words of test have one of 2 labels that no training sentence has.")


def test_a_score_that_says_nothing_is_noted(tmp_path):
    folder = write_treebanks(tmp_path)
    for path in folder.glob("bb_two*"):
        path.write_text(re.sub(r"(Case=Nom\|)?(Number|Tense)=\w+", "_", path.read_text()))

    corpora = load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="feats"))

    (note,) = [note for note in corpora.report.notes if "says nothing" in note]
    assert note.startswith("bb_two: all words of test have '_', so that its score says nothing")


def test_the_embedded_corpus_has_entities_only():
    with pytest.raises(ValueError, match=r"`task` is 'upos', and no corpus is given"):
        load_recipe_corpora(CorpusArguments(task="upos"))


def test_a_model_keeps_its_task(tmp_path):
    folder = write_treebanks(tmp_path)

    with pytest.raises(ValueError, match=r"`task` is 'feats', and the model was trained for 'upos'"):
        load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="feats"), scheme="upos")


def test_a_crf_with_thousands_of_labels_is_warned_of(tmp_path):
    corpora = treebanks(tmp_path)
    many = dataclasses.replace(corpora, labels=list(map(str, range(501))))

    corpora.check_crf(use_crf=True)
    many.check_crf(use_crf=False)
    with pytest.warns(UserWarning, match=r"A CRF with 501 labels has 251,001 transition scores.*--use_crf false"):
        many.check_crf(use_crf=True)


def test_a_treebank_without_its_words_is_pointed_out(tmp_path):
    folder = write_treebanks(tmp_path)
    test = folder / "bb_two-ud-test.conllu"
    test.write_text(re.sub(r"^([-0-9]+)\t\S+", r"\1\t_", test.read_text(), flags=re.MULTILINE))

    notes = load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="upos")).report.notes

    assert [note[: note.index(", as")] for note in notes if "every word" in note] == [
        "bb_two: every word of test is `_`"
    ]


def test_several_tasks_are_one_string_and_entities_come_first(tmp_path):
    arguments = CorpusArguments(task=["feats", "upos"])

    assert arguments.task == "upos feats"
    assert [task.name for task in arguments.tasks] == ["upos", "feats"]
    assert CorpusArguments(task=["upos"]).task == CorpusArguments(task="upos").task == "upos"
    with pytest.raises(ValueError, match="`task` is 'upos upos'; expected some of ner, upos, feats, each once"):
        load_recipe_corpora(CorpusArguments(task="upos upos"))
    with pytest.raises(ValueError, match="`task` is 'ner upos', and no corpus is given"):
        load_recipe_corpora(CorpusArguments(task="ner upos"))


def test_several_tasks_give_a_model_its_heads(tmp_path):
    folder = write_treebanks(tmp_path)

    corpora = load_recipe_corpora(
        CorpusArguments(corpora=[f"{folder}/*"], task="upos feats", task_weights=["upos=2", "feats=0.5"])
    )

    assert corpora.labels == ["NOUN", "PUNCT", "VERB", "X"]
    assert corpora.task_settings == {
        "label_scheme": "upos",
        "further_labels": {"feats": ["Case=Nom|Number=Sing", "Number=Sing", "Tense=Past", "_"]},
        "loss_weights": {"upos": 2.0, "feats": 0.5},
    }
    assert load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="upos")).task_settings == {
        "label_scheme": "upos"
    }
    alone = load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="upos")).to_dict()
    assert corpora.to_dict()["aa_one"]["train"]["sentences"] == alone["aa_one"]["train"]["sentences"]
    assert corpora.to_dict()["aa_one"]["train"]["fingerprint"] != alone["aa_one"]["train"]["fingerprint"]


@pytest.mark.parametrize("weights", [["upos"], ["upos=0"], ["upos=-1"], ["ner=1"], ["upos=1", "upos=2"], ["upos=x"]])
def test_weights_of_tasks_without_sense_are_refused(weights, tmp_path):
    folder = write_treebanks(tmp_path)
    arguments = CorpusArguments(corpora=[f"{folder}/*"], task="upos feats", task_weights=weights)

    with pytest.raises(ValueError, match=r"`task_weights` has 'u?(pos|ner).*'; expected TASK=NUMBER with a positive"):
        load_recipe_corpora(arguments)


@pytest.mark.parametrize("settings", [{"tag_column": "3"}, {"type_map": ["DATE=O"]}])
def test_what_says_how_one_task_is_read_is_refused_with_several(settings, tmp_path):
    folder = write_treebanks(tmp_path)

    with pytest.raises(ValueError, match=r"`(tag_column|type_map)` is .*, and `task` is 'upos feats'; expected none"):
        load_recipe_corpora(CorpusArguments(corpora=[f"{folder}/*"], task="upos feats", **settings))


@pytest.mark.parametrize(("given", "resumes"), [(None, False), ("false", False), ("True", True), (True, True)])
def test_a_flag_says_whether_a_run_goes_on(given, resumes, tmp_path):
    assert asks_to_resume(PolyglotTrainingArguments(str(tmp_path), resume_from_checkpoint=given)) is resumes


def test_a_run_does_not_go_on_from_a_checkpoint_by_its_name(tmp_path):
    arguments = PolyglotTrainingArguments(str(tmp_path), resume_from_checkpoint="runs/seed-1/checkpoint-8")

    with pytest.raises(ValueError, match=r"`resume_from_checkpoint` is 'runs/seed-1/checkpoint-8'; expected true or"):
        asks_to_resume(arguments)
