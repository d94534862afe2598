"""Vectors of words that were spelled before, for prediction on the CPU."""

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# 32,768 words of the paper's width, 512.
MAX_BYTES = 64 * 2**20


class WordVectorCache:
    """
    Keeps the vectors of the words that were spelled last, up to a number of bytes, while the weights stay the same.

    Most words of a batch have occurred in batches before it, and spelling takes most of the time. May be used by
    several threads.

    Args:
        max_bytes (`int`, *optional*, defaults to 64 MiB):
            Of the vectors.
    """

    def __init__(self, max_bytes: int = MAX_BYTES):
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all words."""
        self._weights: list[tuple[int, int, float]] = []
        self._row_of: dict[bytes, int] = {}
        self._word_of: list[bytes | None] = []
        self._vectors: Tensor | None = None
        self._next = 0

    # A copy of a model starts with an empty one, and locks cannot be copied.
    def __deepcopy__(self, memo) -> "WordVectorCache":
        return WordVectorCache(self.max_bytes)

    def __reduce__(self):
        return WordVectorCache, (self.max_bytes,)

    def __len__(self) -> int:
        """Words that are there."""
        return len(self._row_of)

    def vectors(self, input_ids: Tensor, weights: Sequence[Tensor], spell: Callable[[Tensor], Tensor]) -> Tensor:
        """
        Vector of each word, of shape `(words, features)`.

        Args:
            input_ids (`LongTensor` of shape `(words, units)`):
                Units of each word, 0 on padding, which is on the right.
            weights (`Sequence[Tensor]`):
                What vectors are made with: when one of these has changed, all are made anew.
            spell (`Callable`):
                Makes the vectors of such rows.
        """
        words = _words(input_ids)
        # Writing to `weight.data` leaves the version as it was, so their sums are looked at too.
        state = [(weight.data_ptr(), weight._version, weight.sum().item()) for weight in weights]
        with self._lock:
            if state != self._weights:
                self.clear()
                self._weights = state
            rows = [self._row_of.get(word, -1) for word in words]
            missing = [index for index, row in enumerate(rows) if row < 0]
            # A copy: what is kept may be overwritten by another thread.
            vectors = None if self._vectors is None else self._vectors[torch.tensor(rows).clamp_(min=0)]
        if vectors is not None and not missing:
            return vectors
        spelled = spell(input_ids[missing])
        with self._lock:
            if self._weights == state:
                self._keep([words[index] for index in missing], spelled)
        if vectors is None:
            return spelled
        vectors[missing] = spelled
        return vectors

    def _keep(self, words: list[bytes], vectors: Tensor) -> None:
        """Put words where the oldest ones are."""
        room = self.max_bytes // max(1, vectors.shape[1] * vectors.element_size())
        words, vectors = words[:room], vectors[:room]
        if not words:
            return
        if self._vectors is None:
            # In inference mode this would become a tensor that only inference mode may write to.
            with torch.inference_mode(False):
                self._vectors = torch.empty((room, vectors.shape[1]), dtype=vectors.dtype)
            self._word_of = [None] * room
        rows = [(self._next + index) % room for index in range(len(words))]
        self._next = (rows[-1] + 1) % room
        for row, word in zip(rows, words, strict=True):
            old = self._word_of[row]
            if old is not None and self._row_of.get(old) == row:
                del self._row_of[old]
            self._word_of[row] = word
            self._row_of[word] = row
        self._vectors[rows] = vectors


def _words(input_ids: Tensor) -> list[bytes]:
    # The bytes of a row without its padding: the same for batches of any width.
    width = input_ids.shape[1] * input_ids.element_size()
    content = input_ids.contiguous().numpy().tobytes()
    return [content[start : start + width].rstrip(b"\0") for start in range(0, len(content), width)]
