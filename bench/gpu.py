"""Everything that is to be known on a GPU, in under 8 minutes, without internet; or rehearsed on a CPU.

    make gpu                                    # results in runs/gpu; run it again to resume
    python bench/gpu.py --data FOLDER           # with cifar-10-batches-py in FOLDER
    python bench/gpu.py --only steps-fast query
    python bench/gpu.py --rehearse              # every section at its smallest on the CPU, some two minutes

Each section is a process of its own with a time limit. Its result is a file, OUT/<section>.json; a section whose file
is there without an error is not run again. A section that fails or runs out of time is recorded, with what it had
measured so far, and the others go on. At the end the table is printed and written to OUT/table.md and OUT/table.json.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
SECTIONS = {  # name -> most seconds on an H100
    "machine": 45, "steps-fast": 110, "steps-deterministic": 110, "bits": 60, "query": 60, "plan": 60, "run": 150,
    "tests": 100,
}  # fmt: skip
BUDGET = 460.0  # seconds of all sections
PATIENCE = 10.0  # times the seconds of a section, for a rehearsal on a busy machine

Results = dict[str, dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPO / "runs" / "gpu")
    parser.add_argument("--data", type=Path, help="folder of datasets; without CIFAR-10 in it the run is on digits")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of all sections")
    parser.add_argument("--patience", type=float, help="factor on the time limits")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at the smallest sizes")
    options = parser.parse_args()
    if options.rehearse:
        options.device, options.budget = "cpu", 10 * options.budget
        options.patience = options.patience or PATIENCE
    options.out.mkdir(parents=True, exist_ok=True)
    results = run_sections(options, prepared_environment(options.out))
    text = table(results, rehearsed=options.rehearse)
    (options.out / "table.md").write_text(text + "\n")
    (options.out / "table.json").write_text(json.dumps(results, indent=1) + "\n")
    print(text)
    return int(any("error" in results.get(name, {"error": ""}) for name in options.only))


def run_sections(options: argparse.Namespace, environment: dict[str, str]) -> Results:
    """Run what has no result yet; the results of all sections."""
    began = time.monotonic()
    for name in options.only:
        known, left = read(options.out / f"{name}.json"), options.budget - (time.monotonic() - began)
        if known and "error" not in known:
            print(f"[{name}: done before]", flush=True)
            continue
        if left < 10:
            print(f"[{name}: left for the next call, the time is used up]", flush=True)
            continue
        result = run_section(name, options, environment, min(SECTIONS[name] * (options.patience or 1.0), left))
        (options.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        print(
            f"[{name}: {result['wall_seconds']:.0f} s{', ' + result['error'] if 'error' in result else ''}]", flush=True
        )
    return {name: found for name in SECTIONS if (found := read(options.out / f"{name}.json"))}


def run_section(name: str, options: argparse.Namespace, environment: dict[str, str], limit: float) -> dict[str, Any]:
    """One section in a process of its own; what it measured, with `error` if it did not end well."""
    part = options.out / f"{name}.part.json"
    part.unlink(missing_ok=True)
    command = [sys.executable, str(REPO / "bench" / "gpu_sections.py"), name, str(part), "--device", options.device]
    command += ["--data", str(options.data)] if options.data else []
    command += ["--small"] if options.rehearse else []
    start, error = time.monotonic(), ""
    with (options.out / "log.txt").open("a") as log:
        log.write(f"==== {name}\n")
        log.flush()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=REPO, start_new_session=True
        )
        try:
            if code := process.wait(limit):
                error = f"exit status {code}: {last_words(options.out / 'log.txt')}"
        except subprocess.TimeoutExpired:
            error = f"ran out of its {limit:.0f} s"
        finally:
            end(process)
    result = read(part) or {}
    part.unlink(missing_ok=True)
    return result | {"wall_seconds": round(time.monotonic() - start, 1)} | ({"error": error} if error else {})


def end(process: subprocess.Popen[bytes]) -> None:
    """End a section and the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def last_words(log: Path) -> str:
    """The last line of a log that is not empty."""
    return ([line for line in log.read_text(errors="replace").splitlines() if line.strip()] or [""])[-1][:300]


def read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def prepared_environment(out: Path) -> dict[str, str]:
    """Environment of the sections: this checkout is found even where it is not installed."""
    paths = [str(REPO / "src"), str(REPO / "bench"), str(REPO)]
    try:
        version("fathom-al")
    except PackageNotFoundError:  # the registry reads entry points, which only an installed package has
        project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
        info = out / "site" / "fathom_al-0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fathom-al\nVersion: 0\n")
        points = [f"{name} = {value}" for name, value in project["entry-points"]["fathom"].items()]
        (info / "entry_points.txt").write_text("\n".join(["[fathom]", *points, ""]))
        paths.append(str(info.parent))
    path = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "300"}


# ------------------------------------------------------------------------------------------------------------ table


def table(results: Results, *, rehearsed: bool) -> str:
    """The results as Markdown."""
    m = results.get("machine", {})
    lines = ["# CPU rehearsal: these figures say nothing about a GPU" if rehearsed else "# First figures on a GPU", ""]
    rates = f"Copy {shown(m.get('copy_tb_per_s'))} TB/s, matrix product {shown(m.get('tflop_per_s'))} TFLOP/s."
    lines += [f"{m.get('device')}, torch {m.get('torch')}, commit {m.get('commit')}, {m.get('date')}. {rates}", ""]
    lines += ["| recipe | px | mode | views | ours/s | eager/s | plain loop/s | ours / plain | step ms | replay ms | "
              "augment ms | of peak | GiB | step |", "|" + "---|" * 14]  # fmt: skip
    for mode in ("fast", "deterministic"):
        for row in results.get(f"steps-{mode}", {}).get("rows", []):
            share = row["flop_per_s"] / (1e12 * m["tflop_per_s"]) if m.get("tflop_per_s") else float("nan")
            cells = [
                row["recipe"],
                row["side"],
                mode,
                row["views"],
                *(f"{row[k]:.0f}" for k in ("ours", "eager", "plain")),
            ]
            cells += [f"**{row['ours'] / row['plain']:.2f}**"]
            cells += [*(f"{row[k]:.2f}" for k in ("step_ms", "replay_ms", "augment_ms")), f"{share:.1%}"]
            lines.append("| " + " | ".join(map(str, [*cells, f"{row['gib']:.1f}", row["summary"]])) + " |")
    lines += ["", "| section | result |", "|---|---|"]
    for name in SECTIONS:
        found = {k: v for k, v in results.get(name, {}).items() if k not in ("rows", "wall_seconds")}
        if name == "plan" and "images_per_s" in found:
            found["planned / measured"] = compared(found["images_per_s"], results)
        rows = [f"{len(found_rows)} rows above"] if (found_rows := results.get(name, {}).get("rows")) else []
        said = "; ".join([*rows, *(f"{key}: {shown(value)}" for key, value in found.items())]) or "not run"
        lines.append(f"| {name} ({results.get(name, {}).get('wall_seconds', 0):.0f} s) | {said.replace('|', '/')} |")
    return "\n".join(lines)


def compared(planned: dict[str, float], results: Results) -> dict[str, float]:
    """Planned training rates by what was measured in the default (deterministic) mode at 32 pixels."""
    rows = results.get("steps-deterministic", {}).get("rows", [])
    measured = {row["recipe"]: row["ours"] for row in rows if not row["large"]}
    names = {"standard": "st", "self-sl": "fine-tune", "semi-sl": "fixmatch"}
    return {p: round(rate / measured[names[p]], 2) for p, rate in planned.items() if measured.get(names[p])}


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(part)}" for key, part in value.items())
    return ", ".join(map(shown, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
