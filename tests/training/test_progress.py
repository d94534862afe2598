"""What a run prints while it goes on."""

import pytest
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState

from hf_polyglot.training.progress import MIN_BATCHES_OF_BAR, PolyglotProgressCallback


@pytest.fixture
def callback():
    callback = PolyglotProgressCallback(["swa", "por", "por_BR"])
    callback.on_train_begin(None, TrainerState(max_steps=3), TrainerControl())
    yield callback
    callback.on_train_end(None, TrainerState(), TrainerControl())


def log(callback, capsys, **logs):
    callback.on_log(None, TrainerState(epoch=2.0, global_step=7), TrainerControl(), logs=logs)
    return capsys.readouterr().out.strip()


def test_an_evaluation_is_one_line_with_one_score_of_each_language(callback, capsys):
    scores = {"eval_swa_f1": 71.26, "eval_por_f1": 60.0, "eval_por_BR_f1": 50.0, "eval_average_f1": 60.42}

    line = log(callback, capsys, **scores, eval_swa_PER_f1=1.0, eval_swa_macro_f1=2.0)

    assert line == "epoch 2  dev F1 60.42  (swa 71.3  por 60.0  por_BR 50.0)"


def test_the_numbers_of_examples_stay_in_the_log(callback, capsys):
    assert log(callback, capsys, examples_drawn={"swa": 10, "por": 20, "por_BR": 1}) == ""


def test_a_loss_is_shown_with_its_step(callback, capsys):
    assert log(callback, capsys, loss=0.51234, grad_norm=1.0) == "epoch 2  step 7  loss 0.5123"


@pytest.mark.parametrize(("batches", "has_bar"), [(MIN_BATCHES_OF_BAR - 1, False), (MIN_BATCHES_OF_BAR, True)])
def test_only_a_long_evaluation_has_a_bar(callback, batches, has_bar):
    callback.on_prediction_step(None, TrainerState(), TrainerControl(), eval_dataloader=DataLoader(range(batches)))

    assert (callback.prediction_bar is not None) == has_bar
    callback.on_evaluate(None, TrainerState(), TrainerControl())
