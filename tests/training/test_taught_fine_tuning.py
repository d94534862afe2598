"""Fine-tuning beside a teacher: between the labels alone and the teacher alone, whatever the batches."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from hf_polyglot.models.label_scheme import PADDING_LABEL
from hf_polyglot.training.distillation_batches import DistillationSettings
from hf_polyglot.training.taught_fine_tuning import TaughtFineTuningTrainer
from hf_polyglot.training.trainer import PolyglotTrainer
from tests.fresh_process import run_program
from tests.models.tiny_models import tiny_byte_crf, tiny_encoder_crf, tiny_slicer
from tests.training.test_distillation import (
    JOINT_STUDENTS,
    STUDENTS,
    distillation_of,
    gradient_of_a_batch,
    perturbed,
    perturbed_joint,
)
from tests.training.test_joint_training import CORPORA as JOINT_CORPORA
from tests.training.test_trainer import CORPORA, SHOWS_SCALE, training_arguments


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


UNWATCHED = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def fine_tuning_of(student, teacher, folder, share, train=CORPORA, settings=(), keep_outputs=False, **arguments):
    return TaughtFineTuningTrainer(
        student[0],
        training_arguments(folder, **UNWATCHED | arguments),
        teacher_share=share,
        teacher=teacher[0].eval().requires_grad_(False),
        teacher_tokenizer=teacher[1],
        settings=DistillationSettings(**{"temperature": 1.0} | dict(settings)),
        processing_class=student[1],
        train_dataset=train,
        keep_outputs=keep_outputs,
    )


def loss_of_a_batch(trainer):
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return trainer.compute_loss(trainer.model.eval(), batch).item()


@pytest.mark.parametrize("keep_outputs", [True, False])
@pytest.mark.parametrize("make_model", STUDENTS.values(), ids=STUDENTS)
def test_the_loss_lies_between_that_of_the_labels_and_that_of_the_teacher(make_model, keep_outputs, tmp_path):
    teacher, temperature = perturbed(make_model), 2.0

    def of_share(share):
        student = perturbed(make_model, 2)
        settings = {"temperature": temperature}
        return loss_of_a_batch(fine_tuning_of(student, teacher, tmp_path, share, CORPORA, settings, keep_outputs))

    student, tokenizer = perturbed(make_model, 2)
    arguments = training_arguments(tmp_path, **UNWATCHED)
    plain = PolyglotTrainer(student, arguments, processing_class=tokenizer, train_dataset=CORPORA)
    of_labels = loss_of_a_batch(plain)
    of_teacher = temperature**2 * loss_of_a_batch(
        distillation_of(
            perturbed(make_model, 2), teacher, tmp_path, keep_outputs, settings={"temperature": temperature}
        )
    )

    assert of_share(0.0) == pytest.approx(of_labels, rel=1e-5)
    assert of_share(1.0) == pytest.approx(of_teacher, rel=1e-4)
    assert of_share(0.25) == pytest.approx(0.75 * of_labels + 0.25 * of_teacher, rel=1e-4)


@pytest.mark.parametrize("make_model", STUDENTS.values(), ids=STUDENTS)
def test_a_student_equal_to_its_teacher_learns_the_labels_alone(make_model, tmp_path):
    def gradients(share):
        return gradient_of_a_batch(
            fine_tuning_of(perturbed(make_model), perturbed(make_model), tmp_path, share, settings={"temperature": 3})
        )

    nothing, half, labels = (gradients(share) for share in (1.0, 0.5, 0.0))

    assert max(nothing.values()) < 1e-5
    for name, largest in labels.items():
        assert half[name] == pytest.approx(largest / 2, rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("name", JOINT_STUDENTS)
def test_words_without_label_of_a_task_are_not_taught_in_it(name, tmp_path):
    """And every task counts by the number of its labels, as without a teacher, times its weight."""
    trainer = fine_tuning_of(perturbed_joint(name, 2), perturbed_joint(name), tmp_path, 1.0, JOINT_CORPORA)
    trainer.model.config.loss_weights = {"upos": 2.0}
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    labels = batch["labels"] != PADDING_LABEL
    assert 0 < labels.sum() < labels.any(2).sum() * labels.shape[2]  # some words lack some labels

    loss = trainer.compute_loss(trainer.model.eval(), dict(batch))

    read = {key: value for key, value in batch.items() if key not in ("labels", "mask", "teacher")}
    own, other = trainer.model(**read), trainer.teacher(**batch["teacher"])
    expected = torch.zeros(())
    for task, scheme in enumerate(trainer.label_ids):
        said = trainer.teacher.label_log_probabilities(other, batch["mask"], 1.0, scheme).exp()
        costs = trainer.model.label_log_probabilities(own, batch["mask"], 1.0, scheme).clamp(min=-1e4)
        weight = 2.0 if scheme == "upos" else 1.0
        expected = expected - weight * ((said * costs).sum(2) * labels[:, :, task]).sum()
    torch.testing.assert_close(loss, expected / labels.sum(), rtol=1e-4, atol=1e-5)


def test_accumulated_batches_give_the_update_of_one_big_batch(tmp_path):
    def trained(batch_size, steps):
        trainer = fine_tuning_of(
            perturbed(tiny_byte_crf, 2), perturbed(tiny_encoder_crf), tmp_path, 0.5, keep_outputs=True, max_steps=3,
            per_device_train_batch_size=batch_size, gradient_accumulation_steps=steps, **SHOWS_SCALE,
        )  # fmt: skip
        trainer.train()
        return trainer.model.state_dict()

    one, four = trained(8, 1), trained(2, 4)

    for name, weights in one.items():
        torch.testing.assert_close(four[name], weights, rtol=0, atol=1e-5)


TRAIN = """
import sys
import hf_polyglot
from tests.models.tiny_models import tiny_encoder_crf, tiny_slicer
from tests.training.test_distillation import perturbed
from tests.training.test_taught_fine_tuning import fine_tuning_of
from tests.training.test_trainer import SHOWS_SCALE
trainer = fine_tuning_of(
    perturbed(tiny_encoder_crf, 2), perturbed(tiny_slicer), sys.argv[1], 0.5, keep_outputs=True,
    per_device_train_batch_size=int(sys.argv[2]), max_steps=3, **SHOWS_SCALE,
)
trainer.train()
trainer.save_model()
"""


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(TRAIN)

    for folder, processes, batch_size in (("one", 1, 4), ("two", 2, 2)):
        run = run_program(program, tmp_path / folder, batch_size, processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=0, atol=1e-5)


def test_the_gradients_of_languages_add_up_to_that_of_all(tmp_path, monkeypatch):
    """As gradient surgery takes them, where nothing conflicts."""
    monkeypatch.setattr(
        "hf_polyglot.training.gradient_surgery.weights_without_conflicts",
        lambda products, random: np.ones(len(products)),
    )

    def trained(**settings):
        trainer = fine_tuning_of(
            perturbed(tiny_byte_crf, 2), perturbed(tiny_slicer), tmp_path, 0.5, keep_outputs=True, max_steps=3,
            per_device_train_batch_size=8, **SHOWS_SCALE | settings,
        )  # fmt: skip
        trainer.train()
        return trainer.model.state_dict()

    plain, by_language = trained(), trained(gradient_surgery=True)

    for name, weights in plain.items():
        torch.testing.assert_close(by_language[name], weights, rtol=0, atol=1e-5)


def test_it_is_evaluated_by_labels_counts_its_sentences_and_keeps_adams_state(tmp_path):
    trainer = fine_tuning_of(perturbed(tiny_byte_crf, 2), perturbed(tiny_slicer), tmp_path, 0.5, num_train_epochs=1)

    trainer.train()
    scores = trainer.evaluate(CORPORA)
    trainer.save_model()

    assert {f"eval_{language}_f1" for language in CORPORA} <= set(scores)
    assert trainer.examples_drawn() == {language: len(dataset) for language, dataset in CORPORA.items()}
    assert (tmp_path / "adam_state.safetensors").is_file()


def test_sentences_without_words_are_left_out(tmp_path):
    examples = [{"tokens": words, "ner_tags": [0] * len(words), "language": "swa"} for words in ([], ["a"])]
    nothing = Dataset.from_list(examples, features=CORPORA["swa"].features)
    trainer = fine_tuning_of(
        perturbed(tiny_byte_crf), perturbed(tiny_slicer), tmp_path, 0.5, {"swa": nothing}, keep_outputs=True
    )

    assert len(trainer.train_dataset) == 1
    assert loss_of_a_batch(trainer) > 0


def test_a_run_is_not_resumed_with_another_share(tmp_path):
    def make(share):
        return fine_tuning_of(
            perturbed(tiny_byte_crf, 2), perturbed(tiny_slicer), tmp_path, share, save_strategy="epoch"
        )

    make(0.5).train()

    with pytest.raises(ValueError, match=r"teacher share.*0\.5"):
        make(0.7).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("share", "settings", "message"),
    [
        (1.5, {}, "`teacher_share` is 1.5; expected a number from 0"),
        (-0.1, {}, "`teacher_share` is -0.1; expected"),
        (0.5, {"sequence_nbest": 3}, "none of `sequence_nbest`"),
        (0.5, {"hidden_weight": 1.0}, "none of `sequence_nbest`"),
        (0.5, {"positions": "pieces"}, "expected `positions` 'words'"),
    ],
)
def test_what_cannot_be_beside_labels_is_refused(share, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fine_tuning_of(perturbed(tiny_slicer), perturbed(tiny_slicer), tmp_path, share, settings=settings)
