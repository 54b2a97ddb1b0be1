"""The bridge: planning under risk where the short way sometimes fails."""
