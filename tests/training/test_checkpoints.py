"""Checkpoints: whole or skipped, resumed to the same end, and written when a signal says so."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_polyglot.training import trainer as trainer_module
from hf_polyglot.training.checkpoints import (
    CHECKPOINT_FILES,
    last_whole_checkpoint,
    seal_checkpoint,
    seconds_of_checkpoint,
)
from tests.fresh_process import run_program
from tests.models.tiny_models import tiny_byte_crf, tiny_slicer

from .kill_and_resume import kill_and_resume
from .test_trainer import CORPORA, trainer_of


class At(TrainerCallback):
    """Does something behind a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


class WithinStep(At):
    """Does something while a step is taken."""

    def on_step_end(self, args, state, control, **kwargs):
        """Too late."""

    def on_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            self.action()


def checkpoint(folder, steps):
    path = folder / f"checkpoint-{steps}"
    (path / "below").mkdir(parents=True)
    for name, text in {"model": f"weights {steps}", "below/more": "more"}.items():
        (path / name).write_text(text)
    seal_checkpoint(path, {}, 1.5)
    return path


def test_the_last_whole_checkpoint_is_found_and_later_ones_are_named(tmp_path):
    for steps in (5, 40, 100, 200, 300, 400):
        checkpoint(tmp_path, steps)
    (tmp_path / "checkpoint-100" / "model").write_text("weights 1O0")
    (tmp_path / "checkpoint-200" / "below" / "more").unlink()
    (tmp_path / "checkpoint-300" / CHECKPOINT_FILES).unlink()
    (tmp_path / "checkpoint-400" / CHECKPOINT_FILES).write_text("{")
    for steps in (300, 400):  # without a seal, the time is that of the folder
        os.utime(tmp_path / f"checkpoint-{steps}", (2e9 + steps, 2e9 + steps))
    (tmp_path / "checkpoint-best").mkdir()

    found, skipped = last_whole_checkpoint(tmp_path)

    assert found == tmp_path / "checkpoint-40"
    reasons = [line.partition(" is skipped: ")[2] for line in skipped]
    assert reasons == [
        "checkpoint_files.json is damaged.", "it was not finished.", "below/more is missing.", "model is damaged.",
    ]  # fmt: skip
    assert last_whole_checkpoint(tmp_path / "none") == (None, [])


def history(trainer):
    """Steps and scores of its evaluations."""
    return [(log["step"], log["eval_average_f1"]) for log in trainer.state.log_history if "eval_average_f1" in log]


@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_slicer])
@pytest.mark.parametrize("stop_at", [3, 5, 7, 10, 15])
def test_a_signal_leaves_a_checkpoint_from_which_training_ends_as_if_undisturbed(
    make_model, stop_at, tmp_path, capsys
):
    # An epoch has five steps. The weights of the end are compared, not those of the best epoch.
    settings = {"num_train_epochs": 3, "load_best_model_at_end": False}
    whole = trainer_of(make_model, tmp_path / "whole", **settings)
    whole.train()
    interrupted = trainer_of(make_model, tmp_path / "stopped", **settings)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    interrupted.add_callback(WithinStep(stop_at, lambda: os.kill(os.getpid(), signal.SIGTERM)))

    with pytest.raises(KeyboardInterrupt, match=rf"stopped behind step {stop_at}\. .*-{stop_at}, .*checkpoint true"):
        interrupted.train()
    seconds = seconds_of_checkpoint(tmp_path / "stopped" / f"checkpoint-{stop_at}")
    resumed = trainer_of(make_model, tmp_path / "stopped", **settings)
    resumed.train(resume_from_checkpoint=True)

    assert f"Training goes on from {tmp_path}/stopped/checkpoint-{stop_at}." in capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    for name, parameter in whole.model.named_parameters():
        torch.testing.assert_close(resumed.model.get_parameter(name), parameter, rtol=0, atol=0)
    assert history(resumed) == history(whole)
    assert resumed.seconds_before == seconds
    assert resumed.seconds_trained() > resumed.seconds_before
    assert resumed.state.best_global_step == whole.state.best_global_step


STOP_ONE_OF_TWO = """
import os, signal, sys
from tests.models.tiny_models import tiny_byte_crf
from tests.training.test_checkpoints import WithinStep
from tests.training.test_trainer import trainer_of
mode, folder = sys.argv[1:]
trainer = trainer_of(tiny_byte_crf, folder, num_train_epochs=3, load_best_model_at_end=False)
if mode == "stop" and trainer.args.process_index == 1:
    trainer.add_callback(WithinStep(4, lambda: os.kill(os.getpid(), signal.SIGTERM)))
try:
    trainer.train(resume_from_checkpoint=mode == "resume")
except KeyboardInterrupt as interruption:
    sys.exit(str(interruption))
trainer.save_model(folder)
"""


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_behind_the_same_step(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(STOP_ONE_OF_TWO)

    whole = run_program(program, "whole", tmp_path / "whole", processes=2)
    stopped = run_program(program, "stop", tmp_path / "stopped", processes=2)
    checkpoint, skipped = last_whole_checkpoint(tmp_path / "stopped")
    resumed = run_program(program, "resume", tmp_path / "stopped", processes=2)

    assert (whole.returncode, stopped.returncode, resumed.returncode) == (0, 1, 0), stopped.stderr[-2000:]
    assert "Training was stopped behind step 4." in stopped.stderr
    assert (checkpoint, skipped) == (tmp_path / "stopped" / "checkpoint-4", [])
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_a_resumed_run_stops_early_where_the_undisturbed_one_does(tmp_path):
    settings = {"num_train_epochs": 20, "learning_rate": 1e-9, "early_stopping_patience": 3}
    whole = trainer_of(tiny_byte_crf, tmp_path / "whole", **settings)
    whole.train()
    interrupted = trainer_of(tiny_byte_crf, tmp_path / "stopped", **settings)
    interrupted.add_callback(WithinStep(12, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()

    for _ in range(2):  # the second time, it has ended already
        resumed = trainer_of(tiny_byte_crf, tmp_path / "stopped", **settings)
        resumed.train(resume_from_checkpoint=True)
        assert resumed.state.global_step == whole.state.global_step == 20
        assert history(resumed) == history(whole)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"learning_rate": 5e-3}, "learning_rate 0.01, not 0.005"),
        ({"num_train_epochs": 5}, "num_train_epochs 2, not 5"),
        ({"train": CORPORA["swa"]}, "training examples 20, not 10"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(settings, named, tmp_path):
    trainer_of(tiny_byte_crf, tmp_path).train()

    with pytest.raises(ValueError, match=f"is of another run: {named}. Expected one of the same settings"):
        trainer_of(tiny_byte_crf, tmp_path, **settings).train(resume_from_checkpoint=True)


def test_checkpoints_of_an_earlier_run_are_the_first_to_go(tmp_path):
    trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=8).train()
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=3, learning_rate=5e-3)

    trainer.train()

    found, _ = last_whole_checkpoint(tmp_path)
    assert found.name == "checkpoint-15"
    assert not (tmp_path / "checkpoint-40").exists()


def test_a_damaged_best_checkpoint_is_not_loaded(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=3, greater_is_better=False)

    def damage():
        with (tmp_path / "checkpoint-5" / "model.safetensors").open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(bytes(8))

    trainer.add_callback(At(12, damage))

    with pytest.raises(OSError, match=r"checkpoint-5 cannot be loaded: model.safetensors is damaged"):
        trainer.train()


def test_weights_that_are_no_numbers_are_not_sealed(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=3)
    trainer.add_callback(At(10, lambda: trainer.model.classifier.bias.data.fill_(float("nan"))))

    with pytest.raises(FloatingPointError, match=r"Behind step 10, classifier.bias are no finite numbers"):
        trainer.train()

    found, skipped = last_whole_checkpoint(tmp_path)
    assert found.name == "checkpoint-5"
    assert len(skipped) == 1


def test_a_second_interrupt_ends_at_once(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path)
    handler = signal.getsignal(signal.SIGINT)  # none, where the tests run in the background of a shell

    def interrupt_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    trainer.add_callback(At(1, interrupt_twice))

    with pytest.raises(KeyboardInterrupt) as interruption:
        trainer.train()

    assert not interruption.value.args
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_signal_in_the_last_evaluation_is_heeded(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=1)

    class InTheEvaluation(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            if "eval_yor_f1" in metrics:
                os.kill(os.getpid(), signal.SIGINT)

    trainer.add_callback(InTheEvaluation())

    with pytest.raises(KeyboardInterrupt, match=r"stopped behind step 5\. To go on from .*checkpoint-5, give"):
        trainer.train()


def test_a_damaged_checkpoint_is_skipped_for_the_one_before_it(tmp_path, capsys):
    settings = {"num_train_epochs": 4, "load_best_model_at_end": False}
    whole = trainer_of(tiny_byte_crf, tmp_path / "whole", **settings)
    whole.train()
    first = trainer_of(tiny_byte_crf, tmp_path / "run", **settings)
    first.add_callback(WithinStep(12, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    last = max((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    with (last / "optimizer.pt").open("r+b") as file:
        file.truncate(100)

    resumed = trainer_of(tiny_byte_crf, tmp_path / "run", **settings)
    resumed.train(resume_from_checkpoint=True)

    said = capsys.readouterr().out
    assert f"{last} is skipped: optimizer.pt is damaged." in said
    assert "Training goes on from" in said
    for name, parameter in whole.model.named_parameters():
        torch.testing.assert_close(resumed.model.get_parameter(name), parameter, rtol=0, atol=0)


def test_resuming_without_a_checkpoint_begins_anew(tmp_path, capsys):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=1)

    trainer.train(resume_from_checkpoint=True)

    assert "Training goes on from the beginning." in capsys.readouterr().out
    assert trainer.state.global_step == 5


def test_a_full_disk_keeps_the_checkpoint_before_it(tmp_path, monkeypatch):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=3)

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    trainer.add_callback(At(7, lambda: monkeypatch.setattr(trainer_module, "save_adam_state", fail)))

    with pytest.raises(OSError, match=r"checkpoint-10 could not be written: .*No space left.*Make room") as failure:
        trainer.train()

    found, skipped = last_whole_checkpoint(tmp_path)
    assert found.name == "checkpoint-5"
    assert skipped == [f"{tmp_path}/checkpoint-10 is skipped: it was not finished."]
    assert failure.value.__cause__ is not None


def test_an_output_folder_that_cannot_be_written_is_named_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    trainer = trainer_of(tiny_byte_crf, tmp_path / "fine")
    trainer.args.output_dir = str(tmp_path / "file" / "run")

    with pytest.raises(OSError, match=r"Nothing can be written into `output_dir` .*file/run: .* Give another one"):
        trainer.train()


def test_only_so_many_checkpoints_are_kept_and_the_best_among_them(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=5, greater_is_better=False)

    trainer.train()

    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-5", "checkpoint-25"}
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-5")


@pytest.mark.parametrize("steps_between_checks", [1, 4, 100])
def test_a_loss_that_is_no_number_stops_training_with_its_batch(steps_between_checks, tmp_path, monkeypatch):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=2)
    seen = []
    compute_loss = trainer.compute_loss

    def broken(model, inputs, **options):
        seen.append(inputs)
        return compute_loss(model, inputs, **options) * (float("nan") if len(seen) == 7 else 1.0)

    monkeypatch.setattr(trainer, "compute_loss", broken)
    if steps_between_checks > 1:  # as on a GPU
        monkeypatch.setattr(trainer_module, "STEPS_BETWEEN_LOSS_CHECKS", steps_between_checks)
        monkeypatch.setattr(trainer_module, "_is_free_to_look_at", lambda loss: False)

    with pytest.raises(
        FloatingPointError, match=r"The loss of a batch of step 7 is nan; .*failed_batch-0.safetensors"
    ):
        trainer.train()

    saved = load_file(tmp_path / "failed_batch-0.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in seen[6].items())
    assert {entry["epoch"] for entry in trainer.state.log_history if "eval_average_f1" in entry} <= {1.0}
    found, _ = last_whole_checkpoint(tmp_path)
    assert found.name == "checkpoint-5"
    assert all(value.isfinite().all() for value in load_file(found / "model.safetensors").values())


def test_the_digests_of_a_checkpoint_name_every_file(tmp_path):
    trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=1).train()

    digests = json.loads((tmp_path / "checkpoint-5" / CHECKPOINT_FILES).read_text())["files"]

    files = {path.name for path in (tmp_path / "checkpoint-5").iterdir()}
    assert set(digests) == files - {CHECKPOINT_FILES}
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"} <= set(digests)


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_ends_as_if_undisturbed():
    assert kill_and_resume(kills=2, processes=1, seed=1)
