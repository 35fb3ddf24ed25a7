"""A run's folder gets its report: `result.json`, `report.md`, `report.html` and pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest.objective import Verdict, judge
from loadtest.outcome import exit_status
from loadtest.report.blocks import Picture
from loadtest.report.content import report
from loadtest.report.distributions import draw_distributions
from loadtest.report.folder import Run, read_run
from loadtest.report.html import to_html
from loadtest.report.markdown import to_markdown
from loadtest.report.pictures import NO_MATPLOTLIB, can_draw
from loadtest.report.timeline import draw_timeline
from loadtest.summary import Summary, in_window, summarize
from loadtest.vllm_keys import vllm_details, vllm_result


@dataclass(frozen=True, slots=True)
class Report:
    """What the report says, for programs."""

    summary: Summary
    verdict: Verdict
    complete: bool = True  # all was sent that was planned

    @property
    def exit_status(self) -> int:
        return exit_status(self.verdict.kept, self.complete, self.summary.overall.completed)


def write_report(folder: Path, *, pictures: bool = True, detailed: bool = False) -> Report:
    """Reads what the run left and writes the rest; files that are there from before are replaced. Without matplotlib
    there are no pictures, and the report says so. `detailed`: `result.json` also has what vLLM's --save-detailed adds.
    Raises LoadTestError for a folder that is none of a run."""
    run = read_run(folder)
    summary = summarize(run.records, run.scenario)
    verdict = judge(run.scenario.objective, summary)
    _write_result(run, summary, verdict, folder / "result.json", detailed)
    drawn = _draw(run, summary, folder) if pictures and can_draw() else []
    blocks = report(run, summary, verdict, drawn, NO_MATPLOTLIB if pictures and not can_draw() else "")
    (folder / "report.md").write_text(to_markdown(blocks), encoding="utf-8")
    (folder / "report.html").write_text(to_html(blocks, folder, summary.scenario), encoding="utf-8")
    return Report(summary, verdict, run.complete)


def _write_result(run: Run, summary: Summary, verdict: Verdict, path: Path, detailed: bool) -> None:
    result = vllm_result(summary, run.scenario, run.about["start_s"])
    if detailed:
        result |= vllm_details(run.records, summary)
    told = {name: run.about.get(name) for name in ("url", "workers", "machine", "server", "client", "tokens")}
    result["stageline"] = {**summary.as_json(), "objective": asdict(verdict), **told}
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _draw(run: Run, summary: Summary, folder: Path) -> list[Picture]:
    title = f"{summary.scenario}, {run.about.get('url', '')}".rstrip(", ")
    window = summary.from_s, summary.until_s
    found = []
    measured = in_window(run.records, *window)
    if draw_distributions(measured, run.scenario.objective, title, folder / "distributions.png"):
        found.append(Picture("distributions.png", "How long requests took: the share that took no longer."))
    if draw_timeline(run, *window, title, folder / "timeline.png"):
        found.append(Picture("timeline.png", "The run over time; requests stand where they should have been sent."))
    return found
