"""Studies under a folder in the browser: loopback only, behind a token, read-only, live while they run."""
