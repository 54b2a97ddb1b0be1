"""A saved agent behind a WebSocket, for robots and simulators elsewhere."""
