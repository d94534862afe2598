"""Which sentence of which language comes when."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
from datasets import Dataset
from torch.utils.data import Sampler

# Sentences are sorted by length within this many batches: enough to leave little padding, few enough to stay random.
BATCHES_PER_SORT = 50

# No more sentences than these are looked at at once to learn their languages and lengths.
ROWS_AT_ONCE = 10_000


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
    _check_sizes(sizes)
    # Against the largest, so that no power of a large corpus overflows.
    largest = max(sizes.values())
    weights = {language: (size / largest) ** alpha for language, size in sizes.items()}
    total = sum(weights.values())
    return {language: weight / total for language, weight in weights.items()}


def unimax_probabilities(sizes: Mapping[str, int], max_epochs: float, run_epochs: float) -> dict[str, float]:
    """
    Probability of drawing each language by UniMax: all alike, but none more often than so many passes over it.

    The sentences that the whole run draws are shared out evenly. A language that would be passed over more than
    `max_epochs` times gets these passes, and what it leaves is shared out among the others.

    Args:
        sizes (`Mapping[str, int]`):
            Training sentences per language, all positive.
        max_epochs (`float`):
            Most passes over a language in the whole run. As many as `run_epochs` draws in proportion to size; without
            end, every language alike.
        run_epochs (`float`):
            Sentences that the whole run draws over those that there are.

    Returns:
        `dict[str, float]` in the order of `sizes`, summing to 1.

    Raises:
        ValueError: if `sizes` is empty, if a language has no sentence, or if the run is longer than `max_epochs`.

    Reference:
        Chung et al. (2023). https://arxiv.org/abs/2304.09151

    Example:
        >>> unimax_probabilities({"deu": 600, "nld": 350, "swa": 50}, max_epochs=4, run_epochs=2)
        {'deu': 0.45, 'nld': 0.45, 'swa': 0.1}
    """
    _check_sizes(sizes)
    if max_epochs < run_epochs:
        raise ValueError(
            f"`unimax_max_epochs` is {max_epochs:g}, and the run passes over all sentences {run_epochs:g} times; "
            "expected no fewer than that. Allow more passes, or train for fewer epochs."
        )
    left = run_epochs * sum(sizes.values())
    drawn: dict[str, float] = {}
    for language in sorted(sizes, key=lambda language: sizes[language]):
        drawn[language] = min(max_epochs * sizes[language], left / (len(sizes) - len(drawn)))
        left -= drawn[language]
    total = sum(drawn.values())
    return {language: drawn[language] / total for language in sizes}


def dynamic_probabilities(
    probabilities: Mapping[str, float], f1: Mapping[str, float], baselines: Mapping[str, float], strength: float
) -> dict[str, float]:
    """
    Probability of drawing each language, higher the further its dev score lies below its baseline.

    `p_l` is in proportion to `q_l * (1 + strength * max(0, 1 - f1_l / baseline_l))`: a language that has learnt
    nothing is drawn `1 + strength` times as often as it would be had it reached its baseline.

    Args:
        probabilities (`Mapping[str, float]`):
            `q`, what they would be if all languages had reached their baselines.
        f1 (`Mapping[str, float]`):
            Dev score of each language, in the unit of its baseline.
        baselines (`Mapping[str, float]`):
            Score that each language is to reach, positive.
        strength (`float`):
            0 leaves the probabilities as they are.

    Returns:
        `dict[str, float]` in the order of `probabilities`, summing to 1.

    Reference:
        To draw those that lie below their baselines more often is an idea of Jean et al. (2019),
        https://arxiv.org/abs/1909.06434. The formula is our own.

    Example:
        >>> dynamic_probabilities({"deu": 0.5, "nld": 0.5}, {"deu": 80, "nld": 40}, {"deu": 80, "nld": 80}, 4)
        {'deu': 0.25, 'nld': 0.75}
    """
    weights = {
        language: probability * (1 + strength * max(0, 1 - f1[language] / baselines[language]))
        for language, probability in probabilities.items()
    }
    total = sum(weights.values())
    return {language: weight / total for language, weight in weights.items()}


def languages_and_lengths(
    dataset: Dataset, count: Callable[[pa.ListArray], np.ndarray]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """
    Names of the languages of a data set, the place among them of each sentence's language, and its length.

    Reads the columns a piece at a time, as they lie on the disk. Rows that were shuffled or selected are slow to
    read; `flatten_indices` makes them fast.

    Args:
        dataset (`Dataset`):
            Sentences with the columns `tokens` and `language`.
        count (`Callable`):
            Lengths of the sentences whose words it is given.

    Returns:
        `tuple` of names, language ids of shape `(sentences,)` and lengths of shape `(sentences,)`.

    Raises:
        ValueError: if a sentence has no language.

    Example:
        >>> rows = {"tokens": [["no", "a"], ["a"], []], "language": ["yor", "swa", "yor"]}
        >>> languages_and_lengths(Dataset.from_dict(rows), lambda sentences: sentences.value_lengths())
        (['yor', 'swa'], array([0, 1, 0], dtype=int32), array([2, 1, 0], dtype=int32))
    """
    places: dict[str, int] = {}
    language_ids, lengths = (np.empty(len(dataset), dtype=np.int32) for _ in range(2))
    start = 0
    for rows in dataset.select_columns(["language", "tokens"]).with_format("arrow").iter(ROWS_AT_ONCE):
        languages = rows["language"].combine_chunks().dictionary_encode()
        if languages.null_count:
            raise ValueError(
                f"{languages.null_count} of the training sentences from number {start} have no `language`. Give every "
                "sentence the name of its language."
            )
        ids = [places.setdefault(str(name), len(places)) for name in languages.dictionary.to_pylist()]
        end = start + len(languages)
        language_ids[start:end] = np.array(ids)[languages.indices.to_numpy()]
        lengths[start:end] = count(rows["tokens"].combine_chunks())
        start = end
    return list(places), language_ids, lengths


class PolyglotBatchSampler(Sampler[list[int]]):
    """
    Batches of one epoch: as many sentences as the corpora have, languages by their probabilities, sentences of like
    length together.

    A language's share of an epoch is exact up to one sentence, and right in expectation; its sentences come without
    repetition until all were drawn. The order follows from the seed, the epoch and the probabilities alone, so it is
    the same on every process.

    The batches of one update come one behind the other, and no update depends on how many they are: 8 sentences in
    one batch on one process are the same 8 as in two batches on two. What is left at the end of an epoch makes an
    update of its own if it is at least half a one, and goes with the last whole one if it is less, so that no
    process is left without a sentence.

    With `batch_languages="single"`, all sentences of an update are of one language, and so are those of each of its
    batches. There are as many updates as otherwise, all of them whole, and a language's share is exact up to one
    update.

    Args:
        languages (`Sequence[str]`):
            Names of the languages.
        language_ids (`Sequence[int]` or `np.ndarray`):
            Place of each sentence's language among these.
        lengths (`Sequence[int]` or `np.ndarray`):
            Length of each sentence, in words or whatever padding is made of.
        batch_size (`int`):
            Sentences of a batch.
        batches_per_update (`int`, *optional*, defaults to 1):
            Processes times accumulated batches.
        alpha (`float`, *optional*, defaults to 1.0):
            See [`language_probabilities`]. Other `probabilities` may be set before an epoch.
        batch_languages (`str`, *optional*, defaults to `"mixed"`):
            `"mixed"` or `"single"`.
        seed (`int`, *optional*, defaults to 0):
            Seed of the order.

    Raises:
        ValueError: if `batch_languages` is neither, or if a language has no sentence.

    Example:
        >>> ids, lengths = [0] * 6 + [1] * 2, [3, 9, 4, 8, 2, 7, 5, 1]
        >>> sampler = PolyglotBatchSampler(["deu", "nld"], ids, lengths, batch_size=4, alpha=0)
        >>> [sum(index >= 6 for batch in sampler for index in batch), len(sampler)]  # half of the eight are Dutch
        [4, 2]
        >>> sampler.counts()
        {'deu': 4, 'nld': 4}
    """

    # Not a RandomSampler: accelerate silently replaces that class, and every subclass of it, by a sampler of its own.
    # And no `batch_size` attribute: with one, accelerate fills up smaller batches with sentences of the first ones.

    def __init__(
        self,
        languages: Sequence[str],
        language_ids: Sequence[int] | np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        *,
        batch_size: int,
        batches_per_update: int = 1,
        alpha: float = 1.0,
        batch_languages: str = "mixed",
        seed: int = 0,
    ):
        if batch_languages not in ("mixed", "single"):
            raise ValueError(
                f"`batch_languages` is {batch_languages!r}; expected 'mixed' or 'single'. Give one of these."
            )
        self.languages = list(languages)
        # In the smallest types there are: numpy sorts integers of 8 and 16 bits by counting them.
        self.language_ids = np.asarray(language_ids).astype(np.min_scalar_type(len(languages)))
        # Negative, because the longest come first.
        self.negative_lengths = -np.asarray(lengths, dtype=np.int32)
        self.negative_lengths = self.negative_lengths.astype(np.min_scalar_type(self.negative_lengths.min(initial=-1)))
        self.update_size = batch_size * batches_per_update
        self.batches_per_update = batches_per_update
        self.single_language = batch_languages == "single"
        self.seed = seed
        self.epoch = 0
        whole, rest = divmod(len(lengths), self.update_size)
        self.num_updates = whole + (2 * rest >= self.update_size or not whole)
        ends = np.cumsum(np.bincount(self.language_ids, minlength=len(languages)))
        index_type = np.int32 if len(lengths) < 2**31 else np.int64
        by_language = np.argsort(self.language_ids, kind="stable").astype(index_type)
        of_language = dict(zip(languages, np.split(by_language, ends[:-1]), strict=True))
        self.indices = {language: of_language[language] for language in sorted(of_language)}
        self.probabilities = language_probabilities(self.sizes, alpha)

    @property
    def sizes(self) -> dict[str, int]:
        """Sentences of each language."""
        return {language: len(indices) for language, indices in self.indices.items()}

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of another epoch."""
        self.epoch = epoch

    def counts(self, updates: int | None = None) -> dict[str, int]:
        """
        Sentences of each language in this epoch.

        Args:
            updates (`int`, *optional*):
                Count the first of its updates only.
        """
        if updates is None:
            return self._counts(self._random().random())
        counts = np.zeros(len(self.languages), dtype=int)
        for update in islice(self._updates(), updates):
            counts += np.bincount(self.language_ids[update], minlength=len(self.languages))
        of_language = dict(zip(self.languages, counts.tolist(), strict=True))
        return {language: of_language[language] for language in self.indices}

    def __len__(self) -> int:
        return self.num_updates * self.batches_per_update

    def __iter__(self) -> Iterator[list[int]]:
        for update in self._updates():
            sentences = update.tolist()
            while len(sentences) < self.batches_per_update:
                # Only an epoch of fewer sentences than there are processes leaves one without; it then takes the first
                # again.
                sentences += sentences[: self.batches_per_update - len(sentences)]
            size, larger = divmod(len(sentences), self.batches_per_update)
            ends = [size * place + min(place, larger) for place in range(self.batches_per_update + 1)]
            yield from (sentences[start:end] for start, end in pairwise(ends))

    def _random(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])

    def _counts(self, offset: float) -> dict[str, int]:
        """Sentences of each language in this epoch: a whole number near its share, right on average over offsets."""
        # Single languages have shares of the updates, all of which are whole.
        shared, size = (self.num_updates, self.update_size) if self.single_language else (len(self.language_ids), 1)
        ends = np.floor(np.cumsum([*self.probabilities.values()]) * shared + offset + 1e-9)
        ends[-1] = shared
        counts = size * np.diff(ends, prepend=0).astype(int)
        return dict(zip(self.probabilities, counts.tolist(), strict=True))

    def _updates(self) -> Iterator[np.ndarray]:
        """Indices of the sentences of each update of this epoch."""
        random = self._random()
        counts = self._counts(random.random())
        ends = np.cumsum([*counts.values()]).tolist()
        order = np.empty(ends[-1], dtype=next(iter(self.indices.values())).dtype)
        for (language, count), end in zip(counts.items(), ends, strict=True):
            order[end - count : end] = _draw(self.indices[language], count, random)
        whole = len(order) - len(order) % self.update_size
        if not self.single_language:
            random.shuffle(order)
            ends = [whole]
        for start, end in pairwise([0, *ends]):
            self._sort_by_length(order[start:end])
        updates = order[:whole].reshape(-1, self.update_size)
        shuffled = random.permutation(len(updates))
        for row in shuffled[: self.num_updates - 1]:
            yield updates[row]
        yield np.concatenate([*updates[shuffled[self.num_updates - 1 :]], order[whole:]])

    def _sort_by_length(self, indices: np.ndarray) -> None:
        """Sort sentences by length, longest first, some updates at a time, where they stand."""
        sorted_together = BATCHES_PER_SORT * self.update_size
        for start in range(0, len(indices), sorted_together):
            some = indices[start : start + sorted_together]
            some[:] = some[np.argsort(self.negative_lengths[some], kind="stable")]


def _draw(indices: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` of the indices, each drawn again only after all were drawn."""
    rounds = -(-count // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:count] if count else indices[:0]


def _check_sizes(sizes: Mapping[str, int]) -> None:
    """
    Refuse languages without sentences.

    Raises:
        ValueError: if there is one, or no language at all.
    """
    empty = [language for language, size in sizes.items() if size < 1]
    if empty or not sizes:
        raise ValueError(
            f"No training sentences for {', '.join(empty) or 'any language'}. Check the files, or leave the language "
            f"out."
        )
