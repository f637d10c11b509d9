"""site.yaml: every wrong value is named, and a new site's file has the defaults."""

from pathlib import Path

import pytest
import yaml

from fedvsr.errors import ConfigError
from fedvsr.site.settings import SiteSettings, load_settings, settings_text


def test_a_new_sites_file_has_every_field_at_its_default(tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text(settings_text(Path("/data/a: video's folder"), "**/*.mp4"))
    loaded = load_settings(path)
    assert loaded == SiteSettings(videos=Path("/data/a: video's folder"), pattern="**/*.mp4")
    written = yaml.safe_load(path.read_text())
    assert set(written) == set(SiteSettings.model_fields)
    for section in ("policy", "resources"):
        assert set(written[section]) == set(SiteSettings.model_fields[section].annotation.model_fields)


@pytest.mark.parametrize(
    ("values", "field", "allowed"),
    [
        ({"videos": "data"}, "videos", "absolute"),
        ({"policy": {"hours": "22-6"}}, "policy.hours", "HH:MM-HH:MM"),
        ({"policy": {"days": ["monday"]}}, "policy.days.0", "'mon'"),
        ({"policy": {"days": []}}, "policy.days", "at least 1"),
        ({"policy": {"minimum_clients": 0}}, "policy.minimum_clients", "greater than or equal to 1"),
        ({"policy": {"requires": {"magic": True}}}, "policy.requires.magic", "no such field"),
        ({"resources": {"devices": "gpu"}}, "resources.devices", "auto, cpu"),
        ({"resources": {"memory": "much"}}, "resources.memory", "byte"),
        ({"resources": {"bandwidth": "-1"}}, "resources.bandwidth", "byte"),
        ({"polices": {}}, "polices", "known here: pattern, policy, resources, videos"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict[str, object], field: str, allowed: str):
    with pytest.raises(ConfigError) as caught:
        SiteSettings.parse({"videos": "/data", **values})
    assert str(caught.value).startswith(f"{field}: ")
    assert allowed in str(caught.value)


@pytest.mark.parametrize("text", ["", "videos: [", "- a", "\x00"])
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_settings(path)


def test_sizes_may_have_units():
    settings = SiteSettings.parse({"videos": "/data", "resources": {"memory": "16GiB", "bandwidth": "2MiB"}})
    assert (settings.resources.memory, settings.resources.bandwidth) == (16 << 30, 2 << 20)
