"""What a client of the MCP server may ask for, in sizes, numbers and seconds."""

from dataclasses import dataclass, fields

from openjepa.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Limits that hold for every client; each is at least 1.

    Attributes:
        steps: longest sequence of actions of one call.
        futures: sequences that one call compares.
        episodes: open at a time, and video embeddings likewise; the one that was idle longest gives way.
        states: handles that an episode keeps; its oldest go first.
        idle_seconds: after which an episode or embedding is forgotten.
        call_seconds: of computing for one call: a search ends with its best plan, a long video with a cursor.
        waiting: calls that wait at a time, beyond which the server says that it is busy.
        picture_bytes: of a picture that a client sends, decoded from Base64.
        clip_frames: of a clip that a client sends picture by picture.
        text: characters of words, questions and paths.
        message_bytes: of one HTTP request.
    """

    steps: int = 256
    futures: int = 64
    episodes: int = 32
    states: int = 512
    idle_seconds: int = 1800
    call_seconds: int = 20
    waiting: int = 64
    picture_bytes: int = 2 << 20
    clip_frames: int = 64
    text: int = 2000
    message_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            if vars(self)[field.name] < 1:
                raise ConfigError(f"`{field.name}` must be at least 1; got {vars(self)[field.name]}.")
