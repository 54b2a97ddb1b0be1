import torch

from openjepa.methods.origins import common_origin


def walkers(*, count=300, steps=40, leak=((0.5, -0.3), (0.2, 0.4))):
    """Places [E, T, 2] of points in a room of the size 2, plus what leaks into them from two numbers of an episode."""
    generator = torch.Generator().manual_seed(0)
    actions = 0.4 * torch.randn(count, steps, 2, generator=generator)
    actions = actions + 0.2 * torch.randn(count, 1, 2, generator=generator)  # most run into something
    place, path = 2 * torch.rand(count, 2, generator=generator) - 1, []
    for t in range(steps + 1):
        path.append(place)
        if t < steps:
            place = (place + actions[:, t]).clamp(-1, 1)
    still = torch.randn(count, 1, 2, generator=generator).expand(-1, steps + 1, -1)
    return torch.stack(path, 1), actions, still, still @ torch.tensor(leak)


def test_walls_that_stand_elsewhere_in_every_episode_tell_where_each_begins():
    places, actions, still, leak = walkers()
    nothing = torch.zeros(len(places), 1)  # the room is the same in all
    drawn = torch.Generator().manual_seed(0)
    shift = common_origin(places + leak, still, nothing, actions, steps=250, generator=drawn)
    assert shift.shape == (2, 2)
    left = leak + still @ shift
    assert left.std() < 0.3 * leak.std()


def test_an_origin_that_is_common_stays():
    places, actions, still, leak = walkers()
    nothing = torch.zeros(len(places), 1)
    shift = common_origin(places, still, nothing, actions, steps=250, generator=torch.Generator().manual_seed(0))
    assert (still @ shift).std() < 0.2 * leak.std()


def test_what_wavers_from_frame_to_frame_tells_no_origin_though_its_mean_would():
    places, actions, _, _ = walkers()
    generator = torch.Generator().manual_seed(1)
    rooms = torch.randn(len(places), 1, 2, generator=generator)  # the room lies elsewhere in every episode
    wavering = rooms + 0.5 * torch.randn(places.shape, generator=generator)
    told = rooms[:, 0] + 0.3 * torch.randn(rooms[:, 0].shape, generator=generator)  # less well than by the mean
    shift = common_origin(places + rooms, wavering, told, actions, steps=250, generator=generator)
    assert ((wavering - rooms) @ shift).std() < 0.05
