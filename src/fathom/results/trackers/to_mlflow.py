"""Export to MLflow: one experiment per study, one run per run, found again by its tag."""

from typing import Any

from fathom.core.records import FathomError
from fathom.results.trackers import TrackedRun, package

TAG = "fathom_run"
MOST_METRICS = 1000  # per call of log_batch
MOST_PARAMS = 100


def write_mlflow(study: str, runs: list[TrackedRun], place: str) -> tuple[int, str]:
    """Add the rounds that an MLflow server or folder does not have; returns (rounds added, "").

    Args:
        study: Name of the study, and of the experiment.
        runs: Its runs.
        place: Tracking URI, such as `http://HOST:5000` or `file:///PATH`.

    Raises:
        FathomError: MLflow is not installed, or refuses.
    """
    mlflow, exceptions = package("mlflow", "mlflow"), package("mlflow.exceptions", "mlflow")
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        known = client.get_experiment_by_name(study)
        experiment = known.experiment_id if known else client.create_experiment(study)
        return sum(_add(client, experiment, run) for run in runs), ""
    except (exceptions.MlflowException, OSError, ImportError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise FathomError(
            f"MLflow at {place} cannot be written: {first}. Runs that are there stay; run the same command again"
        ) from None


def _add(client: Any, experiment: str, run: TrackedRun) -> int:
    """Write what is new of one run."""
    entities = package("mlflow.entities", "mlflow")
    found = client.search_runs([experiment], f"tags.`{TAG}` = '{run.key}'", max_results=1)
    if found:
        name = found[0].info.run_id
        have = {int(metric.value) for metric in client.get_metric_history(name, "round")}
    else:
        began, tags = int(1000 * run.rounds[0].seconds), {TAG: run.key, "fathom_setting": run.group}
        name, have = client.create_run(experiment, began, tags, run.name).info.run_id, set()
    parameters = [entities.Param(key, str(value)) for key, value in run.parameters.items()]
    for start in range(0, len(parameters) if len(have) < len(run.rounds) else 0, MOST_PARAMS):
        client.log_batch(name, params=parameters[start : start + MOST_PARAMS])  # equal ones may be written again
    new = [record for record in run.rounds if record.values["round"] not in have]
    for record in new:  # `round` is the last of its values, so a round that is there is whole
        values = [entities.Metric(k, v, int(1000 * record.seconds), record.step) for k, v in record.values.items()]
        for start in range(0, len(values), MOST_METRICS):
            client.log_batch(name, metrics=values[start : start + MOST_METRICS])
    if new or not found:
        status = "FINISHED" if run.complete else "RUNNING"
        client.set_terminated(name, status, int(1000 * run.rounds[-1].seconds))
    return len(new)
