"""Records, random streams, progress and durations: what every other room stands on, without torch."""
