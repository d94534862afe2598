"""Word vectors are read as fastText writes them, and the union of languages is what it says."""

import ctypes
import struct
from collections import Counter

import numpy as np
import pytest

from hf_polyglot.data.word_vectors import (
    BinaryVectors,
    TextVectors,
    open_word_vectors,
    trained_words,
    union_of_vectors,
)
from hf_polyglot.models.known_words import subword_buckets
from tests.word_vector_files import write_bin, write_vec

WORDS = {"</s>": 9, "de": 7, "Ọmọ": 5, "ნახე": 3, "😀": 1}


def ngrams_by_definition(word, shortest, longest):
    """All substrings of the marked word that have one of these lengths, by start and then by length."""
    marked = list(f"<{word}>")
    every = [
        (start, end)
        for start in range(len(marked))
        for end in range(start + 1, len(marked) + 1)
        if shortest <= end - start <= longest
    ]
    return ["".join(marked[start:end]) for start, end in every if "".join(marked[start:end]) not in ("<", ">")]


def hash_as_in_c(text):
    """`Dictionary::hash`: `h = h ^ uint32_t(int8_t(byte)); h = h * 16777619`."""
    hashed = ctypes.c_uint32(2166136261)
    for byte in text.encode():
        hashed.value ^= ctypes.c_uint32(ctypes.c_int8(byte).value).value
        hashed.value *= 16777619
    return hashed.value


def matrix_of(words, num_buckets, size=4):
    return np.random.default_rng(0).normal(size=(len(words) + num_buckets, size)).astype(np.float32)


@pytest.mark.parametrize("word", ["where", "a", "Ọmọ", "ნახე", "😀", "x y"])
@pytest.mark.parametrize("sizes", [(3, 6), (1, 2), (5, 5), (0, 0)])
def test_ngrams_are_hashed_as_fasttext_hashes_them(word, sizes):
    expected = [hash_as_in_c(ngram) % 1009 for ngram in ngrams_by_definition(word, *sizes)]

    assert subword_buckets(word, *sizes, 1009) == expected


def test_hashes_are_those_of_fasttext_itself():
    # By `get_subword_id` of fasttext-wheel 0.9.2, of n-grams of five characters in two million buckets.
    assert subword_buckets("Ọmọdé", 5, 5, 2_000_000) == [1303213, 838967, 556881]
    assert [hash_as_in_c(text) % 2_000_000 for text in ("<wh", "Ọmọ", "😀>")] == [167652, 1323697, 512514]


def test_a_binary_file_gives_words_with_their_ngrams_and_others_by_theirs(tmp_path):
    matrix = matrix_of(WORDS, 50)
    path = write_bin(tmp_path / "x.bin", WORDS, matrix, min_characters=2, max_characters=3, num_buckets=50)

    vectors = BinaryVectors(path)

    def rows(word):
        return [5 + hash_as_in_c(ngram) % 50 for ngram in ngrams_by_definition(word, 2, 3)]

    found = vectors.read({"de", "Ọmọ", "</s>", "not there"})
    assert list(vectors.words()) == list(WORDS)
    assert set(found) == {"de", "Ọmọ", "</s>"}
    np.testing.assert_allclose(found["Ọmọ"], matrix[[2, *rows("Ọmọ")]].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(found["</s>"], matrix[0])
    np.testing.assert_allclose(vectors.vector_of_subwords("Ọmọdé"), matrix[rows("Ọmọdé")].mean(0), rtol=1e-6)


def test_a_binary_file_without_ngrams_knows_its_words_only(tmp_path):
    matrix = matrix_of(WORDS, 0)
    path = write_bin(tmp_path / "x.bin", WORDS, matrix, min_characters=0, max_characters=0, num_buckets=0)

    vectors = BinaryVectors(path)

    np.testing.assert_array_equal(vectors.read({"de"})["de"], matrix[1])
    assert vectors.subwords() is None
    assert vectors.vector_of_subwords("dex") is None


def test_a_text_file_gives_its_words(tmp_path):
    matrix = matrix_of(WORDS, 0)
    path = write_vec(tmp_path / "x.vec", WORDS, matrix)

    vectors = TextVectors(path)

    found = vectors.read({"de", "😀", "not there"})
    assert list(vectors.words()) == list(WORDS)
    assert set(found) == {"de", "😀"}
    np.testing.assert_allclose(found["de"], matrix[1], atol=1e-5)
    assert vectors.vector_of_subwords("dex") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 0.1 0.2\n", r"x.vec:1 is b'the 0.1 0.2'; expected the number of words and that of dimensions"),
        (b"2 2\na 1 2\nb 1\n", r"x.vec:3: 1 numbers behind the word b'b'; expected 2"),
        (b"2 2\na 1 2\nb c 1 2\n", r"x.vec:3: 3 numbers behind the word b'b'; expected 2.*cannot have a space"),
        (b"2 2\na 1 x\nb 1 2\n", r"x.vec:2: the vector of 'a' begins with b'1 x'; expected 2 finite numbers"),
        (b"2 2\na 1 nan\nb 1 2\n", r"x.vec:2: the vector of 'a' begins with b'1 nan'; expected 2 finite"),
        (b"2 2\na 1 2\n\xff 1 2\n", r"x.vec:3: the word b'\\xff' is not UTF-8"),
        (b"3 2\na 1 2\nb 1 2\n", r"x.vec:3 is the last line, of word 2; expected 3.*cut off"),
    ],
)
def test_a_text_file_that_is_none_is_refused_by_its_line(content, message, tmp_path):
    path = tmp_path / "x.vec"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=message):
        TextVectors(path).read({"a", "b"})


def test_a_binary_file_that_is_none_is_refused(tmp_path):
    path = write_bin(tmp_path / "x.bin", WORDS, matrix_of(WORDS, 5), min_characters=2, max_characters=3, num_buckets=5)
    content = path.read_bytes()

    path.write_bytes(struct.pack("<ii", 1, 12) + content[8:])
    with pytest.raises(ValueError, match=r"begins with 1 and 12; expected 793712314 and 12"):
        BinaryVectors(path)
    for end in (20, 100, len(content) - 200):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"x.bin is cut off; expected a whole .bin file"):
            BinaryVectors(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"is_quantised": True}, "has compressed vectors"), ({"num_pruned": 0}, "has a pruned vocabulary")],
)
def test_compressed_and_pruned_vectors_are_refused(settings, message, tmp_path):
    sizes = {"min_characters": 2, "max_characters": 3, "num_buckets": 5}
    path = write_bin(tmp_path / "x.bin", WORDS, matrix_of(WORDS, 5), **sizes, **settings)

    with pytest.raises(ValueError, match=message):
        BinaryVectors(path)


def test_files_are_known_by_their_ending(tmp_path):
    write_vec(tmp_path / "x.vec", WORDS, matrix_of(WORDS, 0))
    (tmp_path / "x.vec.gz").touch()

    assert isinstance(open_word_vectors(tmp_path / "x.vec"), TextVectors)
    with pytest.raises(ValueError, match=r"x.vec.gz' are of an unknown kind; expected a .vec or .bin file"):
        open_word_vectors(tmp_path / "x.vec.gz")
    with pytest.raises(ValueError, match=r"y.bin' are not there"):
        open_word_vectors(tmp_path / "y.bin")


def test_trained_words_are_those_that_occur_often_enough():
    sentences = [["b", "A", "a", "c"], ["b", "a", "d", "b"]]

    assert trained_words(sentences, min_count=2, lowercase=False) == ["b", "a"]
    assert trained_words(sentences, min_count=2, lowercase=True) == ["a", "b"]
    assert trained_words(sentences, min_count=1, lowercase=False) == ["b", "a", "A", "c", "d"]


def test_the_union_has_the_mean_of_a_word_that_several_files_list(tmp_path):
    first, second = np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])
    files = {
        "swa": TextVectors(write_vec(tmp_path / "swa.vec", ["a", "b"], first)),
        "yor": TextVectors(write_vec(tmp_path / "yor.vec", ["b", "c"], second)),
    }

    table = union_of_vectors(["x", "b"], {"swa": {"a", "x"}, "yor": {"b", "y"}}, files)
    more = union_of_vectors(["x", "b"], {"swa": {"a", "x"}, "yor": {"b", "y"}}, files, num_frequent=2)

    assert (table.words, table.num_trained) == (["x", "b", "a"], 3)
    assert table.vectors.tolist() == [[0, 0], [0, 0], [4, 5], [1, 2]]
    assert table.report.splitlines() == [
        "swa: of 2 distinct words, 1 have a vector, and 0 that of their n-grams",
        "yor: of 2 distinct words, 1 have a vector, and 0 that of their n-grams",
    ]
    assert more.words == ["x", "b", "a", "c"]
    assert more.vectors[4].tolist() == [7, 8]


def test_an_unlisted_word_has_the_ngrams_of_its_own_languages(tmp_path):
    sizes = {"min_characters": 2, "max_characters": 3, "num_buckets": 50}
    matrices = {name: matrix_of(["ab"], 50) + shift for shift, name in enumerate(["swa", "yor"])}
    files = {
        name: BinaryVectors(write_bin(tmp_path / f"{name}.bin", {"ab": 1}, matrix, **sizes))
        for name, matrix in matrices.items()
    }

    table = union_of_vectors(
        [], {"swa": {"ab", "abc", "both"}, "yor": {"both", "xyz"}, "eng": {"the"}}, files, num_subwords=3
    )

    rows = dict(zip(table.words, table.vectors[1:], strict=True))
    spelled = {name: file.vector_of_subwords for name, file in files.items()}
    assert table.words == ["ab", "abc", "both", "xyz"]
    np.testing.assert_allclose(rows["abc"], spelled["swa"]("abc"), rtol=1e-6)
    np.testing.assert_allclose(rows["xyz"], spelled["yor"]("xyz"), rtol=1e-6)
    np.testing.assert_allclose(rows["both"], (spelled["swa"]("both") + spelled["yor"]("both")) / 2, rtol=1e-6)
    of_words = [{hash_as_in_c(ngram) % 50 for ngram in ngrams_by_definition(word, 2, 3)} for word in table.words]
    counts = Counter(bucket for of_word in of_words for bucket in of_word)
    expected = sorted(counts, key=lambda bucket: (-counts[bucket], bucket))[:3]
    assert [of_file["buckets"] for of_file in table.subwords] == [expected] * 2
    for of_file, vectors, matrix in zip(
        table.subwords, np.split(table.subword_vectors, 2), matrices.values(), strict=True
    ):
        np.testing.assert_array_equal(vectors, matrix[[1 + bucket for bucket in of_file["buckets"]]])


def test_one_file_can_be_that_of_several_languages(tmp_path):
    file = TextVectors(write_vec(tmp_path / "all.vec", ["a", "b"], np.array([[1, 2], [3, 4]])))

    table = union_of_vectors([], {"swa": {"a"}, "yor": {"a", "b"}}, {"swa": file, "yor": file})

    assert (table.words, table.vectors.tolist()) == (["a", "b"], [[0, 0], [1, 2], [3, 4]])


def test_a_frequent_word_that_is_no_text_is_passed_over(tmp_path):
    write_bin(tmp_path / "odd.bin", {"the": 9, "QQ": 8, "Amina": 5}, np.ones((53, 6)), min_characters=3,
              max_characters=4, num_buckets=50)  # fmt: skip
    (tmp_path / "odd.bin").write_bytes((tmp_path / "odd.bin").read_bytes().replace(b"QQ\0", b"\xe1\x88\0"))

    table = union_of_vectors([], {}, {"eng": open_word_vectors(tmp_path / "odd.bin")}, num_frequent=2)

    assert table.words == ["Amina", "the"]


def test_frequent_words_that_no_lookup_in_lower_case_reaches_are_passed_over(tmp_path):
    write_vec(tmp_path / "eng.vec", ["Paris", "of", "café"], np.ones((3, 6)))

    table = union_of_vectors(
        ["the"], {"eng": {"the"}}, {"eng": open_word_vectors(tmp_path / "eng.vec")}, num_frequent=2, lowercase=True
    )

    assert table.words == ["the", "café", "of"]


def test_in_lower_case_a_word_has_the_vector_of_its_most_frequent_capitals(tmp_path):
    listed = ["of", "Paris", "PARIS", "The", "the"]
    write_vec(tmp_path / "eng.vec", listed, np.repeat(np.arange(5.0)[:, None], 6, 1))
    files = {"eng": open_word_vectors(tmp_path / "eng.vec")}

    table = union_of_vectors([], {"eng": {"paris", "the", "kano"}}, files, lowercase=True)

    assert table.words == ["paris", "the"]
    assert table.vectors[1:, 0].tolist() == [1, 4]
    assert "of 3 distinct words, 2 have a vector" in table.report
    assert union_of_vectors([], {"eng": {"paris", "the"}}, files).words == ["the"]


def test_vectors_of_different_sizes_have_no_union(tmp_path):
    files = {
        name: TextVectors(write_vec(tmp_path / f"{name}.vec", ["a"], np.ones((1, size))))
        for name, size in (("swa", 2), ("yor", 3))
    }

    with pytest.raises(ValueError, match=r"different sizes: 2 in .*swa.vec, 3 in .*yor.vec. Expected one size"):
        union_of_vectors([], {"swa": {"a"}, "yor": {"a"}}, files)
