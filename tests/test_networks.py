"""Networks: what they compute against the same computed by hand."""

import pytest
import torch
from torch.testing import assert_close

from vaekit.data.schema import Schema
from vaekit.errors import UsageError
from vaekit.models import vae
from vaekit.networks import MLP


def test_a_gated_layer_is_one_linear_map_times_the_sigmoid_of_another():
    network, x = MLP((5,), (3,), (4,), "gated").double(), torch.randn(7, 5, dtype=torch.float64)
    (a, b), (c, d) = network.layers[0].weight.chunk(2), network.layers[0].bias.chunk(2)
    hidden = (x @ a.T + c) * torch.sigmoid(x @ b.T + d)
    assert_close(network(x), hidden @ network.out.weight.T + network.out.bias, rtol=1e-12, atol=1e-12)


def test_gated_layers_are_for_mlps():
    schema = Schema("image", (1, 16, 16))
    vae(schema, network="mlp", activation="gated")
    with pytest.raises(UsageError, match=r"activation 'gated': expected one of .*; gated is for an mlp"):
        vae(schema, network="conv", activation="gated")
