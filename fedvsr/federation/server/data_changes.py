"""Tells which participants of a round trained on other clips than when they last took part in the run."""

from collections.abc import Sequence

from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import DataChange, Participant, RoundRecord, read_record
from fedvsr.store.base import Store

# With few clients a round, a client may have taken part long ago. Reading every record of a long run in every
# round would take time that grows with the square of the number of rounds.
_MAX_ROUNDS_BACK = 50


def find_data_changes(
    store: Store, run: str, round_number: int, participants: Sequence[Participant]
) -> tuple[DataChange, ...]:
    """Compares the digest of each participant's clips with that of the last round in which it took part.

    Looks back 50 rounds.

    Args:
        store: The federation's store.
        run: The run's name.
        round_number: The round of the participants.
        participants: The round's participants.

    Returns:
        The changes in the order of the participants.
    """
    unseen = {participant.client: participant for participant in participants}
    changes: dict[str, DataChange] = {}
    for earlier in range(round_number - 1, max(0, round_number - 1 - _MAX_ROUNDS_BACK), -1):
        if not unseen:
            break
        try:
            record = read_record(store, layout.round_record(run, earlier), RoundRecord)
        except NotFoundError:
            continue
        for before in record.participants:
            now = unseen.pop(before.client, None)
            if now is not None and now.dataset_digest != before.dataset_digest:
                changes[now.client] = DataChange(
                    client=now.client, since=earlier, clips_before=before.clips, clips=now.clips
                )
    return tuple(changes[participant.client] for participant in participants if participant.client in changes)
