"""Features of long videos are kept in the CPU's memory: with the same results, and less memory of the device.

No GPU is needed: fake tensors know their device and have no data, and PyTorch refuses a step between two
devices.
"""

import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from fedvsr.errors import ConfigError
from fedvsr.models import build_model
from fedvsr.models.feature_cache import FeatureCache, keep_features_on_cpu
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import filled, video

RECURRENT = ("basicvsr", "basicvsr++", "iart", "rvrt")
SIZE = 32
INPUT_BYTES = 4 * 3 * SIZE * SIZE
"""Size of one frame."""


class DeviceMemory(TorchDispatchMode):
    """Counts the bytes of the referenced tensors on the device."""

    def __init__(self):
        super().__init__()
        self.held = {}
        self.peak = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                storage = tensor.untyped_storage()
                if storage._cdata not in self.held:
                    self.held[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.held.pop, storage._cdata)
                    self.peak = max(self.peak, sum(self.held.values()))
        return result


def on_fake_gpu(model, frames):
    """Returns the output's device, and the peak memory on the device."""
    memory = DeviceMemory()
    # cuDNN's own operators have no fake counterparts.
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False), torch.no_grad():
        state = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            for name, tensor in model.state_dict(keep_vars=True).items()
        }
        x = torch.empty(1, frames, 3, SIZE, SIZE, device="cuda")
        with memory:
            y = functional_call(model, state, (x,))
        return y.device.type, memory.peak


@pytest.mark.parametrize("name", RECURRENT)
def test_the_output_is_the_same(name):
    model = filled(build_model(name, 4, TINY[name]))
    x = video(2, 5, 3, 17, 12)
    with torch.inference_mode():
        expected = model(x)
        keep_features_on_cpu(model)
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_longer_video_needs_more_device_memory_only_for_its_frames(name):
    model = build_model(name, 4, TINY[name]).eval()
    device, short = on_fake_gpu(model, 4)
    device, long = on_fake_gpu(model, 6)
    assert device == "cuda"
    # Shows that this test can fail: the output alone is sixteen times the input.
    assert long - short > 17 * 2 * INPUT_BYTES
    keep_features_on_cpu(model)
    device, short = on_fake_gpu(model, 4)
    device, long = on_fake_gpu(model, 6)
    assert device == "cpu"
    assert long - short == 2 * INPUT_BYTES


def test_every_tensor_is_kept_on_the_cpu_and_read_on_the_device():
    with FakeTensorMode():
        cache = FeatureCache((torch.empty(1, n, device="cuda") for n in (1, 2)), on_cpu=True)
        cache.append(torch.empty(1, 3, device="cuda"))
        assert [tuple(tensor.shape) for tensor in cache[::-1]] == [(1, 3), (1, 2), (1, 1)]
        assert {tensor.device.type for tensor in cache} == {"cuda"}
        assert cache[1:].joined().device.type == "cpu"
        assert cache[1:].joined().shape == (1, 5)


def test_without_the_cpu_the_cache_keeps_the_tensors_themselves():
    tensors = [torch.ones(1), torch.zeros(1)]
    cache = FeatureCache(tensors, on_cpu=False)
    assert len(cache) == 2
    assert all(cached is tensor for cached, tensor in zip(cache, tensors, strict=True))
    assert cache[::-1][0] is tensors[1]


@pytest.mark.parametrize("name", ["bicubic", "fastvsr", "vrt"])
def test_other_models_have_no_features_to_keep_on_the_cpu(name):
    with pytest.raises(ConfigError, match=r"^features_on_cpu: True is not allowed; .* shorter windows"):
        keep_features_on_cpu(build_model(name, 4, TINY.get(name)))
