"""Uploading the pipeline: one version per package."""

import pytest

from fedvsr import __version__
from fedvsr.errors import InputError
from fedvsr.kubeflow.pipeline import get_newest_version, pipeline_name, upload


def test_the_first_package_makes_the_pipeline(kfp, connection):
    version, is_new = upload(connection, "federated-training-other", b"one\r\n", "what it does")
    assert is_new
    assert version.name.startswith(f"{__version__}-")
    pipeline = kfp.pipelines[-1]
    assert (pipeline["name"], pipeline["description"]) == ("federated-training-other", "what it does")
    assert version.pipeline_id == pipeline["pipeline_id"]
    assert kfp.packages == [b"one\r\n"]
    assert kfp.versions[-1]["description"] == "what it does"
    assert get_newest_version(connection, "federated-training-other") == version


def test_the_newest_package_again_changes_nothing(kfp, connection):
    first, _ = upload(connection, "federated-training", b"one", "")
    again, is_new = upload(connection, "federated-training", b"one", "")
    assert (again, is_new) == (first, False)
    assert len(kfp.packages) == 1


def test_an_older_package_becomes_the_newest_again(kfp, connection):
    one, _ = upload(connection, "federated-training", b"one", "")
    two, _ = upload(connection, "federated-training", b"two", "")
    for count in (1, 2):
        back, is_new = upload(connection, "federated-training", b"one", "")
        assert (back.name, is_new) == (f"{one.name}+{count}", True)
        assert get_newest_version(connection, "federated-training") == back
        assert upload(connection, "federated-training", b"one", "") == (back, False)
        upload(connection, "federated-training", b"two", "")
    assert two.name != one.name


def test_a_missing_pipeline(connection):
    with pytest.raises(InputError, match="has no pipeline 'federated-training-x'; `make deploy` uploads it"):
        get_newest_version(connection, "federated-training-x")


def test_every_deployment_has_its_own_pipeline():
    assert pipeline_name("fedvsr") == "federated-training"
    assert pipeline_name("other") == "federated-training-other"
