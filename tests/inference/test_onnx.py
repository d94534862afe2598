"""Exported models: equal to PyTorch in every label, run without torch, written only if they tag as the model does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

import hf_polyglot.inference.pipeline  # noqa: F401  registers the task
from hf_polyglot.data.corpora import load_corpora
from hf_polyglot.inference import onnx_export, onnx_parity
from hf_polyglot.inference.onnx_export import onnx_model, settings_of, write_exported
from hf_polyglot.inference.onnx_graph import (
    BOOL,
    FLOAT,
    INT64,
    ChainScores,
    OnnxGraph,
    best_path,
    marginals,
    take_rows,
)
from hf_polyglot.inference.onnx_int8 import int8_model
from hf_polyglot.inference.onnx_parity import ParitySentences, export_tagger
from hf_polyglot.inference.onnx_runtime import SETTINGS_FILE, ExportedTagger, OnnxTagger, is_exported
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.crf import LinearChainCRF
from hf_polyglot.models.label_scheme import labels_by_scheme, legal_transitions
from hf_polyglot.result_tables import parity_table
from tests.models.joint_models import JOINT_MODELS
from tests.models.test_word_classes import CLASSES
from tests.models.tiny_byte_to_span import tiny_byte_to_span
from tests.models.tiny_models import (
    LABELS,
    SENTENCES,
    label_settings,
    tiny_byte_crf,
    tiny_byte_crf_of_languages,
    tiny_char_crf,
    tiny_charner,
    tiny_charner_of_characters,
    tiny_encoder_crf,
    tiny_linear_tagger,
    tiny_meta_lstm,
    tiny_meta_lstm_of_vectors,
    tiny_slicer,
)

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install hf_polyglot[onnx]")
onnx = pytest.importorskip("onnx", reason="pip install hf_polyglot[onnx]")

ROOT = Path(__file__).parents[2]
WORDS = [words for words, _ in SENTENCES]
FEATS = {"label_scheme": "feats", **label_settings(CLASSES)}


def with_settings(make_model, **given):
    return lambda: make_model(**given)


SPELLERS = {
    "byte_crf": tiny_byte_crf,
    "char_crf of two layers": with_settings(tiny_char_crf, num_unit_layers=2, num_hidden_layers=2),
    "byte_crf of languages": tiny_byte_crf_of_languages,
    "byte tagger without CRF": with_settings(tiny_byte_crf, use_crf=False, **FEATS),
    "charner": tiny_charner,
    "charner of characters": tiny_charner_of_characters,
    "charner of classes": with_settings(tiny_charner, **FEATS),
    "meta_lstm": with_settings(tiny_meta_lstm, num_unit_layers=2, num_word_layers=2),
    "meta_lstm of vectors": tiny_meta_lstm_of_vectors,
    "meta_lstm of frozen words": with_settings(tiny_meta_lstm, num_trained_words=3, pretrained_vectors="frozen"),
    "meta_lstm of tasks": JOINT_MODELS["meta_lstm"],
    "byte_crf of tasks": JOINT_MODELS["byte_crf"],
    "byte_crf of tasks and languages": JOINT_MODELS["byte_crf_of_languages"],
}
# torch's exporter takes seconds for an encoder.
READERS_OF_PIECES = {
    "encoder_crf of languages": with_settings(tiny_encoder_crf, languages=["eng", "swa"]),
    "linear tagger of tasks": JOINT_MODELS["linear_tagger"],
    "slicer": tiny_slicer,
    "slicer of tasks": JOINT_MODELS["slicer"],
}


def random_model(make_model, deviation=0.3):
    """A model and its tokenizer, every weight away from where it starts; so no two labels score alike."""
    model, tokenizer = make_model()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += deviation * torch.randn(weight.shape, generator=generator)
    return model.eval(), tokenizer


def exported(model, tokenizer, folder):
    write_exported(folder, onnx_model(model), tokenizer, settings_of(model, tokenizer))
    return OnnxTagger(folder, num_threads=1)


@pytest.fixture(
    scope="module",
    params=[*SPELLERS, *(pytest.param(name, marks=pytest.mark.slow) for name in READERS_OF_PIECES)],
)
def both(request, tmp_path_factory):
    """A model with its tokenizer, and what was exported of them."""
    model, tokenizer = random_model((SPELLERS | READERS_OF_PIECES)[request.param])
    return model, tokenizer, exported(model, tokenizer, tmp_path_factory.mktemp("exported"))


def test_exported_models_tag_as_pytorch_does(both):
    model, tokenizer, tagger = both
    # Of all lengths, in windows, empty, with words that no tokenizer knows.
    sentences = [words[: 1 + index % 7] for index, words in enumerate(WORDS)]
    sentences += [WORDS[0] * 30, [], ["ዓለም", "<pad>", "\u00ad", "x" * 90], ["a"]]
    languages = (["eng", "swa", "yor", None] * 6)[: len(sentences)]

    expected = tag_words(model, tokenizer, sentences, languages=languages)
    found = tagger.tag_words(sentences, 5, languages)

    assert len({tag for sentence in expected for tag in sentence.tags}) > 1
    assert [sentence.tags for sentence in found] == [sentence.tags for sentence in expected]
    further = list(labels_by_scheme(model.config))[1:]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.words == theirs.words
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
        for scheme in further:
            assert ours.of_task(scheme).tags == theirs.of_task(scheme).tags
            assert ours.of_task(scheme).probabilities == pytest.approx(theirs.of_task(scheme).probabilities, abs=1e-4)


def test_exported_models_are_called_as_the_pipeline_is(both):
    model, tokenizer, tagger = both
    tag = pipeline("polyglot-token-classification", model=model, tokenizer=tokenizer)
    texts = ["Amina lives in Kano.", "", "New Touba, says Eze Eze"]

    def rounded(outcome):
        return json.loads(json.dumps(outcome), parse_float=lambda number: round(float(number), 3))

    assert rounded(tagger(texts[0])) == rounded(tag(texts[0]))
    assert rounded(tagger(texts, batch_size=2)) == rounded(tag(texts, batch_size=2))
    assert rounded(list(tagger(iter(texts)))) == rounded(list(tag(iter(texts))))
    given = {"is_split_into_words": True}
    assert rounded(tagger(WORDS[3], **given)) == rounded(tag(WORDS[3], **given))
    assert rounded(tagger(WORDS[:3], **given)) == rounded(tag(WORDS[:3], **given))
    if model.config.label_scheme == "feats":
        passed = {"second_best_for": CLASSES[:1]}
        assert rounded(tagger(texts, **passed)) == rounded(tag(texts, **passed)) != rounded(tag(texts))
    assert rounded(list(tagger.read(texts))) == rounded(list(tag.read(texts)))
    if getattr(model.config, "further_labels", None):
        assert rounded(tagger(texts, task="upos")) == rounded(tag(texts, task="upos")) != rounded(tag(texts))
        with pytest.raises(ValueError, match="`task` is 'dep'; expected a task of the model, ner or upos or feats"):
            tagger(texts, task="dep")


@pytest.mark.parametrize(
    "make_model",
    [tiny_byte_crf, tiny_charner, tiny_meta_lstm, tiny_encoder_crf, tiny_slicer],
    ids=lambda maker: maker.__name__,
)
def test_real_sentences_get_the_same_labels(make_model, shared_data, tmp_path):
    folder = shared_data / "masakhaner1"
    if not folder.is_dir():
        pytest.skip(f"no real corpora at {folder}")
    corpora = load_corpora({name: folder / name for name in ("amh", "yor")}).corpora
    sentences = [words for splits in corpora.values() for words in splits["test"]["tokens"][:500]]
    model, tokenizer = random_model(make_model)

    expected = tag_words(model, tokenizer, sentences)
    found = exported(model, tokenizer, tmp_path).tag_words(sentences)

    assert len(sentences) == 1000
    assert [sentence.tags for sentence in found] == [sentence.tags for sentence in expected]


@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    num_languages=st.sampled_from([None, 3]),
    is_legal=st.booleans(),
)
@settings(max_examples=30)
def test_paths_and_marginals_in_a_graph_are_those_of_the_crf(seed, lengths, num_languages, is_legal):
    torch.manual_seed(seed)
    crf = LinearChainCRF(5, legal_transitions(LABELS, "IOB2") if is_legal else None, num_languages)
    for scores in crf.parameters():
        torch.nn.init.normal_(scores, std=2)
    emissions = 3 * torch.randn(len(lengths), max(lengths), 5)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = None if num_languages is None else torch.randint(-1, num_languages, (len(lengths),))

    graph = OnnxGraph()
    inputs = [graph.input("emissions", FLOAT, ["batch", "words", 5]), graph.input("mask", BOOL, ["batch", "words"])]
    of_sentences = None if ids is None else graph.input("ids", INT64, ["batch"])
    tables = crf._tables(emissions, None)
    scores = ChainScores(
        graph, [table.detach().numpy() for table in (tables.start, tables.transition, tables.end)], of_sentences
    )
    graph.output("path", best_path(graph, *inputs, scores), INT64, ["batch", "words"])
    graph.output("marginals", marginals(graph, *inputs, scores), FLOAT, ["batch", "words", 5])
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    given_arrays = {"emissions": emissions.numpy(), "mask": mask.numpy()} | (
        {} if ids is None else {"ids": ids.numpy()}
    )
    path, probabilities = session.run(None, given_arrays)

    with torch.no_grad():
        assert np.array_equal(np.where(mask, path, -100), crf.decode(emissions, mask, ids))
        expected = crf.marginals(emissions, mask, ids).numpy()
    assert probabilities * mask.numpy()[:, :, None] == pytest.approx(expected, abs=1e-5)


WITHOUT_TORCH = """
import sys
from hf_polyglot.inference.onnx_runtime import OnnxTagger
for folder in sys.argv[1:]:
    entities = OnnxTagger(folder)("Amina Bako alifika Dar es Salaam.")
    assert all(entity["word"] for entity in entities)
    print(len(entities))
heavy = {"torch", "transformers", "datasets", "pandas", "onnx"} & set(sys.modules)
assert not heavy, heavy
"""


def test_exported_models_run_without_torch(tmp_path):
    for name, make_model in (("words", tiny_byte_crf), ("sentences", tiny_charner)):
        exported(*random_model(make_model), tmp_path / name)

    program = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "words"), str(tmp_path / "sentences")]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == 2


def wide_byte_crf(**given):
    """Wide enough for weights that are quantised."""
    return tiny_byte_crf(embedding_size=64, unit_hidden_size=64, hidden_size=64, **given)


def test_integers_take_a_quarter_of_the_size_and_give_nearly_the_same_probabilities(tmp_path):
    model, tokenizer = random_model(wide_byte_crf, deviation=0.02)
    graph = onnx_model(model)

    small = int8_model(graph)

    assert small.ByteSize() < 0.4 * graph.ByteSize()
    before, kinds = ([node.op_type for node in of_one.graph.node] for of_one in (graph, small))
    assert kinds.count("DynamicQuantizeLSTM") == before.count("LSTM") > 0 and "LSTM" not in kinds
    write_exported(tmp_path / "int8", small, tokenizer, settings_of(model, tokenizer, int8=True))
    tagger = OnnxTagger(tmp_path / "int8", num_threads=1)
    assert tagger.tagger.int8
    sentences = tag_words(model, tokenizer, WORDS), tagger.tag_words(WORDS)
    expected, found = (
        [word for one in of_model for word in zip(one.tags, one.probabilities, strict=True)] for of_model in sentences
    )
    assert found != expected
    # Of some words the best two labels are close.
    alike = [(ours[1], theirs[1]) for ours, theirs in zip(found, expected, strict=True) if ours[0] == theirs[0]]
    assert len(alike) > 0.8 * len(expected)
    assert max(abs(ours - theirs) for ours, theirs in alike) < 0.05


def test_rows_of_embeddings_are_rounded_each_by_its_own_scale():
    graph = OnnxGraph()
    rows = np.random.default_rng(0).normal(size=(1024, 16)).astype(np.float32) * np.logspace(-3, 3, 1024)[:, None]
    rows = rows.astype(np.float32)
    rows[7] = 0
    ids = graph.input("ids", INT64, ["batch"])
    graph.output("rows", graph.op("Gather", rows, ids, axis=0), FLOAT, ["batch", 16])
    chain = graph.constant(rows, "chain")
    graph.output("chain", graph.op("Gather", chain, ids, axis=0), FLOAT, ["batch", 16])

    session = onnxruntime.InferenceSession(int8_model(graph.model()).SerializeToString())
    found, exact = session.run(["rows", "chain"], {"ids": np.arange(1024)})

    assert (np.abs(found - rows).max(1) <= np.abs(rows).max(1) / 127 * 0.501).all()
    assert not np.array_equal(found, rows)
    assert np.array_equal(exact, rows)


@pytest.mark.parametrize("activation", [None, "Gelu"])
@pytest.mark.parametrize(("width", "other_width"), [(512, 32), (64, 512)])
def test_a_row_with_large_values_does_not_round_the_others_away(width, other_width, activation):
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(width, other_width)).astype(np.float32) for _ in range(2)]
    graph = OnnxGraph()
    given = graph.input("x", FLOAT, ["rows", width])
    read = given if activation is None else graph.op(activation, given)
    for name, weight in zip("yz", weights, strict=True):  # two that share their rows, as of a gated layer
        graph.graph.initializer.append(onnx.numpy_helper.from_array(weight, f"encoder/{name}"))
        graph.output(name, graph.op("MatMul", read, f"encoder/{name}"), FLOAT, ["rows", other_width])
    rows = generator.normal(size=(6, width)).astype(np.float32)
    rows[2] *= 1000
    rows[3] = 0
    rows[4] = -0.75  # all of it below zero, and as far as GELU gives

    small = int8_model(graph.model())

    outcomes = onnxruntime.InferenceSession(small.SerializeToString()).run(None, {"x": rows})
    rows = rows if activation is None else torch.nn.functional.gelu(torch.tensor(rows)).numpy()
    for found, weight in zip(outcomes, weights, strict=True):
        expected = rows @ weight
        sizes = np.maximum(np.abs(expected).max(1), 1)
        assert (np.abs(found - expected).max(1) / sizes < 0.05).all()
        assert not np.allclose(found[2], expected[2], rtol=1e-5)
    kinds = [node.op_type for node in small.graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("ReduceMax"), kinds.count("DynamicQuantizeLinear")) == (2, 1, 1)


def test_the_head_reads_its_rows_as_they_are():
    weight = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
    graph = OnnxGraph()  # names its own weights as those of the head
    graph.output("y", graph.op("MatMul", graph.input("x", FLOAT, ["rows", 64]), weight), FLOAT, ["rows", 512])

    kinds = [node.op_type for node in int8_model(graph.model()).graph.node]

    assert "MatMulInteger" in kinds and "ReduceMax" not in kinds


def test_products_with_a_bias_and_transposed_matrices_are_quantised_too():
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(128, 128)).astype(np.float32) / 12 for _ in range(3)]
    bias = generator.normal(size=128).astype(np.float32)
    graph = OnnxGraph()
    given = graph.input("x", FLOAT, ["rows", 128])
    with_bias = graph.op("Gemm", graph.op("Gemm", given, weights[0], bias), weights[1], bias, transB=1)
    turned = graph.op("Transpose", weights[2], perm=[1, 0])  # shared by two layers, as ALBERT's are
    graph.output("y", graph.op("MatMul", graph.op("MatMul", with_bias, turned), turned), FLOAT, ["rows", 128])
    rows = generator.normal(size=(6, 128)).astype(np.float32)

    small = int8_model(graph.model())

    assert small.ByteSize() < 0.4 * graph.model().ByteSize()
    assert [node.op_type for node in small.graph.node].count("MatMulInteger") == 4
    (found,) = onnxruntime.InferenceSession(small.SerializeToString()).run(None, {"x": rows})
    expected = ((rows @ weights[0] + bias) @ weights[1].T + bias) @ weights[2].T @ weights[2].T
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_that_no_integers_can_stand_for_are_reported():
    weight = np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32)
    graph = OnnxGraph()
    product = graph.op("MatMul", graph.input("x", FLOAT, [128, 128]), weight)
    graph.output("y", graph.op("Mul", product, graph.constant(weight, "scores")), FLOAT, [128, 128])

    with pytest.warns(UserWarning, match="16,384 of 32,768 weights stay 32-bit floats, among them .*scores"):
        int8_model(graph.model())


def test_rows_are_taken_before_what_computes_each_by_itself():
    generator = np.random.default_rng(0)
    graph = OnnxGraph()
    given = graph.input("given", FLOAT, ["windows", "pieces", 8])
    # What is read later in full, and what is not.
    whole = graph.op("MatMul", given, generator.normal(size=(8, 8)).astype(np.float32))
    wide = graph.op("Gelu", graph.op("MatMul", whole, generator.normal(size=(8, 16)).astype(np.float32)))
    narrow = graph.op("MatMul", wide, generator.normal(size=(16, 8)).astype(np.float32))
    vectors = graph.op("LayerNormalization", graph.op("Add", narrow, whole), np.ones(8, np.float32), axis=-1)
    for value in [given, *(output for node in graph.graph.node for output in node.output)]:
        graph.graph.value_info.append(graph.helper.make_tensor_value_info(value, FLOAT, ["windows", "pieces", None]))
    graph.output("whole", whole, FLOAT, ["windows", "pieces", 8])

    rows = take_rows(graph, vectors, graph.input("index", INT64, ["batch", "words"]))
    graph.output("rows", rows, FLOAT, ["batch", "words", 8])

    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.index("MatMul") < kinds.index("Gather") < kinds.index("Gelu") < kinds.index("LayerNormalization")
    assert kinds.count("MatMul") == 3
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    arrays = {"given": generator.normal(size=(2, 5, 8)).astype(np.float32), "index": np.array([[7, 0, 3]])}
    few = session.run(["rows"], arrays)[0]
    every = session.run(["rows"], arrays | {"index": np.arange(10)[None]})[0]
    assert few == pytest.approx(every[:, [7, 0, 3]], abs=1e-6)


def test_a_model_without_large_weights_is_not_quantised():
    model, _ = tiny_byte_crf(vocab_size=4, embedding_size=4, unit_hidden_size=2, hidden_size=2)

    with pytest.raises(ValueError, match="No matrix of this model has 16,384 weights; expected one"):
        int8_model(onnx_model(model))


def sentences_with_gold():
    tags = [[LABELS[label] for label in labels] for _, labels in SENTENCES]
    return {
        "swa": ParitySentences(WORDS[:12], {"IOB2": tags[:12]}),
        "yor": ParitySentences(WORDS[12:], {"IOB2": tags[12:]}),
    }


def test_an_export_leaves_a_report_of_every_language(tmp_path):
    model, tokenizer = random_model(wide_byte_crf)

    report = export_tagger(
        model, tokenizer, tmp_path / "out", sentences_with_gold(), int8=True, max_f1_loss=100, batch_size=4
    )

    assert json.loads((tmp_path / "out" / "parity.json").read_text()) == report
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.onnx", "parity.json", "tagger.json", "tokenizer.json"
    }  # fmt: skip
    assert is_exported(str(tmp_path / "out"))
    assert OnnxTagger(tmp_path / "out").tagger.int8
    assert report["gold"] == "corpora"
    assert report["bytes"]["int8"] < 0.4 * report["bytes"]["pytorch"]
    of_language = report["languages"]["swa"]
    assert (of_language["sentences"], of_language["words"]) == (12, sum(map(len, WORDS[:12])))
    assert of_language["differing_labels"]["onnx"] == 0
    assert of_language["scores"]["onnx"] == of_language["scores"]["pytorch"]
    table = parity_table(report)
    assert re.search(r"\| swa +\| +12 \|.*\| +100\.00 \|", table)
    assert "F1, ONNX int8" in table and " MB " in table


def test_every_task_is_compared(tmp_path, monkeypatch):
    model, tokenizer = random_model(JOINT_MODELS["byte_crf"])
    tags = [["NOUN"] * len(words) if index % 3 else [] for index, words in enumerate(WORDS[:12])]
    sentences = {"swa": ParitySentences(WORDS[:12], {"upos": tags}), "yor": ParitySentences(WORDS[12:], {})}

    report = export_tagger(model, tokenizer, tmp_path / "out", sentences)

    found = OnnxTagger(tmp_path / "out").tag_words(WORDS[:12])
    nouns = [tag == "NOUN" for index, one in enumerate(found) if index % 3 for tag in one.of_task("upos").tags]
    assert set(report["further"]) == {"upos", "feats"}
    upos = report["further"]["upos"]
    assert upos["languages"]["swa"]["scores"]["onnx"] == pytest.approx(100 * sum(nouns) / len(nouns))
    assert upos["languages"]["yor"]["scores"] == {}
    # No language has gold entities: both are held to what PyTorch gives.
    assert [of["scores"] for of in report["languages"].values()] == [{"pytorch": 100, "onnx": 100}] * 2
    assert (report["gold"], upos["gold"]) == ("pytorch", "corpora")
    assert upos["languages"]["yor"]["differing_labels"] == {"onnx": 0}
    table = parity_table(report)
    assert table.count("| swa ") == 3 and "| Language (upos) |" in table and table.count(" MB ") == 2
    assert "Accuracy, ONNX" in table

    other, _ = random_model(JOINT_MODELS["byte_crf"])
    with torch.no_grad():
        other.further_heads["upos"].classifier.weight.neg_()
    monkeypatch.setattr(onnx_parity, "onnx_model", lambda given: onnx_model(other))
    with pytest.raises(ValueError, match=r"gives \d+ of 330 labels otherwise than PyTorch does"):
        export_tagger(model, tokenizer, tmp_path / "another", sentences)


def test_without_gold_tags_those_of_pytorch_are_taken(tmp_path):
    model, tokenizer = random_model(tiny_byte_crf)

    report = export_tagger(model, tokenizer, tmp_path / "out", {"swa": ParitySentences(WORDS)})

    assert report["languages"]["swa"]["scores"] == {"pytorch": 100, "onnx": 100}
    assert "F1 to PyTorch, ONNX" in parity_table(report)


def test_a_model_that_loses_too_much_is_not_written(tmp_path, monkeypatch):
    model, tokenizer = random_model(wide_byte_crf)
    other, _ = random_model(wide_byte_crf, deviation=0.6)
    monkeypatch.setattr(onnx_parity, "int8_model", lambda graph: int8_model(onnx_model(other)))
    sentences = {"swa": ParitySentences(WORDS)}

    with pytest.raises(ValueError, match=r"loses F1: \d+\.\d\d on swa; expected at most 0.5 in every language"):
        export_tagger(model, tokenizer, tmp_path / "out", sentences, int8=True)

    assert not list(tmp_path.iterdir())


def test_a_task_without_gold_tags_must_not_lose_either(tmp_path, monkeypatch):
    model, tokenizer = random_model(JOINT_MODELS["byte_crf"])
    other, _ = random_model(JOINT_MODELS["byte_crf"])
    with torch.no_grad():
        other.further_heads["upos"].classifier.weight.neg_()
    monkeypatch.setattr(onnx_parity, "int8_model", lambda graph: onnx_model(other))
    *_, feats = labels_by_scheme(model.config).values()
    gold = {"feats": [[feats[0]] * len(words) for words in WORDS]}

    with pytest.raises(ValueError, match=r"loses accuracy: \d+\.\d\d on swa; expected at most 0.5 in every language"):
        export_tagger(model, tokenizer, tmp_path / "out", {"swa": ParitySentences(WORDS, gold)}, int8=True)

    assert not list(tmp_path.iterdir())


def test_an_export_with_other_labels_is_not_written(tmp_path, monkeypatch):
    model, tokenizer = random_model(tiny_byte_crf)
    other, _ = random_model(tiny_byte_crf, deviation=0.6)
    monkeypatch.setattr(onnx_parity, "onnx_model", lambda given: onnx_model(other))
    sentences = {"swa": ParitySentences(WORDS)}

    with pytest.raises(ValueError, match=r"gives \d+ of 110 labels otherwise than PyTorch does \(swa \d+\)"):
        export_tagger(model, tokenizer, tmp_path / "out", sentences)
    assert not list(tmp_path.iterdir())

    export_tagger(model, tokenizer, tmp_path / "out", sentences, max_differing_labels=110)
    assert is_exported(str(tmp_path / "out"))


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "kept").touch()

    with pytest.raises(ValueError, match="is not empty; expected a new folder"):
        export_tagger(*tiny_byte_crf(), tmp_path, {"swa": ParitySentences(WORDS)})


@pytest.mark.parametrize("given", [".", "link", "link/../empty", "new/folder"])
def test_an_empty_folder_is_filled_whatever_it_is_called(given, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path / "empty" if given == "." else tmp_path)

    export_tagger(*tiny_byte_crf(), given, {"swa": ParitySentences(WORDS)})

    folder = tmp_path / ("new/folder" if given.startswith("new") else "empty")
    assert is_exported(str(folder)) and (folder / "parity.json").is_file()
    assert not [path for path in tmp_path.rglob(".*") if path != folder]


def test_a_file_is_no_place_for_an_export(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match="file is a file; expected a new folder"):
        export_tagger(*tiny_byte_crf(), tmp_path / "file", {"swa": ParitySentences(WORDS)})


def test_an_export_wants_sentences_to_compare(tmp_path):
    with pytest.raises(ValueError, match="There is no sentence to compare the export on"):
        export_tagger(*tiny_byte_crf(), tmp_path / "out", {"swa": ParitySentences([])})


def test_only_one_model_that_labels_words_is_exported(monkeypatch):
    model, _ = tiny_byte_to_span()
    with pytest.raises(ValueError, match="is a ByteToSpanForConditionalGeneration; expected one model that labels"):
        onnx_model(model)

    monkeypatch.setattr(onnx_export, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="GiB in float32; expected less than 2"):
        onnx_model(tiny_byte_crf()[0])


@pytest.mark.parametrize("make_model", [tiny_byte_crf, pytest.param(tiny_linear_tagger, marks=pytest.mark.slow)])
def test_exporting_leaves_the_model_as_it_was(make_model):
    model, _ = make_model()
    model.to(torch.bfloat16).train()
    attention = model.encoder.config._attn_implementation if hasattr(model, "encoder") else None

    onnx_model(model)

    assert model.training
    assert model.classifier.weight.dtype == torch.bfloat16
    if attention is not None:
        assert model.encoder.config._attn_implementation == attention != "eager"


def test_folders_of_other_kinds_and_versions_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no tagger.json; expected a folder that recipes/export.py has written"):
        OnnxTagger(tmp_path)

    settings_of(*tiny_byte_crf()).save(tmp_path)
    assert ExportedTagger.load(tmp_path).labels == {"IOB2": LABELS}
    written = json.loads((tmp_path / SETTINGS_FILE).read_text())
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(written | {"colour": "red"}))
    with pytest.raises(ValueError, match=r"is of another version of hf_polyglot: colour. Export the model again"):
        OnnxTagger(tmp_path)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(written | {"input_form": "pictures"}))
    with pytest.raises(ValueError, match=r"is of another version of hf_polyglot: input_form pictures"):
        OnnxTagger(tmp_path)


def test_missing_onnxruntime_is_named_with_its_remedy(tmp_path, monkeypatch):
    settings_of(*tiny_byte_crf()).save(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(ImportError, match=r"pip install 'hf_polyglot\[onnx\]'"):
        OnnxTagger(tmp_path)


def test_what_the_runtime_cannot_read_is_refused_as_by_the_pipeline(tmp_path):
    tagger = exported(*random_model(tiny_byte_crf_of_languages), tmp_path)

    with pytest.warns(UserWarning, match="`language` is 'yor'; the model knows eng, swa, and reads any other"):
        tagger("Amina", language="yor")
    with pytest.raises(ValueError, match="is no text; expected a string"):
        tagger([["a", "b"]])
    with pytest.raises(ValueError, match="A word is the empty string"):
        tagger(["a", ""], is_split_into_words=True)
    with pytest.raises(ValueError, match="whose labels are classes of words"):
        tagger("a", second_best_for=["O"])
