"""What the losses of all taggers are divided by."""

from torch import Tensor

from .label_scheme import PADDING_LABEL


def mean_over_labels(total: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """
    The loss per label of a summed loss. A batch without labels has the loss 0, not 0 / 0.

    Args:
        total (`Tensor` of shape `()`):
            The losses of all labels of this batch, added up.
        labels (`LongTensor`):
            Label ids, -100 where there is none.
        num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
            Labels that the loss is averaged over: of all batches of an update, on all processes. Defaults to those of
            this batch.
    """
    if num_items_in_batch is None:
        num_items_in_batch = labels.ne(PADDING_LABEL).sum().clamp(min=1)
    return total / num_items_in_batch
