"""One model for each language: what is trained, what is not trained again, and what comes out of all of them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from hf_polyglot.results import read_results, write_results
from hf_polyglot.sentence_counts import SentenceCounts, read_sentence_counts, write_sentence_counts
from hf_polyglot.training.language_runs import MonolingualArguments, train_each_language, train_together_or_apart
from hf_polyglot.training.publishing import run_arguments
from hf_polyglot.training.recipe_corpora import CorpusArguments, load_recipe_corpora

from .test_trainer import training_arguments


@dataclass
class Arguments(MonolingualArguments, CorpusArguments):
    monolingual: bool = True
    hidden_size: int = 3
    max_train_sentences: int | None = 2
    max_test_sentences: int | None = 2
    seeds: list[int] = field(default_factory=lambda: [1, 2])


@pytest.fixture(scope="module")
def corpora():
    return load_recipe_corpora(Arguments()).of_languages(["swa", "spa"])


def recipe(arguments, trained):
    """A recipe that learns nothing: F1 is 70 in Spanish and 60 in Swahili with seed 1, and 62 in both with seed 2."""

    def scores(language):
        f1 = [60.0 + 10 * (language == "spa"), 62.0]
        of_language = {name: {"mean": sum(f1) / 2, "std": 1.0, "values": f1} for name in ("precision", "recall", "f1")}
        return {"test": {language: of_language, "average": of_language}}

    def train(corpora, training):
        (language,) = corpora.train
        trained.append(language)
        results = {
            "name": language, "command": "train", "model_type": "byte_crf", "regime": "monolingual",
            "arguments": run_arguments(arguments, training), "data": corpora.to_dict(), "seeds": [1, 2],
            "versions": {}, "device": {}, "seconds": 1.5, "peak_memory_bytes": len(trained),
            "scores": scores(language),
        }  # fmt: skip
        write_results(f"{training.output_dir}/results.json", results)
        counts = np.array([[[35 if language == "spa" else 30, 50, 50]], [[31, 50, 50]]])
        fingerprint = results["data"][language]["test"]["fingerprint"]
        write_sentence_counts(
            training.output_dir,
            SentenceCounts(language, {"test": {language: counts}}, {"test": {language: fingerprint}}),
        )
        return results

    return train


def test_the_results_of_all_languages_are_joined_seed_by_seed(corpora, tmp_path):
    trained = []

    results = train_each_language(recipe(Arguments(), trained), Arguments(), training_arguments(tmp_path), corpora)

    assert trained == ["swa", "spa"]
    assert results["scores"]["test"]["average"]["f1"]["values"] == [65.0, 62.0]
    assert results["scores"]["test"]["spa"]["f1"]["values"] == [70.0, 62.0]
    assert (results["seconds"], results["peak_memory_bytes"]) == (3.0, 2)
    assert results["one_model_per_language"] is True
    assert results["arguments"]["output_dir"] == str(tmp_path)
    assert set(results["data"]) == {"swa", "spa"}
    assert read_results(tmp_path) == results
    assert set(read_sentence_counts(tmp_path).counts["test"]) == {"swa", "spa"}
    card = (tmp_path / "README.md").read_text()
    assert "Each language has a model of its own" in card
    assert f"{tmp_path.name}/swa" in card


def test_a_language_without_a_dev_set_is_trained_to_its_last_epoch(tmp_path):
    def train(corpora, training):
        selections.append(training.selection)
        return recipe(Arguments(), [])(corpora, training)

    selections = []
    corpora = load_recipe_corpora(Arguments()).of_languages(["swa", "spa"])
    del corpora.evaluation["validation"]["spa"]

    train_each_language(train, Arguments(), training_arguments(tmp_path), corpora)
    (tmp_path / "swa" / "results.json").unlink()
    train_each_language(train, Arguments(), training_arguments(tmp_path), corpora)

    # The run of spa has ended, and is known again though its arguments were changed.
    assert selections == [None, "last", None]
    assert read_results(tmp_path / "spa")["arguments"]["selection"] == "last"


def test_what_one_language_cannot_do_is_refused_before_the_first_is_trained(tmp_path):
    trained = []
    corpora = load_recipe_corpora(Arguments()).of_languages(["swa", "spa"])
    del corpora.evaluation["validation"]["spa"]

    with pytest.raises(ValueError, match=r"`early_stopping_patience` is 2, and no language .* has a dev set"):
        train_each_language(
            recipe(Arguments(), trained), Arguments(), training_arguments(tmp_path, early_stopping_patience=2), corpora
        )

    assert trained == []


def test_a_small_corpus_is_passed_over_more_often(tmp_path):
    def train(corpora, training):
        epochs[next(iter(corpora.train))] = training.num_train_epochs
        return recipe(arguments, [])(corpora, training)

    epochs = {}
    arguments = Arguments(max_train_sentences=5, monolingual_min_sentences=21)
    corpora = load_recipe_corpora(arguments).of_languages(["swa", "spa"])
    corpora.train["spa"] = corpora.train["spa"].select(range(2))

    train_together_or_apart(train, arguments, training_arguments(tmp_path, num_train_epochs=4.5), corpora)

    assert epochs == {"swa": 5, "spa": 11}  # 25 and 22 sentences
    with pytest.raises(ValueError, match="`monolingual_min_sentences` is 21, which asks for more epochs, and `max_s"):
        train_together_or_apart(train, arguments, training_arguments(tmp_path, max_steps=4), corpora)
    arguments.monolingual = False
    with pytest.raises(ValueError, match="`monolingual_min_sentences` is 21, and `monolingual` is false; expected it"):
        train_together_or_apart(train, arguments, training_arguments(tmp_path), corpora)


def test_a_language_whose_run_has_ended_is_not_trained_again(corpora, tmp_path):
    trained = []
    first = train_each_language(recipe(Arguments(), trained), Arguments(), training_arguments(tmp_path), corpora)
    (tmp_path / "spa" / "results.json").unlink()

    again = train_each_language(recipe(Arguments(), trained), Arguments(), training_arguments(tmp_path), corpora)

    assert trained == ["swa", "spa", "spa"]
    assert again["scores"] == first["scores"]


def test_a_run_of_before_there_were_several_tasks_has_ended(corpora, tmp_path):
    trained = []
    train_each_language(recipe(Arguments(), trained), Arguments(), training_arguments(tmp_path), corpora)
    for language in ("swa", "spa"):
        results = read_results(tmp_path / language)
        del results["arguments"]["task_weights"], results["arguments"]["task"]
        write_results(tmp_path / language, results)

    train_each_language(recipe(Arguments(), trained), Arguments(), training_arguments(tmp_path), corpora)

    assert trained == ["swa", "spa"]


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (Arguments(hidden_size=4), {}, "hidden_size"),
        (Arguments(), {"learning_rate": 0.5}, "learning_rate"),
        (Arguments(max_test_sentences=3), {}, "max_test_sentences, data"),
    ],
)
def test_a_run_with_other_settings_is_not_taken_for_this_one(corpora, tmp_path, arguments, settings, named):
    train_each_language(recipe(Arguments(), []), Arguments(), training_arguments(tmp_path), corpora)
    others = load_recipe_corpora(arguments).of_languages(["swa", "spa"])

    with pytest.raises(ValueError, match=f"holds a run with other {named}; expected one of this command"):
        train_each_language(recipe(arguments, []), arguments, training_arguments(tmp_path, **settings), others)


def test_languages_apart_leave_none_to_be_zero_shot(corpora, tmp_path):
    given = Arguments()
    corpora = load_recipe_corpora(given)
    corpora.is_demo = False

    with pytest.raises(ValueError, match=r"`zero_shot_corpora` names .* and `monolingual` is true"):
        train_together_or_apart(recipe(given, []), given, training_arguments(tmp_path), corpora)


def test_a_language_without_a_corpus_is_named(corpora):
    with pytest.raises(ValueError, match="There is no training corpus of yor; expected some of swa, spa"):
        corpora.of_languages(["yor"])
