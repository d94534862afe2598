"""Byte-to-Span: what it may write, how it searches, what it learns, and that it comes back from a folder."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForTokenClassification, AutoTokenizer, pipeline

import hf_polyglot.inference.pipeline  # registers the task
from hf_polyglot import ByteToSpanConfig
from hf_polyglot.data.byte_segments import ByteDocument, ByteSegments
from hf_polyglot.inference.tagging import read_texts, tag_words
from hf_polyglot.models.modeling_byte_to_span import ReadBytes, segment_ids
from hf_polyglot.models.span_symbols import GO, PADDING, STOP, ScoredSpan
from hf_polyglot.span_metrics import span_scores

from .tiny_byte_to_span import fit, segment_batch, sentence_segments, tiny_byte_to_span
from .tiny_models import LABELS, SENTENCES

TASK = hf_polyglot.inference.pipeline.TASK
CONTENTS = [b"Amina lives in Kano .", b"a", b"New Touba , says Eze Eze", "Ségou".encode()]


def random_model(seed=0, spread=20, **settings):
    """A model with large random weights, which writes all sorts of things."""
    model, _ = tiny_byte_to_span(**settings)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.08 * spread, 0.08 * spread)
        model.classifier.bias[STOP] -= 3
    return model.eval()


def check_well_formed(names, num_bytes):
    """Reads what was written symbol by symbol, as a person would."""
    assert names[0] == "GO"
    last_end, position = 0, 1
    while names[position] != "STOP":
        start, length, entity_type = names[position : position + 3]
        assert start[:2] == "S:" and length[:2] == "L:" and entity_type in ("LOC", "PER")
        assert int(start[2:]) >= last_end and int(length[2:]) >= 1
        last_end = int(start[2:]) + int(length[2:])
        assert last_end <= num_bytes
        position += 3
    assert set(names[position + 1 :]) <= {"PADDING"}
    return (position - 1) // 3


@pytest.mark.parametrize("num_beams", [1, 2, 5])
def test_random_weights_write_well_formed_sequences_only(num_beams):
    spans = 0

    for seed in range(8):
        model = random_model(seed)
        for row, content in zip(model.generate(segment_ids(CONTENTS), num_beams=num_beams), CONTENTS, strict=True):
            spans += check_well_formed(model.config.symbols.names(row.tolist()), len(content))

    assert spans > 20


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_kept_states_give_what_reading_everything_again_gives(num_beams):
    # With beams, states that did not follow their beams would show here.
    for seed in range(8):
        model = random_model(seed, spread=5)
        kept, again = (
            model.generate(segment_ids(CONTENTS), num_beams=num_beams, use_cache=use_cache)
            for use_cache in (True, False)
        )
        assert torch.equal(kept, again)
        assert kept.shape[1] > 4


def every_sequence(symbols, num_bytes, first=0):
    """All lists of spans, by brute force."""
    yield []
    for start, end in itertools.combinations(range(first, num_bytes + 1), 2):
        for entity_type, rest in itertools.product(symbols.types, every_sequence(symbols, num_bytes, end)):
            yield [(start, end, entity_type), *rest]


def test_beam_search_finds_the_most_probable_sequence():
    for seed in range(5):
        model = random_model(seed, spread=8, segment_bytes=3, segment_overlap=1)
        symbols = model.config.symbols
        sequences = [symbols.encode(spans) for spans in every_sequence(symbols, 3)]
        input_ids = segment_ids([b"abc"])
        scores = [-model(input_ids, labels=torch.tensor([ids]), num_items_in_batch=1).loss.item() for ids in sequences]

        beams, greedy = (model.generate(input_ids, num_beams=number)[0, 1:].tolist() for number in (60, 1))

        assert [index for index in beams if index != PADDING] == sequences[int(np.argmax(scores))]
        assert [index for index in greedy if index != PADDING] in sequences
    assert len(sequences) == 41  # f(n) = f(n - 1) + 2 (f(n - 1) + ... + f(0)), f(0) = 1


def test_the_input_is_read_to_its_last_byte_and_no_further():
    model, _ = tiny_byte_to_span()
    model.eval()
    labels = torch.tensor([model.config.symbols.encode([(0, 1, "PER")])])

    among = model(segment_ids(CONTENTS), labels=labels.expand(4, -1)).logits

    for row, content in enumerate(CONTENTS):
        torch.testing.assert_close(
            among[row], model(segment_ids([content]), labels=labels).logits[0], rtol=0, atol=1e-6
        )
        cut = model(segment_ids([content[:-1] + b"?"]), labels=labels).logits[0]
        assert not torch.allclose(among[row], cut, rtol=0, atol=1e-4)


def test_a_symbol_is_scored_by_those_before_it_only():
    model, _ = tiny_byte_to_span()
    model.eval()
    input_ids = segment_ids([b"Amina lives"])
    labels = torch.tensor([model.config.symbols.encode([(0, 5, "PER")])])
    other = labels.clone()
    other[0, 1] += 1

    ours, theirs = model(input_ids, labels=labels).logits, model(input_ids, labels=other).logits

    assert torch.equal(ours[:, :2], theirs[:, :2])
    assert not torch.equal(ours[:, 2], theirs[:, 2])


def test_loss_of_a_batch_is_the_mean_over_its_symbols():
    model, _ = tiny_byte_to_span()
    model.eval()
    segments = sentence_segments(model.config).for_reading(12)
    symbols = sum(len(segments[index]["labels"]) for index in range(len(segments)))

    parts = sum(
        model(**segment_batch(segments, [index]), num_items_in_batch=symbols).loss for index in range(len(segments))
    )

    torch.testing.assert_close(parts, model(**segment_batch(segments)).loss)


def test_every_parameter_gets_a_gradient():
    model, _ = tiny_byte_to_span()

    model(**segment_batch(sentence_segments(model.config).for_training(3))).loss.backward()

    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_autocast_in_bfloat16_gives_a_finite_loss_near_that_of_float32():
    model, _ = tiny_byte_to_span()
    model.eval()
    batch = segment_batch(sentence_segments(model.config).for_reading(12))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
        written = model.generate(batch["input_ids"])
    output.loss.backward()

    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, model(**batch).loss, rtol=0.02, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert len(written) == len(batch["labels"])


def test_bytes_are_dropped_in_training_only():
    model, _ = tiny_byte_to_span(byte_dropout=0.3)
    read = []
    model.get_input_embeddings().register_forward_hook(lambda module, given, output: read.append(given[0]))
    input_ids = segment_ids([b"x" * 24] * 500)

    model.train()(input_ids)
    model.eval()(input_ids)

    is_dropped = read[0] == model.config.vocab_size
    assert abs(is_dropped.float().mean() - 0.3) < 0.02
    assert torch.equal(read[0][~is_dropped], input_ids[~is_dropped])
    assert torch.equal(read[1], input_ids)


def test_weights_begin_uniform_as_published():
    model, _ = tiny_byte_to_span(initializer_range=0.08)

    for parameter in model.parameters():
        assert parameter.abs().max() <= 0.08
        assert parameter.abs().max() > 0.06
        assert parameter.numel() < 500 or abs(parameter.std() - 0.08 / 3**0.5) < 0.005


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": "page"}, "`context` is 'page'; expected 'document' or 'sentence'"),
        ({"segment_overlap": 60}, "`segment_overlap` is 60; expected 0 to 59"),
        ({"byte_dropout": 1.0}, r"`byte_dropout` is 1.0; expected a probability in \[0, 1\)"),
        ({"hidden_size": 0}, "`hidden_size` is 0; expected at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(Exception, match=message):
        ByteToSpanConfig(**settings)


def test_texts_alone_and_in_batches_give_the_same_spans():
    model = random_model(spread=5)
    texts = [b"Amina lives in Kano . " * 5, b"", b"x", b"New Touba , says Eze Eze . Fela !"]

    together = model.find_spans(texts, batch_size=4)

    assert sum(len(read.spans) for read in together) > 3
    for text, read in zip(texts, together, strict=True):
        (alone,) = model.find_spans([text], batch_size=1)
        assert [span[:3] for span in alone.spans] == [span[:3] for span in read.spans]
        np.testing.assert_allclose(alone.start_probabilities, read.start_probabilities, atol=1e-5)
        assert len(read.start_probabilities) == len(text)
        by_hand = {
            (first + start, first + end, entity_type)
            for first in range(0, len(text), 12)
            for row in model.generate(segment_ids([text[first : first + 24]]))[:, 1:].tolist()
            for start, end, entity_type in model.config.symbols.decode(row)
        }
        assert {span[:3] for span in read.spans} <= by_hand
        assert bool(read.spans) == bool(by_hand)


def test_the_score_of_a_span_is_the_probability_of_its_symbols():
    model = random_model(seed=1, spread=5)
    symbols = model.config.symbols
    content = b"New Touba , says Eze Eze"

    (read,) = model.find_spans([content])

    written = [GO]
    for start, end, entity_type, score in read.spans:
        product = 1.0
        for symbol in symbols.encode([(start, end, entity_type)])[:3]:
            logits = model(segment_ids([content]), decoder_input_ids=torch.tensor([written])).logits[0, -1]
            product *= logits.softmax(0)[symbol].item()
            written.append(symbol)
        assert score == pytest.approx(product, rel=1e-4)
    assert len(read.spans) > 1


@pytest.fixture(scope="module")
def fitted():
    """A model that has learnt its twenty sentences by heart, and its tokenizer."""
    model, tokenizer = tiny_byte_to_span(
        embedding_size=32, hidden_size=64, num_hidden_layers=1, byte_dropout=0, layer_dropout=0
    )
    return fit(model, sentence_segments(model.config).for_training(), epochs=80, learning_rate=1e-2), tokenizer


@pytest.mark.slow
def test_overfits_twenty_sentences(fitted):
    model, tokenizer = fitted
    gold = [[LABELS[label] for label in labels] for _, labels in SENTENCES]

    tagged = tag_words(model, tokenizer, [words for words, _ in SENTENCES])

    assert span_scores(gold, [list(sentence.tags) for sentence in tagged]).f1 == 100
    assert not any(sentence.stray_types for sentence in tagged)
    for sentence in tagged:
        assert len(sentence.probabilities) == len(sentence.words)
        assert all(0.5 < probability <= 1 for probability in sentence.probabilities)


@pytest.mark.slow
def test_entities_of_words_and_of_text_are_exact_slices(fitted):
    model, tokenizer = fitted
    tagger = pipeline(TASK, model=model, tokenizer=tokenizer)
    words = [word for words, _ in SENTENCES for word in words]
    text = " ".join(words)

    entities, of_words = tagger(text), tagger(words, is_split_into_words=True)

    assert of_words == entities
    assert [(entity["entity_group"], entity["word"]) for entity in entities[:3]] == [
        ("PER", "Amina"),
        ("LOC", "Kano"),
        ("PER", "Bako"),
    ]
    for entity in entities:
        assert text[entity["start"] : entity["end"]] == entity["word"]
        assert " ".join(words[entity["word_start"] : entity["word_end"]]) == entity["word"]


@pytest.mark.slow
def test_raw_chinese_is_read_without_words_and_with_exact_offsets():
    texts = ["王芳住在北京。", "李娜爱上海，王芳爱天津！", "张伟在广州见李娜。", "北京和上海"]
    names = {"王芳": "PER", "李娜": "PER", "张伟": "PER", "北京": "LOC", "上海": "LOC", "天津": "LOC", "广州": "LOC"}
    spans = [
        [(text.index(name), text.index(name) + 2, kind) for name, kind in names.items() if name in text]
        for text in texts
    ]
    model, tokenizer = tiny_byte_to_span(
        segment_bytes=40, segment_overlap=20, embedding_size=32, hidden_size=64, num_hidden_layers=1,
        byte_dropout=0, layer_dropout=0,
    )  # fmt: skip
    documents = [ByteDocument.of_text(text, of_text) for text, of_text in zip(texts, spans, strict=True)]
    fit(model, ByteSegments.for_training(documents, model.config.symbols), 400, learning_rate=1e-2, batch_size=128)

    found = pipeline(TASK, model=model, tokenizer=tokenizer)(texts)

    assert [
        [(entity["start"], entity["end"], entity["entity_group"]) for entity in entities] for entities in found
    ] == [sorted(of_text) for of_text in spans]
    assert found[0][1]["word"] == "北京"


class Finds:
    """Stands for a model that finds certain spans."""

    def __init__(self, spans, num_bytes):
        self.config = ByteToSpanConfig(id2label=dict(enumerate(LABELS)))
        self.read = ReadBytes(spans, np.full(num_bytes, 0.25))

    def find_spans(self, texts, batch_size):
        return [self.read for _ in texts]


def test_half_a_character_is_no_entity_and_half_a_word_is_no_tag():
    text = "né 北京 ab"
    half_character, half_word = ScoredSpan(4, 6, "LOC", 0.9), ScoredSpan(11, 12, "PER", 0.8)
    model = Finds([ScoredSpan(0, 3, "PER", 0.7), half_character, half_word], len(text.encode()))

    ((tagged, entities),) = read_texts(model, [text], [[(0, 2), (3, 5), (6, 8)]])

    assert [(text[entity.start : entity.end], entity.type) for entity in entities] == [("né", "PER"), ("a", "PER")]
    assert [(entity.word_start, entity.word_end) for entity in entities] == [(0, 1), (2, 3)]
    assert tagged.tags == ("B-PER", "O", "O")
    assert tagged.probabilities == (0.7, 0.75, 0.75)
    assert tagged.stray_types == ("LOC", "PER")


# Runs where the package cannot be imported: loads everything, and reads with what the folder itself brings.
WITHOUT_THE_PACKAGE = """
import json, sys
sys.modules["hf_polyglot"] = None
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoModelForTokenClassification, AutoTokenizer
folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
batch = tokenizer(text, return_tensors="pt")
found = {"type": AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type}
for auto in (AutoModelForSeq2SeqLM, AutoModelForTokenClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True)
    found[auto.__name__] = [
        model.generate(batch["input_ids"], num_beams=2).tolist(),
        [list(span) for span in model.find_spans([text.encode() * 3])[0].spans],
    ]
base = AutoModel.from_pretrained(folder, trust_remote_code=True)
found["vectors"] = base(batch["input_ids"]).last_hidden_state.double().sum().item()
print(json.dumps(found))
"""


@pytest.fixture
def saved(tmp_path):
    model, tokenizer = random_model(spread=5), tiny_byte_to_span()[1]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return model, tokenizer, tmp_path


@pytest.mark.parametrize("auto", [AutoModelForSeq2SeqLM, AutoModelForTokenClassification])
def test_a_saved_model_comes_back_through_the_auto_classes(saved, auto):
    model, tokenizer, folder = saved
    batch = segment_batch(sentence_segments(model.config).for_reading(12))

    loaded = auto.from_pretrained(folder)

    assert type(loaded) is type(model)
    assert torch.equal(loaded(**batch).loss, model(**batch).loss)
    assert torch.equal(loaded.generate(batch["input_ids"]), model.generate(batch["input_ids"]))
    assert type(AutoTokenizer.from_pretrained(folder)) is type(tokenizer)
    base = AutoModel.from_pretrained(folder)
    assert torch.equal(
        base(batch["input_ids"]).last_hidden_state, model.base_model(batch["input_ids"]).last_hidden_state
    )
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".py"}


def test_a_saved_model_loads_where_the_package_is_not_installed(saved):
    model, tokenizer, folder = saved
    text = "Amina in Ségou"

    run = subprocess.run([sys.executable, "-c", WITHOUT_THE_PACKAGE, folder, text], capture_output=True, text=True)

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    input_ids = tokenizer(text, return_tensors="pt")["input_ids"]
    written = model.generate(input_ids, num_beams=2).tolist()
    spans = [span[:3] for span in model.find_spans([text.encode() * 3])[0].spans]
    assert found["type"] == "byte_to_span"
    for auto in ("AutoModelForSeq2SeqLM", "AutoModelForTokenClassification"):
        assert found[auto][0] == written
        assert [tuple(span[:3]) for span in found[auto][1]] == spans
    assert found["vectors"] == pytest.approx(
        model.base_model(input_ids).last_hidden_state.double().sum().item(), rel=1e-5
    )
    assert len(spans) > 1


def test_a_new_label_set_keeps_the_encoder(saved):
    model, _, folder = saved

    loaded = AutoModelForTokenClassification.from_pretrained(
        folder,
        id2label={0: "O", 1: "B-ORG", 2: "I-ORG"},
        label2id={"O": 0, "B-ORG": 1, "I-ORG": 2},
        ignore_mismatched_sizes=True,
    )

    assert loaded.config.symbols.types == ("ORG",)
    ours, theirs = model.get_encoder().state_dict(), loaded.get_encoder().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(loaded.find_spans([b"abc"])) == 1


def test_gradients_do_not_depend_on_the_order_of_the_segments():
    model, _ = tiny_byte_to_span()
    model.eval()
    batch = segment_batch(sentence_segments(model.config).for_reading(12))

    turned = {name: tensor.flip(0) for name, tensor in batch.items()}

    torch.testing.assert_close(model(**batch).loss, model(**turned).loss)
