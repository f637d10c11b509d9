"""The Markdown that the pipeline's steps show."""

from collections.abc import Mapping, Sequence

from fedvsr.federation.records import EvaluationRecord, OutcomesRecord, RegistrationRecord, RoundRecord
from fedvsr.federation.shard_records import ShardSummary

# Non-breaking spaces and a zero-width space, because ordinary spaces at a cell's end are dropped.
_GAP = "\N{NO-BREAK SPACE}" * 3 + "\N{ZERO WIDTH SPACE}"
# Escaping the colon keeps an address from becoming a link.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", "\n": " ", "\r": " ", **{sign: f"\\{sign}" for sign in r"\`*_[]()!~#|:"}}
)


def shards_markdown(shards: Mapping[str, ShardSummary], failures: Mapping[str, str]) -> str:
    """Returns a table of each owner's shards, or of the reason why they are missing."""
    rows = [
        (
            owner,
            str(summary.clips),
            str(summary.frames),
            f"{summary.bytes / 1e6:.1f}",
            str(summary.skipped),
            "",
        )
        for owner, summary in shards.items()
    ]
    rows += [(owner, "–", "–", "–", "–", reason) for owner, reason in failures.items()]
    headings = ("whose", "clips", "frames", "MB, low resolution", "videos left out", "problem")
    return "# Shards\n\n" + _table(headings, rows)


def outcomes_markdown(record: OutcomesRecord) -> str:
    """Returns a table of each client's outcome in a round."""
    rows = [
        (entry.client, str(entry.outcome), f"{entry.seconds:.1f}", entry.reason) for entry in record.outcomes
    ]
    heading = f"# Round {record.round}: clients\n\n"
    return heading + _table(("client", "outcome", "seconds", "reason"), rows)


def round_markdown(record: RoundRecord, mlflow_link: str = "") -> str:
    """Returns a table of the clients whose updates a round aggregated, with a link to the run in MLflow."""
    rows = [
        (
            participant.client,
            f"{participant.loss:.5f}",
            ("–" if participant.weight is None else f"{participant.weight:.4f}")
            + (" (limited)" if participant.limits else ""),
            str(participant.clips),
            str(participant.steps),
            f"{participant.seconds:.1f}",
        )
        for participant in record.participants
    ]
    facts = [f"strategy {record.strategy}", f"{len(rows)} of {len(record.outcomes)} clients"]
    if record.privacy:
        facts.append(f"ε {record.privacy.epsilon:.3g} at δ {record.privacy.delta:g}")
    facts += [f"{name.replace('_', ' ')} {value:.4f}" for name, value in record.diagnostics.items()]
    return (
        f"# Round {record.round}\n\n{' · '.join(facts)}\n\n"
        + _table(("client", "loss", "share", "clips", "steps", "training s"), rows)
        + "".join(f"\n{sentence}\n" for sentence in [*record.data_changes, *record.limits])
        + f"\nglobal weights `{record.global_digest[:16]}…`\n"
        + (f"\naveraged weights `{record.averaged_digest[:16]}…`\n" if record.averaged_digest else "")
        + (f"\n{_linked('The run in MLflow', mlflow_link)}\n" if mlflow_link else "")
    )


def registration_markdown(
    record: RegistrationRecord, evaluation: EvaluationRecord, run_link: str, version_link: str
) -> str:
    """Returns the model version that a run became and its scores, with links to both in MLflow."""
    version = f"version {record.model_version} of {record.model}"
    run = f"run `{record.mlflow_run_id}`"
    return (
        f"# {record.model} version {record.model_version}\n\n"
        f"Round {record.round} of {record.run}{', averaged weights' if record.averaged else ''}, "
        f"alias `challenger`: PSNR (Y) {evaluation.mean('psnr_y'):.2f} dB, "
        f"{evaluation.gain:+.2f} dB over bicubic interpolation, "
        f"SSIM (Y) {evaluation.mean('ssim_y'):.4f}.\n\n"
        f"In MLflow: {_linked(version, version_link)}, {_linked(run, run_link)}.\n\n"
        "`fedvsr promote` makes it champion if it is better than the champion.\n"
    )


def _linked(text: str, address: str) -> str:
    return f"[{text}]({address})" if address else text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[_cell(text) for text in line] for line in (headings, *rows)]
    # KFP's pages draw columns without any space between them, so all columns but the last end with a gap.
    spaced = [[*(cell + _GAP for cell in line[:-1]), line[-1]] for line in lines]
    spaced.insert(1, ["---"] * len(headings))
    return "".join(f"| {' | '.join(line)} |\n" for line in spaced)


def _cell(text: str) -> str:
    """Escapes a text that a client wrote: it cannot end the cell or become HTML, a link or a heading."""
    return text.translate(_ESCAPES)
