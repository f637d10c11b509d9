"""The self-ensemble treats all symmetries of a frame in the same way."""

import pytest
import torch
from torch import nn

from fedvsr.inference.ensemble import SelfEnsemble
from fedvsr.models.base import contexts
from fedvsr.models.registry import build_model


@pytest.fixture(scope="module")
def lopsided():
    """A network that treats left and right, up and down differently."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("fastvsr", 2, {"channels": 8, "blocks": 1})
        nn.init.normal_(model.residual.weight)
    return model.eval()


@pytest.mark.parametrize("symmetry", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.mT])
def test_a_transformed_clip_gives_the_transformed_output(lopsided, symmetry):
    x = torch.rand(1, 2, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    ensemble = SelfEnsemble(lopsided)
    with torch.inference_mode():
        torch.testing.assert_close(ensemble(symmetry(x)), symmetry(ensemble(x)), rtol=0, atol=1e-5)
        # The network alone does not.
        assert (lopsided(symmetry(x)) - symmetry(lopsided(x))).abs().max() > 1e-3


def test_the_output_of_a_symmetric_model_does_not_change():
    x = torch.rand(1, 1, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    bicubic = build_model("bicubic", 2)
    torch.testing.assert_close(SelfEnsemble(bicubic)(x), bicubic(x), rtol=0, atol=1e-6)


def test_it_has_the_contexts_of_its_model(lopsided):
    assert contexts(SelfEnsemble(lopsided)) == contexts(lopsided)
