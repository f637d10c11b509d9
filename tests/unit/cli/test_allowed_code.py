"""A client imports code by reference only from packages that it allows, whatever a server writes."""

import json

import pytest

from fedvsr.federation import layout
from fedvsr.federation.run.prepare import plan_round, prepare_run
from tests.unit.tiny_run import run_command

COMMANDS = {
    "train": ("client", "train", "--run", "test", "--client", "ann", "--round", 1),
    "shard": ("client", "shard", "--run", "test", "--client", "ann"),
}
REFERENCES = {
    "model.name": "fedvsr.models.fastvsr:FastVSR",
    "strategy.name": "fedvsr.strategies.fedprox:FedProx",
    "data.degradation": "fedvsr.video.degradations.bi:BicubicDegradation",
    "communication.upload": "fedvsr.codecs.int8:Int8",
    "communication.download": "fedvsr.codecs.int8:Int8",
}


@pytest.fixture
def change_record(workspace, give_clips, make_config, monkeypatch):
    """Plans a round, and changes a field of the run's record as a malicious server could."""
    give_clips({"ann": 1, "bob": 1})
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
    store = workspace.federation()
    plan_round(store, prepare_run(store, make_config()), 1)

    def change(field, value):
        record = json.loads(store.read(layout.config("test")))
        section, leaf = field.split(".")
        record["config"].setdefault(section, {})[leaf] = value
        store.write(layout.config("test"), json.dumps(record).encode())

    return change


@pytest.mark.parametrize("field", REFERENCES)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("allowed", ["", "other, fedvsr.model"])
def test_a_reference_into_another_package_is_refused(change_record, monkeypatch, field, command, allowed):
    change_record(field, REFERENCES[field])
    monkeypatch.setenv("FEDVSR_ALLOW_MODELS", allowed)
    output = run_command(*COMMANDS[command])
    assert output.code == 65
    assert f"{field}: '{REFERENCES[field]}' is not allowed" in output.err
    assert "FEDVSR_ALLOW_MODELS" in output.err


@pytest.mark.parametrize("field", REFERENCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_reference_into_an_allowed_package_is_imported(change_record, monkeypatch, field, command):
    change_record(field, REFERENCES[field])
    monkeypatch.setenv("FEDVSR_ALLOW_MODELS", "other, fedvsr")
    output = run_command(*COMMANDS[command])
    if field == "data.degradation":
        # The client's clips were made with another degradation.
        assert "FEDVSR_ALLOW_MODELS" not in output.err
    else:
        assert output.code == 0, output.err


@pytest.mark.parametrize("field", REFERENCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_imported_before_the_check(change_record, monkeypatch, tmp_path, field, command):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    change_record(field, "evil:Anything")
    output = run_command(*COMMANDS[command])
    assert output.code == 65
    assert f"{field}: 'evil:Anything' is not allowed" in output.err
    assert not (tmp_path / "imported").exists()


def test_an_allowed_package_does_not_open_the_modules_that_it_imports(change_record, monkeypatch):
    change_record("model.name", "fedvsr.models.fastvsr:torch.hub.load")
    change_record("model.options", {"repo_or_dir": "somebody/else", "model": "anything"})
    monkeypatch.setenv("FEDVSR_ALLOW_MODELS", "fedvsr")
    output = run_command(*COMMANDS["train"])
    assert output.code == 65
    assert "torch is a module" in output.err
