"""The trainer of Byte-to-Span: what it learns from, and that it measures words."""

import json

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from safetensors.torch import load_file

from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.label_scheme import tags_from_spans
from hf_polyglot.models.span_symbols import GO
from hf_polyglot.span_metrics import sentence_span_counts, span_scores, with_stray_spans
from hf_polyglot.training.runs import score_corpora
from hf_polyglot.training.segment_trainer import ByteToSpanTrainer
from tests.fresh_process import run_program
from tests.models.tiny_byte_to_span import tiny_byte_to_span
from tests.models.tiny_models import LABELS
from tests.training.test_trainer import CORPORA, training_arguments

NO_DROPOUT = {"byte_dropout": 0, "layer_dropout": 0}


def trainer_of(folder, model_settings=NO_DROPOUT, train=CORPORA, evaluation=CORPORA, stride=4, **settings):
    model, tokenizer = tiny_byte_to_span(**model_settings)
    return ByteToSpanTrainer(
        model,
        training_arguments(folder, **{"learning_rate": 5e-3} | settings),
        processing_class=tokenizer,
        train_dataset=train,
        eval_dataset=evaluation,
        stride=stride,
    )


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")


def write_partly_right(trainer, monkeypatch):
    """Makes the model write what is right for two segments of three, and spans that lack a byte for the third."""
    written = {}
    for dataset in CORPORA.values():
        sentences = trainer._segments_to_read(dataset)
        for index in range(len(sentences)):
            content, ids = sentences[index]["input_ids"].tolist(), [GO, *sentences[index]["labels"]]
            for length in range(2, len(ids) - 1, 3):
                ids[length] -= sum(content) % 3 == 0
            written[tuple(content)] = torch.tensor(ids)

    def generate(batch):
        contents = [tuple(row[row != 0].tolist()) for row in batch]
        return torch.nn.utils.rnn.pad_sequence([written[content] for content in contents], batch_first=True)

    monkeypatch.setattr(trainer.model, "generate", generate)


@pytest.mark.parametrize("context", ["document", "sentence"])
def test_evaluation_scores_what_tagging_gives(tmp_path, context, monkeypatch):
    trainer = trainer_of(tmp_path, NO_DROPOUT | {"context": context}, per_device_eval_batch_size=3)
    write_partly_right(trainer, monkeypatch)

    metrics = trainer.evaluate()
    scores, counts = score_corpora(trainer, CORPORA)

    for language, dataset in CORPORA.items():
        tagged = tag_words(trainer.model, trainer.processing_class, dataset["tokens"][:])
        counted = [
            with_stray_spans([LABELS[label] for label in labels], sentence.tags, sentence.stray_types)
            for labels, sentence in zip(dataset["ner_tags"], tagged, strict=True)
        ]
        gold, predicted = zip(*counted, strict=True)
        expected = span_scores(gold, predicted)
        np.testing.assert_array_equal(counts[language], sentence_span_counts(gold, predicted))
        assert 30 < expected.f1 < 100
        assert any(sentence.stray_types for sentence in tagged)
        for name in ("precision", "recall", "f1"):
            assert metrics[f"eval_{language}_{name}"] == scores[language][name] == getattr(expected, name)
    assert metrics["eval_average_f1"] == np.mean([metrics["eval_swa_f1"], metrics["eval_yor_f1"]])
    assert metrics["eval_swa_loss"] > 0


def test_right_symbols_score_one_hundred_and_half_a_word_is_a_wrong_span(tmp_path, monkeypatch):
    trainer = trainer_of(tmp_path)
    symbols = trainer.model.config.symbols
    sentences = trainer._segments_to_read(CORPORA["swa"])
    right = [[GO, *sentences[index]["labels"]] for index in range(len(sentences))]

    def write(ids):
        rows = iter(ids)
        monkeypatch.setattr(
            trainer.model,
            "generate",
            lambda batch: torch.nn.utils.rnn.pad_sequence([torch.tensor(next(rows)) for _ in batch], batch_first=True),
        )
        return trainer.evaluate(CORPORA["swa"])

    assert write(right)["eval_f1"] == 100
    # The first span of all, Amina, loses its last letter.
    assert symbols.names(right[0])[1:4] == ["S:0", "L:5", "PER"]
    right[0][2] -= 1
    metrics = write(right)

    spans = sum(label in (1, 3) for labels in CORPORA["swa"]["ner_tags"] for label in labels)
    assert metrics["eval_precision"] == pytest.approx(100 * (spans - 1) / spans)
    assert metrics["eval_recall"] == pytest.approx(100 * (spans - 1) / spans)


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "plain"])
def test_stray_spans_count_as_predicted_and_as_nothing_else(scheme):
    tags = tags_from_spans([(0, 1, "PER")], 1, scheme)

    gold, predicted = with_stray_spans(tags, tags, ["PER", "PER", "LOC"], scheme)

    scores = span_scores([gold], [predicted], scheme=scheme)
    assert (scores.gold, scores.predicted, scores.correct) == (1, 4, 1)
    assert scores.by_type["PER"]["predicted"] == 3


def test_alpha_0_draws_segments_of_a_small_language_as_often(tmp_path):
    corpora = {"swa": CORPORA["swa"], "yor": CORPORA["yor"].select([0, 1])}
    trainer = trainer_of(tmp_path, train=corpora, alpha=0.0)

    trainer.get_train_dataloader()

    first = len(trainer.segments["swa"])
    drawn = [index >= first for batch in trainer.batch_sampler for index in batch]
    assert len(drawn) == len(trainer.train_dataset) > 2 * (len(drawn) - first)
    assert abs(sum(drawn) - len(drawn) / 2) <= 1


def test_a_data_set_of_several_languages_is_cut_language_by_language(tmp_path):
    together = concatenate_datasets(list(CORPORA.values())).shuffle(seed=0)

    trainer = trainer_of(tmp_path, train=together)

    apart = trainer_of(tmp_path)
    assert {name: len(segments) for name, segments in trainer.segments.items()} == {
        name: len(segments) for name, segments in apart.segments.items()
    }
    names, language_ids, lengths = trainer.languages_and_lengths()
    assert [names[place] for place in language_ids] == [
        name for name, segments in trainer.segments.items() for _ in range(len(segments))
    ]
    assert lengths.tolist() == [len(trainer.train_dataset[index]["input_ids"]) for index in range(len(lengths))]
    assert trainer.segment_reports["swa"].too_long == 0


def test_documents_are_read_apart(tmp_path):
    marked = CORPORA["swa"].add_column("document", [row // 2 for row in range(len(CORPORA["swa"]))])

    trainer = trainer_of(tmp_path, train={"swa": marked}, stride=1)

    assert len(trainer.segments["swa"].starts) == 5


@pytest.mark.slow
def test_training_learns_and_keeps_the_best_model(tmp_path):
    settings = NO_DROPOUT | {"embedding_size": 32, "hidden_size": 64, "num_hidden_layers": 1}
    trainer = trainer_of(
        tmp_path, settings, num_train_epochs=90, per_device_train_batch_size=32, per_device_eval_batch_size=64,
        learning_rate=1e-2, stride=2, eval_strategy="steps", save_strategy="steps", eval_steps=150, save_steps=150,
        max_grad_norm=5.0,
    )  # fmt: skip

    trainer.train()

    history = [log["eval_average_f1"] for log in trainer.state.log_history if "eval_average_f1" in log]
    assert trainer.state.best_metric == max(history) > 30
    assert trainer.evaluate()["eval_average_f1"] == pytest.approx(max(history))


def test_accumulated_batches_give_the_update_of_one_big_batch(tmp_path):
    settings = {"max_steps": 4, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    one = trainer_of(tmp_path, per_device_train_batch_size=16, **settings)
    four = trainer_of(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, **settings)
    before = {name: parameter.clone() for name, parameter in one.model.named_parameters()}

    one.train()
    four.train()

    for name, parameter in one.model.named_parameters():
        torch.testing.assert_close(four.model.get_parameter(name), parameter, rtol=0, atol=1e-5)
        assert not torch.equal(parameter, before[name])


def test_the_optimizer_of_the_paper_has_momentum(tmp_path):
    trainer = trainer_of(tmp_path, optim="sgd", optim_args="momentum=0.9", learning_rate=0.3)

    (first, *_) = trainer.create_optimizer().param_groups

    assert (first["momentum"], first["lr"]) == (0.9, 0.3)


def test_a_resumed_run_ends_with_the_weights_of_the_undisturbed_one(tmp_path):
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 7, "eval_strategy": "no", "stride": 9,
                "load_best_model_at_end": False, "save_total_limit": None}  # fmt: skip
    undisturbed = trainer_of(tmp_path, {}, **settings)
    undisturbed.train()

    resumed = trainer_of(tmp_path, {}, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))

    for name, parameter in undisturbed.model.named_parameters():
        assert torch.equal(resumed.model.get_parameter(name), parameter)


TRAIN = """
import json, sys
from pathlib import Path
import torch
from tests.training.test_segment_trainer import trainer_of
trainer = trainer_of(
    sys.argv[1], max_steps=6, per_device_train_batch_size=int(sys.argv[2]), per_device_eval_batch_size=4,
    eval_strategy="no", save_strategy="no", load_best_model_at_end=False,
)
with torch.no_grad():
    trainer.model.classifier.bias[2] -= 1.0  # fewer STOPs: there are spans to count
trainer.train()
metrics = trainer.evaluate()
trainer.save_model()
if trainer.is_world_process_zero():
    kept = {name: value for name, value in metrics.items() if name.endswith(("f1", "precision"))}
    (Path(sys.argv[1]) / "metrics.json").write_text(json.dumps(kept))
"""


@pytest.mark.slow
def test_two_processes_give_the_weights_and_metrics_of_one(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(TRAIN)

    for folder, processes, batch_size in (("one", 1, 16), ("two", 2, 8)):
        run = run_program(program, tmp_path / folder, batch_size, processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=0, atol=1e-5)
    metrics = [json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("one", "two")]
    assert metrics[0] == pytest.approx(metrics[1])
