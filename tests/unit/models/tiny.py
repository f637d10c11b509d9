"""Options that make the published architectures small enough for tests."""

TINY = {
    "basicvsr": {"channels": 4, "blocks": 1},
    "basicvsr++": {"channels": 8, "blocks": 1},
    "iart": {"channels": 8, "groups": 1, "depth": 2, "heads": 2, "window_size": 4},
    "rrn": {"channels": 8, "blocks": 1},
    "rvrt": {
        "channels": 8,
        "blocks": 1,
        "heads": 2,
        "window": 4,
        "alignment_heads": 2,
        "offset_groups": 4,
    },
    "vrt": {
        "channels": 8,
        "depth": 2,
        "refining_channels": 12,
        "refining_stages": 2,
        "refining_depth": 1,
        "heads": 2,
        "window_frames": 2,
        "window_size": 2,
        "deformable_groups": 4,
    },
}
