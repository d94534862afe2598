import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, DataCollatorForLanguageModeling, TrainingArguments

from hf_polyglot.training.masked_language_model import MaskedLanguageModelTrainer, head_of
from tests.models.tiny_models import character_pieces

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXTS = ["Amina alifika Dar es Salaam.", "Kano", "Ngozi anaishi Lagos na Abuja."]


def batch_of(tokenizer):
    torch.manual_seed(1)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3)
    return dict(collator([tokenizer(text, return_special_tokens_mask=True) for text in TEXTS]))


def trainer_of(model_type, tmp_path, **settings):
    tokenizer = character_pieces(mask_token="<mask>")
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(
        AutoConfig.for_model(model_type, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **settings)
    ).eval()
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    return MaskedLanguageModelTrainer(model, args, processing_class=tokenizer), batch_of(tokenizer)


@pytest.mark.parametrize("num_items", [None, torch.tensor(7)], ids=["by_batch", "by_number"])
@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "deberta-v2"])
def test_loss_and_gradients_are_those_of_all_pieces(model_type, num_items, tmp_path):
    trainer, batch = trainer_of(model_type, tmp_path, **SIZES)
    read = []
    head_of(trainer.model).register_forward_hook(lambda _, args, scores: read.append(scores.shape))

    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=num_items)
    loss.backward()
    weights = dict(trainer.model.named_parameters())
    gradients = {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}
    trainer.model.zero_grad()
    options = {} if num_items is None or not trainer.model_accepts_loss_kwargs else {"num_items_in_batch": num_items}
    expected = trainer.model(**batch, **options).loss
    expected.backward()

    num_hidden = int((batch["labels"] != -100).sum())
    assert 0 < num_hidden < batch["labels"].numel()
    assert read[0][:-1] == (num_hidden,)
    torch.testing.assert_close(loss, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, weights[name].grad)


def test_a_model_whose_head_is_no_module_is_trained_on_all_pieces(tmp_path):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    trainer, batch = trainer_of("distilbert", tmp_path, **sizes)

    assert head_of(trainer.model) is None
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), trainer.model(**batch).loss)
