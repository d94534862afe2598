"""Distillation: a student equal to its teacher learns nothing, and batches and processes do not change an update."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import BertForTokenClassification, set_seed

from hf_polyglot import WordSpellingTokenizer
from hf_polyglot.models.label_scheme import labels_of
from hf_polyglot.training.distillation import DistillationTrainer, uniform_layers
from hf_polyglot.training.distillation_batches import DistillationSettings
from hf_polyglot.training.distillation_losses import soft_cross_entropy, target_distribution
from hf_polyglot.training.distillation_run import (
    DistillationArguments,
    check_same_distillation,
    distil_first,
    distillation_settings,
    distillation_training,
    report_kept_shares,
    scheme_of_stock_teacher,
)
from hf_polyglot.training.recipe_corpora import CorpusArguments
from hf_polyglot.training.students import Student, StudentArguments
from hf_polyglot.training.teacher import StockTagger, load_teacher, teacher_digest, teacher_targets
from hf_polyglot.training.teacher_outputs import read_outputs, write_outputs
from tests.fresh_process import run_program
from tests.models.joint_models import FURTHER_LABELS, JOINT_MODELS
from tests.models.tiny_models import (
    LABELS,
    TINY_MODELS,
    character_pieces,
    encoder_config,
    label_settings,
    saved_encoder,
    tiny_byte_crf,
    tiny_encoder_crf,
    tiny_linear_tagger,
    tiny_meta_lstm,
    tiny_slicer,
)
from tests.training.test_joint_training import STILL
from tests.training.test_trainer import CORPORA, SHOWS_SCALE, no_dropout, training_arguments

UNLABELLED = {language: dataset.remove_columns("ner_tags") for language, dataset in CORPORA.items()}


def perturbed(make_model, seed=1, **settings):
    """A model whose weights are far from those of a new one, its CRF's too, and which drops nothing."""
    model, tokenizer = make_model(**no_dropout(make_model) | settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.5 * torch.randn(weights.shape, generator=generator)
    return model, tokenizer


def distillation_of(student, teacher, folder, keep_outputs=False, train=UNLABELLED, settings=(), **arguments):
    model, tokenizer = student
    return DistillationTrainer(
        model,
        training_arguments(
            folder, **{"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False} | arguments
        ),
        teacher=teacher[0].eval().requires_grad_(False),
        teacher_tokenizer=teacher[1],
        settings=DistillationSettings(**dict(settings)),
        processing_class=tokenizer,
        train_dataset=train,
        keep_outputs=keep_outputs,
    )


# The parts of a Meta-LSTM learn from losses of their own.
STUDENTS = {name: make_model for name, make_model in TINY_MODELS.items() if not name.startswith("meta_lstm")}
JOINT_STUDENTS = [name for name in JOINT_MODELS if name != "meta_lstm"]


def perturbed_joint(name, seed=1, **settings):
    """The same of a model of three tasks."""
    return perturbed(lambda **given: JOINT_MODELS[name](**STILL[name] | settings), seed)


def perturbed_upos(seed=1):
    """A tagger of the second of these tasks, which knows one more label."""
    labels = ["X", *FURTHER_LABELS["upos"]]
    return perturbed(tiny_linear_tagger, seed, label_scheme="upos", **label_settings(labels))


@pytest.mark.parametrize(
    ("make_student", "make_teacher", "message"),
    [
        (TINY_MODELS["meta_lstm"], tiny_byte_crf, "whose parts learn from losses of their"),
        (JOINT_MODELS["byte_crf"], tiny_byte_crf, "The student has the task upos, and its teacher IOB2; expected"),
    ],
)
def test_a_student_of_which_a_part_would_learn_nothing_is_refused(make_student, make_teacher, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        distillation_of(make_student(), make_teacher(), tmp_path)


def gradient_of_a_batch(trainer):
    """Largest absolute gradient of each parameter of the student."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch)).backward()
    return {
        name: 0.0 if weights.grad is None else weights.grad.abs().max().item()
        for name, weights in trainer.model.named_parameters()
    }


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    caplog.set_level("ERROR")


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("make_model", STUDENTS.values(), ids=STUDENTS)
def test_a_student_equal_to_its_teacher_has_no_gradient(make_model, temperature, tmp_path):
    trainer = distillation_of(
        perturbed(make_model), perturbed(make_model), tmp_path, settings={"temperature": temperature}
    )

    gradients = gradient_of_a_batch(trainer)

    assert max(gradients.values()) < 1e-5


@pytest.mark.parametrize("keep_outputs", [True, False])
@pytest.mark.parametrize("name", JOINT_STUDENTS)
def test_an_equal_student_of_several_tasks_has_no_gradient_either(name, keep_outputs, tmp_path):
    same = distillation_of(perturbed_joint(name), perturbed_joint(name), tmp_path, keep_outputs)
    other = distillation_of(perturbed_joint(name, 2), perturbed_joint(name), tmp_path, keep_outputs)

    gradients = gradient_of_a_batch(other)
    # Kept in 16 bits.
    assert max(gradient_of_a_batch(same).values()) < (0.01 * max(gradients.values()) if keep_outputs else 1e-5)
    assert {name for name, largest in gradients.items() if largest < 1e-6 and name.split(".")[0] != "encoder"} == set()


@pytest.mark.parametrize("teacher", ["encoder_crf", "meta_lstm"])
def test_the_losses_of_tasks_are_weighted_and_averaged(teacher, tmp_path):
    def loss_and_gradients(**settings):
        student = perturbed_joint("byte_crf", 2, **settings)
        trainer = distillation_of(student, perturbed_joint(teacher), tmp_path)
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        loss = trainer.compute_loss(trainer.model.eval(), batch)
        loss.backward()
        heads = {name: head.classifier.weight.grad for name, head in trainer.model.further_heads.items()}
        return loss.item(), heads | {"ner": trainer.model.classifier.weight.grad}

    all_alike, gradients = loss_and_gradients()
    doubled, weighted = loss_and_gradients(loss_weights={"IOB2": 2.0, "upos": 0.5})

    assert doubled != pytest.approx(all_alike, rel=1e-3)
    for name, factor in (("ner", 2), ("upos", 0.5), ("feats", 1)):
        torch.testing.assert_close(weighted[name], factor * gradients[name])


def test_a_student_may_learn_one_task_of_a_teacher_of_several(tmp_path):
    joint, tokenizer = perturbed_joint("linear_tagger")
    student, _ = perturbed_upos(2)
    trainer = distillation_of((student, tokenizer), (joint, tokenizer), tmp_path, settings={"temperature": 1.0})
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))

    loss = trainer.compute_loss(student.eval(), dict(batch))

    mask = batch["labels"] == 0
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "teacher")}
    said = joint.logits_of_task(joint(**batch["teacher"]), "upos").softmax(2)
    own = student(**inputs).logits.log_softmax(2)[:, :, 1:]  # of X the teacher knows nothing
    assert loss.item() == pytest.approx(-((said * own).sum(2) * mask).sum().item() / mask.sum().item(), rel=1e-5)


@pytest.mark.parametrize("make_model", STUDENTS.values(), ids=STUDENTS)
def test_a_student_unlike_its_teacher_has_a_gradient_everywhere(make_model, tmp_path):
    trainer = distillation_of(perturbed(make_model, seed=2), perturbed(make_model), tmp_path)

    gradients = gradient_of_a_batch(trainer)

    # What is added to all keys alike changes no attention.
    assert [name for name, largest in gradients.items() if largest < 1e-6 and "key.bias" not in name] == []


@pytest.mark.parametrize("make_model", [tiny_linear_tagger, tiny_slicer])
def test_at_pieces_hidden_states_and_attentions_an_equal_student_has_no_gradient_either(make_model, tmp_path):
    settings = {"positions": "pieces", "hidden_weight": 1.0, "attention_weight": 1.0}
    same = distillation_of(perturbed(make_model), perturbed(make_model), tmp_path, settings=settings)
    other = distillation_of(perturbed(make_model, seed=2), perturbed(make_model), tmp_path, settings=settings)

    assert max(gradient_of_a_batch(same).values()) < 1e-5
    assert max(gradient_of_a_batch(other).values()) > 0.01


def test_all_paths_of_an_equal_crf_leave_no_gradient(tmp_path):
    short = {"swa": UNLABELLED["swa"].map(lambda row: {"tokens": row["tokens"][:3]})}
    settings = {"sequence_nbest": 125, "temperature": 2.0}  # of 5 labels at 3 words

    trainer = distillation_of(
        perturbed(tiny_byte_crf), perturbed(tiny_byte_crf), tmp_path, train=short, settings=settings
    )

    assert max(gradient_of_a_batch(trainer).values()) < 1e-5


def test_what_is_kept_with_all_labels_leaves_the_gradient_of_16_bits(tmp_path):
    equal = distillation_of(perturbed(tiny_encoder_crf), perturbed(tiny_encoder_crf), tmp_path, keep_outputs=True)
    other = distillation_of(
        perturbed(tiny_encoder_crf, seed=2), perturbed(tiny_encoder_crf), tmp_path, keep_outputs=True
    )

    assert 0 < max(gradient_of_a_batch(equal).values()) < 0.01 * max(gradient_of_a_batch(other).values())


@pytest.mark.parametrize(
    ("make_student", "make_teacher", "settings"),
    [
        (tiny_linear_tagger, tiny_slicer, {"positions": "pieces"}),
        (tiny_linear_tagger, tiny_encoder_crf, {}),
        (tiny_byte_crf, tiny_encoder_crf, {"sequence_nbest": 4}),
        (tiny_byte_crf, tiny_slicer, {"num_kept": 5}),
    ],
)
def test_kept_outputs_give_the_loss_of_a_teacher_that_reads_along(make_student, make_teacher, settings, tmp_path):
    losses = []
    for keep_outputs in (True, False):
        trainer = distillation_of(
            perturbed(make_student, 2), perturbed(make_teacher), tmp_path, keep_outputs, settings=settings
        )
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        losses.append(trainer.compute_loss(trainer.model.eval(), batch).item())

    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_kept_outputs_of_several_tasks_give_that_loss_too(tmp_path):
    losses = []
    for keep_outputs in (True, False):
        trainer = distillation_of(
            perturbed_joint("byte_crf", 2), perturbed_joint("encoder_crf"), tmp_path, keep_outputs,
            settings={"sequence_nbest": 3},
        )  # fmt: skip
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        losses.append(trainer.compute_loss(trainer.model.eval(), batch).item())

    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_kept_outputs_are_found_again_unless_teacher_or_settings_differ(tmp_path):
    def folders():
        return {path.name for path in (tmp_path / "cache" / "hf_polyglot-teachers").iterdir()}

    student = tiny_linear_tagger()
    distillation_of(student, perturbed(tiny_slicer), tmp_path, keep_outputs=True)
    first = folders()
    written = [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.rows")]
    distillation_of(student, perturbed(tiny_slicer), tmp_path, keep_outputs=True)

    assert folders() == first
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.rows")] == written
    distillation_of(student, perturbed(tiny_slicer, seed=3), tmp_path, keep_outputs=True)
    distillation_of(student, perturbed(tiny_slicer), tmp_path, keep_outputs=True, settings={"temperature": 2.0})
    assert len(folders()) == 3


def test_the_loss_is_the_mean_cross_entropy_of_all_words(tmp_path):
    (student, tokenizer), (teacher, teacher_tokenizer) = perturbed(tiny_linear_tagger, 2), perturbed(tiny_slicer)
    trainer = distillation_of(
        (student, tokenizer), (teacher, teacher_tokenizer), tmp_path, per_device_train_batch_size=20
    )

    loss = trainer.compute_loss(student.eval(), trainer._prepare_inputs(next(iter(trainer.get_train_dataloader()))))

    sentences = [row["tokens"] for dataset in UNLABELLED.values() for row in dataset]
    losses = []
    for words in sentences:  # one by one, with the formula as it stands in the paper
        with torch.no_grad():
            scores, gold = (
                model.eval()(**model.prepare_words(character_pieces(), [words])).logits[0] / 3
                for model in (student, teacher)
            )
        losses += (-(gold.softmax(1) * scores.softmax(1).log()).sum(1)).tolist()
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_every_piece_counts_where_pieces_are_compared(tmp_path):
    (student, tokenizer), (teacher, _) = perturbed(tiny_linear_tagger, 2), perturbed(tiny_slicer)
    trainer = distillation_of(
        (student, tokenizer), (teacher, tokenizer), tmp_path,
        settings={"positions": "pieces", "temperature": 1.0}, per_device_train_batch_size=20,
    )  # fmt: skip

    loss = trainer.compute_loss(student.eval(), trainer._prepare_inputs(next(iter(trainer.get_train_dataloader()))))

    losses = []
    for words in (row["tokens"] for dataset in UNLABELLED.values() for row in dataset):
        ids = torch.tensor([tokenizer(words, is_split_into_words=True)["input_ids"]])
        with torch.no_grad():
            gold = teacher.eval()(ids).logits[0, 1:-1]
            scores = student.classifier(student.encoder(ids).last_hidden_state)[0, 1:-1]
        losses += (-(gold.softmax(1) * scores.log_softmax(1)).sum(1)).tolist()
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_labels_are_matched_by_their_names(tmp_path):
    others = ["B-DATE", *LABELS[::-1], "I-DATE"]
    student, tokenizer = perturbed(tiny_linear_tagger, **label_settings(others))
    teacher, _ = perturbed(tiny_linear_tagger)
    with torch.no_grad():
        for weights in ("weight", "bias"):
            own, of_teacher = getattr(student.classifier, weights), getattr(teacher.classifier, weights)
            own[[others.index(label) for label in LABELS]] = of_teacher
            own[[others.index(label) for label in ("B-DATE", "I-DATE")]] = 0
        student.classifier.bias[[0, -1]] = -1e4
        student.encoder.load_state_dict(teacher.encoder.state_dict())

    trainer = distillation_of((student, tokenizer), (teacher, tokenizer), tmp_path)

    assert max(gradient_of_a_batch(trainer).values()) < 1e-5


def test_what_is_left_is_spread_over_the_labels_that_are_possible_and_not_kept():
    is_possible = torch.tensor([[[True, True, False, True, True]]])

    targets = target_distribution(torch.tensor([[[0, 2]]]), torch.tensor([[[0.5, 0.2]]]), is_possible)

    torch.testing.assert_close(targets, torch.tensor([[[0.5, 0.1, 0.0, 0.1, 0.1]]]) / 0.8)
    loss = soft_cross_entropy(torch.tensor([[[0.5, 0.1, 1e-9, 0.1, 0.1]]]).log(), targets, torch.tensor([[True]]))
    assert loss.item() == pytest.approx(-(0.5 * np.log(0.5) + 0.3 * np.log(0.1)) / 0.8, rel=1e-5)


def test_a_distribution_that_the_student_can_never_give_is_no_loss_without_end(tmp_path):
    teacher, tokenizer = perturbed(tiny_linear_tagger)
    with torch.no_grad():
        teacher.classifier.bias[LABELS.index("I-PER")] += 20  # at the first word too, where IOB2 forbids it

    trainer = distillation_of(perturbed(tiny_encoder_crf, 2), (teacher, tokenizer), tmp_path)
    loss = trainer.compute_loss(trainer.model.eval(), next(iter(trainer.get_train_dataloader())))

    assert loss < 100


@pytest.mark.parametrize("settings", [{}, {"keep_outputs": True}, {"settings": {"sequence_nbest": 3}}], ids=str)
def test_accumulated_batches_give_the_update_of_one_big_batch(settings, tmp_path):
    def trained(batch_size, steps):
        trainer = distillation_of(
            perturbed(tiny_byte_crf, 2), perturbed(tiny_encoder_crf), tmp_path, max_steps=3,
            per_device_train_batch_size=batch_size, gradient_accumulation_steps=steps, **SHOWS_SCALE | settings,
        )  # fmt: skip
        trainer.train()
        return trainer.model.state_dict()

    one, four = trained(8, 1), trained(2, 4)

    for name, weights in one.items():
        torch.testing.assert_close(four[name], weights, rtol=0, atol=1e-5)


TRAIN = """
import json
import sys
import hf_polyglot
from tests.models.tiny_models import tiny_byte_crf, tiny_encoder_crf, tiny_linear_tagger, tiny_slicer
from tests.training.test_distillation import distillation_of, perturbed, tiny_student
from tests.training.test_trainer import SHOWS_SCALE
what = json.loads(sys.argv[3])
student = tiny_student() if what["settings"].get("hidden_weight") else perturbed(tiny_encoder_crf, 2)
trainer = distillation_of(
    student, perturbed(tiny_slicer), sys.argv[1], per_device_train_batch_size=int(sys.argv[2]), num_train_epochs=2,
    **SHOWS_SCALE | what,
)
trainer.train()
trainer.save_model()
"""


def tiny_student():
    """A student that is narrower than its teacher, and of fewer layers."""
    return perturbed(tiny_linear_tagger, 2, encoder_settings={
        "hidden_size": 16, "num_hidden_layers": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0
    })  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        {"settings": {}, "keep_outputs": True},
        {"settings": {"hidden_weight": 1.0, "positions": "pieces"}, "gradient_accumulation_steps": 2},
    ],
    ids=str,
)
def test_two_processes_give_the_weights_of_one(what, tmp_path):
    program = tmp_path / "train.py"
    program.write_text(TRAIN)

    for folder, processes, batch_size in (("one", 1, 4), ("two", 2, 2)):
        run = run_program(program, tmp_path / folder, batch_size, json.dumps(what), processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    assert not [name for name in one if "projection" in name]
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=0, atol=1e-5)


def test_a_narrower_student_learns_hidden_states_by_projections_that_are_resumed_and_not_saved(tmp_path):
    settings = {"hidden_weight": 1.0, "attention_weight": 1.0, "positions": "pieces"}
    arguments = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2, "save_total_limit": None}
    undisturbed, resumed = (
        distillation_of(tiny_student(), perturbed(tiny_slicer), tmp_path, settings=settings, **arguments) for _ in "12"
    )
    assert undisturbed.layers == [2]

    set_seed(7)
    undisturbed.train()
    undisturbed.save_model()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))

    saved = load_file(tmp_path / "model.safetensors")
    assert set(saved) == set(undisturbed.model.state_dict())
    assert not [name for name in saved if "projection" in name]
    assert (tmp_path / "checkpoint-4" / "distillation_projections.safetensors").is_file()
    losses = [log["loss"] for log in undisturbed.state.log_history if "loss" in log]
    assert losses[-1] < losses[0]
    for name, weights in undisturbed.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weights)


def test_a_first_phase_that_was_stopped_goes_on_and_one_that_has_ended_is_taken(tmp_path, capsys):
    arguments = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2, "save_total_limit": None}

    def run(**given):
        trainer = distillation_of(tiny_student(), perturbed(tiny_slicer), tmp_path, **arguments | given)
        return trainer, distil_first(trainer)

    set_seed(7)
    undisturbed, seconds = run()
    assert seconds == 0
    for checkpoint in tmp_path.glob("checkpoint-*"):
        if checkpoint.name != "checkpoint-4":
            shutil.rmtree(checkpoint)  # as a run that was killed behind its fourth step has it
    (tmp_path / "model.safetensors").unlink()
    stopped, seconds_before = run(resume_from_checkpoint="true")
    capsys.readouterr()
    ended, seconds_of_ended = run(resume_from_checkpoint="true")

    assert seconds_before > 0 and stopped.state.global_step == undisturbed.state.global_step > 4
    assert "The student was distilled already" in capsys.readouterr().out
    assert ended.state.global_step == 0 and seconds_of_ended >= seconds_before
    for trainer in (stopped, ended):
        for name, weights in undisturbed.model.state_dict().items():
            torch.testing.assert_close(trainer.model.state_dict()[name], weights, rtol=0, atol=0)


def test_layers_are_spread_evenly():
    assert uniform_layers(3, 12) == [4, 8, 12]
    assert uniform_layers(2, 3) == [2, 3]


def test_a_stock_model_teaches_as_the_same_slicer_does(tmp_path):
    slicer, tokenizer = perturbed(tiny_slicer)
    slicer.to_standard_model().save_pretrained(tmp_path / "stock")
    tokenizer.save_pretrained(tmp_path / "stock")

    stock, of_stock = load_teacher(str(tmp_path / "stock"), "IOB2")

    assert isinstance(stock, StockTagger) and isinstance(stock.model, BertForTokenClassification)
    assert stock.config.label_scheme == "IOB2"
    assert labels_of(stock.config) == LABELS
    losses = [
        gradient_of_a_batch(distillation_of(perturbed(tiny_linear_tagger, 2), teacher, tmp_path, settings=settings))
        for teacher in ((slicer, tokenizer), (stock, of_stock))
        for settings in ({}, {"positions": "pieces"})
    ]
    assert losses[0] == pytest.approx(losses[2], abs=1e-5)
    assert losses[1] == pytest.approx(losses[3], abs=1e-5)
    assert losses[0] != losses[1]


def test_paths_are_kept_with_their_renormalised_probabilities():
    model, tokenizer = perturbed(tiny_byte_crf)
    outputs = model.eval()(**model.prepare_words(tokenizer, [["Amina", "lives"], ["Kano"]]))
    mask = torch.tensor([[True, True], [True, False]])

    targets = teacher_targets(model, outputs, mask, scheme="IOB2", temperature=2.0, num_kept=None, sequence_nbest=3)

    paths, probabilities = targets["target_ids"].mT, targets["target_probabilities"][:, 0]
    scores = torch.stack([model.crf.path_score(outputs.logits, path, mask) for path in paths.unbind(1)], 1)
    torch.testing.assert_close(probabilities, (scores / 2).softmax(1))
    assert (paths[:, 0] * mask).equal(model.crf.decode(outputs.logits, mask).clamp(min=0))


def test_it_is_said_how_much_of_the_teacher_is_kept_and_warned_if_that_is_little(tmp_path, capsys):
    settings = {"num_kept": 2, "temperature": 1e6}
    trainer = distillation_of(perturbed_joint("byte_tagger", 2), perturbed_joint("linear_tagger"), tmp_path,
                              keep_outputs=True, settings=settings)  # fmt: skip

    with pytest.warns(UserWarning) as warned:
        report_kept_shares(trainer)

    # Of 5, 3 and 4 labels that are all alike.
    assert "at most 2, have 40.0 % (IOB2), 66.7 % (upos), 50.0 % (feats) of the teacher's" in capsys.readouterr().out
    (warning,) = warned
    assert "The kept labels of IOB2 have 40.0 % of the teacher's probability at `temperature` 1e+06" in str(warning)


def test_a_new_distillation_leaves_nothing_of_an_old_one_and_a_resumed_one_is_the_same(tmp_path):
    ended = tmp_path / "model.safetensors"
    ended.write_bytes(b"of another run")
    begun = training_arguments(tmp_path, num_train_epochs=2)
    settings = DistillationSettings()
    text = {"swa": Dataset.from_dict({"tokens": [["Amina", "lives"], ["Bako"]]})}
    student = StudentArguments()
    check_same_distillation(begun, "digest", settings, ["upos"], text, student)
    assert not ended.exists()

    ended.write_bytes(b"of this run")
    resumed = training_arguments(tmp_path, num_train_epochs=2, resume_from_checkpoint="true")
    check_same_distillation(resumed, "digest", settings, ["upos"], text, student)
    assert ended.exists()
    with pytest.raises(ValueError, match=r"began with student_heads None \(now 2\); expected the same"):
        check_same_distillation(resumed, "digest", settings, ["upos"], text, StudentArguments(student_heads=2))
    with pytest.raises(ValueError, match=r"began with tasks \['upos'\] \(now \['feats'\]\); expected the same"):
        check_same_distillation(resumed, "digest", settings, ["feats"], text, student)
    with pytest.raises(ValueError, match=r"began with another teacher, or one of another version"):
        check_same_distillation(resumed, "other", settings, ["upos"], text, student)
    other = {"swa": text["swa"].select([0]), "yor": text["swa"]}
    with pytest.raises(ValueError, match=r"began with other sentences of swa, no sentences of yor; expected the same"):
        check_same_distillation(resumed, "digest", settings, ["upos"], other, student)
    with pytest.raises(ValueError, match=r"began with further sentences of swa; expected the same"):
        check_same_distillation(resumed, "digest", settings, ["upos"], {}, student)
    resumed.num_train_epochs = 3
    with pytest.raises(ValueError, match=r"began with epochs 2 \(now 3\); expected the same"):
        check_same_distillation(resumed, "digest", settings, ["upos"], text, student)


@pytest.mark.parametrize(
    ("inside", "kept"), [({}, 16), ({"hidden_weight": 0.5}, None), ({"attention_weight": 1.0}, None)]
)
def test_a_teacher_that_reads_along_says_all_of_its_labels(inside, kept):
    settings = distillation_settings(DistillationArguments(positions="words", **inside), None, None, None, None)

    assert settings.num_kept == kept


def test_the_first_phase_samples_by_no_labels(tmp_path):
    training = training_arguments(tmp_path, sampling="dynamic")

    assert distillation_training(training, DistillationArguments()).sampling != "dynamic"
    assert training.sampling == "dynamic"


def test_pieces_are_compared_only_if_those_of_every_language_are_the_same():
    _, tokenizer = tiny_student()
    student = Student(StudentArguments(), tokenizer, "encoder")
    teacher = SimpleNamespace(classifies_pieces=True)
    sentences = {"swa": Dataset.from_dict({"tokens": [["Amina"]]})}
    other = {"yor": Dataset.from_dict({"tokens": [["zwölf ∞"]]})}

    def positions(of_student, *given):
        student.tokenizer = of_student
        of_all = {language: dataset for sentences in given for language, dataset in sentences.items()}
        return distillation_settings(DistillationArguments(), student, teacher, tokenizer, of_all).positions

    assert positions(tokenizer, sentences, other) == "pieces"
    assert positions(Cutting(tokenizer, "zwölf ∞"), sentences) == "pieces"
    assert positions(Cutting(tokenizer, "zwölf ∞"), sentences, other) == "words"


class Cutting:
    """A tokenizer that cuts one word otherwise."""

    def __init__(self, tokenizer, word):
        self.tokenizer, self.word = tokenizer, word

    def __call__(self, sentences, **options):
        changed = [[word.replace(self.word, "other") for word in words] for words in sentences]
        return self.tokenizer(changed, **options)

    def convert_ids_to_tokens(self, ids):
        return self.tokenizer.convert_ids_to_tokens(ids)


@pytest.mark.parametrize(("task", "scheme"), [("", "IOB2"), ("ner", "IOB2"), ("upos", "upos"), ("upos feats", "IOB2")])
def test_the_task_says_what_a_stock_teacher_knows(task, scheme):
    assert scheme_of_stock_teacher(CorpusArguments(task=task)) == scheme


@pytest.mark.parametrize(
    ("given", "begins_with"),
    [
        ({}, None),
        ({"layers_from_teacher": True}, "runs/large"),
        ({"embeddings_from_teacher": True}, "runs/large"),
        ({"student_encoder": "bert"}, "bert"),
        ({"student_type": "byte_crf", "layers_from_teacher": True}, None),
    ],
)
def test_a_student_says_what_it_began_with(given, begins_with):
    assert StudentArguments(**given).named_base_model("runs/large") == begins_with


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [np.arange(count * 2, dtype=np.float16).reshape(count, 2) + 100 * count for count in (3, 1, 2)]

    write_outputs(tmp_path / "kept", 3, iter([([2, 0], {"a": [rows[2], rows[0]]}), ([1], {"a": [rows[1]]})]))

    kept = read_outputs(tmp_path / "kept")["a"]
    assert len(kept) == 3
    for sentence, expected in enumerate(rows):
        assert (kept[sentence] == expected).all() and kept[sentence].dtype == np.float16
    assert isinstance(kept.rows, np.memmap)
    assert read_outputs(tmp_path / "nothing") is None


def test_what_cannot_be_kept_is_said(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match=r"What the teacher says could not be kept in .*\. Make room"):
        write_outputs(tmp_path / "file" / "kept", 0, iter([]))


def test_the_digest_is_that_of_weights_configuration_and_tokenizer(tmp_path):
    teacher, tokenizer = tiny_slicer()
    digest = teacher_digest(teacher, tokenizer)

    assert teacher_digest(*tiny_slicer()) == digest
    teacher.save_pretrained(tmp_path)
    assert teacher_digest(type(teacher).from_pretrained(tmp_path), tokenizer) == digest
    assert teacher_digest(tiny_slicer(max_pieces=10)[0], tokenizer) != digest
    spelled, words = tiny_meta_lstm()
    knows_less = WordSpellingTokenizer.with_words(words, words.init_kwargs["words"][:-1])
    assert teacher_digest(spelled, words) != teacher_digest(spelled, knows_less)
    with torch.no_grad():
        teacher.classifier.bias[0] += 1e-3
    changed = teacher_digest(teacher, tokenizer)
    relabelled = teacher_digest(tiny_slicer(**label_settings(LABELS[::-1]))[0], tokenizer)
    assert len({digest, changed, relabelled, teacher_digest(tiny_slicer()[0], character_pieces("<mask>"))}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "`temperature` is 0; expected a number above 0"),
        ({"positions": "bytes"}, "`positions` is 'bytes'; expected words or pieces"),
        ({"num_kept": 0}, "`num_kept` is 0; expected 1 or more"),
        ({"hidden_weight": -1}, "`hidden_weight` is -1; expected 0 or more"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillationSettings(**settings)


@pytest.mark.parametrize(
    ("make_student", "make_teacher", "settings", "message"),
    [
        (tiny_slicer, tiny_byte_crf, {"sequence_nbest": 2}, "the student has no CRF; expected one in teacher and"),
        (tiny_byte_crf, tiny_slicer, {"sequence_nbest": 2}, "the teacher has no CRF"),
        (tiny_slicer, tiny_encoder_crf, {"positions": "pieces"}, "`positions` is 'pieces', and teacher or student"),
        (tiny_byte_crf, tiny_slicer, {"hidden_weight": 1.0}, "has no encoder of pieces; expected one in both"),
        (
            tiny_slicer,
            tiny_slicer,
            {"attention_weight": 1.0},
            "`attention_weight` is 1.0; expected `positions` 'pieces'",
        ),
    ],
)
def test_pairs_that_cannot_be_compared_are_refused(make_student, make_teacher, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        distillation_of(make_student(), make_teacher(), tmp_path, settings=settings)


def test_a_student_without_a_label_of_its_teacher_is_refused(tmp_path):
    fewer = tiny_slicer(**label_settings(LABELS[:3]))

    with pytest.raises(ValueError, match=r"The student lacks the labels .* of its teacher; expected all of them"):
        distillation_of(fewer, tiny_slicer(), tmp_path)


def test_other_pieces_are_refused_where_pieces_are_compared(tmp_path):
    student, _ = tiny_linear_tagger()
    other = character_pieces()
    other.backend_tokenizer.model.max_input_chars_per_word = 3  # longer words are one unknown piece

    trainer = distillation_of((student, other), tiny_slicer(), tmp_path, settings={"positions": "pieces"})

    with pytest.raises(
        ValueError, match=r"The student cuts .* into .* pieces, and its teacher into .*--positions words"
    ):
        next(iter(trainer.get_train_dataloader()))


def test_what_is_no_tagger_of_words_is_no_teacher(tmp_path):
    with pytest.raises(ValueError, match=r"a BertModel; expected a model \.\.\.ForTokenClassification\. Fine-tune it"):
        load_teacher(saved_encoder(tmp_path / "encoder"), "IOB2")
    encoder_config()
