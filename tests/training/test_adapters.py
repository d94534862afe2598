"""Training of adapters: what moves, what is kept, and what goes on exactly where it was."""

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List
from transformers import AutoModelForTokenClassification, AutoTokenizer, set_seed

from hf_polyglot.adapters import adapter_parameters, merge_adapter, read_adapter
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.training.adapters import AdapterArguments, adapter_trainer, refuse_adapter, save_merged
from hf_polyglot.training.continuation import load_to_continue, trainer_to_continue
from hf_polyglot.training.optimizer_state import adam_state_by_name, load_adam_state
from tests.fresh_process import run_program
from tests.models.tiny_models import EXAMPLES, LABELS, tiny_encoder_crf
from tests.tiny_adapters import BASES, saved_adapter, saved_base

from .test_fine_tuning_methods import NO_EVALUATION, where
from .test_trainer import CORPORA, FEATURES, trainer_of, training_arguments

SWAHILI = {"swa": CORPORA["swa"]}
NO_DROPOUT = {
    "encoder_settings": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "word_dropout": 0.0,
    "sentence_dropout": 0.0,
}


def adapter_trainer_of(base, folder, corpora=SWAHILI, labels=LABELS, adam_state=None, frozen=0, lora=None, **settings):
    set_seed(0)
    model = load_to_continue(base, labels, list(corpora))
    model.encoder.encoder.layer[:frozen].requires_grad_(False)
    return adapter_trainer(
        model, training_arguments(folder, **settings), AdapterArguments("lora", **lora or {"lora_rank": 4}), base,
        processing_class=AutoTokenizer.from_pretrained(base), train_dataset=corpora, eval_dataset=corpora,
        adam_state=adam_state,
    )  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An encoder-CRF that was trained for a moment, with its Adam state beside it."""
    folder = tmp_path_factory.mktemp("base")
    trainer = trainer_of(lambda: tiny_encoder_crf(**NO_DROPOUT), folder, num_train_epochs=3)
    trainer.train()
    trainer.save_model()
    return str(folder)


@pytest.mark.parametrize("make_model", BASES.values(), ids=BASES)
def test_the_adapter_learns_and_the_base_stays_as_it_is(make_model, tmp_path):
    base = saved_base(tmp_path / "base", make_model)
    trainer = adapter_trainer_of(base, tmp_path / "swa", num_train_epochs=12)
    start = {name: weights.detach().clone() for name, weights in trainer.model.named_parameters()}

    trainer.train()
    trainer.save_model()

    trained = set(map(id, adapter_parameters(trainer.model).values()))
    for name, weights in trainer.model.named_parameters():
        assert torch.equal(weights, start[name]) == (id(weights) not in trained), name
    plain = AutoModelForTokenClassification.from_pretrained(base)
    for name, weights in plain.encoder.named_parameters():
        kept = name if f"encoder.{name}" in start else name.replace(".weight", ".base_layer.weight")
        kept = kept if f"encoder.{kept}" in start else name.replace(".bias", ".base_layer.bias")
        assert torch.equal(trainer.model.encoder.get_parameter(kept), weights)
    history = [log["eval_swa_f1"] for log in trainer.state.log_history if "eval_swa_f1" in log]
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[-1] < 0.7 * losses[0]
    # What is kept is the best epoch's, and merged it says what it said in training.
    assert trainer.evaluate()["eval_average_f1"] == pytest.approx(max(history))
    words = [example["tokens"] for example in EXAMPLES]
    languages = ["swa"] * len(words)
    ours, merged = (
        tag_words(model, trainer.processing_class, words, languages=languages)
        for model in (trainer.model, merge_adapter(str(tmp_path / "swa")))
    )
    assert [of_one.tags for of_one in ours] == [of_one.tags for of_one in merged]


def test_checkpoints_hold_the_adapter_alone(base, tmp_path):
    trainer = adapter_trainer_of(base, tmp_path, num_train_epochs=1)

    trainer.train()
    trainer.save_model()

    for folder in (tmp_path, tmp_path / "checkpoint-3"):
        names = {path.name for path in folder.iterdir() if path.is_file()}
        assert {"adapter_config.json", "adapter_model.safetensors", "adam_state.safetensors"} <= names
        assert not {"model.safetensors", "config.json", "training_args.bin", "tokenizer.json"} & names
    state = load_adam_state(tmp_path)
    assert set(state) == {name for name, weights in trainer.model.named_parameters() if weights.requires_grad}
    assert {"classifier.weight", "crf.transition_scores", "reading.rightward.0.weight_ih_l0"} <= set(state)


def test_the_best_epoch_is_kept_with_its_own_adam_state(base, tmp_path):
    trainer = adapter_trainer_of(base, tmp_path, num_train_epochs=3)
    evaluate = trainer.evaluate

    def ever_worse(*arguments, **options):  # so that the first epoch, three steps, is the best
        metrics = evaluate(*arguments, **options)
        return metrics | ({"eval_average_f1": 3 - trainer.state.epoch} if "eval_average_f1" in metrics else {})

    trainer.evaluate = ever_worse

    trainer.train()
    trainer.save_model()

    kept, best = (read_adapter(str(folder)).tensors for folder in (tmp_path, tmp_path / "checkpoint-3"))
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert {state["step"].item() for state in load_adam_state(tmp_path).values()} == {3}


def test_the_head_takes_the_step_that_it_takes_when_all_is_continued(base, tmp_path):
    # An update is zero at first, so that the head sees the same vectors, and has the same gradients.
    settings = {"max_steps": 1, "max_grad_norm": 0, **NO_EVALUATION}
    adapter = adapter_trainer_of(base, tmp_path / "adapter", adam_state=load_adam_state(base), **settings)
    whole = trainer_to_continue(
        load_to_continue(base, LABELS, ["swa"]), training_arguments(tmp_path / "whole", **settings), stride=1,
        processing_class=AutoTokenizer.from_pretrained(base), train_dataset=SWAHILI, adam_state=load_adam_state(base),
    )  # fmt: skip

    adapter.train()
    whole.train()

    head = [name for name, _ in whole.model.named_parameters() if not name.startswith("encoder.")]
    assert set(adapter.carried_adam_state.carried) == set(head)
    assert adapter.carried_adam_state.fresh
    assert all(".lora_" in name for name in adapter.carried_adam_state.fresh)
    states = [adam_state_by_name(trainer.model, trainer.optimizer) for trainer in (adapter, whole)]
    for name in head:
        assert torch.equal(adapter.model.get_parameter(name), whole.model.get_parameter(name)), name
        assert all(torch.equal(states[0][name][key], states[1][name][key]) for key in states[0][name])
    assert states[0]["classifier.weight"]["step"] > 1
    fresh = adapter_trainer_of(base, tmp_path / "fresh", **settings)
    fresh.train()
    assert not torch.equal(fresh.model.classifier.weight, whole.model.classifier.weight)


@pytest.mark.parametrize("step", [2, 3, 7])
@pytest.mark.parametrize("method", [{}, {"unfrozen_layers_per_epoch": 1, "layer_rate_divisor": 1.5}])
def test_a_resumed_run_ends_as_the_undisturbed_one(base, method, step, tmp_path):
    settings = {
        "num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
        "eval_strategy": "no", "load_best_model_at_end": False, "lora": {"lora_dropout": 0.3},
    } | method  # fmt: skip
    undisturbed = adapter_trainer_of(base, tmp_path, **settings)
    undisturbed.train()

    resumed = adapter_trainer_of(base, tmp_path, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))

    assert undisturbed.state.global_step == 9
    for name, weights in undisturbed.model.named_parameters():
        assert torch.equal(resumed.model.get_parameter(name), weights), name


def test_a_run_is_not_resumed_with_another_adapter(base, tmp_path):
    settings = {"num_train_epochs": 1, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no",
                "load_best_model_at_end": False}  # fmt: skip
    adapter_trainer_of(base, tmp_path, **settings).train()

    other = adapter_trainer_of(base, tmp_path, lora={"lora_alpha": 4}, **settings)
    with pytest.raises(ValueError, match=r"is of another run: adapter lora, rank 4, alpha 16, .*, not lora, rank 8"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_head_and_depth_have_rates_of_their_own(base, tmp_path):
    trainer = adapter_trainer_of(
        base, tmp_path, learning_rate=1e-3, head_learning_rate=1e-2, layer_rate_divisor=2.0, weight_decay=0.1
    )

    optimizer = trainer.create_optimizer()

    rates, decays = {}, {}
    names = {weights: name for name, weights in trainer.model.named_parameters()}
    for group in optimizer.param_groups:
        for weights in group["params"]:
            rates.setdefault(where(names[weights]), set()).add(group["lr"])
            decays[names[weights]] = group["weight_decay"]
    assert rates == {"head": {1e-2}, 1: {1e-3}, 0: {1e-3 / 2}}
    assert {decays[name] for name in decays if name.startswith("crf.")} == {0}


def test_frozen_layers_are_left_alone_and_activations_may_be_computed_anew(base, tmp_path):
    settings = {"max_steps": 3, **NO_EVALUATION}
    stored = adapter_trainer_of(base, tmp_path / "stored", **settings)
    anew = adapter_trainer_of(base, tmp_path / "anew", activation_checkpointing=True, **settings)
    upper = adapter_trainer_of(base, tmp_path / "upper", frozen=1, **settings)

    for trainer in (stored, anew, upper):
        trainer.train()

    for name, weights in stored.model.named_parameters():
        torch.testing.assert_close(anew.model.get_parameter(name), weights, rtol=0, atol=1e-6)
    of_layers = {where(name) for name in adapter_parameters(upper.model)}
    assert of_layers == {"head", 1}


def test_new_labels_and_languages_are_learned(tmp_path):
    base = saved_base(tmp_path / "base", BASES["encoder_crf_of_languages"])
    labels = [*LABELS, "B-DATE", "I-DATE"]
    rows = [row | {"language": "twi", "ner_tags": [5, *row["ner_tags"][1:]]} for row in CORPORA["swa"].to_list()]
    corpus = Dataset.from_list(rows, features=Features(FEATURES | {"ner_tags": List(ClassLabel(names=labels))}))

    trainer = adapter_trainer_of(base, tmp_path / "twi", {"twi": corpus}, labels, num_train_epochs=15)
    trainer.train()
    trainer.save_model()

    merged = merge_adapter(str(tmp_path / "twi"))
    assert merged.config.languages[-1] == "twi"
    tagged = tag_words(merged, trainer.processing_class, [row["tokens"] for row in rows], languages=["twi"] * 10)
    assert "B-DATE" in {tag for of_one in tagged for tag in of_one.tags}


def test_a_merged_model_is_a_whole_one_with_tokenizer_and_the_adam_state_of_its_head(base, tmp_path):
    trainer = adapter_trainer_of(base, tmp_path / "swa", num_train_epochs=1)
    trainer.train()
    trainer.save_model()

    folder = save_merged(str(tmp_path / "swa"), tmp_path / "merged")

    model, tokenizer = (auto.from_pretrained(folder) for auto in (AutoModelForTokenClassification, AutoTokenizer))
    words = [example["tokens"] for example in EXAMPLES]
    expected = tag_words(merge_adapter(str(tmp_path / "swa")), trainer.processing_class, words)
    assert tag_words(model, tokenizer, words) == expected
    state = load_adam_state(folder)
    assert set(state) == {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    with pytest.raises(ValueError, match="merged is not empty; expected a new folder"):
        save_merged(str(tmp_path / "swa"), tmp_path / "merged")


def test_an_adapter_is_not_continued(tmp_path):
    adapter = saved_adapter(tmp_path / "swa", saved_base(tmp_path / "base"), seed=3)

    with pytest.raises(
        ValueError, match=r"swa` is an adapter; expected a whole model. Merge it .* --output_dir swa-m"
    ):
        refuse_adapter(adapter)


TRAIN = """
import sys
from tests.training.test_adapters import adapter_trainer_of
from tests.training.test_trainer import SHOWS_SCALE
base, folder, batch_size = sys.argv[1:]
trainer = adapter_trainer_of(
    base, folder, per_device_train_batch_size=int(batch_size), save_strategy="no", load_best_model_at_end=False,
    **SHOWS_SCALE,
)
trainer.train()
trainer.save_model()
"""


@pytest.mark.slow
def test_two_processes_give_the_adapter_of_one(base, tmp_path):
    program = tmp_path / "train.py"
    program.write_text(TRAIN)

    for folder, processes, batch_size in (("one", 1, 8), ("two", 2, 4)):
        run = run_program(program, base, tmp_path / folder, batch_size, processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (read_adapter(str(tmp_path / folder)).tensors for folder in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5)
