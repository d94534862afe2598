"""The encoder-CRF beside the parts that it is made of."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_polyglot import EncoderCRFForTokenClassification
from hf_polyglot.data.collators import collator_for

from .tiny_models import EXAMPLES, LABELS, saved_encoder, tiny_encoder_crf, tiny_linear_tagger


def word_vectors(model, batch, layer):
    """Vectors of the first pieces of all words in one layer's output, taken one by one."""
    states = model.encoder(batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    rows = states.hidden_states[layer].flatten(0, 1)
    return torch.stack([
        torch.stack([rows[position] for position in sentence]) for sentence in batch["word_positions"].tolist()
    ])


def test_a_word_is_its_first_piece_in_the_last_layers():
    model, tokenizer = tiny_encoder_crf(num_concatenated_layers=2, num_hidden_layers=0)
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES[:1])

    vectors = torch.cat([word_vectors(model, batch, -2), word_vectors(model, batch, -1)], 2)

    torch.testing.assert_close(model(**batch).logits, model.classifier(vectors))


def test_without_crf_the_loss_is_the_cross_entropy_of_each_word():
    model, tokenizer = tiny_linear_tagger()
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)

    outputs = model(**batch)

    expected = torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(outputs.loss, expected)
    mask = batch["labels"] != -100
    assert torch.equal(model.decode(outputs, mask)[mask], outputs.logits.argmax(2)[mask])
    assert not hasattr(model, "crf")


def test_labels_of_a_sentence_longer_than_the_encoder_all_count():
    model, tokenizer = tiny_encoder_crf(max_pieces=12)
    model.eval()
    words = [word for example in EXAMPLES[:5] for word in example["tokens"]]
    labels = [label for example in EXAMPLES[:5] for label in example["ner_tags"]]
    batch = collator_for(model, tokenizer)([{"tokens": words, "ner_tags": labels}])

    outputs = model(**batch)

    assert len(batch["input_ids"]) > 1
    assert outputs.logits.shape[:2] == (1, len(words))
    assert (model.decode(outputs, batch["labels"] != -100) >= 0).sum() == len(words)


def test_a_pretrained_encoder_is_read_from_its_folder():
    folder = saved_encoder()

    model = EncoderCRFForTokenClassification.from_encoder_pretrained(folder, labels=LABELS, num_concatenated_layers=2)

    reference = EncoderCRFForTokenClassification.from_encoder_pretrained(
        folder, labels=LABELS, num_concatenated_layers=2
    )
    for name, parameter in model.encoder.named_parameters():
        assert torch.equal(parameter, reference.encoder.get_parameter(name))
    assert model.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_concatenated_layers": 3}, "`num_concatenated_layers` is 3; expected at most the 2 layers"),
        ({"num_concatenated_layers": 0}, "`num_concatenated_layers` is 0; expected at least 1"),
        ({"num_hidden_layers": -1}, "`num_hidden_layers` is -1; expected at least 0"),
        ({"word_dropout": 1.0}, r"`word_dropout` is 1.0; expected a probability in \[0, 1\)"),
        ({"languages": ["eng"], "use_crf": False}, "only a CRF has transition scores"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_encoder_crf(**settings)
