"""What holds for every test."""

import signal

import pytest
import torch

# the tests' tensors are tiny: a second thread gains nothing, and on a busy machine waiting for it costs a hundredfold
torch.set_num_threads(1)

# a run in the background (nohup, a shell's &) is given an interrupt that is ignored; the tests of Ctrl-C need the usual one
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_noise():
    torch.manual_seed(0)
