"""What a step of the pipeline shows, as Markdown."""

from collections.abc import Mapping, Sequence

from fedvsr.federation.records import OutcomesRecord, RegistrationRecord, RoundRecord
from fedvsr.federation.shard_records import ShardSummary

# Spaces that stay, and a mark without width so that they are not at a cell's end, where they would go.
_GAP = "\N{NO-BREAK SPACE}" * 3 + "\N{ZERO WIDTH SPACE}"
# With the colon, an address is no link either.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", "\n": " ", "\r": " ", **{each: f"\\{each}" for each in r"\`*_[]()!~#|:"}}
)


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


def round_markdown(record: RoundRecord, mlflow_link: str = "") -> str:
    """How a round was aggregated, with the address of the run in MLflow."""
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
        + (f"\n{_linked('The run in MLflow', mlflow_link)}\n" if mlflow_link else "")
    )


def registration_markdown(
    record: RegistrationRecord, numbers: Mapping[str, float], run_link: str, version_link: str
) -> str:
    """Which model version a run became, how good it is, and where both are in MLflow."""
    version = f"version {record.model_version} of {record.model}"
    run = f"run `{record.mlflow_run_id}`"
    return (
        f"# {record.model} version {record.model_version}\n\n"
        f"Round {record.round} of {record.run}, alias `challenger`: PSNR (Y) {numbers['psnr_y']:.2f} dB, "
        f"{numbers['psnr_y_over_bicubic']:+.2f} dB over bicubic interpolation, "
        f"SSIM (Y) {numbers['ssim_y']:.4f}.\n\n"
        f"In MLflow: {_linked(version, version_link)}, {_linked(run, run_link)}.\n\n"
        "`fedvsr promote` makes it champion where it is better than the champion.\n"
    )


def _linked(text: str, address: str) -> str:
    return f"[{text}]({address})" if address else text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[_cell(each) for each in line] for line in (headings, *rows)]
    # KFP's pages draw columns without any space between them, so each but the last brings its own.
    spaced = [[*(each + _GAP for each in line[:-1]), line[-1]] for line in lines]
    spaced.insert(1, ["---"] * len(headings))
    return "".join(f"| {' | '.join(line)} |\n" for line in spaced)


def _cell(text: str) -> str:
    """What a client says stays text: no end of the cell, no HTML, and no link, picture or heading."""
    return text.translate(_ESCAPES)
