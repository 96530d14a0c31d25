"""The measuring itself: warm up, then rounds of ours and every baseline back to back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlllm.bench import machine
from sqlllm.bench.memory import CALLS, Footprint, footprint
from sqlllm.bench.method import OURS, Answered, Line, Skipped, Table, Workload
from sqlllm.bench.options import Options
from sqlllm.bench.report import Report
from sqlllm.engine.worker import on_model_thread


@dataclass(frozen=True, slots=True)
class Rounds:
    """Runs workloads into a report.

    Baselines run on the thread that ours run on: a second team of OpenMP threads would slow all
    of them down. The order turns around from round to round, so that what a method leaves behind
    for the next one meets all of them. A baseline that fails is left out, with its reason; ours
    may not fail.

    Attributes:
        options: Sizes.
        place: Where the models run.
        dtype: In which precision.
        report: Grows as figures come in.
        say: Gets a line per step.
    """

    options: Options
    place: str
    dtype: str
    report: Report
    say: Callable[[str], None]

    def workload(self, name: str, build: Callable[[], Workload]) -> None:
        """Warm up and measure one."""
        try:
            made = on_model_thread(build)
        except Skipped as why:
            self.report.skipped[name] = str(why)
            self.say(f"{name}: skipped: {why}")
            return
        self.report.tables.append(made.table)
        with machine.frozen():
            for method in made.methods:
                self.say(f"{name}: warming up {method.line.name}")
                self._try(made.table, method.line, method.warm)
            self._rounds(made)

    def memory(self) -> None:
        """Few and many rows of each function, every time in a new process; the median of each."""
        few, many = self.options.memory_rows
        for function in CALLS:
            language = function != "embed"
            if not language and self.dtype == "int8":
                continue
            model = self.options.memory_model if language else self.options.embed_model
            found: dict[int, list[Footprint]] = {few: [], many: []}
            try:
                for at in range(self.options.rounds):
                    for rows in (few, many):
                        self.say(f"memory: round {at + 1}: {function}, {rows:,} rows")
                        read = footprint(function, rows, dtype=self.dtype, model=model)
                        found[rows].append(read)
            except Skipped as why:
                self.report.skipped[f"memory of {function}"] = str(why)
            finally:
                for reads in filter(None, found.values()):
                    reads.sort(key=lambda read: read.own_bytes)
                    self.report.memory.append(reads[(len(reads) - 1) // 2])

    def _rounds(self, made: Workload) -> None:
        table, ours = made.table, None
        for at in range(self.options.rounds):
            for method in made.methods if at % 2 == 0 else reversed(made.methods):
                line = method.line
                if line.kind in table.skipped:
                    continue
                self.say(f"{table.name}: round {at + 1}: {line.name}")
                table.peaks[at] = max(table.peaks.get(at, 0.0), self._watch_peak())
                answered: Answered | None = self._try(table, line, method.run)
                if answered is None:
                    continue
                line.seconds[at] = answered.seconds
                line.tokens, line.flops = answered.tokens, answered.flops
                if line.kind == OURS:
                    ours, table.least = answered.answers, made.least(answered)
                line.agreement = on_model_thread(made.agree, ours, answered.answers, line.kind)
                if answered.batch_size:
                    line.agreement = {"batch_size": answered.batch_size, **line.agreement}

    def _try(self, table: Table, line: Line, work: Callable[[], Any]) -> Any:
        """What `work` gives, or None after a baseline's failure."""
        try:
            with machine.PeakMemory(self.place) as peak:
                found = work() if line.kind == OURS else on_model_thread(work)
        except Exception as why:  # whatever another library raises, the others are still measured
            if line.kind == OURS:
                raise
            reason = str(why) if isinstance(why, Skipped) else f"{type(why).__name__}: {why}"
            table.skipped[line.kind] = reason
            self.say(f"{table.name}: without {line.name}: {reason}")
            return None
        line.peak_bytes = max(line.peak_bytes, peak.bytes)
        return found

    def _watch_peak(self) -> float:
        """Once more before every run: a better peak counts, a lower one shows what others take."""
        report = self.report
        now = on_model_thread(partial(machine.peak_flops, self.place, self.dtype, rounds=1))
        report.lowest_flops = min(report.lowest_flops, now)
        report.peaks = replace(report.peaks, flops=max(report.peaks.flops, now))
        return now
