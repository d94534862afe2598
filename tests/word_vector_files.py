"""Files of word vectors as fastText writes them, by another hand than the one that reads them."""

import struct


def write_vec(path, words, matrix):
    """As `FastText::saveVectors` does: a space behind each number, the last one too."""
    lines = [f"{len(matrix)} {matrix.shape[1]}"]
    lines += [
        f"{word} " + "".join(f"{number:.5g} " for number in row) for word, row in zip(words, matrix, strict=False)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return path


def write_bin(path, counts, matrix, *, min_characters, max_characters, num_buckets, is_quantised=False, num_pruned=-1):
    """As `FastText::saveModel` does, of a skip-gram model, with the matrix of the output behind that of the input."""
    rows, size = matrix.shape
    with path.open("wb") as file:
        file.write(struct.pack("<i", 793712314) + struct.pack("<i", 12))
        # dim ws epoch minCount neg wordNgrams loss=ns model=sg bucket minn maxn lrUpdateRate, and t
        for number in (size, 5, 5, 1, 5, 1, 1, 2, num_buckets, min_characters, max_characters, 100):
            file.write(struct.pack("<i", number))
        file.write(struct.pack("<d", 1e-4))
        file.write(struct.pack("<i", len(counts)) + struct.pack("<i", len(counts)) + struct.pack("<i", 0))
        file.write(struct.pack("<q", sum(counts.values())) + struct.pack("<q", num_pruned))
        for word, count in counts.items():
            file.write(word.encode() + b"\0" + struct.pack("<q", count) + struct.pack("<b", 0))
        file.write(struct.pack("<?", is_quantised))
        file.write(struct.pack("<qq", rows, size) + matrix.astype("<f4").tobytes())
        output = matrix[: len(counts)]
        file.write(struct.pack("<?", False) + struct.pack("<qq", *output.shape) + output.astype("<f4").tobytes())
    return path
