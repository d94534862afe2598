"""Runs over several seeds: which model is kept, and what is refused."""

import numpy as np
import pytest

from hf_polyglot.training import runs
from hf_polyglot.training.checkpoints import last_whole_checkpoint, seal_checkpoint
from hf_polyglot.training.runs import train_over_seeds

from .test_trainer import CORPORA, training_arguments


class SeedTrainer:
    """Stands for a trainer: its dev F1 is given by its seed, and its model is that number."""

    def __init__(self, args):
        self.args = args
        self.seconds_of_first_phase = 0.5

    def train(self, resume_from_checkpoint=None):
        self.resumed_from = resume_from_checkpoint
        self.seconds_before = 1000.0 if resume_from_checkpoint else 0.0

    def examples_drawn(self):
        return {"swa": self.args.seed, "yor": 2 * self.args.seed}

    def save_model(self, folder):
        SeedTrainer.saved = (folder, self.args.seed)


def scores_of_seeds(source, zero_shot):
    def score(trainer, datasets, zero_shot_languages):
        seed = trainer.args.seed
        scores = {"swa": {"f1": source[seed]}, "yor": {"f1": zero_shot[seed]}}
        counts = {"swa": np.array([[seed, seed, seed], [0, 0, 1]])}
        mean = {"f1": (source[seed] + zero_shot[seed]) / 2}
        return scores | {"average": mean, "average_source": scores["swa"], "average_zero_shot": scores["yor"]}, counts

    return score


def test_the_best_seed_on_dev_is_kept_and_unseen_languages_have_no_say(tmp_path, monkeypatch):
    # By the average over all languages, seed 3 would be the best.
    scores = scores_of_seeds({1: 70.0, 2: 72.0, 3: 71.0}, {1: 10.0, 2: 5.0, 3: 60.0})
    monkeypatch.setattr(runs, "score_corpora", scores)

    outcome = train_over_seeds(
        SeedTrainer, training_arguments(tmp_path), [1, 2, 3], {"validation": CORPORA}, zero_shot_languages=["yor"]
    )

    assert outcome.best_seed == 2
    assert SeedTrainer.saved == (str(tmp_path), 2)
    assert outcome.scores["validation"]["swa"]["f1"]["values"] == [70.0, 72.0, 71.0]
    assert outcome.sentence_counts["validation"]["swa"].tolist() == [
        [[seed, seed, seed], [0, 0, 1]] for seed in (1, 2, 3)
    ]
    assert outcome.examples_drawn == {"swa": [1, 2, 3], "yor": [2, 4, 6]}
    assert outcome.trainer.args.output_dir == str(tmp_path)


@pytest.mark.parametrize("evaluation", [{}, {"validation": {"yor": CORPORA["yor"]}}])
def test_the_first_seed_is_kept_where_no_dev_set_can_choose(evaluation, tmp_path, monkeypatch):
    scores = scores_of_seeds({1: 70.0, 2: 72.0}, {1: 10.0, 2: 60.0})
    monkeypatch.setattr(runs, "score_corpora", scores)

    outcome = train_over_seeds(
        SeedTrainer, training_arguments(tmp_path), [1, 2], evaluation | {"test": CORPORA}, zero_shot_languages=["yor"]
    )

    assert outcome.best_seed == 1
    assert SeedTrainer.saved == (str(tmp_path), 1)


@pytest.mark.parametrize(("seeds", "message"), [([], r"`seeds` is \[\]"), ([1, 1], r"`seeds` is \[1, 1\]")])
def test_seeds_come_once_each(tmp_path, seeds, message):
    with pytest.raises(ValueError, match=message):
        train_over_seeds(SeedTrainer, training_arguments(tmp_path), seeds, {})


def test_a_seed_beside_the_seeds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`seed` is 7 and `seeds` is \[1\].*Use `--seeds`"):
        train_over_seeds(SeedTrainer, training_arguments(tmp_path, seed=7), [1], {})


@pytest.mark.parametrize(("given", "expected"), [("true", True), ("false", False), (None, False)])
def test_each_seed_resumes_from_its_own_folder(tmp_path, monkeypatch, given, expected):
    monkeypatch.setattr(runs, "score_corpora", scores_of_seeds({1: 1.0}, {1: 1.0}))

    outcome = train_over_seeds(
        SeedTrainer, training_arguments(tmp_path, resume_from_checkpoint=given), [1], {"validation": CORPORA}
    )

    assert outcome.trainer.resumed_from is expected
    assert (outcome.seconds > 1000) is expected
    assert outcome.seconds > 0.5  # what the first phase of a distillation took


@pytest.mark.parametrize(("given", "is_taken"), [("true", True), (None, False)])
def test_a_new_run_leaves_no_checkpoint_of_an_old_one_to_be_resumed_from(tmp_path, monkeypatch, given, is_taken):
    monkeypatch.setattr(runs, "score_corpora", scores_of_seeds({1: 1.0}, {1: 1.0}))
    stages = [tmp_path / "seed-1", tmp_path / "seed-1" / "words", tmp_path / "seed-2"]
    for stage in stages:
        (stage / "checkpoint-3").mkdir(parents=True)
        seal_checkpoint(stage / "checkpoint-3", {}, 1.0)

    train_over_seeds(
        SeedTrainer, training_arguments(tmp_path, resume_from_checkpoint=given), [1], {"validation": CORPORA}
    )

    # Another seed may be trained by another command.
    assert [last_whole_checkpoint(stage)[0] is not None for stage in stages] == [is_taken, is_taken, True]


def test_an_interruption_ends_the_program_and_says_how_to_go_on(tmp_path):
    class Interrupted(SeedTrainer):
        def train(self, resume_from_checkpoint=None):
            raise KeyboardInterrupt("stopped behind step 3")

    with pytest.raises(SystemExit, match="stopped behind step 3"):
        train_over_seeds(Interrupted, training_arguments(tmp_path), [1], {"validation": CORPORA})


def test_resuming_from_one_checkpoint_for_all_seeds_is_refused(tmp_path):
    arguments = training_arguments(tmp_path, resume_from_checkpoint="runs/old/checkpoint-3")

    with pytest.raises(ValueError, match="`resume_from_checkpoint` is 'runs/old/checkpoint-3'; expected"):
        train_over_seeds(SeedTrainer, arguments, [1], {"validation": CORPORA})
