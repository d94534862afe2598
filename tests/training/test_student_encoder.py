"""New student encoders: their sizes, their pieces, what they begin with, and where they can be used."""

from contextlib import nullcontext

import pytest
import torch
from transformers import (
    AutoModel,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    XLMRobertaModel,
    set_seed,
)

from hf_polyglot import EncoderCRFForTokenClassification, SlicerForTokenClassification
from hf_polyglot.models.piece_encoder import max_pieces_of
from hf_polyglot.models.word_pieces import load_piece_tokenizer
from hf_polyglot.training.recipe_encoders import TINY, EncoderChoice, chosen_encoder
from hf_polyglot.training.student_encoder import (
    StudentEncoderArguments,
    build_student_encoder,
    principal_components,
)
from hf_polyglot.training.students import StudentArguments, load_student, shares_pieces
from hf_polyglot.training.teacher import StockTagger
from tests.models.tiny_models import (
    LABELS,
    SENTENCES,
    character_pieces,
    encoder_config,
    tiny_byte_crf,
    tiny_linear_tagger,
    tiny_slicer,
)
from tests.training.test_trainer import training_arguments

WORDS = [words for words, _ in SENTENCES]
SMALL = {"student_layers": 2, "student_hidden_size": 16}


@pytest.mark.parametrize("begins_with", [None, "embeddings", "layers"])
def test_what_is_random_of_a_student_is_another_with_each_seed(begins_with, tmp_path):
    teacher, tokenizer = tiny_linear_tagger()
    sizes = {"student_layers": 1, "student_hidden_size": teacher.config.encoder_config.hidden_size, "student_heads": 2}
    sizes["student_intermediate_size"] = teacher.config.encoder_config.intermediate_size
    given = {} if begins_with is None else {f"{begins_with}_from_teacher": True}
    arguments = StudentArguments(**sizes, **given)
    student = load_student(arguments, training_arguments(tmp_path), teacher, tokenizer, WORDS)

    states = []
    for seed in (1, 2, 1):
        set_seed(seed)
        states.append(student.new_model(LABELS, {"label_scheme": "IOB2"}).state_dict())

    one, two, again = states
    for name, weights in one.items():
        assert torch.equal(weights, again[name]), name
        if name.endswith("weight") and "LayerNorm" not in name:
            of_teacher = begins_with == "layers" or (begins_with == "embeddings" and "word_embeddings" in name)
            assert torch.equal(weights, two[name]) is (name.startswith("encoder.") and of_teacher), name


@pytest.mark.parametrize("narrow", [None, 8])
@pytest.mark.parametrize("model_class", [EncoderCRFForTokenClassification, SlicerForTokenClassification])
def test_a_student_encoder_loads_where_any_encoder_does(model_class, narrow, tmp_path):
    arguments = StudentEncoderArguments(**SMALL, student_embedding_size=narrow, student_heads=4)

    build_student_encoder(tmp_path, arguments, character_pieces(), WORDS[:2])

    tokenizer = load_piece_tokenizer(str(tmp_path))
    encoder = AutoModel.from_pretrained(tmp_path)
    assert isinstance(encoder, BertModel if narrow is None else ElectraModel)
    assert encoder.get_input_embeddings().weight.shape == (len(tokenizer), narrow or 16)
    sizes = encoder.config.num_hidden_layers, encoder.config.num_attention_heads, encoder.config.intermediate_size
    assert sizes == (2, 4, 64)
    settings = {"num_concatenated_layers": 1} if model_class is EncoderCRFForTokenClassification else {}
    model = model_class.from_encoder_pretrained(str(tmp_path), labels=LABELS, tokenizer=tokenizer, **settings)
    model.save_pretrained(tmp_path / "tagger")
    again = model_class.from_pretrained(tmp_path / "tagger")
    batch = model.prepare_words(tokenizer, WORDS)
    torch.testing.assert_close(again(**batch).logits, model.eval()(**batch).logits)


def test_the_vocabulary_is_trimmed_unless_it_is_to_stay(tmp_path):
    for name, settings in (("small", {"keep_characters": False}), ("whole", {"trim_vocabulary": False})):
        arguments = StudentEncoderArguments(**SMALL, **settings)
        build_student_encoder(tmp_path / name, arguments, character_pieces(), WORDS[:1])

    sizes = [len(load_piece_tokenizer(str(tmp_path / name))) for name in ("small", "whole")]
    assert sizes[0] < sizes[1] == len(character_pieces())
    assert shares_pieces(*(load_piece_tokenizer(str(tmp_path / name)) for name in ("small", "whole")), WORDS[:1])
    assert not shares_pieces(*(load_piece_tokenizer(str(tmp_path / name)) for name in ("small", "whole")), WORDS)


def test_which_pieces_to_keep_is_not_said_where_all_are_kept(tmp_path):
    arguments = StudentEncoderArguments(**SMALL, trim_vocabulary=False, min_piece_count=3)

    with pytest.raises(ValueError, match="`min_piece_count` is 3, and `trim_vocabulary` is False, which keeps all pi"):
        build_student_encoder(tmp_path, arguments, character_pieces(), WORDS)


def test_the_same_seed_gives_the_same_student_and_leaves_the_generator_alone(tmp_path):
    state = torch.random.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_student_encoder(tmp_path / name, StudentEncoderArguments(**SMALL), character_pieces(), WORDS, seed=seed)

    assert torch.random.get_rng_state().equal(state)
    weights = [AutoModel.from_pretrained(tmp_path / name).get_input_embeddings().weight for name in "abc"]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])


def test_principal_components_keep_what_can_be_kept():
    torch.manual_seed(0)
    vectors = torch.randn(50, 3) @ torch.randn(3, 10) + 5  # of three directions, away from zero

    reduced = principal_components(vectors, 3, 0.02)

    assert reduced.std().item() == pytest.approx(0.02)
    before, after = (torch.nn.functional.pdist(of_rows.double()) for of_rows in (vectors, reduced))
    torch.testing.assert_close(after / after.max(), before / before.max(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"The student's embeddings are 11 wide.*expected no more than 10"):
        principal_components(vectors, 11, 0.02)


@pytest.mark.parametrize("kind", ["tagger", "stock tagger", "encoder"])
def test_a_student_may_begin_with_its_teachers_embeddings(kind, tmp_path):
    teacher, tokenizer = tiny_slicer()
    if kind == "encoder":
        teacher = teacher.encoder
    elif kind == "stock tagger":
        teacher = StockTagger(teacher.to_standard_model(), tokenizer, "IOB2")
    arguments = StudentArguments(**SMALL, embeddings_from_teacher=True, keep_characters=False)

    student = load_student(arguments, training_arguments(tmp_path), teacher, tokenizer, WORDS[:6])

    rows = AutoModel.from_pretrained(student.encoder).get_input_embeddings().weight
    kept = tokenizer.convert_tokens_to_ids(student.tokenizer.convert_ids_to_tokens(range(len(student.tokenizer))))
    expected = principal_components(teacher.get_input_embeddings().weight.detach()[kept], 16, rows.std())
    torch.testing.assert_close(rows.detach(), expected, rtol=1e-3, atol=1e-5)


def of_teacher(folder, teacher, tokenizer, texts=WORDS, **settings):
    sizes = {"student_layers": 1, "student_hidden_size": 32, "student_heads": 2, "student_intermediate_size": 32}
    arguments = StudentEncoderArguments(**sizes | {"layers_from_teacher": True} | settings)
    build_student_encoder(folder, arguments, tokenizer, texts, teacher=teacher)
    return AutoModel.from_pretrained(folder), load_piece_tokenizer(str(folder))


@pytest.mark.parametrize("kind", [BertModel, XLMRobertaModel])
def test_a_student_with_all_layers_of_its_teacher_is_its_teacher(kind, tmp_path):
    tokenizer = character_pieces()
    torch.manual_seed(0)
    # XLM-R counts positions from behind the padding piece.
    positions = 40 if kind is BertModel else 40 + tokenizer.pad_token_id + 1
    settings = {"max_position_embeddings": positions, "hidden_act": "relu", "layer_norm_eps": 1e-3}
    config = kind.config_class(**encoder_config(**settings).to_diff_dict())
    teacher = kind(config, add_pooling_layer=False).eval()

    student, own = of_teacher(tmp_path, teacher, tokenizer, WORDS[:9], student_layers=2, keep_characters=False)

    assert len(own) < len(tokenizer)
    for words in WORDS[:9]:
        given, read = (
            torch.tensor([pieces(words, is_split_into_words=True)["input_ids"]]) for pieces in (own, tokenizer)
        )
        with torch.no_grad():
            vectors, expected = student(given).last_hidden_state, teacher(read).last_hidden_state
        torch.testing.assert_close(vectors, expected)


@pytest.mark.parametrize(("kind", "positions"), [(BertModel, 512), (XLMRobertaModel, 514)])
def test_a_student_reads_as_many_pieces_as_its_teacher(kind, positions, tmp_path):
    # Attentions can be matched then. XLM-R's padding has the id 1, and here that of the student too.
    padding = positions - 513 if kind is XLMRobertaModel else 0
    tokenizer = character_pieces()
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    sizes = {"max_position_embeddings": positions, "pad_token_id": padding}
    teacher = kind(kind.config_class(**encoder_config(**sizes).to_diff_dict()), add_pooling_layer=False)

    student, own = of_teacher(tmp_path, teacher, tokenizer, trim_vocabulary=False, layers_from_teacher=False)

    assert student.config.pad_token_id == padding
    assert max_pieces_of(student.config, own) == max_pieces_of(teacher.config, tokenizer) == 511 + padding


def test_narrow_embeddings_come_near_those_of_the_teacher(tmp_path):
    torch.manual_seed(0)
    teacher, tokenizer = BertModel(encoder_config(), add_pooling_layer=False).eval(), character_pieces()
    with torch.no_grad():  # of eight directions, but for a little
        for table in (teacher.embeddings.word_embeddings, teacher.embeddings.position_embeddings):
            table.weight[:, 8:] *= 0.01
    words = torch.tensor([tokenizer(words, is_split_into_words=True)["input_ids"][:6] for words in WORDS[:4]])

    errors = []
    for index, from_teacher in enumerate((False, True)):
        student, own = of_teacher(
            tmp_path / str(index), teacher, tokenizer, student_embedding_size=8, layers_from_teacher=from_teacher
        )
        given = torch.tensor(own.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(words.flatten()))).view(4, 6)
        with torch.no_grad():
            read = student.embeddings_project(student.embeddings(given))
            errors.append((read - teacher.embeddings(words)).square().mean() / teacher.embeddings(words).var())

    layer, its = (dict(model.encoder.layer[0].named_parameters()) for model in (student, teacher))
    assert all(torch.equal(layer[name], its[name]) for name in its)
    assert errors[0] > 0.9 and errors[1] < 0.1


def test_layers_come_from_teachers_of_the_same_sizes(tmp_path):
    teacher = BertModel(encoder_config(), add_pooling_layer=False)

    with pytest.raises(ValueError, match=r"The student has hidden_size 16 \(teacher: 32\); expected the teacher's"):
        of_teacher(tmp_path, teacher, character_pieces(), student_hidden_size=16)
    with pytest.raises(ValueError, match=r"The student has 3 layers \(teacher: 2\); expected the"):
        of_teacher(tmp_path, teacher, character_pieces(), student_layers=3)
    with pytest.raises(ValueError, match=r"The student's embeddings are 200 wide, and .* expected no more than"):
        of_teacher(tmp_path, teacher, character_pieces(), student_embedding_size=200)
    distilbert = DistilBertModel(DistilBertConfig(vocab_size=100, dim=32, n_layers=1, n_heads=2, hidden_dim=64))
    with pytest.raises(ValueError, match=r"The teacher is a DistilBertModel; expected an encoder with BERT's"):
        of_teacher(tmp_path, distilbert, character_pieces())
    electra = ElectraModel(ElectraConfig(**encoder_config().to_diff_dict() | {"embedding_size": 16}))
    with pytest.raises(
        ValueError, match=r"The teacher is a ElectraModel; expected an encoder with BERT's embeddings, as"
    ):
        of_teacher(tmp_path, electra, character_pieces())
    config = DebertaV2Config(
        vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        position_biased_input=False, type_vocab_size=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"The teacher is a DebertaV2Model; expected an encoder with BERT's"):
        of_teacher(tmp_path, DebertaV2Model(config), character_pieces())


def test_a_width_must_have_room_for_the_heads(tmp_path):
    with pytest.raises(ValueError, match=r"`student_hidden_size` is 16 and `student_heads` is 3; expected a width"):
        build_student_encoder(tmp_path, StudentEncoderArguments(**SMALL, student_heads=3), character_pieces(), WORDS)


def test_students_of_bytes_need_no_pieces_and_others_do(tmp_path):
    teacher, tokenizer = tiny_byte_crf()
    training = training_arguments(tmp_path)

    student = load_student(StudentArguments(**SMALL, student_type="byte_crf"), training, teacher, tokenizer, WORDS)

    assert student.new_model(LABELS, {"label_scheme": "IOB2"}).config.hidden_size == 16
    with pytest.raises(ValueError, match=r"The teacher reads no pieces.*--student_encoder, or take --student_type"):
        load_student(StudentArguments(**SMALL), training, teacher, tokenizer, WORDS)


def test_a_student_may_have_an_lstm_and_a_crf_on_top_of_several_layers(tmp_path):
    teacher, tokenizer = tiny_linear_tagger()
    arguments = StudentArguments(
        **SMALL, student_lstm_layers=1, student_lstm_size=8, student_concatenated_layers=2, use_crf=True
    )

    model = load_student(arguments, training_arguments(tmp_path), teacher, tokenizer, WORDS).new_model(
        LABELS, {"label_scheme": "IOB2"}
    )

    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_concatenated_layers) == (1, 8, 2)
    assert config.use_crf and model.classifier.in_features == 16
    logits = model.train()(**model.prepare_words(tokenizer, WORDS)).logits
    logits.square().sum().backward()
    assert all(weights.grad.abs().sum() > 0 for weights in model.reading.parameters())


@pytest.mark.parametrize("given", [{"student_lstm_layers": 1}, {"student_concatenated_layers": 2}])
def test_what_goes_on_top_of_an_encoder_is_not_for_a_byte_crf(given, tmp_path):
    arguments = StudentArguments(**SMALL, student_type="byte_crf", **given)

    with pytest.raises(ValueError, match=rf"`{next(iter(given))}` is \d, and `student_type` is byte_crf; expected a"):
        load_student(arguments, training_arguments(tmp_path), *tiny_linear_tagger(), WORDS)


@pytest.mark.parametrize("each", [False, True])
def test_encoders_are_written_on_each_node_if_nodes_share_no_disk(each, tmp_path, monkeypatch):
    asked = []
    training = training_arguments(tmp_path, save_on_each_node=each)
    monkeypatch.setattr(
        type(training), "main_process_first", lambda self, local=True: asked.append(local) or nullcontext()
    )

    name = chosen_encoder(EncoderChoice(encoder=TINY), training, ["Amina lives in Kano"])
    load_student(StudentArguments(**SMALL), training, tiny_linear_tagger()[0], character_pieces(), WORDS)

    assert asked == [each, each]
    assert AutoModel.from_pretrained(name).config.hidden_size > 0
