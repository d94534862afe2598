"""Distillation of encoders without a head."""

import pytest
import torch
from transformers import AutoModel, BertModel, TrainingArguments

from hf_polyglot.models.word_pieces import load_piece_tokenizer
from hf_polyglot.training.encoder_distillation import (
    EncoderDistillationTrainer,
    rows_of_pieces,
    teacher_ids_of,
)
from hf_polyglot.training.student_encoder import StudentEncoderArguments, build_student_encoder
from tests.models.tiny_models import SENTENCES, character_pieces, encoder_config
from tests.training.test_trainer import SHOWS_SCALE

WORDS = [words for words, _ in SENTENCES]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    caplog.set_level("ERROR")


def encoder(seed, **settings):
    torch.manual_seed(seed)
    return BertModel(encoder_config(**NO_DROPOUT | settings), add_pooling_layer=False)


def trainer_of(student, teacher, folder, tokenizer=None, keep_outputs=False, **settings):
    tokenizer = tokenizer or character_pieces()
    rows = rows_of_pieces(WORDS, tokenizer, 20)
    short = {"per_device_train_batch_size": 8, "max_steps": 3, "save_strategy": "no"}
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
        **short | settings,
    )  # fmt: skip
    return EncoderDistillationTrainer(
        student, arguments, teacher=teacher, teacher_tokenizer=character_pieces(), processing_class=tokenizer,
        train_dataset=rows, eval_dataset=rows, keep_outputs=keep_outputs,
    )  # fmt: skip


def test_a_student_equal_to_its_teacher_has_no_gradient(tmp_path):
    trainer = trainer_of(encoder(0), encoder(0), tmp_path)

    loss = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    loss.backward()

    assert loss.item() < 1e-10
    assert max(weights.grad.abs().max() for weights in trainer.model.parameters() if weights.grad is not None) < 1e-5


@pytest.mark.parametrize("keep_outputs", [True, False])
def test_the_loss_is_the_mean_squared_difference_of_all_vectors(keep_outputs, tmp_path):
    student, teacher, tokenizer = encoder(1), encoder(0), character_pieces()
    trainer = trainer_of(student, teacher, tmp_path, keep_outputs=keep_outputs, per_device_train_batch_size=100)

    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(student.eval(), batch)

    rows = [row for words in WORDS for row in rows_of_pieces([words], tokenizer, 20)["input_ids"]]
    assert max(map(len, rows)) == 20
    with torch.no_grad():
        differences = [
            (student(torch.tensor([row])).last_hidden_state - teacher(torch.tensor([row])).last_hidden_state)[0]
            for row in rows
        ]
    assert loss.item() == pytest.approx(torch.cat(differences).square().mean().item(), rel=1e-3)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss.item(), rel=0.05)


def test_accumulated_batches_give_the_update_of_one_big_batch(tmp_path):
    weights = []
    for size, steps in ((8, 1), (2, 4)):
        trainer = trainer_of(
            encoder(1), encoder(0), tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=steps,
            **SHOWS_SCALE,
        )  # fmt: skip
        trainer.train()
        weights.append(trainer.model.state_dict())

    for name, of_one in weights[0].items():
        torch.testing.assert_close(weights[1][name], of_one, rtol=0, atol=1e-5)


def test_a_small_student_comes_nearer_and_is_saved_without_its_map(tmp_path):
    teacher = encoder(0)
    arguments = StudentEncoderArguments(student_layers=1, student_hidden_size=16, student_embedding_size=8)
    build_student_encoder(tmp_path / "student", arguments, character_pieces(), WORDS)
    tokenizer = load_piece_tokenizer(str(tmp_path / "student"))
    student = AutoModel.from_pretrained(tmp_path / "student")
    trainer = trainer_of(student, teacher, tmp_path, tokenizer, keep_outputs=True, max_steps=40, learning_rate=1e-2)

    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    trainer.finish().half()
    trainer.save_model()

    assert after < 0.8 * before
    loaded, notes = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not notes["missing_keys"] and not notes["unexpected_keys"]
    assert loaded.dtype == torch.float16
    assert not list(tmp_path.glob("*.bin"))


def test_a_resumed_run_goes_on_with_the_map(tmp_path):
    def new(**settings):
        return trainer_of(
            encoder(1, hidden_size=16), encoder(0), tmp_path, max_steps=4,
            **{"save_strategy": "steps", "save_steps": 2} | settings,
        )  # fmt: skip

    torch.manual_seed(3)
    undisturbed, resumed = new(), new()
    undisturbed.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    for name, weights in undisturbed.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weights), name


def test_the_best_checkpoint_comes_back_with_its_map(tmp_path):
    # The loss falls, so that the checkpoint with the highest one is the first.
    steps = {"max_steps": 12, "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 4, "save_steps": 4}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}
    trainer = trainer_of(encoder(1, hidden_size=16), encoder(0), tmp_path, learning_rate=3e-3, **steps, **best)

    trainer.train()

    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")
    assert trainer.evaluate()["eval_loss"] == pytest.approx(trainer.state.best_metric, rel=1e-5)


def test_pieces_are_those_of_the_teacher(tmp_path):
    arguments = StudentEncoderArguments(student_layers=1, student_hidden_size=16, keep_characters=False)
    build_student_encoder(tmp_path, arguments, character_pieces(), WORDS[:2])
    student, teacher = load_piece_tokenizer(str(tmp_path)), character_pieces()

    ids = teacher_ids_of(student, teacher)

    own = rows_of_pieces(WORDS[:2], student, 20)["input_ids"]
    assert [ids[row].tolist() for row in own] == list(rows_of_pieces(WORDS[:2], teacher, 20)["input_ids"])
    with pytest.raises(ValueError, match=r"The teacher lacks [\d,]+ pieces of the student, such as .*; expected a"):
        teacher_ids_of(teacher, student)
