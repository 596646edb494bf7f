"""Who does the work: jobs, workers, local processes or Ray, retries and status."""
