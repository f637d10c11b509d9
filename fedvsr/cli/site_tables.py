"""The tables of `fedvsr site`."""

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from fedvsr.config.run import RunConfig
from fedvsr.federation.records import RunRecord
from fedvsr.site.audit import AuditEntry


def approval_table(record: RunRecord) -> Table:
    """Returns what the owner of a site approves: a run's settings."""
    config = record.config
    table = Table(title=f"run {config.name}", title_justify="left", show_header=False)
    federation = config.federation
    for name, value in (
        ("rounds", str(federation.rounds)),
        ("clients", ", ".join(federation.clients)),
        ("model", f"{config.model.name}, {record.parameters} parameters"),
        ("strategy", config.strategy.name),
        ("degradation", f"{config.data.degradation}, scale {config.data.scale}"),
        ("started from", _start(config)),
        ("settings", record.identity[:16]),
    ):
        table.add_row(name, escape(value))
    return table


def _start(config: RunConfig) -> str:
    if config.warm_start:
        return config.warm_start
    parts = "".join(f", {part} from {file.path}" for part, file in config.training.pretrained.items())
    return f"random weights{parts}"


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    """Returns audit entries as a table, with the sums of bytes."""
    table = Table(show_footer=True)
    for heading in ("time (UTC)", "direction", "key", "bytes", "SHA-256"):
        table.add_column(heading, justify="right" if heading == "bytes" else "left", overflow="fold")
    sums = {"sent": 0, "read": 0}
    for entry in entries:
        sums[entry.direction] += entry.bytes
        table.add_row(
            entry.time[:19], entry.direction, escape(entry.key), str(entry.bytes), entry.sha256[:16] + "…"
        )
    table.columns[2].footer = f"sent {sums['sent']} bytes, read {sums['read']} bytes"
    return table
