"""Adding a client to the Helm values keeps the rest of the file."""

import pytest
import yaml

from fedvsr.cluster.values_file import add_client
from fedvsr.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\nregion: eu-1\n",
        "clients: []\nregion: eu-1\n",
        "clients:  # nobody yet\nregion: eu-1\n",
        "clients:\n- name: bob\n- name: cleo\n  image: x\nregion: eu-1\n",
        "clients:\n    # first\n    - name: bob\n      resources:\n"
        "        limits: {cpu: 4}\n\n# end\nregion: x",
    ],
)
def test_a_client_is_appended_and_nothing_else_changes(tmp_path, text):
    path = tmp_path / "clients.yaml"
    path.write_text(text)
    before = yaml.safe_load(text) or {}
    add_client(path, "ann", {"gpuResource": "amd.com/gpu"})
    after = yaml.safe_load(path.read_text())
    assert after["clients"] == [*(before.get("clients") or []), {"name": "ann", "gpuResource": "amd.com/gpu"}]
    assert {**after, "clients": None} == {**before, "clients": None}
    kept = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert all(line in path.read_text().splitlines() for line in kept)


def test_a_missing_file_is_created(tmp_path):
    add_client(tmp_path / "new.yaml", "ann", {})
    add_client(tmp_path / "new.yaml", "bob", {})
    assert (tmp_path / "new.yaml").read_text() == "clients:\n  - name: ann\n  - name: bob\n"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("clients: [{name: ann}]", "ann", "has that client already"),
        ("clients: [{name: ann}]", "bob", "by hand"),
        ("clients: {ann: {}}", "bob", "must be a list"),
        ("- clients", "bob", "must be a YAML mapping"),
        ("{", "bob", "must be a YAML file"),
        ("", "Bob!", "lower-case letters"),
    ],
)
def test_an_invalid_addition_is_an_error_and_changes_nothing(tmp_path, text, name, message):
    path = tmp_path / "clients.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        add_client(path, name, {})
    assert path.read_text() == text
