"""Linear-chain conditional random field.

Axes:
    batch      sentences
    words      positions of the longest sentence in the batch
    languages  those with scores of their own
    labels     label ids; `from` and `to` are this axis on either side of a transition

References:
    Lafferty, McCallum and Pereira (2001), section 3.
    Lample et al. (2016), section 2.2. https://aclanthology.org/N16-1030
"""

import functools
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import logging

from .crf_closed_form import (
    ArrayTables,
    ClosedForm,
    Messages,
    Tables,
    compiled_decode,
    compiled_messages,
    matrix_messages,
)
from .crf_kernels import has_numba, has_triton
from .label_scheme import PADDING_LABEL

logger = logging.get_logger(__name__)

# Added to the score of a transition that the label scheme forbids. Finite, so that a gold path which breaks the scheme
# gives a huge loss instead of an infinite one with NaN gradients, and large enough that a forbidden path has
# probability 0 in float32.
FORBIDDEN = -10_000.0

# With more labels, the likelihood is faster by matrix products than by compiled loops.
MOST_COMPILED_LABELS = 128

# The transition scores lie in the registers of every program of a GPU; more labels than these do not fit.
MOST_TRITON_LABELS = 64


class LinearChainCRF(nn.Module):
    """
    Distribution over the label sequences of a sentence, given its emission scores.

    Computes in float32 whatever the dtype of the emissions, also under autocast; float64 emissions stay float64. A
    sentence without a word has log-partition 0 and the empty labelling.

    Attributes:
        implementation (`str`, defaults to `"auto"`):
            How to compute; set it on one CRF, or on the class for all. `"reference"`: the recursions of this file, and
            autograd through them. `"matrix"`: messages by matrix products, gradients in closed form. `"compiled"`: the
            same, and decoding, by loops on the CPU that numba compiles, which `pip install hf_polyglot[fast]` brings.
            `"triton"`: the same by kernels for a GPU and up to 64 labels, without waiting for it; torch brings Triton
            along on Linux. `"auto"`: the fastest that device and installation have; kernels for a GPU only where a
            small batch has shown that they work. Results agree to rounding. Only the reference can be differentiated
            twice. Sentences whose scores are too extreme for matrix products and compiled loops fall back to it, and
            so do marginals that are differentiated.

    Args:
        num_labels (`int`):
            Number of labels.
        legal (`tuple` of `(list[bool], list[list[bool]], list[bool])`, *optional*):
            Which labels may start a sentence, which may follow which (`[from][to]`), and which may end one, as
            `legal_transitions` of the label scheme gives them. Paths outside have probability 0 in training and in
            decoding alike. Without it, every path is legal.
        num_languages (`int`, *optional*):
            Languages that each have start, transition and end scores of their own, chosen by `language_ids`. The
            scores of any other language, id -1, are the mean of theirs. By default, all sentences share one set.

    Example:
        >>> crf = LinearChainCRF(num_labels=3)
        >>> emissions, mask = torch.zeros(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)
        >>> with torch.no_grad():
        ...     round(crf.log_partition(emissions, mask).exp().item())  # all 3 ** 4 paths score exp(0)
        81
    """

    implementation: str = "auto"
    start_penalty: Tensor
    transition_penalty: Tensor
    end_penalty: Tensor

    def __init__(
        self,
        num_labels: int,
        legal: tuple[Sequence[bool], Sequence[Sequence[bool]], Sequence[bool]] | None = None,
        num_languages: int | None = None,
    ):
        super().__init__()
        self.num_labels = num_labels
        self.legal = legal
        self.num_languages = num_languages
        languages = () if num_languages is None else (num_languages,)
        self.start_scores = nn.Parameter(torch.empty(*languages, num_labels))
        self.transition_scores = nn.Parameter(torch.empty(*languages, num_labels, num_labels))  # (..., from, to)
        self.end_scores = nn.Parameter(torch.empty(*languages, num_labels))
        self.register_buffer("start_penalty", torch.empty(num_labels), persistent=False)
        self.register_buffer("transition_penalty", torch.empty(num_labels, num_labels), persistent=False)
        self.register_buffer("end_penalty", torch.empty(num_labels), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all scores to zero and the penalties to those of the legal transitions."""
        # `from_pretrained` builds modules on the meta device, so buffers that are not saved must be filled here, which
        # the model's `_init_weights` calls. These functions leave tensors alone that were loaded already.
        for scores in (self.start_scores, self.transition_scores, self.end_scores):
            init.zeros_(scores)
        starts, follows, ends = self.legal or (
            [True] * self.num_labels,
            [[True] * self.num_labels] * self.num_labels,
            [True] * self.num_labels,
        )
        for penalty, allowed in (
            (self.start_penalty, starts),
            (self.transition_penalty, follows),
            (self.end_penalty, ends),
        ):
            forbidden = torch.tensor(allowed, dtype=torch.bool).logical_not()
            init.copy_(penalty, forbidden * FORBIDDEN)

    def add_languages(self, num_languages: int) -> None:
        """
        Make room for more languages, which start from the mean of the scores of those that are there.

        Args:
            num_languages (`int`):
                Languages that are added behind the others. Needs an optimizer that is made afterwards.

        Raises:
            ValueError: if all sentences share one set of scores.
        """
        if self.num_languages is None:
            raise ValueError("This CRF has one set of scores for all languages. Make it with `num_languages`.")
        for name in ("start_scores", "transition_scores", "end_scores"):
            scores = getattr(self, name).detach()
            mean = scores.mean(0, keepdim=True).expand(num_languages, *scores.shape[1:])
            setattr(self, name, nn.Parameter(torch.cat([scores, mean])))
        self.num_languages += num_languages

    def log_likelihood(
        self, emissions: Tensor, labels: Tensor, mask: Tensor, language_ids: Tensor | None = None
    ) -> Tensor:
        """
        Log-probability of the labels of each sentence, in nats.

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Unnormalised log-potentials.
            labels (`LongTensor` of shape `(batch, words)`):
                Label ids. Anything may stand on padding.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words. Padding is on the right.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence, -1 for one without scores of its own. Read by a CRF with `num_languages`
                only, and by default -1; so for all methods below.

        Returns:
            `Tensor` of shape `(batch,)`.
        """
        self._check(emissions, mask, labels)
        implementation = self._implementation_for(emissions)
        if implementation != "reference":
            return self._closed_form(implementation, emissions, mask, language_ids, labels)
        log_partition = self._reference_log_partition(emissions, mask, language_ids)
        return self.path_score(emissions, labels, mask, language_ids) - log_partition

    def path_score(
        self, emissions: Tensor, labels: Tensor, mask: Tensor, language_ids: Tensor | None = None
    ) -> Tensor:
        """Unnormalised log-score of one labelling per sentence, of shape `(batch,)`."""
        emissions, start, transition, end = self._potentials(emissions, language_ids)
        labels = labels.masked_fill(~mask, 0)
        emitted = emissions.gather(2, labels[:, :, None]).squeeze(2)  # (batch, words)
        score = (emitted * mask).sum(1)
        sentence = torch.arange(len(labels), device=labels.device)
        moved = transition[sentence[:, None], labels[:, :-1], labels[:, 1:]]  # (batch, words - 1)
        score = score + (moved * mask[:, 1:]).sum(1)
        last = (mask.sum(1) - 1).clamp(min=0)  # (batch,)
        last_labels = labels.gather(1, last[:, None]).squeeze(1)
        return torch.where(mask[:, 0], score + start[sentence, labels[:, 0]] + end[sentence, last_labels], 0.0)

    def log_partition(
        self, emissions: Tensor, mask: Tensor, language_ids: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """
        Log of the summed exponentiated scores of all paths, of shape `(batch,)`, in nats.

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Unnormalised log-potentials.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence.
            temperature (`float`, *optional*, defaults to 1.0):
                What all scores, those of transitions too, are divided by.
        """
        self._check(emissions, mask)
        implementation = self._implementation_for(emissions) if temperature == 1 else "reference"
        if implementation != "reference":
            return self._closed_form(implementation, emissions, mask, language_ids)
        return self._reference_log_partition(emissions, mask, language_ids, temperature)

    def marginals(self, emissions: Tensor, mask: Tensor, language_ids: Tensor | None = None) -> Tensor:
        """Posterior probability of each label at each word, of shape `(batch, words, labels)`; zero on padding."""
        self._check(emissions, mask)
        implementation = self._implementation_for(emissions)
        if implementation != "reference" and not torch.is_grad_enabled():
            messages = self._messages(implementation, emissions, mask, language_ids)
            if messages.is_sound:
                return messages.gradient
        return self._reference_label_scores(emissions, mask, language_ids).softmax(2) * mask[:, :, None]

    def log_marginals(
        self, emissions: Tensor, mask: Tensor, language_ids: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """
        Log of the posterior probability of each label at each word, to be differentiated.

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Unnormalised log-potentials.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence.
            temperature (`float`, *optional*, defaults to 1.0):
                What all scores, those of transitions too, are divided by: the higher, the closer the posterior is to
                one in which all paths are alike.

        Returns:
            `Tensor` of shape `(batch, words, labels)`; what stands on padding is not defined. Where the label scheme
            forbids a label, about `FORBIDDEN` over the temperature.
        """
        self._check(emissions, mask)
        return self._reference_label_scores(emissions, mask, language_ids, temperature).log_softmax(2)

    def _reference_label_scores(
        self, emissions: Tensor, mask: Tensor, language_ids: Tensor | None, temperature: float = 1.0
    ) -> Tensor:
        """Log-sums of all paths through each label of each word, `(batch, words, labels)`."""
        emissions, start, transition, end = self._potentials(emissions, language_ids, temperature)
        forwards = torch.stack(self._forward_messages(emissions, mask, start, transition), 1)
        backward = end  # (batch, labels)
        backwards = [backward]
        for emission, is_word in zip(
            reversed(emissions[:, 1:].unbind(1)), reversed(mask[:, 1:].unbind(1)), strict=True
        ):
            paths = transition + (emission + backward)[:, None, :]  # (batch, from, to)
            backward = torch.where(is_word[:, None], paths.logsumexp(2), end)
            backwards.append(backward)
        return forwards + torch.stack(backwards[::-1], 1)  # (batch, words, labels)

    def sample(
        self,
        emissions: Tensor,
        mask: Tensor,
        num_samples: int,
        generator: torch.Generator | None = None,
        language_ids: Tensor | None = None,
    ) -> Tensor:
        """
        Label sequences drawn independently from the posterior, exactly (forward filtering, backward sampling).

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Unnormalised log-potentials.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            num_samples (`int`):
                Sequences per sentence.
            generator (`torch.Generator`, *optional*):
                Source of the random numbers, on the device of the emissions.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence.

        Returns:
            `LongTensor` of shape `(samples, batch, words)`, -100 on padding.
        """
        self._check(emissions, mask)
        emissions, start, transition, end = self._potentials(emissions, language_ids)
        sentence = torch.arange(len(mask), device=mask.device)
        forwards = self._forward_messages(emissions, mask, start, transition)
        is_last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))  # (batch, words)
        following = mask.new_zeros((num_samples, len(mask)), dtype=torch.long)  # (samples, batch)
        drawn = []
        for position in reversed(range(emissions.shape[1])):
            onward = torch.where(
                is_last[:, position, None], end, transition.mT[sentence, following]
            )  # (samples, batch, labels)
            probabilities = (forwards[position] + onward).softmax(2)
            following = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator).view_as(following)
            drawn.append(following)
        return torch.stack(drawn[::-1], 2).masked_fill(~mask, PADDING_LABEL)

    def decode(self, emissions: Tensor, mask: Tensor, language_ids: Tensor | None = None) -> Tensor:
        """
        Label ids of the most probable path of each sentence (Viterbi).

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Unnormalised log-potentials.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence.

        Returns:
            `LongTensor` of shape `(batch, words)`, -100 on padding.
        """
        self._check(emissions, mask)
        implementation = self._implementation_for(emissions, most_compiled_labels=self.num_labels)
        if implementation == "triton":
            from .crf_triton import triton_decode

            emissions = self._detached(emissions)
            with torch.no_grad():
                return triton_decode(emissions, mask, self._tables(emissions, language_ids), PADDING_LABEL)
        if implementation == "compiled":
            emissions = self._detached(emissions)
            return compiled_decode(
                emissions, mask, self._array_tables(emissions.dtype, mask, language_ids), PADDING_LABEL
            )
        emissions, start, transition, end = self._potentials(emissions, language_ids)
        best = start + emissions[:, 0]  # (batch, labels)
        origins = []
        stay = torch.arange(self.num_labels, device=emissions.device).expand_as(best)
        for emission, is_word in zip(emissions[:, 1:].unbind(1), mask[:, 1:].unbind(1), strict=True):
            extended, origin = (best[:, :, None] + transition).max(1)  # (batch, to)
            best = torch.where(is_word[:, None], extended + emission, best)
            # On padding every label points to itself, so that following the pointers back from the end of the batch
            # arrives unchanged at the end of the sentence.
            origins.append(torch.where(is_word[:, None], origin, stay))
        label = (best + end).argmax(1)  # (batch,)
        path = [label]
        for origin in reversed(origins):
            label = origin.gather(1, label[:, None]).squeeze(1)
            path.append(label)
        return torch.stack(path[::-1], 1).masked_fill(~mask, PADDING_LABEL)

    def n_best(
        self, emissions: Tensor, mask: Tensor, num_paths: int, language_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        The most probable paths of each sentence, best first, and their unnormalised log-scores (Viterbi).

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Unnormalised log-potentials.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            num_paths (`int`):
                How many of them.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence.

        Returns:
            `LongTensor` of shape `(batch, paths, words)`, -100 on padding, and `Tensor` of shape `(batch, paths)`. Of
            a sentence with fewer paths, the scores of those that there are not are minus infinity.

        Raises:
            ValueError: if `num_paths` is below 1.

        Reference:
            Seshadri and Sundberg (1994), the parallel algorithm. https://doi.org/10.1109/26.275290
        """
        self._check(emissions, mask)
        if num_paths < 1:
            raise ValueError(f"`num_paths` is {num_paths}; expected at least 1. Use `decode` for the best path alone.")
        emissions, start, transition, end = self._potentials(emissions, language_ids)
        # The best paths that end in each label; of a single word there is one, the others are none.
        best = nn.functional.pad((start + emissions[:, 0])[:, :, None], (0, num_paths - 1), value=-torch.inf)
        stay = torch.arange(best[0].numel(), device=best.device).view(best.shape[1:])  # (labels, paths)
        origins = []
        for emission, is_word in zip(emissions[:, 1:].unbind(1), mask[:, 1:].unbind(1), strict=True):
            extended = (best[:, :, :, None] + transition[:, :, None, :]).flatten(1, 2)  # (batch, from * paths, to)
            scores, origin = extended.topk(num_paths, 1)  # (batch, paths, to)
            goes_on = is_word[:, None, None]
            best = torch.where(goes_on, scores.mT + emission[:, :, None], best)
            origins.append(torch.where(goes_on, origin.mT, stay))
        scores, place = (best + end[:, :, None]).flatten(1).topk(num_paths, 1)  # (batch, paths)
        places = [place]
        for origin in reversed(origins):
            place = origin.flatten(1).gather(1, place)
            places.append(place)
        paths = torch.stack(places[::-1], 2) // num_paths
        return paths.masked_fill(~mask[:, None], PADDING_LABEL), scores

    def _forward_messages(self, emissions: Tensor, mask: Tensor, start: Tensor, transition: Tensor) -> list[Tensor]:
        """Log-sums of all paths that end in each label, one `(batch, labels)` for each position."""
        forward = start + emissions[:, 0]  # (batch, labels)
        forwards = [forward]
        for emission, is_word in zip(emissions[:, 1:].unbind(1), mask[:, 1:].unbind(1), strict=True):
            paths = forward[:, :, None] + transition + emission[:, None, :]  # (batch, from, to)
            forward = torch.where(is_word[:, None], paths.logsumexp(1), forward)
            forwards.append(forward)
        return forwards

    def _reference_log_partition(
        self, emissions: Tensor, mask: Tensor, language_ids: Tensor | None, temperature: float = 1.0
    ) -> Tensor:
        """The log-partition as autograd differentiates it."""
        emissions, start, transition, end = self._potentials(emissions, language_ids, temperature)
        *_, forward = self._forward_messages(emissions, mask, start, transition)
        return torch.where(mask[:, 0], (forward + end).logsumexp(1), 0.0)

    def _messages(
        self,
        implementation: str,
        emissions: Tensor,
        mask: Tensor,
        language_ids: Tensor | None,
        labels: Tensor | None = None,
    ) -> Messages:
        emissions = self._detached(emissions)
        if implementation == "compiled":
            return compiled_messages(emissions, mask, self._array_tables(emissions.dtype, mask, language_ids), labels)
        make_messages = matrix_messages
        if implementation == "triton":
            from .crf_triton import triton_messages as make_messages
        with torch.no_grad():
            return make_messages(emissions, mask, self._tables(emissions, language_ids), labels)

    def _closed_form(
        self,
        implementation: str,
        emissions: Tensor,
        mask: Tensor,
        language_ids: Tensor | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Log-likelihood, or log-partition if there are no labels, with gradients in closed form."""
        messages = self._messages(implementation, emissions, mask, language_ids, labels)
        value = ClosedForm.apply(emissions, *self._scores(), messages)
        if messages.is_sound:
            return value
        rows = messages.value.isnan().nonzero().squeeze(1)
        emissions, mask = emissions[rows], mask[rows]
        labels, language_ids = (None if ids is None else ids[rows] for ids in (labels, language_ids))
        exact = self._reference_log_partition(emissions, mask, language_ids)
        if labels is not None:
            exact = self.path_score(emissions, labels, mask, language_ids) - exact
        return value.index_copy(0, rows, exact)

    def _implementation_for(self, emissions: Tensor, most_compiled_labels: int = MOST_COMPILED_LABELS) -> str:
        if self.implementation == "reference" or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return "reference"
        if self.implementation == "auto":
            if emissions.is_cpu and self.num_labels <= most_compiled_labels and has_numba():
                return "compiled"
            if emissions.is_cuda and self.num_labels <= MOST_TRITON_LABELS and has_triton():
                return "triton" if _runs_triton(emissions.device, self.num_labels) else "matrix"
            return "matrix" if emissions.device.type in ("cpu", "cuda") else "reference"
        if self.implementation not in ("matrix", "compiled", "triton"):
            raise ValueError(
                f"`implementation` is {self.implementation!r}; expected 'auto', 'reference', 'matrix', 'compiled' or "
                "'triton'."
            )
        if self.implementation == "compiled" and not (emissions.is_cpu and has_numba()):
            raise ValueError(
                f"`implementation` is 'compiled' for emissions on {emissions.device}; expected the CPU, and numba, "
                "which `pip install hf_polyglot[fast]` brings. 'auto' takes what there is."
            )
        if self.implementation == "triton":
            is_interpreted = os.environ.get("TRITON_INTERPRET") == "1"
            if self.num_labels > MOST_TRITON_LABELS or not (emissions.is_cuda or is_interpreted):
                raise ValueError(
                    f"`implementation` is 'triton' for {self.num_labels} labels on {emissions.device}; expected at "
                    f"most {MOST_TRITON_LABELS} labels and a GPU. 'auto' takes what there is."
                )
        return self.implementation

    def _potentials(
        self, emissions: Tensor, language_ids: Tensor | None, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Emissions, and each sentence's constrained start, transition and end scores, over the temperature; float32 at
        least.
        """
        tables = self._tables(emissions, language_ids)
        ids = tables.language_ids

        def of_sentences(table: Tensor) -> Tensor:
            table = table if temperature == 1 else table / temperature
            return table.expand(len(emissions), *table.shape[1:]) if ids is None else table[ids]

        return (
            emissions.to(tables.start.dtype) / temperature,
            of_sentences(tables.start),  # (batch, labels)
            of_sentences(tables.transition),  # (batch, from, to)
            of_sentences(tables.end),  # (batch, labels)
        )

    def _tables(self, emissions: Tensor, language_ids: Tensor | None) -> Tables:
        """Constrained scores of each language, and last those of all others; float32 at least."""
        dtype = torch.promote_types(emissions.dtype, torch.float32)

        def constrained(scores: Tensor, penalty: Tensor) -> Tensor:
            scores = scores.to(dtype)
            if self.num_languages is None:
                return scores[None] + penalty
            return torch.cat([scores, scores.mean(0, keepdim=True)]) + penalty

        ids = None
        if self.num_languages is not None:
            ids = torch.full_like(emissions[:, 0, 0], -1, dtype=torch.long) if language_ids is None else language_ids
            ids = torch.where(ids == -1, self.num_languages, ids)
        return Tables(
            constrained(self.start_scores, self.start_penalty),
            constrained(self.transition_scores, self.transition_penalty),
            constrained(self.end_scores, self.end_penalty),
            ids,
        )

    def _array_tables(self, dtype: torch.dtype, mask: Tensor, language_ids: Tensor | None) -> ArrayTables:
        """What `_tables` gives, for compiled loops: some ten tensor operations less."""

        def as_array(scores: Tensor) -> np.ndarray:
            # `to` takes as long as all else here, even where there is nothing to do.
            return (scores if scores.dtype == dtype else scores.to(dtype)).numpy()

        def constrained(scores: Tensor, penalty: str) -> np.ndarray:
            array = as_array(scores.detach())
            if self.num_languages is None:
                array = array[None]
            else:
                array = np.concatenate([array, array.mean(0, keepdims=True)])
            # Without illegal paths, penalties are zeros.
            return array if self.legal is None else array + as_array(getattr(self, penalty))

        ids = None
        if self.num_languages is not None:
            ids = np.full(len(mask), -1) if language_ids is None else language_ids.numpy()
            ids = np.where(ids == -1, self.num_languages, ids)
        start, transition, end = self._scores()
        return ArrayTables(
            constrained(start, "start_penalty"),
            constrained(transition, "transition_penalty"),
            constrained(end, "end_penalty"),
            ids,
        )

    def _scores(self) -> list[Tensor]:
        """Start, transition and end scores, but not by torch's look-up of attributes, which takes long."""
        known = self._parameters
        names = ("start_scores", "transition_scores", "end_scores")
        return [known[name] if name in known else getattr(self, name) for name in names]  # type: ignore[misc]

    @staticmethod
    def _detached(emissions: Tensor) -> Tensor:
        """Emissions in float32 at least, outside of autograd."""
        emissions = emissions.detach()
        is_exact = emissions.dtype in (torch.float32, torch.float64)  # asking is faster than `to`
        return emissions if is_exact else emissions.float()

    def _check(self, emissions: Tensor, mask: Tensor, labels: Tensor | None = None) -> None:
        if emissions.dim() != 3 or emissions.shape[2] != self.num_labels or emissions.shape[1] == 0:
            raise ValueError(
                f"`emissions` has shape {tuple(emissions.shape)}; expected (batch, words, {self.num_labels}) with at "
                "least one word. Pass the logits of this CRF's own model."
            )
        if mask.shape != emissions.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                f"`mask` is {mask.dtype} of shape {tuple(mask.shape)}; expected torch.bool of shape "
                f"{tuple(emissions.shape[:2])}, True on real words."
            )
        if labels is not None and labels.shape != mask.shape:
            raise ValueError(f"`labels` has shape {tuple(labels.shape)}; expected {tuple(mask.shape)}, as the mask.")


@functools.cache
def _runs_triton(device: torch.device, num_labels: int) -> bool:
    """
    Whether the kernels for a GPU give what the reference gives; compiles them for so many labels, in seconds.

    Raises:
        torch.OutOfMemoryError: if there is no room to find out.
    """
    try:
        reason = _why_triton_fails(device, num_labels)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver raises
        reason = f"{type(error).__name__}: {error}"
    if reason is not None:
        logger.warning(
            f"The CRF's kernels do not work on {device}: {reason}. Matrix products are used, which are slower. "
            "`LinearChainCRF.implementation = 'matrix'` chooses them without this message."
        )
    return reason is None


@torch.inference_mode(False)
@torch.enable_grad()
def _why_triton_fails(device: torch.device, num_labels: int) -> str | None:
    # A small batch, computed by the kernels and by the reference. No global setting is to play a part.
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(device)

    crf = LinearChainCRF(num_labels, num_languages=2).to(device, torch.float32)
    with torch.no_grad():
        for scores in crf.parameters():
            scores.copy_(random(*scores.shape))
    lengths = torch.tensor([[7], [3], [1], [0]], device=device)
    mask = torch.arange(7, device=device) < lengths
    labels = torch.arange(28, device=device).view(4, 7) % num_labels
    ids, weights = torch.tensor([1, 0, -1, 0], device=device), random(4)
    emissions = random(4, 7, num_labels).requires_grad_()
    results: list[list[Tensor]] = []
    for implementation in ("triton", "reference"):
        crf.implementation = implementation
        value = crf.log_likelihood(emissions, labels, mask, ids)
        gradients = torch.autograd.grad((value * weights).sum(), [emissions, *crf.parameters()])
        results.append([value.detach(), *gradients, crf.decode(emissions, mask, ids)])
    wrong = torch.stack([(found - exact).abs().max().double() for found, exact in zip(*results, strict=True)]).max()
    # A difference that is no number is wrong too.
    return None if wrong < 1e-3 else f"their results differ from those of the reference by {wrong.item():.1e}"
