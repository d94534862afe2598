"""The padded BiLSTM against torch's packed one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hf_polyglot.models.recurrent import BiLSTM, reverse_each


def packed_twin(ours, input_size, hidden_size, num_layers):
    """torch's bidirectional LSTM with the weights of ours."""
    theirs = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True, bidirectional=True)
    for layer in range(num_layers):
        for suffix, lstm in (("", ours.rightward[layer]), ("_reverse", ours.leftward[layer])):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(theirs, f"{name}_l{layer}{suffix}").data.copy_(getattr(lstm, f"{name}_l0"))
    return theirs


@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    num_layers=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_states_equal_those_of_a_packed_lstm(seed, lengths, num_layers):
    torch.manual_seed(seed)
    ours = BiLSTM(3, 4, num_layers)
    theirs = packed_twin(ours, 3, 4, num_layers)
    inputs = torch.randn(len(lengths), max(lengths), 3)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    packed, (last, _) = theirs(pack_padded_sequence(inputs, torch.tensor(lengths), True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)

    torch.testing.assert_close(ours(inputs, mask)[mask], expected[mask])
    torch.testing.assert_close(ours.last_states(inputs, mask), torch.cat([last[-2], last[-1]], 1))


def test_reversing_twice_changes_nothing():
    sequences = torch.randn(3, 5, 2)
    mask = torch.arange(5) < torch.tensor([5, 1, 3])[:, None]

    assert torch.equal(reverse_each(reverse_each(sequences, mask), mask), sequences)
