"""What holds for every test."""

import pytest
import torch

# the tests' tensors are tiny: a second thread gains nothing, and on a busy machine waiting for it costs a hundredfold
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_noise():
    torch.manual_seed(0)
