"""Tables of studies for the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.experiments.run_study import Plan
from pipeline.experiments.store import Store
from pipeline.experiments.study_results import HEADINGS, StudyResults, notes, table_rows

_NARROW = ("arm", "runs", "all", "small", "difference", "95 % interval", "p adj.")


def show_study(results: StudyResults, plan: Plan, store: Store) -> None:
    """Print the main table in 80 columns, then what the numbers rest on."""
    file = plan.study.file
    table = Table(title=file.title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    places = [HEADINGS.index(name) for name in _NARROW]
    for name in _NARROW:
        first = name == "arm"
        table.add_column(name, justify="left" if first else "right", no_wrap=not first)
    for row in table_rows(results, file.statistics.endpoint):
        table.add_row(*(row[place] for place in places))
    console = Console()
    console.print(table)
    for line in notes(results, plan, store):
        console.print(line, highlight=False)
