"""Presets: names for a model with the options of a published configuration.

A preset stands wherever a model's name does. It is replaced by the model and its options when the
configuration is parsed: a run's record, and so every client, knows only the model and its options.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue


@dataclass(frozen=True)
class Preset:
    """A published configuration of a model.

    Attributes:
        model: The model's name.
        releases: The published weights that have this configuration.
        source: Where the configuration is published.
        options: The options that differ from the model's defaults.
    """

    model: str
    releases: str
    source: str
    options: Mapping[str, JsonValue] = field(default_factory=dict)


_VRT = "https://github.com/JingyunLiang/VRT, main_test_vrt.py"
_IART = "https://github.com/kai422/IART, options/"
_MMAGIC = "https://github.com/open-mmlab/mmagic, configs/basicvsr_pp/"

PRESETS: Mapping[str, Preset] = {
    "basicvsr++-ntire": Preset(
        "basicvsr++",
        "basicvsr_plusplus_c128n25_ntire_vsr",
        _MMAGIC,
        {"channels": 128, "blocks": 25},
    ),
    "iart-reds16": Preset("iart", "IART_REDS_N16_600K", _IART),
    "iart-reds6": Preset("iart", "IART_REDS_N6_300K", _IART),
    "iart-vimeo": Preset("iart", "IART_Vimeo_N14_300K, BI and BD", _IART),
    "vrt-reds16": Preset(
        "vrt",
        "002_VRT_videosr_bi_REDS_16frames",
        _VRT,
        {"window_frames": 8, "neighbours": 3, "deformable_groups": 24},
    ),
    "vrt-reds6": Preset("vrt", "001_VRT_videosr_bi_REDS_6frames", _VRT),
    "vrt-vimeo": Preset(
        "vrt",
        "003_VRT_videosr_bi_Vimeo_7frames, 004_VRT_videosr_bd_Vimeo_7frames",
        _VRT,
        {"window_frames": 8, "neighbours": 2, "deformable_groups": 16},
    ),
}
