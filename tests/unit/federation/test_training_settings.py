"""The settings of a run reach the patches that a client trains on."""

import pytest

from fedvsr.federation import layout
from fedvsr.federation.client import train
from fedvsr.video.patches import Augmentation, PatchSampler


class Seen(Exception):
    pass


@pytest.mark.parametrize(
    ("settings", "augmentation", "epoch"),
    [
        ({}, Augmentation(True, True, True, True), "clips"),
        ({"augmentation": {"reverse": False}}, Augmentation(True, True, True, False), "clips"),
        ({"augmentation": {"flip": False}}, Augmentation(False, True, True, True), "clips"),
        (
            {"augmentation": {"rotate": False}, "epoch": "frames"},
            Augmentation(True, False, False, True),
            "frames",
        ),
    ],
)
def test_augmentation_and_epoch(trained_round, monkeypatch, settings, augmentation, epoch):
    trained = trained_round()
    record = trained.run
    config = record.config.model_dump()
    config["training"] |= settings
    record = record.model_copy(update={"config": type(record.config).parse(config)})
    trained.file(layout.report(record.config.name, 1, "ann")).unlink()

    def look(*arguments, **options):
        sampler = PatchSampler(*arguments, **options)
        raise Seen(sampler.augmentation, options["epoch"])

    monkeypatch.setattr(train, "PatchSampler", look)
    with pytest.raises(Seen) as caught:
        train.train_client(trained.store, trained.workspace.client("ann"), record, 1, "ann")
    assert caught.value.args == (augmentation, epoch)
