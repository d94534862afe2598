"""The Meta-LSTM: what each of its parts reads, learns and decides, and the words that it knows."""

import copy

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer

from hf_polyglot import MetaLSTMConfig, SpellingTokenizer, WordSpellingTokenizer
from hf_polyglot.data.collators import collator_for
from hf_polyglot.models.known_words import subword_buckets
from hf_polyglot.models.modeling_meta_lstm import PARTS, word_bounds
from hf_polyglot.training.continuation import load_to_continue

from .tiny_models import EXAMPLES, LABELS, tiny_meta_lstm, tiny_meta_lstm_of_vectors

NO_DROPOUT = dict.fromkeys(["unit_dropout", "word_dropout", "layer_dropout", "mlp_dropout"], 0)


def owner_of(name):
    """The part that a parameter belongs to."""
    if "characters." in name or name.startswith("character_"):
        return "characters"
    return "words" if "words." in name or name.startswith("word_") else "joint"


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_bounds_are_those_of_the_words():
    unit_words = torch.tensor([[0, 0, 0, -2, 1, -2, 2, 2], [0, -2, 1, 1, -1, -1, -1, -1]])

    first, last = word_bounds(unit_words, 3)

    assert (first[0].tolist(), last[0].tolist()) == ([0, 4, 6], [2, 4, 7])
    assert (first[1, :2].tolist(), last[1, :2].tolist()) == ([0, 2], [0, 3])


def test_a_word_is_the_states_at_its_first_and_last_character_in_the_whole_sentence():
    model, tokenizer = tiny_meta_lstm(num_unit_layers=2)
    reader = model.eval().meta_lstm.characters
    words = EXAMPLES[0]["tokens"]

    batch = tokenizer.encode_sentences([words, EXAMPLES[-1]["tokens"]])
    found = reader(batch["input_ids"], batch["unit_words"], batch["word_ids"].shape[1])[0, : len(words)]

    text = " ".join(words)
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(list(text))])
    states = reader.reading(reader.embedding(ids), torch.ones_like(ids, dtype=torch.bool))[0]
    expected, start = [], 0
    for word in words:
        expected.append(torch.cat([states[start], states[start + len(word) - 1]]))
        start += len(word) + 1
    linear = reader.projection[1]
    torch.testing.assert_close(found, torch.nn.functional.elu(torch.stack(expected) @ linear.weight.T + linear.bias))


class WithoutReading(torch.nn.Module):
    def forward(self, vectors, mask):
        return vectors


def test_a_known_word_is_the_sum_of_its_trained_and_its_pretrained_vector():
    model, tokenizer = tiny_meta_lstm_of_vectors(mlp_size=12)
    reader = model.eval().meta_lstm.words
    torch.nn.init.normal_(reader.embedding.weight)
    reader.reading = WithoutReading()
    reader.projection = torch.nn.Identity()
    batch = tokenizer.encode_sentences([["in", "Bako", "Ω", "Kanu"], ["lives"]])

    found = reader(batch["word_ids"], batch["subword_ids"])

    trained, pretrained = reader.embedding.weight, reader.pretrained.weight
    # Of the rows 1 lives, 2 in, ..., 7 Bako, four are trained, with the unknown word's.
    torch.testing.assert_close(found[0, 0], trained[2] + pretrained[2])
    torch.testing.assert_close(found[0, 1], trained[0] + pretrained[7])
    torch.testing.assert_close(found[1, 0], trained[1] + pretrained[1])
    for position, word in ((2, "Ω"), (3, "Kanu")):
        kept = [bucket // 3 for bucket in subword_buckets(word, 2, 3, 50) if bucket % 3 == 0]
        assert kept
        torch.testing.assert_close(found[0, position], trained[0] + reader.subwords.weight[kept].mean(0))


def test_a_word_without_any_known_ngram_is_the_unknown_word():
    _, tokenizer = tiny_meta_lstm()
    _, with_subwords = tiny_meta_lstm_of_vectors()
    spelling = SpellingTokenizer.of_characters(["a b"])
    few = {"min_characters": 3, "max_characters": 3, "num_buckets": 1000, "buckets": [999]}

    batch = WordSpellingTokenizer.with_words(spelling, ["a"], subwords=[few]).encode_sentences([["a", "b"]])

    assert batch["word_ids"].tolist() == [[1, 0]]
    assert batch["subword_ids"].tolist() == [[-1]]
    assert "subword_ids" not in tokenizer.encode_sentences([["b"]])
    assert (with_subwords.encode_sentences([["Kanu", "Kanu"], ["Kano"]])["word_ids"]).tolist() == [[8, 8], [4, -1]]


def test_rows_of_ngrams_go_on_from_file_to_file():
    sizes = {"min_characters": 3, "max_characters": 3, "num_buckets": 1000}
    begin, middle, end = subword_buckets("two", 3, 3, 1000)  # <tw, two, wo>
    subwords = [{**sizes, "buckets": [end, begin]}, {**sizes, "buckets": [middle, begin, 999]}]
    tokenizer = WordSpellingTokenizer.with_words(SpellingTokenizer.of_characters(["a b"]), [], subwords=subwords)

    assert tokenizer.known_words.subword_rows("two") == [1, 0, 3, 2]


def test_words_are_looked_up_in_lower_case_where_asked_for(tmp_path):
    spelling = SpellingTokenizer.of_characters(["No a"])
    tokenizer = WordSpellingTokenizer.with_words(spelling, ["no"], lowercase=True)
    tokenizer.save_pretrained(tmp_path)

    loaded = AutoTokenizer.from_pretrained(tmp_path)

    batch = loaded.encode_sentences([["No", "NO", "a"]])
    assert batch["word_ids"].tolist() == [[1, 1, 0]]
    assert batch["input_ids"][0, 0] == loaded.convert_tokens_to_ids("N")


def test_each_part_learns_from_its_own_loss_only():
    model, tokenizer = tiny_meta_lstm_of_vectors(**NO_DROPOUT)
    batch = collator_for(model, tokenizer)(EXAMPLES)
    together = gradients(model, model(**batch).loss)

    for part in PARTS:
        model.train_part(part)
        alone = gradients(model, model(**batch).loss)

        assert {name for name in together if owner_of(name) == part} == set(alone)
        for name, gradient in alone.items():
            torch.testing.assert_close(gradient, together[name])
    model.train_part(None)
    assert set(gradients(model, model(**batch).loss)) == set(together)


def test_the_loss_of_all_parts_is_the_sum_of_theirs_and_the_joint_one_decides():
    model, tokenizer = tiny_meta_lstm()
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    together = model(**batch)

    losses, logits = {}, {}
    for part in PARTS:
        model.train_part(part)
        losses[part], logits[part] = model(**batch)[:2]

    torch.testing.assert_close(together.loss, sum(losses.values()))
    torch.testing.assert_close(together.logits, logits["joint"])
    assert len({scores.sum().item() for scores in logits.values()}) == 3


def test_the_joint_part_learns_from_what_the_others_say_without_dropout():
    model, tokenizer = tiny_meta_lstm(unit_dropout=0.5, word_dropout=0.5, layer_dropout=0.5, mlp_dropout=0)
    batch = collator_for(model, tokenizer)(EXAMPLES)
    expected = model.eval()(**batch).logits

    model.train_part("joint")
    model.train()
    joint = model(**batch).logits
    model.train_part(None)
    model.train()
    together = model(**batch).logits

    torch.testing.assert_close(joint, expected)
    assert not torch.allclose(together, expected)


@pytest.mark.parametrize(("pretrained_vectors", "moves"), [("frozen", False), ("trained", True)])
def test_pretrained_vectors_stay_or_learn_as_the_configuration_says(pretrained_vectors, moves, tmp_path):
    model, tokenizer = tiny_meta_lstm_of_vectors(pretrained_vectors=pretrained_vectors)
    model.save_pretrained(tmp_path)
    model = type(model).from_pretrained(tmp_path)
    before = copy.deepcopy(model.state_dict())
    for part in ("words", None):
        model.train_part(part)
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
        model(**collator_for(model, tokenizer)(EXAMPLES)).loss.backward()
        optimizer.step()

    after = model.state_dict()
    prefix = "meta_lstm.words."
    assert torch.equal(before[f"{prefix}pretrained.weight"], after[f"{prefix}pretrained.weight"]) != moves
    assert torch.equal(before[f"{prefix}subwords.weight"], after[f"{prefix}subwords.weight"])
    assert not torch.equal(before[f"{prefix}embedding.weight"], after[f"{prefix}embedding.weight"])


def test_trained_vectors_begin_at_zero_beside_pretrained_ones_and_at_random_without():
    beside, alone = (
        make()[0].meta_lstm.words.embedding.weight for make in (tiny_meta_lstm_of_vectors, tiny_meta_lstm)
    )

    assert not beside.any()
    assert 0.5 < alone.std() < 1.5


def test_pretrained_vectors_stay_when_there_are_new_labels(tmp_path):
    model, _ = tiny_meta_lstm_of_vectors()
    model.save_pretrained(tmp_path)

    grown = load_to_continue(str(tmp_path), [*LABELS, "B-ORG", "I-ORG"], ["swa"])

    for name in ("pretrained", "subwords"):
        key = f"meta_lstm.words.{name}.weight"
        assert torch.equal(grown.get_parameter(key), model.get_parameter(key))
        assert not grown.get_parameter(key).requires_grad
    assert torch.equal(grown.word_classifier.weight[:5], model.word_classifier.weight)


def test_only_parts_that_there_are_can_be_trained():
    model, _ = tiny_meta_lstm()

    with pytest.raises(ValueError, match="`part` is 'meta'; expected characters, words, joint or None"):
        model.train_part("meta")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": "letters"}, "`units` is 'letters'; expected 'bytes' or 'characters'"),
        ({"pretrained_vectors": "yes"}, "`pretrained_vectors` is 'yes'; expected none or frozen or trained"),
        ({"num_words": 3, "num_trained_words": 2}, "`num_trained_words` is 2; expected 3 to 3"),
        ({"num_words": 3, "num_trained_words": 4, "pretrained_vectors": "frozen"}, "is 4; expected 1 to 3"),
        ({"num_subwords": 3}, "`num_subwords` is 3 and `pretrained_vectors` is 'none'; expected 0"),
        ({"word_dropout": 1}, r"`word_dropout` is 1; expected a probability in \[0, 1\)"),
        ({"mlp_size": 0}, "`mlp_size` is 0; expected at least 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        MetaLSTMConfig(**settings)
