"""What a step of the pipeline shows, as Markdown."""

from collections.abc import Mapping, Sequence

from fedvsr.federation.records import OutcomesRecord, RegistrationRecord, RoundRecord, ShardSummary


def shards_markdown(shards: Mapping[str, ShardSummary], failures: Mapping[str, str]) -> str:
    """Whose shards there are, and why others are missing."""
    rows = [
        (name, str(each.clips), str(each.frames), f"{each.bytes / 1e6:.1f}", "")
        for name, each in shards.items()
    ]
    rows += [(name, "–", "–", "–", reason) for name, reason in failures.items()]
    return "# Shards\n\n" + _table(("whose", "clips", "frames", "MB, low resolution", "problem"), rows)


def outcomes_markdown(record: OutcomesRecord) -> str:
    """What became of each client in a round."""
    rows = [(each.client, str(each.outcome), f"{each.seconds:.1f}", each.reason) for each in record.outcomes]
    heading = f"# Round {record.round}: clients\n\n"
    return heading + _table(("client", "outcome", "seconds", "reason"), rows)


def round_markdown(record: RoundRecord) -> str:
    """How a round was aggregated."""
    rows = [
        (
            each.client,
            f"{each.loss:.5f}",
            "–" if each.weight is None else f"{each.weight:.4f}",
            str(each.clips),
            str(each.steps),
            f"{each.seconds:.1f}",
        )
        for each in record.participants
    ]
    facts = [f"strategy {record.strategy}", f"{len(rows)} of {len(record.outcomes)} clients"]
    facts += [f"{name.replace('_', ' ')} {value:.4f}" for name, value in record.diagnostics.items()]
    return (
        f"# Round {record.round}\n\n{' · '.join(facts)}\n\n"
        + _table(("client", "loss", "share", "clips", "steps", "training s"), rows)
        + f"\nglobal weights `{record.global_digest[:16]}…`\n"
    )


def registration_markdown(record: RegistrationRecord, tracking_uri: str) -> str:
    """Which model version a run became."""
    return (
        f"# {record.model} version {record.model_version}\n\n"
        f"Round {record.round} of {record.run}, alias `challenger`. "
        f"MLflow: {tracking_uri}, run `{record.mlflow_run_id}`.\n"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(_cell(each) for each in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """A pipe or a line break in a reason would end the cell, and tags in it would be taken for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", r"\|").replace("\n", " ")
