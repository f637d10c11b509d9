"""What a strategy gets to know about the clients' training."""

from fedvsr.federation.server.contributions import contributions


def test_a_contribution_has_the_reports_numbers(trained_round):
    trained = trained_round()
    reports = [trained.report(client) for client in ("ann", "bob", "cleo")]
    for report, contribution in zip(reports, contributions(reports), strict=True):
        for name in ("client", "loss", "clips", "steps", "samples"):
            assert getattr(contribution, name) == getattr(report, name)
    assert [contribution.clips for contribution in contributions(reports)] == [1, 2, 3]
