"""Images, videos and trajectories: every set yields typed batches."""
