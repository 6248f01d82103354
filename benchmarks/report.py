"""The one format of every benchmark: a line per figure, or with --json a list of objects and nothing else."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field


@dataclass
class Report:
    """Figures as they come. A figure without a target is neither ok nor short."""

    as_json: bool
    figures: list[dict[str, object]] = field(default_factory=list)

    def add(self, figure: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None) -> None:
        target = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}" if at_most is not None else ""
        ok = None if not target else (value >= at_least if at_least is not None else value <= at_most)  # type: ignore[operator]
        self.figures.append({"figure": figure, "value": round(value, 4), "unit": unit, "target": target, "ok": ok})
        if not self.as_json:
            verdict = "" if ok is None else "ok" if ok else "SHORT"
            print(f"{figure:58} {value:12,.3f} {unit:10} {target:10} {verdict}", flush=True)

    def close(self) -> None:
        if self.as_json:
            print(json.dumps(self.figures, indent=2))


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="a list of objects and nothing else on standard output")
    parser.add_argument("--quick", action="store_true", help="within 45 seconds on two cores")
    return parser.parse_args()
