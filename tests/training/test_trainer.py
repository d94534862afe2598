"""The trainer: what it samples, updates, measures and keeps."""

import json
import logging

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.torch import load_file

from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.trainer import PolyglotTrainer
from tests.fresh_process import run_program
from tests.models.tiny_models import (
    EXAMPLES,
    LABELS,
    TINY_MODELS,
    label_settings,
    tiny_byte_crf,
    tiny_charner,
    tiny_encoder_crf,
    tiny_linear_tagger,
    tiny_meta_lstm,
    tiny_meta_lstm_of_vectors,
    tiny_slicer,
)

FEATURES = Features({
    "tokens": List(Value("string")),
    "ner_tags": List(ClassLabel(names=LABELS)),
    "language": Value("string"),
})
CORPORA = {
    language: Dataset.from_list(
        [example | {"language": language} for example in EXAMPLES[start::2]], features=FEATURES
    )
    for start, language in enumerate(["swa", "yor"])
}


def training_arguments(folder, **settings):
    return PolyglotTrainingArguments(
        output_dir=str(folder),
        **{
            "use_cpu": True,
            "learning_rate": 1e-2,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 4,
            "disable_tqdm": True,
        }
        | settings,
    )


def trainer_of(make_model, folder, train=CORPORA, evaluation=CORPORA, adam_state=None, **settings):
    model, tokenizer = make_model()
    return PolyglotTrainer(
        model,
        training_arguments(folder, **settings),
        processing_class=tokenizer,
        train_dataset=train,
        eval_dataset=evaluation,
        adam_state=adam_state,
    )


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")


@pytest.mark.parametrize("make_model", TINY_MODELS.values(), ids=TINY_MODELS)
def test_training_learns_and_keeps_the_best_model(make_model, tmp_path):
    trainer = trainer_of(make_model, tmp_path, num_train_epochs=12)

    trainer.train()

    history = [log["eval_average_f1"] for log in trainer.state.log_history if "eval_average_f1" in log]
    assert len(history) == 12
    assert trainer.state.best_metric == max(history) > 50
    assert trainer.evaluate()["eval_average_f1"] == pytest.approx(max(history))


def test_the_average_is_the_mean_over_languages(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path)

    metrics = trainer.evaluate()

    each = [metrics["eval_swa_f1"], metrics["eval_yor_f1"]]
    assert metrics["eval_average_f1"] == pytest.approx(sum(each) / 2)
    assert {"eval_swa_PER_f1", "eval_yor_loss", "eval_yor_precision"} <= set(metrics)


def words_trainer(folder, **settings):
    """The trainer of a model of parts of speech, of data sets that have these and no entities."""
    classes = ["NOUN", "PUNCT", "VERB", "X"]
    features = Features({
        "tokens": List(Value("string")), "upos": List(ClassLabel(names=classes)), "language": Value("string")
    })  # fmt: skip
    corpora = {
        language: Dataset.from_list(
            [
                {"tokens": row["tokens"], "upos": [label % 4 for label in row["ner_tags"]], "language": language}
                for row in rows
            ],
            features=features,
        )
        for language, rows in CORPORA.items()
    }
    model, tokenizer = tiny_byte_crf(label_scheme="upos", **label_settings(classes))
    return PolyglotTrainer(
        model,
        training_arguments(folder, **settings),
        processing_class=tokenizer,
        train_dataset=corpora,
        eval_dataset=corpora,
    )


def test_classes_of_words_are_measured_by_accuracy_which_chooses_the_best_model(tmp_path):
    trainer = words_trainer(tmp_path, num_train_epochs=10, early_stopping_patience=9)

    trainer.train()

    history = [log["eval_average_accuracy"] for log in trainer.state.log_history if "eval_average_accuracy" in log]
    assert trainer.state.best_metric == max(history) > 60
    metrics = trainer.evaluate()
    assert metrics["eval_average_accuracy"] == pytest.approx(max(history))
    predicted = trainer.predict(trainer.eval_dataset["swa"])
    right = (predicted.predictions == predicted.label_ids)[predicted.label_ids != -100]
    assert metrics["eval_swa_accuracy"] == pytest.approx(100 * right.mean())
    assert not [name for name in metrics if name.endswith("f1")]


def test_classes_of_words_stop_early_and_are_drawn_by_their_accuracy(tmp_path):
    trainer = words_trainer(
        tmp_path, num_train_epochs=30, learning_rate=1e-9, early_stopping_patience=2, sampling="dynamic"
    )

    trainer.train()

    assert trainer.state.epoch == 3
    drawn = trainer.language_schedule.probabilities(3, trainer.state.log_history)
    log = next(log for log in trainer.state.log_history if "eval_average_accuracy" in log)
    weights = {name: 1 + 4 * (1 - log[f"eval_{name}_accuracy"] / 100) for name in ("swa", "yor")}
    assert drawn["swa"] == pytest.approx(weights["swa"] / sum(weights.values()))


def test_training_stops_early_by_the_average(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=30, learning_rate=1e-9, early_stopping_patience=2)

    trainer.train()

    assert trainer.state.epoch == 3


def test_one_data_set_without_a_name_works_too(tmp_path):
    trainer = trainer_of(
        tiny_byte_crf, tmp_path, train=CORPORA["swa"], evaluation=CORPORA["yor"], metric_for_best_model="f1"
    )

    trainer.train()

    assert "eval_f1" in trainer.evaluate()


def test_alpha_0_draws_a_small_language_as_often_as_a_large_one(tmp_path):
    corpora = {"swa": CORPORA["swa"], "yor": CORPORA["yor"].select([0, 1])}
    trainer = trainer_of(tiny_byte_crf, tmp_path, train=corpora, alpha=0.0)

    trainer.get_train_dataloader()

    languages = trainer.train_dataset["language"][:]
    assert sum(languages[index] == "yor" for batch in trainer.batch_sampler for index in batch) == 6


def test_the_head_has_its_own_learning_rate(tmp_path):
    trainer = trainer_of(tiny_slicer, tmp_path, learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1)

    optimizer = trainer.create_optimizer()

    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    rates = {names[p]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert rates.pop("classifier.weight") == (1e-2, 0.1)
    assert rates.pop("classifier.bias") == (1e-2, 0)
    assert {rate for rate, _ in rates.values()} == {1e-4}
    assert len(rates) + 2 == sum(1 for _ in trainer.model.parameters())


def test_transition_scores_do_not_decay(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, weight_decay=0.1)

    decaying = trainer.get_decay_parameter_names(trainer.model)

    assert {"classifier.weight", "byte_crf.embedding.weight"} <= set(decaying)
    assert not [name for name in decaying if name.startswith("crf.")]


@pytest.mark.parametrize("make_model", TINY_MODELS.values(), ids=TINY_MODELS)
def test_accumulated_batches_give_the_update_of_one_big_batch(make_model, tmp_path):
    settings = {"max_steps": 4, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    settings |= SHOWS_SCALE
    one = trainer_of(lambda: make_model(**no_dropout(make_model)), tmp_path, per_device_train_batch_size=8, **settings)
    four = trainer_of(
        lambda: make_model(**no_dropout(make_model)),
        tmp_path,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        **settings,
    )

    one.train()
    four.train()

    for name, parameter in one.model.named_parameters():
        torch.testing.assert_close(four.model.get_parameter(name), parameter, rtol=0, atol=1e-5)


# Adam and clipping would hide a gradient that is too large by a factor.
SHOWS_SCALE = {"optim": "sgd", "max_grad_norm": 0, "learning_rate": 0.1}


def no_dropout(make_model):
    """Settings that turn off dropout, whose masks depend on the shape of the batch."""
    of_encoder = {"encoder_settings": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}}
    if make_model is tiny_slicer:
        return {"classifier_dropout": 0} | of_encoder
    if make_model is tiny_charner:
        return {"unit_dropout": 0, "layer_dropout": 0, "last_dropout": 0}
    if make_model in (tiny_meta_lstm, tiny_meta_lstm_of_vectors):
        return {"unit_dropout": 0, "word_dropout": 0, "layer_dropout": 0, "mlp_dropout": 0}
    of_words = {"word_dropout": 0, "sentence_dropout": 0}
    return of_words | (
        of_encoder if make_model in (tiny_encoder_crf, tiny_linear_tagger) else {"embedding_dropout": 0}
    )


TRAIN = """
import json
import sys
from pathlib import Path
import hf_polyglot
from tests.training.test_trainer import SHOWS_SCALE, no_dropout, trainer_of
from tests.models.tiny_models import TINY_MODELS
make_model = TINY_MODELS[sys.argv[1]]
trainer = trainer_of(
    lambda: make_model(**no_dropout(make_model)), sys.argv[2],
    per_device_train_batch_size=int(sys.argv[3]), save_strategy="no", load_best_model_at_end=False,
    **SHOWS_SCALE | json.loads(sys.argv[4]),
)
trainer.train()
metrics = trainer.evaluate()
trainer.save_model()
if trainer.is_world_process_zero():
    metrics = {k: v for k, v in metrics.items() if k.endswith("f1")} | trainer.examples_drawn()
    (Path(sys.argv[2]) / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in TINY_MODELS),
        ("byte_crf", {"sampling": "alpha", "alpha": 0.3}),
        ("byte_crf", {"sampling": "uniform"}),
        ("byte_crf", {"sampling": "unimax", "unimax_max_epochs": 3}),
        ("byte_crf", {"gradient_accumulation_steps": 2}),
        ("encoder_crf", {"unfrozen_layers_per_epoch": 1, "layer_rate_divisor": 2.6, "slanted_triangular": True}),
        ("byte_crf", {"gradient_surgery": True, "gradient_accumulation_steps": 2}),
        ("encoder_crf", {"gradient_surgery": True, "unfrozen_layers_per_epoch": 1}),
        ("encoder_crf", {"sampling": "dynamic", "batch_languages": "single", "num_train_epochs": 3}),
    ],
)
def test_two_processes_give_the_weights_and_metrics_of_one(name, settings, tmp_path):
    program = tmp_path / "train.py"
    program.write_text(TRAIN)

    for folder, processes, batch_size in (("one", 1, 8), ("two", 2, 4)):
        run = run_program(program, name, tmp_path / folder, batch_size, json.dumps(settings), processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=0, atol=1e-5)
    metrics = [json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("one", "two")]
    assert metrics[0] == pytest.approx(metrics[1])


def test_several_gpus_in_one_process_are_refused(tmp_path):
    model, tokenizer = tiny_byte_crf()
    arguments = training_arguments(tmp_path)
    arguments._n_gpu = 2

    with pytest.raises(ValueError, match="One process sees 2 GPUs"):
        PolyglotTrainer(model, arguments, processing_class=tokenizer, train_dataset=CORPORA)


def test_columns_must_not_be_removed(tmp_path):
    with pytest.raises(ValueError, match="`remove_unused_columns` is True"):
        training_arguments(tmp_path, remove_unused_columns=True)


def test_only_the_best_model_is_pushed(tmp_path):
    with pytest.raises(ValueError, match="`hub_strategy` is 'every_save'; expected 'end'"):
        training_arguments(tmp_path, hub_strategy="every_save")


@pytest.mark.parametrize("steps", [3, 7])
def test_a_resumed_run_ends_with_the_weights_of_the_undisturbed_one(steps, tmp_path):
    settings = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": steps, "eval_strategy": "no",
                "load_best_model_at_end": False, "save_total_limit": None}  # fmt: skip
    undisturbed = trainer_of(tiny_byte_crf, tmp_path, **settings)
    undisturbed.train()

    resumed = trainer_of(tiny_byte_crf, tmp_path, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{steps}"))

    for name, parameter in undisturbed.model.named_parameters():
        assert torch.equal(resumed.model.get_parameter(name), parameter)


def test_labels_in_another_order_are_refused(tmp_path):
    features = FEATURES.copy()
    features["ner_tags"] = List(ClassLabel(names=LABELS[::-1]))
    reversed_labels = {"swa": Dataset.from_list(CORPORA["swa"].to_list(), features=features)}

    with pytest.raises(ValueError, match=r"The ids in `ner_tags` stand for .*; expected the model's labels"):
        trainer_of(tiny_byte_crf, tmp_path, train=reversed_labels)
    with pytest.raises(ValueError, match="The ids in `ner_tags` stand for"):
        trainer_of(tiny_byte_crf, tmp_path, evaluation=reversed_labels)


def test_waiting_for_the_average_is_no_mistake(tmp_path, caplog):
    trainer = trainer_of(tiny_byte_crf, tmp_path, early_stopping_patience=1, num_train_epochs=1)

    caplog.set_level("WARNING")
    logging.getLogger("transformers").propagate = True
    trainer.train()

    assert "early stopping" not in caplog.text


def test_training_without_training_data_is_refused(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, train=None)

    with pytest.raises(ValueError, match=r"There is no `train_dataset`\. Give one to the trainer"):
        trainer.train()


def test_the_language_of_a_data_set_is_the_one_that_it_is_under(tmp_path):
    nameless = {language: dataset.remove_columns("language") for language, dataset in CORPORA.items()}

    trainer = trainer_of(tiny_byte_crf, tmp_path, train=nameless)

    assert trainer.train_dataset["language"][:] == ["swa"] * 10 + ["yor"] * 10
    with pytest.raises(ValueError, match="expected `language` among them"):
        trainer_of(tiny_byte_crf, tmp_path, train=nameless["swa"])


def test_predicting_without_labels_points_to_tagging(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path)

    with pytest.raises(ValueError, match="There are no labels in this data set"):
        trainer.predict(CORPORA["swa"].remove_columns("ner_tags"))
