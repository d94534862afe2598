"""Which sentence of which language comes when."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Sampler

# Sentences are sorted by length within this many batches: enough to leave little padding, few enough to stay random.
BATCHES_PER_SORT = 50


def language_probabilities(sizes: Mapping[str, int], alpha: float) -> dict[str, float]:
    """
    Probability of drawing each language, `q_l = n_l ** alpha / sum_k n_k ** alpha`.

    Args:
        sizes (`Mapping[str, int]`):
            Training sentences per language, all positive.
        alpha (`float`):
            1 draws in proportion to size; 0 draws every language alike. XLM-R uses 0.3.

    Returns:
        `dict[str, float]` in the order of `sizes`, summing to 1.

    Raises:
        ValueError: if `sizes` is empty, if a language has no sentence, or if `alpha` is outside `[0, 1]`.

    Reference:
        Lample and Conneau (2019), section 3.1. https://arxiv.org/abs/1901.07291

    Example:
        >>> language_probabilities({"deu": 900, "nld": 100}, alpha=0.5)
        {'deu': 0.75, 'nld': 0.25}
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` is {alpha}; expected 0 (every language alike) to 1 (in proportion to size).")
    empty = [language for language, size in sizes.items() if size < 1]
    if empty or not sizes:
        raise ValueError(
            f"No training sentences for {', '.join(empty) or 'any language'}. Check the files, or leave the language "
            f"out."
        )
    # Against the largest, so that no power of a large corpus overflows.
    largest = max(sizes.values())
    weights = {language: (size / largest) ** alpha for language, size in sizes.items()}
    total = sum(weights.values())
    return {language: weight / total for language, weight in weights.items()}


class PolyglotBatchSampler(Sampler[list[int]]):
    """
    Batches of one epoch: as many sentences as the corpora have, languages by `alpha`, sentences of like length
    together.

    A language's share of an epoch is exact up to one sentence, and right in expectation; its sentences come without
    repetition until all were drawn. The order follows from the seed and the epoch alone, so it is the same on every
    process.

    The batches of one update come one behind the other, and no update depends on how many they are: 8 sentences in
    one batch on one process are the same 8 as in two batches on two. What is left at the end of an epoch makes an
    update of its own if it is at least half a one, and goes with the last whole one if it is less, so that no
    process is left without a sentence.

    Args:
        languages (`Sequence[str]`):
            Language of each sentence.
        lengths (`Sequence[int]`):
            Length of each sentence, in words or whatever padding is made of.
        batch_size (`int`):
            Sentences of a batch.
        batches_per_update (`int`, *optional*, defaults to 1):
            Processes times accumulated batches.
        alpha (`float`, *optional*, defaults to 1.0):
            See [`language_probabilities`].
        seed (`int`, *optional*, defaults to 0):
            Seed of the order.

    Example:
        >>> sampler = PolyglotBatchSampler(["deu"] * 6 + ["nld"] * 2, [3, 9, 4, 8, 2, 7, 5, 1], batch_size=4, alpha=0)
        >>> [sum(index >= 6 for batch in sampler for index in batch), len(sampler)]  # half of the eight are Dutch
        [4, 2]
    """

    # Not a RandomSampler: accelerate silently replaces that class, and every subclass of it, by a sampler of its own.
    # And no `batch_size` attribute: with one, accelerate fills up smaller batches with sentences of the first ones.

    def __init__(
        self,
        languages: Sequence[str],
        lengths: Sequence[int],
        *,
        batch_size: int,
        batches_per_update: int = 1,
        alpha: float = 1.0,
        seed: int = 0,
    ):
        names, codes = np.unique(np.asarray(languages, dtype=object).astype(str), return_inverse=True)
        self.lengths = np.asarray(lengths)
        self.update_size = batch_size * batches_per_update
        self.batches_per_update = batches_per_update
        self.seed = seed
        self.epoch = 0
        self.indices = {str(name): np.flatnonzero(codes == code) for code, name in enumerate(names)}
        self.probabilities = language_probabilities(
            {name: len(indices) for name, indices in self.indices.items()}, alpha
        )

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.update_size)
        return (whole + (2 * rest >= self.update_size or not whole)) * self.batches_per_update

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        drawn = [
            _draw(self.indices[language], count, random) for language, count in self._counts(random.random()).items()
        ]
        order = random.permutation(np.concatenate(drawn))
        whole = len(order) - len(order) % self.update_size
        sorted_together = BATCHES_PER_SORT * self.update_size
        updates = [
            update
            for start in range(0, whole, sorted_together)
            for update in self._updates_of_like_length(order[start : min(start + sorted_together, whole)])
        ]
        random.shuffle(updates)
        rest = order[whole:]
        if len(rest) and (2 * len(rest) >= self.update_size or not updates):
            updates.append(rest)
        elif len(rest):
            updates[-1] = np.concatenate([updates[-1], rest])
        for update in updates:
            # Only an epoch of fewer sentences than there are processes leaves one without; it then takes the first
            # again.
            missing = max(0, self.batches_per_update - len(update))
            parts = np.array_split(np.concatenate([update, np.resize(update, missing)]), self.batches_per_update)
            yield from (part.tolist() for part in parts)

    def _counts(self, offset: float) -> dict[str, int]:
        """Sentences of each language in this epoch: a whole number near its share, right on average over offsets."""
        sentences = len(self.lengths)
        ends = np.floor(np.cumsum([*self.probabilities.values()]) * sentences + offset + 1e-9)
        ends[-1] = sentences
        return dict(zip(self.probabilities, np.diff(ends, prepend=0).astype(int).tolist(), strict=True))

    def _updates_of_like_length(self, indices: np.ndarray) -> list[np.ndarray]:
        ordered = indices[np.argsort(-self.lengths[indices], kind="stable")]
        return np.split(ordered, len(ordered) // self.update_size)


def _draw(indices: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` of the indices, each drawn again only after all were drawn."""
    rounds = -(-count // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:count] if count else indices[:0]
