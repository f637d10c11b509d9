"""Properties of IART."""

import math

import torch

from fedvsr.models import build_model
from fedvsr.models.implicit_alignment import ImplicitWarp
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import video


def test_branches_are_skipped_only_while_training():
    torch.manual_seed(0)
    model = build_model("iart", 4, TINY["iart"] | {"drop_path_rate": 0.9})
    x = video(1, 2, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_implicit_warping_is_attention_to_four_pixels():
    torch.manual_seed(0)
    align = ImplicitWarp(8, 2)
    source, current = torch.randn(1, 8, 4, 5), torch.randn(1, 8, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[0, :, 1, 2] = torch.tensor([1.25, -0.5])
    flow[0, :, 3, 0] = torch.tensor([-7.0, 9.5])
    with torch.no_grad():
        y = align(source, current, flow)
        # (1, 2) points to row 0.5, column 3.25; (3, 0) beyond the lower left corner.
        for (row, column), rows, columns, between in (
            ((1, 2), (0, 1), (3, 4), (0.5, 0.25)),
            ((3, 0), (3, 3), (0, 0), (0.5, 0.0)),
        ):
            corners = [source[0, :, i, j] for i in rows for j in columns]
            marked = torch.stack(corners) + align.position_bias[0]
            waves = []
            for distance in between:
                angle = distance / 2 * 2 * math.pi
                waves += [math.sin(angle), math.cos(angle), math.sin(angle * 10), math.cos(angle * 10)]
            query = align.q(current[0, :, row, column] + torch.tensor(waves)).view(2, 4)
            key, value = align.k(marked).view(4, 2, 4), align.v(marked).view(4, 2, 4)
            weights = (torch.einsum("hc,phc->hp", query, key) / 2).softmax(1)
            expected = torch.einsum("hp,phc->hc", weights, value).flatten()
            torch.testing.assert_close(y[0, :, row, column], expected, atol=1e-4, rtol=1e-4)
