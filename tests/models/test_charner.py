"""CharNER: units of a word that agree, against enumeration of every typing, and what it is trained on."""

import itertools

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.label_scheme import SCHEMES, labels_for_types, tags_from_spans
from hf_polyglot.models.unit_agreement import UnitAgreement

from .tiny_models import EXAMPLES, label_settings, tiny_charner, tiny_charner_of_characters

TYPES = ["O", "LOC", "PER"]
# Units of each word of each sentence; up to 7 units with the spaces, whose 3 ** 7 typings can be enumerated.
SENTENCES = st.lists(
    st.sampled_from([[1], [3], [1, 1], [2, 1], [1, 2], [1, 1, 1], [2, 1, 1], [1, 1, 1, 1]]), min_size=1, max_size=2
)


def unit_words_of(sentences):
    """`unit_words` of sentences that are given by the lengths of their words."""
    rows = [
        [owner for word, units in enumerate(lengths) for owner in (-2, *[word] * units)][1:] for lengths in sentences
    ]
    return torch.tensor([row + [-1] * (max(map(len, rows)) - len(row)) for row in rows])


def typings(unit_words):
    """Every typing of one sentence in which the units of each word agree, word by word as Kuru et al. have it."""
    for typing in itertools.product(range(len(TYPES)), repeat=len(unit_words)):
        pairs = zip(itertools.pairwise(unit_words), itertools.pairwise(typing), strict=True)
        # The three kinds of transition: to a space, from a space, and within a word.
        if all(
            right in (0, left) if owners[1] == -2 else left in (0, right) if owners[0] == -2 else left == right
            for owners, (left, right) in pairs
        ):
            yield typing


def tags_of_typing(typing, unit_words, scheme, boundaries):
    """Tags of the words of one typing, through their spans."""
    word_types = [typing[unit_words.index(word)] for word in range(max(unit_words) + 1)]
    spaces = [typing[at] for at, owner in enumerate(unit_words) if owner == -2]
    spans = []
    for word, entity_type in enumerate(word_types):
        if entity_type == 0:
            continue
        touches = word > 0 and word_types[word - 1] == entity_type
        if touches and (not boundaries or spaces[word - 1] == entity_type):
            spans[-1] = (spans[-1][0], word + 1, TYPES[entity_type])
        else:
            spans.append((word, word + 1, TYPES[entity_type]))
    return tags_from_spans(spans, len(word_types), scheme)


def case(seed, sentences, scheme, boundaries, spread):
    """A random batch of unit scores, and for each sentence the tags and the score of every typing that counts."""
    unit_words = unit_words_of(sentences)
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(*unit_words.shape, len(TYPES), dtype=torch.double, generator=generator)
    mask = torch.arange(max(map(len, sentences))) < torch.tensor([len(lengths) for lengths in sentences])[:, None]
    outcomes = []
    for row, owners in zip(logits.log_softmax(2), unit_words.tolist(), strict=True):
        real = [owner for owner in owners if owner != -1]
        found = [
            (tags_of_typing(typing, real, scheme, boundaries), sum(row[at, t].item() for at, t in enumerate(typing)))
            for typing in typings(real)
        ]
        outcomes.append(found)
    return logits, unit_words, mask, outcomes


CASES = {
    "seed": st.integers(0, 2**16),
    "sentences": SENTENCES,
    "scheme": st.sampled_from(SCHEMES),
    "boundaries": st.booleans(),
}


# The last spread is of units so sure that together they outweigh any finite penalty.
@given(**CASES, spread=st.sampled_from([1.0, 10.0, 30_000.0]))
@settings(max_examples=60, deadline=None)
def test_decode_finds_the_best_typing_whose_words_agree(seed, sentences, scheme, boundaries, spread):
    labels = labels_for_types(TYPES[1:], scheme)
    logits, unit_words, mask, outcomes = case(seed, sentences, scheme, boundaries, spread)

    decoded = UnitAgreement(labels, scheme, boundaries).decode(logits, unit_words, mask)

    for row, found in zip(decoded.tolist(), outcomes, strict=True):
        best, _ = max(found, key=lambda scored: scored[1])
        assert [labels[label] for label in row[: len(best)]] == best
        assert row[len(best) :] == [-100] * (len(row) - len(best))


@given(**CASES)
@settings(max_examples=60, deadline=None)
def test_probabilities_are_those_of_the_typings_that_agree(seed, sentences, scheme, boundaries):
    labels = labels_for_types(TYPES[1:], scheme)
    logits, unit_words, mask, outcomes = case(seed, sentences, scheme, boundaries, 1.0)

    expected = torch.zeros(*mask.shape, len(labels), dtype=torch.double)
    for sentence, found in enumerate(outcomes):
        probabilities = torch.tensor([score for _, score in found], dtype=torch.double).softmax(0)
        for (tags, _), probability in zip(found, probabilities, strict=True):
            for word, tag in enumerate(tags):
                expected[sentence, word, labels.index(tag)] += probability

    found = UnitAgreement(labels, scheme, boundaries).label_probabilities(logits, unit_words, mask)
    torch.testing.assert_close(found, expected)


def decoded(typing, unit_words, boundaries):
    """Labels of words whose units are sure of these types."""
    agreement = UnitAgreement(labels_for_types(TYPES[1:], "IOB2"), "IOB2", boundaries)
    logits = 5.0 * torch.nn.functional.one_hot(torch.tensor([typing]), len(TYPES)).float()
    unit_words = torch.tensor([unit_words])
    mask = torch.ones(1, int(unit_words.max()) + 1, dtype=torch.bool)
    return [labels_for_types(TYPES[1:], "IOB2")[label] for label in agreement.decode(logits, unit_words, mask)[0]]


def test_the_majority_of_its_units_decides_a_word():
    assert decoded([2, 2, 1, 0, 0], [0, 0, 0, -2, 1], boundaries=False) == ["B-PER", "O"]


def test_adjacent_words_of_one_type_are_one_entity():
    assert decoded([2, 0, 2], [0, -2, 1], boundaries=False) == ["B-PER", "I-PER"]


def test_a_space_outside_parts_two_entities_of_one_type_where_boundaries_are_asked_for():
    assert decoded([2, 0, 2, 2, 2], [0, -2, 1, -2, 2], boundaries=True) == ["B-PER", "B-PER", "I-PER"]


@pytest.mark.parametrize(
    ("scheme", "tags", "types"),
    [
        ("IOB2", ["B-PER", "I-PER", "B-PER", "O", "I-LOC"], "PPP PPP O PPP O OOO O LLL"),
        ("IOB1", ["I-PER", "I-PER", "B-PER", "O", "I-LOC"], "PPP PPP O PPP O OOO O LLL"),
        ("BIOES", ["B-PER", "E-PER", "S-PER", "O", "S-LOC"], "PPP PPP O PPP O OOO O LLL"),
        ("plain", ["PER", "PER", "PER", "O", "LOC"], "PPP PPP P PPP O OOO O LLL"),
    ],
)
def test_units_and_spaces_inside_an_entity_have_its_type(scheme, tags, types):
    labels = labels_for_types(TYPES[1:], scheme)
    expected = ["OLP".index(letter) for letter in types.replace("PPP PPP", "PPPPPPP").replace(" ", "")]

    found = UnitAgreement(labels, scheme, False).unit_types(
        torch.tensor([[labels.index(tag) for tag in tags] + [-100]]),
        torch.nn.functional.pad(unit_words_of([[3] * 5]), (0, 2), value=-1),
    )

    assert found.tolist() == [[*expected, -100, -100]]


@given(seed=st.integers(0, 2**16), scheme=st.sampled_from(["IOB2", "BIOES", "IOB1"]))
@settings(max_examples=40, deadline=None)
def test_units_that_are_sure_of_their_gold_types_decode_to_the_gold_labels(seed, scheme):
    generator = torch.Generator().manual_seed(seed)
    lengths = (torch.randint(1, 4, (8,), generator=generator)).tolist()
    spans, start = [], 0
    while start < 8:
        end = min(8, start + int(torch.randint(1, 4, (), generator=generator)))
        entity_type = TYPES[int(torch.randint(3, (), generator=generator))]
        spans += [(start, end, entity_type)] if entity_type != "O" else []
        start = end
    labels = labels_for_types(TYPES[1:], scheme)
    gold = torch.tensor([[labels.index(tag) for tag in tags_from_spans(spans, 8, scheme)]])
    agreement, unit_words = UnitAgreement(labels, scheme, boundaries=True), unit_words_of([lengths])

    types = agreement.unit_types(gold, unit_words)
    logits = 8.0 * torch.nn.functional.one_hot(types, len(TYPES)).float()

    assert torch.equal(agreement.decode(logits, unit_words, torch.ones(1, 8, dtype=torch.bool)), gold)


def test_labels_that_the_model_does_not_have_are_not_given():
    labels = ["O", "B-PER", "I-PER", "B-LOC"]
    agreement = UnitAgreement(labels, "IOB2", boundaries=False)
    unit_words = torch.tensor([[0, -2, 1]])
    logits = torch.zeros(1, 3, 3)
    logits[:, :, 2] = 3.0  # LOC, which comes behind PER as in the labels

    mask = torch.ones(1, 2, dtype=torch.bool)
    found = agreement.decode(logits, unit_words, mask)

    assert sorted(found[0].tolist()) == [0, 3]
    torch.testing.assert_close(agreement.label_probabilities(logits, unit_words, mask).sum(2), torch.ones(1, 2))


def test_parts_of_speech_need_no_o():
    labels = ["ADJ", "NOUN"]
    agreement = UnitAgreement(labels, "plain", boundaries=False)
    unit_words = torch.tensor([[0, -2, 1]])

    types = agreement.unit_types(torch.tensor([[0, 1]]), unit_words)
    logits = torch.nn.functional.one_hot(types, 3).float()

    assert types.tolist() == [[1, 0, 2]]
    assert agreement.decode(logits, unit_words, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[0, 1]]


def test_the_loss_is_the_mean_over_words_of_the_mean_over_their_units():
    model, tokenizer = tiny_charner()
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES[:3])

    outputs = model(**batch)

    types = model.agreement.unit_types(batch["labels"], batch["unit_words"])
    words = []
    for row, owners, scores in zip(types, batch["unit_words"], outputs.logits, strict=True):
        for word in range(int(owners.max()) + 1):
            units = [at for at, owner in enumerate(owners.tolist()) if owner == word]
            units = [*([units[0] - 1] if word else []), *units]
            words.append(torch.stack([-scores[at].log_softmax(0)[row[at]] for at in units]).mean())
    torch.testing.assert_close(outputs.loss, torch.stack(words).mean())


def test_padding_changes_the_scores_of_no_unit():
    model, tokenizer = tiny_charner(num_hidden_layers=3)
    model.eval()
    collate = collator_for(model, tokenizer)

    alone = model(**collate(EXAMPLES[:1]))
    among = model(**collate([{"tokens": ["z" * 60, "z" * 60], "ner_tags": [0, 0]}, EXAMPLES[0]]))

    units = alone.logits.shape[1]
    torch.testing.assert_close(among.logits[1, :units], alone.logits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("make_model", [tiny_charner, tiny_charner_of_characters])
def test_padding_changes_no_probability(make_model):
    model, tokenizer = make_model()
    model.eval()
    collate = collator_for(model, tokenizer)
    batch = collate(EXAMPLES[10:11])
    longer = collate([EXAMPLES[10], {"tokens": ["zz"] * 20, "ner_tags": [0] * 20}])

    alone = model.label_probabilities(model(**batch), batch["labels"] != -100)
    among = model.label_probabilities(model(**longer), longer["labels"] != -100)

    torch.testing.assert_close(among[:1, :6], alone, rtol=0, atol=1e-5)


def test_dropping_units_drops_all_of_an_embedding_or_nothing():
    model, tokenizer = tiny_charner(unit_dropout=0.5)
    model.train()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    embedded = model.charner.embedding(batch["input_ids"])

    kept = model.charner.unit_dropout(embedded)

    ratios = (kept / embedded)[batch["unit_words"] != -1]  # (kept and dropped units, embedding)
    assert ((ratios == 0).all(1) | (ratios == 2).all(1)).all()
    assert 0.4 < (ratios == 0).all(1).float().mean() < 0.6


def test_the_boundaries_of_a_trained_model_can_be_turned_on_and_off():
    model, _ = tiny_charner()
    other, _ = tiny_charner(boundaries=True)

    missing = other.load_state_dict(model.state_dict())

    assert not missing.missing_keys + missing.unexpected_keys


def test_a_sentence_without_words_changes_nothing_for_the_others():
    model, tokenizer = tiny_charner()
    model.eval()
    empty = {"tokens": [], "ner_tags": []}
    collate = collator_for(model, tokenizer)

    torch.testing.assert_close(model(**collate([*EXAMPLES[:2], empty])).loss, model(**collate(EXAMPLES[:2])).loss)


def test_the_space_tells_words_from_one_another():
    model, tokenizer = tiny_charner_of_characters()
    space = tokenizer(" ")["input_ids"][0]

    batch = model.prepare_words(tokenizer, [["New", "Kano"]])

    assert tokenizer.decode(batch["input_ids"][0]) == "New Kano"
    assert space not in (tokenizer.pad_token_id, tokenizer.unk_token_id)
    assert ((batch["input_ids"] == space) == (batch["unit_words"] == -2)).all()


def test_words_with_spaces_in_them_stay_one_word():
    model, tokenizer = tiny_charner()

    (tagged,) = tag_words(model, tokenizer, [["New York", "in", "\u00a0"]])

    assert len(tagged.tags) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"units": "words"}, "`units` is 'words'; expected 'bytes' or 'characters'"),
        ({"last_dropout": 1.0}, r"`last_dropout` is 1.0; expected a probability in \[0, 1\)"),
        ({"num_hidden_layers": 0}, "`num_hidden_layers` is 0; expected at least 1"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_charner(**wrong)


def test_labels_that_do_not_fit_the_scheme_are_refused():
    with pytest.raises(ValueError, match="`E-PER` does not belong to IOB2"):
        tiny_charner(**label_settings(["O", "B-PER", "E-PER"]))
