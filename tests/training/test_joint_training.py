"""Training of one model on several tasks: what it updates, measures and refuses."""

import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.torch import load_file
from transformers import EvalPrediction

from hf_polyglot.joint_tasks import JointTask, task_of_model
from hf_polyglot.results import TASK_MEAN, aggregate_scores
from hf_polyglot.tasks import TASKS
from hf_polyglot.training.runs import score_corpora
from hf_polyglot.training.trainer import PolyglotTrainer
from tests.fresh_process import run_program
from tests.models.joint_models import COLUMNS, FURTHER_LABELS, JOINT_EXAMPLES, JOINT_MODELS
from tests.models.tiny_models import (
    LABELS,
    tiny_byte_crf,
    tiny_encoder_crf,
    tiny_linear_tagger,
    tiny_meta_lstm,
    tiny_slicer,
)

from .test_trainer import SHOWS_SCALE, no_dropout, training_arguments

FEATURES = Features({
    "tokens": List(Value("string")),
    "language": Value("string"),
    **{
        column: List(ClassLabel(names=names))
        for column, names in zip(COLUMNS, (LABELS, FURTHER_LABELS["upos"], FURTHER_LABELS["feats"]), strict=True)
    },
})
# The second language has parts of speech alone.
CORPORA = {
    "swa": Dataset.from_list([example | {"language": "swa"} for example in JOINT_EXAMPLES], features=FEATURES),
    "yor": Dataset.from_list(
        [example | {"language": "yor", "ner_tags": [], "feats": []} for example in JOINT_EXAMPLES if example["upos"]],
        features=FEATURES,
    ),
}
STILL = {
    "byte_crf": no_dropout(tiny_byte_crf),
    "byte_tagger": no_dropout(tiny_byte_crf),
    "byte_crf_of_languages": no_dropout(tiny_byte_crf),
    "encoder_crf": no_dropout(tiny_encoder_crf),
    "linear_tagger": no_dropout(tiny_linear_tagger),
    "meta_lstm": no_dropout(tiny_meta_lstm),
    "slicer": no_dropout(tiny_slicer),
}


def trainer_of(name, folder, **settings):
    model, tokenizer = JOINT_MODELS[name](**STILL[name])
    return PolyglotTrainer(
        model,
        training_arguments(folder, **settings),
        processing_class=tokenizer,
        train_dataset=CORPORA,
        eval_dataset=CORPORA,
    )


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_training_learns_every_task_and_keeps_the_model_with_the_best_mean(name, tmp_path):
    trainer = trainer_of(name, tmp_path, num_train_epochs=12)

    trainer.train()

    history = [log["eval_average_task_mean"] for log in trainer.state.log_history if "eval_average_task_mean" in log]
    metrics = trainer.evaluate()
    assert trainer.state.best_metric == max(history) > 60
    assert metrics["eval_average_task_mean"] == pytest.approx(max(history))
    of_tasks = [metrics[f"eval_swa_{name}"] for name in ("ner_f1", "upos_accuracy", "feats_accuracy")]
    assert metrics["eval_swa_task_mean"] == pytest.approx(np.mean(of_tasks))
    assert min(of_tasks) > 40
    assert metrics["eval_yor_task_mean"] == metrics["eval_yor_upos_accuracy"]
    assert "eval_yor_ner_f1" not in metrics


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_accumulated_batches_give_the_update_of_one_big_batch(name, tmp_path):
    settings = {"max_steps": 4, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    settings |= SHOWS_SCALE
    one = trainer_of(name, tmp_path, per_device_train_batch_size=8, **settings)
    four = trainer_of(name, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **settings)

    one.train()
    four.train()

    for parameter_name, parameter in one.model.named_parameters():
        torch.testing.assert_close(four.model.get_parameter(parameter_name), parameter, rtol=0, atol=1e-5)


TRAIN = """
import json
import sys
from pathlib import Path
import hf_polyglot
from tests.training.test_joint_training import SHOWS_SCALE, trainer_of
trainer = trainer_of(
    sys.argv[1], sys.argv[2], per_device_train_batch_size=int(sys.argv[3]), save_strategy="no",
    load_best_model_at_end=False, **SHOWS_SCALE,
)
trainer.train()
metrics = trainer.evaluate()
trainer.save_model()
if trainer.is_world_process_zero():
    metrics = {k: v for k, v in metrics.items() if k.endswith(("f1", "accuracy", "mean"))}
    (Path(sys.argv[2]) / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["byte_crf", "linear_tagger"])
def test_two_processes_give_the_weights_and_metrics_of_one(name, tmp_path):
    program = tmp_path / "train.py"
    program.write_text(TRAIN)

    for folder, processes, batch_size in (("one", 1, 8), ("two", 2, 4)):
        run = run_program(program, name, tmp_path / folder, batch_size, processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=0, atol=1e-5)
    metrics = [json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("one", "two")]
    assert len(metrics[0]) > 5
    assert metrics[0] == pytest.approx(metrics[1])


def test_no_score_of_a_transition_decays(tmp_path):
    trainer = trainer_of("byte_crf", tmp_path)

    decaying = trainer.get_decay_parameter_names(trainer.model)

    assert "further_heads.upos.classifier.weight" in decaying
    assert not [name for name in decaying if "crf" in name.split(".")]


def test_scores_and_counts_leave_out_what_a_language_has_not(tmp_path):
    trainer = trainer_of("byte_crf", tmp_path)

    scores, counts = score_corpora(trainer, CORPORA, zero_shot_languages=["yor"])

    assert set(scores) == {"swa", "yor", "average", "average_source", "average_zero_shot"}
    assert set(scores["yor"]) == {"upos_accuracy", TASK_MEAN}
    assert scores["average"]["ner_f1"] == scores["swa"]["ner_f1"]
    assert scores["average"][TASK_MEAN] == pytest.approx((scores["swa"][TASK_MEAN] + scores["yor"][TASK_MEAN]) / 2)
    assert "PER" in scores["swa"]["by_type"]
    for language, dataset in CORPORA.items():
        assert counts[language].shape == (3, len(dataset), 3)
        words = [sum(map(len, dataset[column])) for column in COLUMNS]
        assert counts[language].sum(1)[1:, 1].tolist() == words[1:]
    correct, num_words, _ = counts["swa"][1].sum(0)
    assert scores["swa"]["upos_accuracy"] == pytest.approx(100 * correct / num_words)
    assert not counts["yor"][[0, 2]].any()
    assert aggregate_scores([scores, scores])["yor"][TASK_MEAN]["std"] == 0


def test_the_mean_is_over_the_tasks_that_are_there():
    task = JointTask({"upos": TASKS["upos"], "feats": TASKS["feats"]})
    metrics = task.compute_metrics({"upos": ["NOUN", "VERB"], "feats": ["_", "Case=Nom"]})
    gold = np.array([[[0, -100], [1, -100], [-100, -100]], [[0, 1], [0, 0], [0, 0]]])
    predicted = np.array([[[0, 1], [0, 1], [-100, -100]], [[0, 1], [0, 1], [0, 1]]])

    scores = metrics(EvalPrediction(predicted, gold))

    assert scores == {
        "upos_accuracy": pytest.approx(80), "feats_accuracy": pytest.approx(100 / 3),
        TASK_MEAN: pytest.approx((80 + 100 / 3) / 2),
    }  # fmt: skip
    assert set(metrics(EvalPrediction(predicted[:1], gold[:1]))) == {"upos_accuracy", TASK_MEAN}


def test_a_model_of_one_task_has_that_task():
    assert task_of_model(tiny_byte_crf()[0].config) is TASKS["ner"]
    assert task_of_model(JOINT_MODELS["byte_crf"]()[0].config).name == "ner upos feats"


def test_labels_of_a_further_task_in_another_order_are_refused(tmp_path):
    model, tokenizer = JOINT_MODELS["byte_crf"](further_labels=FURTHER_LABELS | {"upos": FURTHER_LABELS["upos"][::-1]})

    with pytest.raises(ValueError, match=r"The ids in `upos` stand for NOUN, PROPN, PUNCT; expected the model's"):
        PolyglotTrainer(model, training_arguments(tmp_path), processing_class=tokenizer, train_dataset=CORPORA)
