"""Each scheme gives every video to one client, and follows its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.video.split import scheme_names, split_videos

VIDEOS = [f"clip{index}.mp4" for index in range(20)]
LABELS = {video: "day" if index < 10 else "night" for index, video in enumerate(VIDEOS)}


@st.composite
def split_arguments(draw):
    count = draw(st.integers(1, 60))
    videos = [f"{index}.mp4" for index in range(count)]
    return {
        "videos": videos,
        "client_count": draw(st.integers(1, count)),
        "scheme": draw(st.sampled_from(scheme_names())),
        "seed": draw(st.integers(0, 2**32)),
        "alpha": draw(st.floats(1e-3, 100)),
        "labels": {video: draw(st.sampled_from("abc")) for video in videos},
    }


@settings(max_examples=80)
@given(arguments=split_arguments())
def test_each_video_goes_to_one_client_and_each_client_gets_a_video(arguments):
    parts = split_videos(**arguments)
    assert len(parts) == arguments["client_count"]
    assert all(parts)
    assert sorted(video for part in parts for video in part) == sorted(arguments["videos"])


@given(arguments=split_arguments(), random=st.randoms())
def test_the_order_of_the_videos_does_not_matter(arguments, random):
    parts = split_videos(**arguments)
    random.shuffle(arguments["videos"])
    assert split_videos(**arguments) == parts


@given(count=st.integers(1, 300), clients=st.integers(1, 300))
def test_equal_parts_differ_by_at_most_one_and_are_consecutive(count, clients):
    clients = min(clients, count)
    videos = [f"{index:03d}.mp4" for index in range(count)]
    parts = split_videos(videos, clients, "equal", seed=0)
    assert {len(part) for part in parts} <= {count // clients, count // clients + 1}
    assert [video for part in parts for video in part] == videos


@given(count=st.integers(1, 300), clients=st.integers(1, 40), alpha=st.floats(1e-3, 1000))
def test_quantity_skew_gives_later_clients_more(count, clients, alpha):
    clients = min(clients, count)
    videos = [f"{index:03d}.mp4" for index in range(count)]
    parts = split_videos(videos, clients, "quantity-skew", seed=0, alpha=alpha)
    counts = [len(part) for part in parts]
    assert counts == sorted(counts)
    assert [video for part in parts for video in part] == videos


def test_quantity_skew_is_proportional_to_the_exponential():
    videos = [f"{index:05d}" for index in range(10_000)]
    parts = split_videos(videos, 40, "quantity-skew", seed=0, alpha=0.1)
    expected = np.exp(0.1 * np.arange(40))
    expected *= 10_000 / expected.sum()
    assert np.abs([len(part) - share for part, share in zip(parts, expected, strict=True)]).max() <= 1


def test_quantity_skew_without_skew_is_equal():
    assert split_videos(VIDEOS, 6, "quantity-skew", seed=0, alpha=0) == split_videos(
        VIDEOS, 6, "equal", seed=0
    )


def test_dirichlet_separates_labels_when_alpha_is_small_and_mixes_when_it_is_large():
    videos = [f"{index}.mp4" for index in range(400)]
    labels = {video: "abcd"[index % 4] for index, video in enumerate(videos)}

    def most_common_share(alpha):
        parts = split_videos(videos, 4, "dirichlet", seed=3, alpha=alpha, labels=labels)
        shares = []
        for part in parts:
            part_labels = [labels[video] for video in part]
            shares.append(max(part_labels.count(label) for label in "abcd") / len(part))
        return np.mean(shares)

    assert most_common_share(1000) < 0.4 < 0.6 < most_common_share(0.05)


def test_dirichlet_depends_on_the_seed():
    def draw(seed):
        return split_videos(VIDEOS, 3, "dirichlet", seed=seed, alpha=1.0, labels=LABELS)

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(5)}) > 1


def test_videos_are_in_natural_order():
    assert split_videos(["b10", "b9", "a1"], 1, "equal", seed=0) == (("a1", "b9", "b10"),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"client_count": 21}, r"clients\.count: 21 .*with 20 videos it must be between 1 and 20"),
        ({"client_count": 0}, r"clients\.count: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"videos": [*VIDEOS, "clip3.mp4"]}, r"videos: 'clip3\.mp4'"),
        ({"scheme": "quantity-skew", "alpha": float("nan")}, r"clients\.alpha: nan"),
        ({"scheme": "dirichlet", "alpha": 0.0, "labels": LABELS}, r"clients\.alpha: 0\.0"),
        ({"scheme": "dirichlet"}, r"clients\.labels: None"),
        ({"scheme": "dirichlet", "labels": {"clip0.mp4": "day"}}, r"clients\.labels: 'clip1\.mp4'"),
    ],
)
def test_invalid_settings_are_refused(change, message):
    arguments = {"videos": VIDEOS, "client_count": 4, "scheme": "equal", "seed": 0} | change
    with pytest.raises(ConfigError, match=message):
        split_videos(**arguments)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(
        UnknownNameError, match="unknown scheme 'iid'; known: dirichlet, equal, quantity-skew"
    ):
        split_videos(VIDEOS, 4, "iid", seed=0)
