"""openpi's own client plays an episode; it pins an old NumPy, so it is no dependency and is mostly tested elsewhere."""

import numpy as np
import pytest

from .test_server import Session, make_agent, play, served

client_policy = pytest.importorskip(
    "openpi_client.websocket_client_policy", reason="openpi-client is not installed (it pins numpy<2)"
)


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # its way to connect is old
def test_its_client_plays_an_episode():
    session = Session(make_agent())
    expected, _ = play(lambda observation: session.infer(observation).actions, (1, 1), (6, 5))
    with served() as server:
        policy = client_policy.WebsocketClientPolicy("127.0.0.1", server.port)
        assert policy.get_server_metadata()["action_dim"] == 2
        found, at = play(lambda observation: policy.infer(observation)["actions"], (1, 1), (6, 5))
        with pytest.raises(RuntimeError, match=r"Error in inference server:\n`image` must be a picture"):
            policy.infer({"image": 3})
        policy._ws.close()
    np.testing.assert_array_equal(found, expected)
    assert np.abs(at - (6, 5)).max() < 1
