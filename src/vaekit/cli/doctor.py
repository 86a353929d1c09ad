"""`vaekit doctor RUN`: what is wrong with a run, each finding with its number, its cause and a fix."""

from __future__ import annotations

from typing import Any

from vaekit.cli.common import asked_data, run_parser, source_options
from vaekit.cli.options import parse
from vaekit.cli.tables import console, print_json
from vaekit.evaluation import Finding, diagnose
from vaekit.runs import load_run


def run(arguments: list[str]) -> int:
    """Say what is wrong with a run. Returns the exit status, 0 whatever was found."""
    parser = run_parser("doctor", "RUN", "What is wrong with a run, each finding with its number, its cause and a fix.")
    source_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")
    options = parse(parser, arguments)
    found = load_run(options.run)
    findings = diagnose(
        found.model,
        asked_data(found, options),
        history=found.history,
        config=found.config,
        evaluation=found.evaluation,
        seed=found.config.get("seed", 0),
    )
    if options.json:
        print_json(findings_json(findings))
    else:
        print_findings(findings, console())
    return 0


def findings_json(findings: list[Finding]) -> dict[str, Any]:
    """The form of `findings.json`."""
    return {"findings": [finding.to_json() for finding in findings]}


def print_findings(findings: list[Finding], out: Any) -> None:
    """A line for each finding, or the one line that there is none."""
    for finding in findings:
        out.print(f"doctor     {finding}", markup=False)
    if not findings:
        out.print("doctor     nothing found", markup=False)
