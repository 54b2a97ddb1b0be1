"""Records random play into an episode store, and reads windows of it as training batches.

    python examples/record_and_read_a_store.py

Does with the library what `openjepa collect two-rooms` and a recipe do.
"""

from pathlib import Path

from openjepa.data import EpisodeStore, WindowConfig, WindowSource, check, split, statistics
from openjepa.envs import collect, make_policy, make_world

PATH = Path("data/example")


def main() -> None:
    world = make_world("two-rooms", num_envs=4)
    with EpisodeStore.resume(PATH) as store:  # goes on behind the last finished episode, if there is one
        collect(world, make_policy("smooth", world.bounds), store, episodes=12, steps=20, seed=0)

    store = EpisodeStore.open(PATH)
    episode = store.episode(0)
    print(f"{len(store)} episodes; frames {episode.frames.shape}, actions {episode.actions.shape}")
    print(check(PATH))

    trained, held_out = split(store, held_out=0.25)  # by episode, never by window
    source = WindowSource(store, trained, WindowConfig(length=4, batch_size=8, frameskip=2))
    batch = source.batch(0)  # batch 0, 1, 2, ... is a function of its number, so nothing is saved to resume
    print(f"windows: frames {tuple(batch.frames.shape)}, actions {tuple(batch.actions.shape)}")
    assert batch.actions.shape[-1] == 2 * 2  # a frameskip of 2 concatenates two actions of width 2

    moments = statistics(store, "actions", trained)
    print(f"{source.num_windows} windows of {len(trained)} episodes; {len(held_out)} episodes held out")
    print("action std", [round(x, 2) for x in moments.std.tolist()])


if __name__ == "__main__":
    main()
