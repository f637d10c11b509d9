"""How much an experiment trains: each client's clips, frames and steps of a round."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.errors import VideoError
from fedvsr.federation.owner.videos import LocalVideo
from fedvsr.federation.privacy_budget import planned_rounds
from fedvsr.federation.sampling import select_clients
from fedvsr.video.decode import count_frames


@dataclass(frozen=True)
class ClientWork:
    """A client's part in a round, as far as it can be told without its clips.

    Attributes:
        clips: Number of clips, if there is no shot change.
        frames: Number of frames in these clips.
        steps: Number of local steps.
    """

    clips: int
    frames: int
    steps: int


def plan_work(config: RunConfig, clients: Mapping[str, Sequence[LocalVideo]]) -> dict[str, ClientWork]:
    """Returns each client's work in a round.

    A video is taken as one shot. Videos that cannot be opened count as empty. Only the videos' headers are
    read, or the list of a folder's images.

    Args:
        config: The run.
        clients: The clients' videos.
    """
    return {client: _work(config, videos) for client, videos in clients.items()}


def count_steps(config: RunConfig, work: Mapping[str, ClientWork]) -> int:
    """Returns the number of steps of all rounds, of the clients that are drawn for them."""
    federation = config.federation
    return sum(
        work[client].steps
        for round_number in range(1, planned_rounds(config) + 1)
        for client in select_clients(
            federation.clients, federation.clients_per_round, config.name, config.seed, round_number
        )
    )


def _work(config: RunConfig, videos: Iterable[LocalVideo]) -> ClientWork:
    training = config.training
    lengths = [length for video in videos for length in _clip_lengths(_frames(video), config.data)]
    samples = len(lengths) if training.epoch == "clips" else sum(lengths)
    epoch = -(-samples // training.batch_size)
    return ClientWork(len(lengths), sum(lengths), training.local_steps or training.local_epochs * epoch)


def _frames(video: LocalVideo) -> int:
    """Returns the number of a client's frames of a video."""
    if video.stop_frame is not None:
        return video.stop_frame - video.first_frame
    try:
        return max(0, count_frames(video.path) - video.first_frame)
    except VideoError:
        return 0


def _clip_lengths(frames: int, data: DataConfig) -> list[int]:
    """Returns the lengths of the clips that a shot is cut into; what is too short is left out."""
    whole, rest = divmod(frames, data.maximum_frames)
    lengths = [data.maximum_frames] * whole + [rest] * (rest > 0)
    return [length for length in lengths if length >= data.minimum_frames]
