"""What mapping finds on its way: faults, notes of what was not kept, free text."""

from connectors.sdk.faults import Fault, Faults


class Report:
    """Collects; `check` raises when anything was wrong."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.dropped: set[str] = set()
        self.narratives: list[tuple[str, str]] = []

    def __repr__(self) -> str:
        """Counts only: narratives are somebody's words."""
        return f"<Report of {len(self.faults)} faults>"

    def add(self, code: str, field: str, rule: str) -> None:
        """Note a fault once; `(code, rule)` is a row of the refusal catalogue."""
        fault = Fault(code, field, rule)
        if fault not in self.faults:
            self.faults.append(fault)

    def drop(self, path: str) -> None:
        """Note an element that is not kept."""
        self.dropped.add(path)

    def narrative(self, path: str, text: str) -> None:
        """Keep free text with the path it came from."""
        self.narratives.append((path, text))

    def check(self) -> None:
        """Raise `Faults` when there are any."""
        if self.faults:
            raise Faults(self.faults)
