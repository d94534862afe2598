"""Whatever a file holds, it is read, or refused by a `CorpusFormatError` that names a line of it."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hf_polyglot.data.conll import ColumnFile, read_conll, read_words, write_conll
from hf_polyglot.data.tagged_sentences import CorpusFormatError
from hf_polyglot.models.label_scheme import SCHEMES, first_violation, tags_from_spans

SAMPLES = [
    "Wizara B-ORG\nya I-ORG\n# O\n\nmno O\nPwani I-LOC\n",
    "0\tKarl\tB-PER\n1\tOve\tI-PER\n2\t#\tO\n\n0\t(\tO\n1\tHà Nội\tB-LOC\n",
    "# text = SID går\n1\tSID\tB-ORG\tB-ORGpart#O\ts\n2\tgår\tO\tO\ts\n\n# text = #\n1\t#\tO\tO#O\ts\n",
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP I-PER\n",
    "1-2\tal\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\tADP\t_\t_\t3\tcase\t_\t_\n"
    "2\tel\tel\tDET\t_\tNumber=Sing\t3\tdet\t_\t_\n2.1\tx\tx\tX\t_\t_\t_\t_\t_\t_\n",
    "\ufeffa S-PER\r\nb B-LOC\r\nc E-LOC\r\n\r\nd O\r\n",
    "a PER\nb PER\nc O\n",
]
# What means something to the reader, or might.
PIECES = [
    *[
        "\n",
        "\n\n",
        "\t",
        " ",
        "\r",
        "\r\n",
        "\0",
        "#",
        "# ",
        "-DOCSTART-",
        "\ufeff",
        "\u00a0",
        "\u200b",
        "\u2028",
        "\x1c",
    ],
    *[
        "O",
        "B-PER",
        "I-PER",
        "E-PER",
        "S-PER",
        "I-LOC",
        "B_PER",
        "PER",
        "B-",
        "-",
        "_",
        "1",
        "1-2",
        "1.1",
        "NOUN",
        "A=b|C=d",
    ],
    *["\u0661", "9" * 5000, "é", "\U0001f600", "a"],
]
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "separator": st.sampled_from(["\t", " ", "|"]),
        "token_column": st.integers(-3, 3),
        "tag_column": st.integers(-3, 3),
        "scheme": st.sampled_from(SCHEMES),
        "target_scheme": st.sampled_from(SCHEMES),
        "task": st.sampled_from(["ner_tags", "upos", "feats"]),
    },
)


@st.composite
def mutated(draw, contents: list[bytes]) -> bytes:
    """One of these files with a few stretches of bytes deleted, doubled or replaced."""
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        doubled = st.just(content[start:end] * 2)
        replacement = draw(st.sampled_from(PIECES).map(str.encode) | st.binary(max_size=3) | doubled)
        content = content[:start] + replacement + content[end:]
    return content


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "corpus.txt"


def check_sentences(found: ColumnFile, content: bytes, target_scheme: str, task: str) -> None:
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert found.sentences
    for sentence in found.sentences:
        assert len(sentence.tokens) == len(sentence.tags) == len(sentence.lines) > 0
        assert all(before < after for before, after in itertools.pairwise(sentence.lines))
        for token, line in zip(sentence.tokens, sentence.lines, strict=True):
            assert token.strip(" ")
            assert token.encode() in lines[line - 1]
        if task == "ner_tags":
            assert first_violation(sentence.tags, target_scheme) is None


def check(path: Path, content: bytes, arguments: dict) -> None:
    """Read the file and check what comes out, sentences or an error."""
    path.write_bytes(content)
    try:
        found = read_conll(path, **arguments)
    except CorpusFormatError as error:
        place = re.match(rf"{re.escape(str(path))}:(\d+): .+", str(error))
        assert place, error
        assert 1 <= int(place[1]) <= content.count(b"\n") + 1
        assert len(str(error)) < 2000
    else:
        check_sentences(found, content, arguments.get("target_scheme", "IOB2"), arguments.get("task", "ner_tags"))


@given(content=st.binary(max_size=60), arguments=ARGUMENTS)
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_read_or_refused(path, content, arguments):
    check(path, content, arguments)


@given(content=st.lists(st.sampled_from(PIECES), max_size=30).map("".join), arguments=ARGUMENTS)
@settings(max_examples=200, deadline=None)
def test_random_pieces_of_column_files_are_read_or_refused(path, content, arguments):
    check(path, content.encode(), arguments)


@given(content=mutated([sample.encode() for sample in SAMPLES]), arguments=st.just({}) | ARGUMENTS)
@settings(max_examples=200, deadline=None)
def test_mutated_column_files_are_read_or_refused(path, content, arguments):
    check(path, content, arguments)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_mutated_real_files_are_read_or_refused(shared_data, path, data):
    real = ["masakhaner1/luo/train.txt", "wikiann/ru/test.tsv", "uner/da_ddt-ud-train.iob2", "ud/wo_wtb-ud-dev.conllu"]
    beginnings = []
    for name in real:
        with (shared_data / name).open("rb") as file:
            beginnings.append(file.read(1500))

    content = data.draw(mutated(beginnings))
    task = data.draw(st.sampled_from(["ner_tags", "upos", "feats"]))

    check(path, content, {"task": task})


@given(content=mutated([sample.encode() for sample in SAMPLES]))
@settings(max_examples=100, deadline=None)
def test_words_of_mutated_column_files_are_read_or_refused(path, content):
    path.write_bytes(content)

    try:
        sentences = read_words(path)
    except CorpusFormatError as error:
        assert str(error).startswith(f"{path}:")
    else:
        assert sentences
        assert all(sentence and all(token.strip(" ") for token in sentence) for sentence in sentences)


@st.composite
def tagged_words(draw, scheme: str) -> tuple[list[str], list[str]]:
    tokens = draw(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), min_size=1, max_size=5))
    borders = sorted(draw(st.sets(st.integers(0, len(tokens)))))
    types = st.sampled_from(["PER", "GPE-LOC", "Ort", "место", "NULL", ""])
    spans = [(start, end, draw(types)) for start, end in itertools.pairwise(borders)]
    return tokens, tags_from_spans([span for span in spans if span[2]], len(tokens), scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("separator", ["\t", " "])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(path, scheme, separator, data):
    sentences = data.draw(st.lists(tagged_words(scheme), min_size=1, max_size=4))

    try:
        write_conll(path, sentences, separator=separator)
    except ValueError as error:
        assert "would not be read back" in str(error)
        reject()
    found = read_conll(path, scheme=scheme, target_scheme=scheme)

    assert [(sentence.tokens, sentence.tags) for sentence in found.sentences] == sentences
    assert found.repaired.count == 0
    assert read_words(path) == [tokens for tokens, _ in sentences]
